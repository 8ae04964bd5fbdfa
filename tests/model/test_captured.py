"""Decode passes that are captured: the very pass, run kernel by kernel, as a GPU would replay it from a graph."""

# pyright: reportPrivateUsage=false

import gc
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from model import HookedModel, Limits, Settings, fork, load, trace
from model.capture import captured as capturing
from model.capture.buffers import Gathered
from model.capture.captured import CapturedPass, CapturedPasses
from model.capture.generation import Generation
from model.capture.sampling import choose, likeliest
from model.errors import Cancelled, NotANumber
from model.loading.replayed import allowed_share
from model.records.trace import Trace
from tests.model.test_samples import SAMPLES
from tests.tiny import ODD, tiny_model, tiny_tokenizer

PROMPT, NEW = [5, 37, 40, 8, 120, 5, 37, 40, 99, 17, 18], 6
CAPTURED = ["gpt2", "gpt_neox", "llama", "qwen3", "granite", "cohere", "opt", "olmo2", "phi", "qwen3_moe"]
NOT_CAPTURED = {
    "mistral": "only a window of the latest tokens",
    "gemma2": "only a window of the latest tokens",
    "falcon_h1": "LinearAttention",
    "bloom": "without the library's interface",
    "falcon, alibi": "without the library's interface",
    "phi3": "prepares the input of a pass in a way of its own",
    "deepseek_v3": "differ in their expert_ids",
    "doge": "depends on the numbers in them",
    "openai-gpt": "nothing of what it has read",
}
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def without_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are loaded here capture their decode passes, without the graph that only a GPU has."""
    monkeypatch.setattr(
        "model.loading.load.captured_on", lambda model, found: CapturedPasses(model, found, graph=False)
    )


def loaded(family: str = "llama", dtype: torch.dtype = torch.float32) -> HookedModel:
    return load(model=tiny_model(family).to(dtype), tokenizer=tiny_tokenizer())


def solo(hooked: HookedModel) -> HookedModel:
    return replace(hooked, captured=None)


def run(hooked: HookedModel, prompt: list[int] = PROMPT, **settings: Any) -> Trace:
    return trace(hooked, prompt, max_new_tokens=NEW, additions=False, **settings)


def detail(hooked: HookedModel) -> str:
    return next(check.detail for check in hooked.card.checks if check.name == "captured")


def same_record(one: Trace, other: Trace, most: float) -> None:
    """The same tokens, and numbers that differ by no more than this share of their layer's largest.

    In a short precision a text may go on with another token, where two are nearly as likely: so far, then.
    """
    assert one.rules == other.rules and one.arrays().keys() == other.arrays().keys()
    ids = zip(one.tokens, other.tokens, strict=True)
    n = next((at for at, (mine, theirs) in enumerate(ids) if mine.id != theirs.id), one.n_fed)
    assert n == one.n_fed or (n > one.n_prompt and one.model.dtype != "float32")
    for name, cut in {"queries": 2, "keys": 2, "values": 2, "resid": 1, "logits": 0}.items():
        if (theirs := other.arrays().get(name)) is not None:
            stop = n - one.n_prompt + 1 if name == "logits" else n
            mine, theirs = (each.take(np.arange(stop), axis=cut) for each in (one.arrays()[name], theirs))
            gap, sizes = (np.abs(each).reshape(len(each), -1).max(axis=-1) for each in (mine - theirs, theirs))
            assert (gap <= most * sizes).all(), name
    for mine, theirs in zip(one.steps, other.steps, strict=True):
        for what in ("kind", "first", "n_tokens", "kv_bytes", "layer_bytes"):
            assert getattr(mine, what) == getattr(theirs, what), what


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", CAPTURED)
def test_a_captured_run_is_the_ordinary_one_within_its_tolerance(family: str, dtype: torch.dtype) -> None:
    hooked = loaded(family, dtype)
    assert hooked.card.reason_against("captured") is None
    captured, ordinary = run(hooked), run(solo(hooked))
    assert (captured.path, ordinary.path) == ("captured", "solo")
    same_record(captured, ordinary, allowed_share(hooked.model))
    assert any(detail(hooked) in note for note in captured.notes)
    assert np.array_equal(captured.logits[0], ordinary.logits[0]), "the prompt is read as ever"


@pytest.mark.parametrize("family", NOT_CAPTURED)
def test_what_cannot_be_captured_says_why_and_runs_as_ever(family: str) -> None:
    hooked = loaded(family)
    assert NOT_CAPTURED[family] in (hooked.card.reason_against("captured") or "")
    made, ordinary = run(hooked), run(solo(hooked))
    assert made.path == "solo" and made.notes == ordinary.notes
    assert all(np.array_equal(array, ordinary.arrays()[name]) for name, array in made.arrays().items())


def test_attention_that_reads_what_its_cache_does_not_hold_is_not_captured() -> None:
    config = AutoConfig.for_model("deepseek_v3", **ODD["deepseek_v3"] | {"first_k_dense_replace": 3})
    hooked = load(model=AutoModelForCausalLM.from_config(config).eval(), tokenizer=tiny_tokenizer())
    assert "reads other keys and values than its cache holds" in (hooked.card.reason_against("captured") or "")


def test_a_library_that_is_not_watched_by_a_gpu_has_no_such_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    hooked = loaded()
    assert hooked.captured is None and "captured" not in {check.name for check in hooked.card.checks}
    assert run(hooked).path == "solo"


def off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = CapturedPass.run

    def late(self: CapturedPass, token: torch.Tensor) -> None:
        self.n_read += 1
        honest(self, token)
        self.n_read -= 1

    monkeypatch.setattr(CapturedPass, "run", late)


def all_room_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CapturedPass, "_mask", lambda self: torch.zeros(1, 1, 1, self._room, dtype=self._model.dtype))


def without_the_last_key(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = CapturedPass.take_over

    def short(self: CapturedPass, cache: Any) -> None:
        honest(self, cache)
        self._keys[:, :, :, self.n_read - 1] = 0

    monkeypatch.setattr(CapturedPass, "take_over", short)


def stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is not handed over: the graph reads the same one for ever."""
    honest = CapturedPass.run
    monkeypatch.setattr(CapturedPass, "run", lambda self, token: honest(self, torch.zeros_like(token)))


