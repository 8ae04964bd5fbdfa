"""A model spread over devices is the model on one: the same trace bit for bit, with weights on the CPU or the disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from model import HookedModel, Limits, Settings, fork, load, measure, serve, speculate, trace, trials
from model.arch.placement import home, layer_homes, spread_over, whole_weight
from model.capture.captured import why_not_captured
from model.capture.restored import restore
from model.cli.main import main
from model.errors import BadSetting, NotShown
from model.experiments.batching.checks import Ask
from model.loading import placing
from model.records.trace import Trace
from model.weights.sources import Source
from tests.tiny import tiny_model, tiny_tokenizer

PROMPT, NEW = [5, 37, 40, 8, 120, 5, 37, 40, 99, 17, 18], 6
FAMILIES = ["llama", "gpt2", "gemma2"]  # plain; learned positions and tied; window and tied
OUTSIDE = {
    "gpt2": (("transformer.wte", "transformer.wpe", "transformer.ln_f", "lm_head"), "transformer.h"),
}
PLAIN = (("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"), "model.layers")


def stored(family: str, folder: Path) -> Path:
    tiny_model(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def whole(folder: Path) -> HookedModel:
    return load(folder)


def spread_map(family: str) -> dict[str, str]:
    """Every part that stands outside the layers on the disk, the layers by turns on the CPU and there."""
    outside, layers = OUTSIDE.get(family, PLAIN)
    return {**dict.fromkeys(outside, "disk"), **{f"{layers}.{i}": ("cpu", "disk")[i % 2] for i in range(3)}}


@pytest.fixture(scope="module", params=["by turns", "all on disk"])
def spread(folder: Path, family: str, request: pytest.FixtureRequest) -> HookedModel:
    return load(folder, device_map=spread_map(family) if request.param == "by turns" else {"": "disk"})


def test_a_spread_model_gives_the_same_trace_bit_for_bit(spread: HookedModel, whole: HookedModel):
    assert any(each.is_meta for each in spread.model.parameters())
    drawn: dict[str, Any] = {"temperature": 0.9, "top_k": 20, "seed": 3}
    for settings in ({}, drawn):
        made, expected = (trace(each, PROMPT, max_new_tokens=NEW, **settings) for each in (spread, whole))
        assert [each.id for each in made.choices] == [each.id for each in expected.choices]
        arrays, own = made.arrays(), expected.arrays()
        assert arrays.keys() == own.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, own[name], err_msg=name)
        assert made.rules == expected.rules


def test_experts_that_are_written_anew_are_run_as_the_library_runs_them(tmp_path: Path):
    folder = stored("qwen3_moe", tmp_path)  # its weights are stored otherwise than they are computed with
    spread, whole = load(folder, device_map={"": "disk"}), load(folder)
    assert "bit for bit" in next(each.detail for each in spread.card.checks if each.name == "parity")
    made, expected = (trace(each, PROMPT, max_new_tokens=NEW, additions=False) for each in (spread, whole))
    np.testing.assert_array_equal(made.expert_ids, expected.expert_ids)
    for name in ("resid", "logits", "queries", "expert_weights"):  # the library takes another product for them here
        np.testing.assert_allclose(getattr(made, name), getattr(expected, name), atol=2e-5)


def test_all_that_is_shown_of_it_is_shown_of_the_spread_one(spread: HookedModel, whole: HookedModel):
    def proved(hooked: HookedModel) -> dict[str, bool]:
        return {check.name: check.passed for check in hooked.card.checks}

    assert proved(spread) == proved(whole)


def test_the_card_says_where_its_weights_lie_and_nothing_else_differs(spread: HookedModel, whole: HookedModel):
    one, other = spread.card, whole.card
    for name in ("fingerprint", "n_parameters", "weights_bytes", "dtype", "family", "n_layers"):
        assert getattr(one, name) == getattr(other, name), name
    assert "disk (" in one.device
    assert ("cpu (" in one.device) == ("cpu" in spread_over(spread.model).values())
    assert other.device == "cpu"
    assert home(spread.model) == torch.device("cpu")


def test_a_run_of_the_one_is_continued_by_the_other(spread: HookedModel, whole: HookedModel):
    made = trace(whole, PROMPT, max_new_tokens=NEW, additions=False)
    one, other = (fork(each, made, step=2, token_id=77) for each in (spread, whole))
    assert [each.id for each in one.choices] == [each.id for each in other.choices]
    np.testing.assert_array_equal(one.logits, other.logits)
    assert (one.origin is None) == (other.origin is None)
    if one.origin is not None and other.origin is not None:
        assert (one.origin.n_reused, one.origin.n_replayed) == (other.origin.n_reused, other.origin.n_replayed)


def test_a_restored_cache_lies_where_each_layer_computes(spread: HookedModel, whole: HookedModel):
    assert layer_homes(whole.model) == {}
    assert layer_homes(spread.model) == dict.fromkeys(range(3), torch.device("cpu"))
    cache: Any = DynamicCache()
    cache.layers = [DynamicLayer(), DynamicLayer()]
    rows = np.ones((2, 1, 4, 3), np.float32)
    restore(cache, rows, rows, like=torch.empty(0), homes={1: torch.device("meta")})  # a device that is not the model's
    held: list[Any] = [layer.keys for layer in cache.layers]
    assert [each.device.type for each in held] == ["cpu", "meta"]


def test_weights_are_read_whole_and_stay_elsewhere(spread: HookedModel, whole: HookedModel):
    embedding = spread.anatomy.embedding
    table = whole_weight(embedding)
    assert torch.equal(table, whole_weight(whole.anatomy.embedding))
    assert embedding.weight.is_meta
    assert whole_weight(whole.anatomy.embedding) is whole.anatomy.embedding.weight


def test_its_decode_passes_are_not_captured_and_say_why(spread: HookedModel):
    reason = why_not_captured(spread.model, spread.anatomy)
    assert reason is not None
    assert "spread over" in reason
    assert "disk" in reason


def test_what_it_cannot_do_is_refused_with_the_reason(tmp_path: Path):
    hooked = load(stored("llama", tmp_path), device_map={"": "disk"})
    with pytest.raises(NotShown, match=r"cannot be served from a paged cache: it is spread over disk"):
        next(serve(hooked, [Ask(prompt=PROMPT, max_new_tokens=2)], Settings(), Limits()))
    with pytest.raises(NotShown, match=r"assisted decoding cannot run it there"):
        next(speculate(hooked, PROMPT, Settings(max_new_tokens=2), Limits()))
    with pytest.raises(NotShown, match=r"wait for weights to be fetched"):
        next(measure(hooked, PROMPT, Settings(max_new_tokens=2), Limits()))


def test_drafts_write_the_same(tmp_path: Path):
    folder, places = stored("llama", tmp_path), spread_map("llama") | {"model.embed_tokens": "cpu"}
    asked: Any = {"modes": ("prompt lookup", "early exit"), "repeats": 1}
    made = [
        list(speculate(load(folder, device_map=places), PROMPT, Settings(max_new_tokens=NEW), Limits(), **asked))[-1]
        for places in (None, places)
    ]
    assert [(each.mode, len(each.rounds), [token.id for token in each.tokens]) for each in made[0].attempts] == [
        (each.mode, len(each.rounds), [token.id for token in each.tokens]) for each in made[1].attempts
    ]


def test_smaller_caches_are_tried_as_with_the_whole_model(tmp_path: Path):
    folder = stored("llama", tmp_path)
    made = [
        list(trials(each, trace(each, PROMPT, max_new_tokens=NEW)))[-1]
        for each in (load(folder), load(folder, device_map=spread_map("llama")))
    ]
    assert [each.name for each in made[0].trials] == [each.name for each in made[1].trials]
    np.testing.assert_array_equal(made[0].kl, made[1].kl)


def test_a_map_that_names_one_device_is_that_device(tmp_path: Path):
    folder = stored("llama", tmp_path)
    for places in ("cpu", {"": "cpu"}, {"model": "cpu", "lm_head": "cpu"}, "auto"):
        hooked = load(folder, device_map=places)
        assert not spread_over(hooked.model) or torch.cuda.is_available()
        assert hooked.card.device.startswith(("cpu", "cuda", "mps"))


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ("autom", r"device_map names 'autom'; it takes one of auto, balanced"),
        ("meta", "'meta'"),
        ({}, "names the model's parts"),
        ({3: "cpu"}, "names the model's parts"),
        ({"model": -1}, "-1"),
        ({"model": True}, "True"),
        ({"model": "cpu", "lm_head": "cuda:97"}, r"names cuda:97, and this machine has .*cpu, disk"),
        ({"model": "cpu", "lm_head": 97}, r"names cuda:97"),
        ({"modl": "cpu"}, r"names 'modl', and tiny has no such part. Its parts are model, lm_head, "),
        ({"model": "cpu"}, r"no device for lm_head.weight of tiny, 1 of its weights"),
        ({"lm_head": "cpu", "model.norm": "disk"}, r"no device for model.embed_tokens.weight of tiny, \d+ of"),
    ],
)
def test_a_wrong_map_is_refused_in_a_sentence(places: Any, said: str, tmp_path: Path):
    folder = stored("llama", tmp_path / "tiny")
    with pytest.raises(BadSetting, match=said):
        load(folder, device_map=places)


def test_a_model_with_an_adapter_is_not_spread(tmp_path: Path):
    source = Source(folder=tmp_path, kind="folder", name="tuned", note="", adapter=tmp_path)
    with pytest.raises(BadSetting, match=r"tuned is merged with its adapter"), placing.options(source, None, "auto"):
        pass


def test_a_model_from_memory_stays_where_it_is():
    with pytest.raises(BadSetting, match="which it uses where it is"):
        load(model=tiny_model("llama"), tokenizer=tiny_tokenizer(), device_map="auto")


def test_the_folder_for_written_weights_goes_with_the_model_or_its_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = stored("llama", tmp_path / "tiny")
    made: list[Path] = []

    def make(prefix: str) -> str:
        made.append(tmp_path / f"{prefix}{len(made)}")
        made[-1].mkdir()
        return str(made[-1])

    monkeypatch.setattr(placing.tempfile, "mkdtemp", make)
    hooked: HookedModel | None = load(folder, device_map={"": "disk"})
    assert made[0].exists()
    monkeypatch.setattr(placing.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: 1 / 0)
    with pytest.raises(Exception, match="division"):
        load(folder, device_map={"": "disk"})
    assert not made[1].exists()
    assert hooked is not None


def test_limits_are_those_of_the_host(tmp_path: Path):
    assert load(stored("llama", tmp_path), device_map="cpu", limits=Limits()).card.n_layers == 3


def test_the_command_line_spreads_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = stored("llama", tmp_path / "tiny")
    call = ["w5 w37 w40", "--model", str(folder), "--max-new-tokens", "4", "-o"]
    for name, more in (("whole", []), ("spread", ["--device-map", "disk"])):
        assert main([*call, str(tmp_path / f"{name}.trace"), *more]) == 0
    whole, spread = (Trace.open(tmp_path / f"{name}.trace") for name in ("whole", "spread"))
    assert spread.model.device.startswith("disk (")
    np.testing.assert_array_equal(spread.logits, whole.logits)
    assert main(["w5", "--model", str(folder), "--device-map", "cuda:97"]) == 2
    assert "names cuda:97, and this machine has" in capsys.readouterr().err
