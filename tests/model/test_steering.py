"""Steering: a vector in the residual stream, by the library, as an experiment, from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import HookedModel, Trace, direction, steer, trace
from model.api.inputs import Inputs
from model.api.job import Job
from model.arch.hooks import count_hooks
from model.cli.main import main
from model.errors import BadPrompt, BadSetting, BadTrace, NotShown, Refusal
from model.limits import Limits
from model.requests.registry import of_request
from model.requests.steering import Steer
from tests.model.jobs import StopsWhen
from tests.tiny import shared, sweep, tiny

PROMPT, NEW = "w5 w37 w40 w8 w90", 5
FAMILIES = pytest.mark.parametrize(
    "family",
    sweep(("llama", "gpt2", "gpt_neox", "gemma2", "gpt_oss", "opt", "bloom", "falcon, alibi"), ("llama", "bloom")),
)


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny("llama")


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW)


def some(hooked: HookedModel) -> np.ndarray:
    return np.random.default_rng(1).normal(size=hooked.card.d_model).astype(np.float32)


# By the library


@FAMILIES
def test_what_is_added_is_what_the_stream_has_more(family: str) -> None:
    hooked = shared(family)
    run, vector = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False), some(shared(family))
    n_layers = hooked.card.n_layers
    for layer in range(n_layers + 1):
        found = steer(hooked, run, layer, vector, 0.5, when="prefill", additions=False)
        assert run.resid is not None and found.resid is not None and count_hooks(hooked.model) == 0
        more = found.resid[layer, : run.n_prompt] - run.resid[layer, : run.n_prompt]
        scale = np.abs(found.resid[layer, : run.n_prompt]).max()
        np.testing.assert_allclose(more, np.tile(0.5 * vector, (run.n_prompt, 1)), atol=2e-6 * scale)
        for before in range(layer):
            own = run.resid[before, : run.n_prompt]
            assert np.array_equal(found.resid[before, : run.n_prompt], own)
        assert np.abs(found.logits[0] - run.logits[0]).max() > 1e-4


@FAMILIES
def test_by_nothing_it_changes_nothing(family: str) -> None:
    hooked = shared(family)
    run = trace(hooked, PROMPT, max_new_tokens=NEW, temperature=0.9, additions=False)
    for layer in (0, hooked.card.n_layers):
        found = steer(hooked, run, layer, some(hooked), 0, additions=False)
        for name, array in run.arrays().items():
            assert array.tobytes() == found.arrays()[name].tobytes(), name


def test_it_says_what_it_added_beside_the_streams_own_length(hooked: HookedModel, run: Trace, tmp_path: Path) -> None:
    vector = some(hooked)
    steer(hooked, run, 1, vector, -3, when="decode", label="w5").save(tmp_path / "one.trace")
    (edit,) = Trace.open(tmp_path / "one.trace").edits
    assert run.resid is not None and edit.norm == pytest.approx(3 * np.linalg.norm(vector))
    assert edit.stream_norm == pytest.approx(np.median(np.linalg.norm(run.resid[1, run.n_prompt :], axis=-1)))
    assert edit.said.startswith("-3 times w5 added to the residual stream at the entrance of layer 1, for the written")


def test_a_direction_is_the_difference_of_two_texts(hooked: HookedModel) -> None:
    one, other = (trace(hooked, text, max_new_tokens=1, additions=False) for text in ("w5 w6 w7", "w9"))
    assert one.resid is not None and other.resid is not None
    for layer in (0, 2, 3):
        found = direction(hooked, layer, toward="w5 w6 w7", away="w9")
        assert found.dtype == np.float32 and np.array_equal(found, one.resid[layer, 2] - other.resid[layer, 0])


def test_a_tokens_direction_makes_it_likelier_by_its_own_length(hooked: HookedModel, run: Trace) -> None:
    towards = direction(hooked, token="w50")
    assert np.array_equal(towards, direction(hooked, token_id=50))
    weight: Any = hooked.anatomy.head.weight
    assert np.array_equal(towards, weight[50].detach().numpy())
    found = steer(hooked, run, 3, towards, 200, additions=False)
    assert found.choices[0].id == 50 and run.choices[0].id != 50


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layer": 4}, "layer is 4; LlamaForCausalLM has layers 0 to 3"),
        ({"layer": 1.0}, "layer is 1.0"),
        ({"vector": np.zeros(3)}, r"vector has the shape \(3,\); it must be 48 finite numbers"),
        ({"vector": np.full(48, np.nan)}, "48 finite numbers"),
        ({"strength": float("inf")}, "strength is inf"),
        ({"when": "later"}, "when is 'later'"),
    ],
)
def test_what_means_nothing_is_refused(hooked: HookedModel, run: Trace, given: dict[str, Any], said: str) -> None:
    whole: dict[str, Any] = {"layer": 1, "vector": np.zeros(48), **given}
    with pytest.raises(BadSetting, match=said):
        steer(hooked, run, **whole)


def test_a_direction_that_is_not_there_is_refused(hooked: HookedModel, run: Trace) -> None:
    for given, said in (
        ({"toward": "w5", "away": " "}, "the prompt is empty"),
        ({"token": "w5 w6"}, "LlamaForCausalLM has no such token"),
        ({"token_id": 199}, "token_id is 199; LlamaForCausalLM has tokens 0 to 198"),
        ({"toward": "w5", "away": "w6", "layer": 4}, "layer is 4"),
    ):
        with pytest.raises(Refusal, match=said):
            direction(hooked, **given)  # pyright: ignore[reportArgumentType]
    with pytest.raises(NotShown, match="its head reads 24 numbers, and its stream is 48 wide"):
        direction(shared("opt, narrow"), token_id=5)
    with pytest.raises(BadTrace, match="only the model that made a run"):
        steer(shared("gpt2"), run, 1, np.zeros(48))


# As an experiment and from the command line


def begin(hooked: HookedModel, job: Job, run: Trace, **given: Any) -> Iterator[Trace | None]:
    request = Steer.read({"run": "one", **given})
    request.check(Limits(), hooked.card)
    inputs = Inputs(models={"target": hooked}, limits=Limits(), records={"run": run})
    return of_request(request).function()(inputs, request, job)


def test_both_texts_are_read_first_and_the_run_says_them(hooked: HookedModel, run: Trace) -> None:
    values: list[Trace | None] = []
    for value in begin(hooked, Job(), run, layer=2, strength=4, toward="w5 w6", away="w9"):
        assert not hooked.guard.locked()
        values.append(value)
    own = steer(hooked, run, 2, direction(hooked, 2, toward="w5 w6", away="w9"), 4)
    last = values[-1]
    assert values[:2] == [None, None] and last is not None and last.text == own.text
    assert last.edits[0].label == "'w5 w6' minus 'w9'"
    stopped = StopsWhen(lambda: True)
    assert list(begin(hooked, stopped, run, layer=2, toward="w5 w6", away="w9")) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the direction is missing"),
        ({"toward": "w5"}, "the direction is missing"),
        ({"token": "w5", "away": "w6"}, "token and a text were both given"),
        ({"token": "w5", "layer": 4}, "layer is 4; it must be a whole number from 0 to 3"),
        ({"token": "w500"}, "no such token"),
        ({"toward": "w5", "away": " "}, "the prompt is empty"),
    ],
)
def test_what_cannot_be_steered_is_refused_at_once(
    hooked: HookedModel, run: Trace, given: dict[str, Any], said: str
) -> None:
    with pytest.raises((BadSetting, BadPrompt), match=said):
        begin(hooked, Job(), run, **{"layer": 1, **given})


def test_a_file_in_and_a_file_out(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, hooked: HookedModel, run: Trace, tmp_path: Path
) -> None:
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    run.save(tmp_path / "one.trace")
    own = steer(hooked, run, 3, direction(hooked, token="w50"), 200)
    call = ["steer", str(tmp_path / "one.trace"), "--layer", "3", "--token", "w50", "--strength", "200"]
    assert main([*call, "--model", str(hooked.folder), "-o", str(tmp_path / "two.trace"), "--json"]) == 0
    said = capsys.readouterr()
    told, kept = json.loads(said.out), Trace.open(tmp_path / "two.trace")
    assert kept.text == told["text"] == own.text and kept.edits[0].label == "the unembedding of 'w50'"
    assert told["edits"][0]["norm"] == kept.edits[0].norm
    assert "note: Edited: 200 times the unembedding of 'w50' added" in said.err