def rows_of_another_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Gathered.put_all
    monkeypatch.setattr(
        Gathered, "put_all", lambda self, name, rows: honest(self, name, rows.roll(1, 0) if name == "queries" else rows)
    )


def rows_of_the_pass_before(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = CapturedPass.run
    kept: dict[str, torch.Tensor] = {}

    def behind(self: CapturedPass, token: torch.Tensor) -> None:
        before = {name: each.clone() for name, each in self.rows.items()}
        honest(self, token)
        kept.update(self.rows)
        self.rows = before

    monkeypatch.setattr(CapturedPass, "run", behind)


def keys_of_another_place(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = capturing._FixedTracer.rows
    monkeypatch.setattr(capturing._FixedTracer, "rows", lambda self: {k: v * 1.2 for k, v in honest(self).items()})


BROKEN: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    each.__name__: each
    for each in (
        off_by_one,
        all_room_seen,
        without_the_last_key,
        stuck,
        rows_of_another_layer,
        rows_of_the_pass_before,
        keys_of_another_place,
    )
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_capture_is_caught(broken: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    BROKEN[broken](monkeypatch)
    hooked = loaded("llama", dtype)
    assert "misses the ordinary one by" in (hooked.card.reason_against("captured") or "")
    assert [check.name for check in hooked.card.checks if not check.passed] == ["captured"]
    monkeypatch.undo()
    assert run(hooked).path == "solo"


def test_a_residual_stream_that_is_off_by_a_thousandth_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Gathered.put_all
    monkeypatch.setattr(
        Gathered, "put_all", lambda self, name, rows: honest(self, name, rows * 1.001 if name == "resid" else rows)
    )
    assert "of its resid" in (loaded().card.reason_against("captured") or "")


def test_units_that_did_not_fire_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Gathered.put_all
    monkeypatch.setattr(
        Gathered, "put_all", lambda self, name, rows: honest(self, name, rows.flip(-1) if name == "unit_ids" else rows)
    )
    assert "of its units" in (loaded().card.reason_against("captured") or "")


def test_the_draws_of_a_seed_stay_the_same() -> None:
    hooked = loaded()
    captured, ordinary = (run(each, temperature=1.2, top_k=30, seed=4) for each in (hooked, solo(hooked)))
    assert captured.path == "captured"
    same_record(captured, ordinary, allowed_share(hooked.model))
    assert [choice.stages[0].name for choice in captured.choices] == ["temperature"] * NEW


def test_two_runs_that_take_turns_do_not_meet() -> None:
    hooked = loaded()
    alone = [run(hooked, prompt) for prompt in (PROMPT, PROMPT[::-1])]
    settings = Settings(max_new_tokens=NEW)
    runs = [Generation(hooked, prompt, settings, Limits()) for prompt in (PROMPT, PROMPT[::-1])]
    for _ in range(NEW):
        for each in runs:
            next(each)
    for made, expected in zip((each.trace() for each in runs), alone, strict=True):
        assert made.path == "captured"
        assert all(np.array_equal(array, made.arrays()[name]) for name, array in expected.arrays().items())


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many passes are captured from here on: one entry each, its room."""
    made: list[int] = []
    honest = CapturedPass.__init__

    def init(self: CapturedPass, model: Any, anatomy: Any, like: Any, room: int, *rest: Any) -> None:
        made.append(room)
        honest(self, model, anatomy, like, room, *rest)

    monkeypatch.setattr(CapturedPass, "__init__", init)
    return made


def test_a_pass_is_captured_once_for_runs_of_similar_length(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = loaded()
    made = counted(monkeypatch)
    first = run(hooked)
    assert run(hooked, PROMPT[:4]).path == "captured"
    again = run(hooked)
    assert np.array_equal(again.logits, first.logits), "what another run left in the cache shows"
    assert made == []  # the check's own is taken up
    abandoned = Generation(hooked, PROMPT, Settings(max_new_tokens=NEW), Limits())
    next(abandoned)
    next(abandoned)
    del abandoned
    gc.collect()
    run(hooked)
    assert made == []


def test_a_longer_run_takes_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = loaded()
    made = counted(monkeypatch)
    prompt = [5 + at % 180 for at in range(118)]
    captured, ordinary = (trace(each, prompt, max_new_tokens=9, additions=False) for each in (hooked, solo(hooked)))
    assert made == [128] and captured.path == "captured"
    same_record(captured, ordinary, allowed_share(hooked.model))
    model = tiny_model("llama")
    model.config.max_position_embeddings = 512
    longer = load(model=model, tokenizer=tiny_tokenizer())
    captured, ordinary = (trace(each, prompt * 2, max_new_tokens=9, additions=False) for each in (longer, solo(longer)))
    assert made[-1] == 256
    same_record(captured, ordinary, allowed_share(hooked.model))


def test_weights_that_have_moved_are_captured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = loaded()
    run(hooked)
    made = counted(monkeypatch)
    layer = hooked.model.model.layers[1].mlp.down_proj
    layer.weight = torch.nn.Parameter(layer.weight * 0.5, requires_grad=False)
    captured, ordinary = run(hooked), run(solo(hooked))
    assert made == [64]
    same_record(captured, ordinary, allowed_share(hooked.model))


def test_hooks_of_somebody_else_are_not_left_out() -> None:
    hooked = loaded()
    handle = hooked.model.model.layers[1].mlp.register_forward_hook(lambda _, __, output: output * 0.5)
    made, ordinary = run(hooked), run(solo(hooked))
    handle.remove()
    assert made.path == "solo" and any("carries hooks of somebody else" in note for note in made.notes)
    assert np.array_equal(made.logits, ordinary.logits)
    assert run(hooked).path == "captured"


def test_a_prompt_with_padding_runs_as_the_library_runs_it() -> None:
    hooked = loaded()
    prompt = [2, 2, *PROMPT]
    made, ordinary = run(hooked, prompt), run(solo(hooked), prompt)
    assert made.path == "solo" and any("takes for padding and hides" in note for note in made.notes)
    assert np.array_equal(made.logits, ordinary.logits)


def test_nan_in_a_captured_pass_ends_the_run() -> None:
    hooked = loaded()
    generation = Generation(hooked, PROMPT, Settings(max_new_tokens=NEW), Limits())
    next(generation)
    next(generation)
    with torch.no_grad():
        hooked.model.model.layers[1].mlp.down_proj.weight.fill_(float("nan"))
    with pytest.raises(NotANumber, match="first in layer 1"):
        next(generation)
    with torch.no_grad():
        hooked.model.model.layers[1].mlp.down_proj.weight.fill_(0.1)
    captured, ordinary = run(hooked), run(solo(hooked))
    same_record(captured, ordinary, allowed_share(hooked.model))


def test_without_memory_for_it_a_run_goes_on_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = loaded()
    assert hooked.captured is not None
    hooked.captured._free.clear()

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(capturing, "_room_for", full)
    made = run(hooked)
    assert made.path == "solo" and any("no memory left" in note for note in made.notes)


def test_a_captured_run_is_stopped_before_its_next_pass() -> None:
    hooked = loaded()
    generation = Generation(hooked, PROMPT, Settings(max_new_tokens=NEW), Limits())
    next(generation)
    next(generation)
    generation.stop_when(lambda: True)
    with pytest.raises(Cancelled):
        next(generation)


def test_a_fork_of_a_captured_run_is_captured() -> None:
    hooked = loaded()
    made = run(hooked)
    forked = fork(hooked, made, 2, made.choices[2].id, additions=False)
    assert forked.path == "captured" and forked.origin is not None and forked.origin.n_replayed == 0
    same_record(forked, made, allowed_share(hooked.model))
    elsewhere = fork(solo(hooked), made, NEW - 1, 7, additions=False)
    assert elsewhere.path == "captured", "its earlier steps were"


def test_the_path_is_kept_in_the_file_and_older_files_open(tmp_path: Any) -> None:
    made = run(loaded())
    made.save(tmp_path / "run.trace")
    assert Trace.open(tmp_path / "run.trace").path == "captured"
    assert Trace.open(SAMPLES / "run.trace").path == "solo"


def test_the_likeliest_token_is_told_as_any_other() -> None:
    logits = torch.randn(1, 199, generator=torch.Generator().manual_seed(3))
    ids = torch.zeros(1, 4, dtype=torch.long)
    found, plain = choose(logits, [], ids, None, likeliest(logits)), choose(logits, [], ids, None)
    assert found.choice.id == plain.choice.id == int(logits.argmax())
    assert [astuple(each) for each in found.choice.candidates] == [astuple(each) for each in plain.choice.candidates]
    assert found.choice.probability == float(torch.softmax(logits, -1)[0, found.choice.id])
    assert found.choice.rank == 0
