"""What cannot be found out about a model hides one picture and says why; layers may differ from each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Trace, load, measure, trace
from model.arch import anatomy
from model.arch.block import BlockProbe
from model.arch.positions import PositionProbe
from model.capture.tracer import Tracer
from model.errors import NotShown
from model.limits import Limits
from model.loading import selfcheck
from model.records.settings import Settings
from tests.fakes import CHECKS
from tests.tiny import shared, tiny, tiny_model, tiny_tokenizer
from viz.wire import frames

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18, 150, 4, 88, 23, 61, 7, 100]
NEW = 5
HIDDEN: dict[str, dict[str, str]] = {
    "gemma4_text": {"resume": "another form"},
    "opt, narrow": {"lens": "norm", "embeddings": "48", "positions": "neither", "parts": "sum"},
}


@pytest.fixture(scope="module", params=HIDDEN)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_what_is_not_shown_says_why(hooked: HookedModel, family: str) -> None:
    hidden = {check.name: check.detail for check in hooked.card.checks if not check.passed}
    assert hidden.keys() == HIDDEN[family].keys(), hidden
    for name, word in HIDDEN[family].items():
        assert word in hidden[name]


def test_the_run_is_the_librarys_own(hooked: HookedModel, run: Trace) -> None:
    own = hooked.model.generate(
        torch.tensor([PROMPT]), max_new_tokens=NEW, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    assert [token.id for token in run.tokens] == own.sequences[0].tolist()
    assert np.array_equal(run.logits, torch.cat(own.logits).numpy())


def test_a_pattern_is_the_models_own_in_layers_of_any_size(run: Trace, family: str, tmp_path: Path) -> None:
    run.save(tmp_path / "run.trace")
    opened = Trace.open(tmp_path / "run.trace")
    independent = tiny_model(family)
    independent.set_attn_implementation("eager")
    ids = torch.tensor([[token.id for token in run.tokens[:-1]]])
    with torch.no_grad():
        own = independent(ids, output_attentions=True, use_cache=False).attentions
    whole = opened.pattern_rows(0, opened.n_fed)
    for layer, weights in enumerate(own):
        for head in range(run.model.n_heads):
            assert np.abs(opened.pattern(layer, head) - weights[0, head].numpy()).max() <= 1e-5, (layer, head)
            assert np.abs(whole[layer, head] - weights[0, head].numpy()).max() <= 1e-5


def test_layers_of_several_sizes_say_their_own() -> None:
    hooked = shared("gemma4_text")
    run = trace(hooked, PROMPT, max_new_tokens=2)
    assert run.queries is not None and run.keys is not None
    assert (run.queries.shape[1], run.queries.shape[3], run.keys.shape[1]) == (4, 32, 2)
    assert [(rule.d_head, rule.n_kv_heads) for rule in run.rules] == [(16, None), (None, 1), (None, 1)]
    assert not run.queries[0, :, :, 16:].any() and np.array_equal(run.keys[1, 0], run.keys[1, 1])
    assert (hooked.card.d_head, hooked.card.n_kv_heads) == (32, 2)
    assert frames._kv_shape(run) is None  # pyright: ignore[reportPrivateUsage]  (no one shape of all layers)


def test_the_work_of_layers_of_several_sizes_is_not_predicted(tmp_path: Path) -> None:
    with pytest.raises(NotShown, match="not of one width in every layer"):
        measure(shared("gemma4_text"), PROMPT, Settings(max_new_tokens=2), Limits(cache=tmp_path), repeats=1)


PROBES: dict[str, tuple[Any, str, set[str]]] = {
    "positions while it runs": (PositionProbe, "_enter_first", {"positions"}),
    "positions": (PositionProbe, "found", {"positions"}),
    "block": (BlockProbe, "parts", set()),
    "units": (anatomy._Probe, "unit_output", {"units"}),  # pyright: ignore[reportPrivateUsage]
    "parts": (anatomy._Probe, "parts", {"parts"}),  # pyright: ignore[reportPrivateUsage]
    "attention": (Tracer, "_learn", {"attention", "resume"}),
}


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_that_fails_hides_its_own_picture(probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, lost = PROBES[probe]

    def trip(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(where, name, trip)
    hooked = tiny()
    hidden = {check.name: check.detail for check in hooked.card.checks if not check.passed}
    assert lost <= hidden.keys(), hidden
    assert hidden.keys() <= lost | {"resume"}
    told = [*hidden.values(), hooked.card.block_note]
    assert any("ZeroDivisionError: no such thing" in each for each in told), told
    run = trace(hooked, PROMPT, max_new_tokens=2)
    assert run.n_generated == 2


def test_what_cannot_be_recorded_in_a_run_is_left_out_of_it_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = tiny()

    def trip(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(Tracer, "_learn", trip)
    run = trace(hooked, PROMPT, max_new_tokens=2)
    assert run.queries is None and run.rules == () and run.resid is not None and run.lens_ids is not None
    (note,) = run.notes
    assert "attention" in note and "ZeroDivisionError: no such thing" in note


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "parity"])
def test_a_check_that_trips_hides_its_own_picture(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trip(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(selfcheck, f"_{name}", trip)
    hidden = {check.name: check.detail for check in tiny().card.checks if not check.passed}
    assert hidden.keys() == {name} and "ZeroDivisionError: no such thing" in hidden[name]


@pytest.mark.parametrize(
    "sizes",
    [{"num_key_value_heads": 4}, {"num_attention_heads": 2}, {"head_dim": 8}, {"intermediate_size": 64}],
    ids=str,
)
def test_a_config_that_differs_by_layer_is_read(sizes: dict[str, int]) -> None:
    config = tiny_model("gemma4_text").config
    config.per_layer_config = {1: sizes}
    (name, value) = next(iter(sizes.items()))
    assert anatomy.of_layers(config, name)[1] == value
    assert len(anatomy.of_layers(config, name)) == config.num_hidden_layers


def test_a_model_without_attention_is_refused_in_a_sentence() -> None:
    with pytest.raises(NotShown, match="mamba"):
        load(model=tiny_model("mamba"), tokenizer=tiny_tokenizer())


def test_what_the_cache_does_not_hold_is_noted() -> None:
    """RecurrentGemma keeps the states of its recurrent layers in the model: the cache holds the attention's alone."""
    run = trace(shared("recurrent_gemma"), PROMPT, max_new_tokens=1)
    assert [bool(size) for size in run.steps[-1].layer_bytes] == [False, False, True]
    assert any("nothing for 2 of 3 layers (the first: 0)" in note for note in run.notes)
    assert not any("nothing for" in note for note in trace(shared("bamba"), PROMPT, max_new_tokens=1).notes)


def test_a_state_of_fixed_size_counts_by_layer() -> None:
    """Bamba's attention grows with the text, its two states do not."""
    first, *_, last = trace(shared("bamba"), PROMPT, max_new_tokens=NEW).steps
    state, cached, other = last.layer_bytes
    assert (state, other) == (first.layer_bytes[0], first.layer_bytes[2]) and state > 0
    assert cached > first.layer_bytes[1] and sum(last.layer_bytes) == last.kv_bytes
    assert last.state_bytes == (state, 0, other)


def test_a_window_that_is_full_is_no_state() -> None:
    """Its bytes stand still too, and where attention is not shown its window is not known."""
    run = trace(shared("gemma2"), [*range(5, 25)] * 2, max_new_tokens=NEW)
    assert {step.state_bytes for step in run.steps} == {()}
