"""What is timed is what `generate` runs, unhooked; the cache changes the time and not the text; stopping is safe."""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Settings, trace
from model.arch.hooks import count_hooks
from model.capture import machine, sampling
from model.capture import tracer as tracing
from model.capture.cache_size import cache_bytes
from model.capture.decoding import next_pass, passes, prefilled
from model.capture.generation_config import generate_options
from model.errors import BadPrompt, BadSetting, NotANumber, NotShown, PromptTooLong
from model.experiments.timing import timing
from model.experiments.timing.timing import measure
from model.limits import Limits
from model.records.timing import Measurement, kv_bytes
from tests.model.jobs import StopsWhen, Told
from tests.tiny import shared, tiny

PROMPT = "w5 w6 w7 w8 w9"
FAMILIES = ("llama", "gpt2", "gemma2", "mistral", "bloom", "opt")
GREEDY = Settings(max_new_tokens=6)
SAMPLED = Settings(max_new_tokens=6, temperature=0.9, top_p=0.9, repetition_penalty=1.2, seed=11)


@pytest.fixture(autouse=True)
def small_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_BUFFER_BYTES", 1024 * 1024)
    monkeypatch.setattr(machine, "_LARGEST", 256)


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> Limits:
    return replace(Limits.from_environment(), cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def hooked() -> HookedModel:
    return shared()


@pytest.fixture(scope="module")
def whole(limits: Limits) -> Measurement:
    """A complete measurement of a tiny model."""
    return last(measure(shared(), PROMPT, SAMPLED, limits, repeats=2))


def last(records: Iterator[Measurement]) -> Measurement:
    *_, final = records
    return final


Calls = list[dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[HookedModel], Calls]:
    """Watches every forward pass of a model through its class, so that the model itself carries nothing."""

    def watch(hooked: HookedModel, act: Callable[[], None] = lambda: None) -> Calls:
        seen: Calls = []
        kind = type(hooked.model)
        real = kind.forward

        @functools.wraps(real)  # the library reads its signature
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(kwargs)
            act()
            return real(self, *args, **kwargs)

        monkeypatch.setattr(kind, "forward", forward)
        return seen

    return watch


# The passes are those of generate


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_single_pass_gives_the_very_logits_of_the_run(family: str) -> None:
    model, ids = shared(family).model, list(range(5, 20))
    prefill, decode = list(passes(model, ids, Settings(max_new_tokens=2), None))
    following = torch.tensor([[*ids, int(prefill.chosen.ids)]])
    assert torch.equal(next_pass(model, following, prefilled(model, following[:, :-1]))(), decode.logits)
    assert torch.equal(next_pass(model, following[:, :-1])(), prefill.logits)


def asked(call: dict[str, Any]) -> dict[str, Any]:
    """What a forward pass was asked for, without the values: shapes of tensors, kind of cache."""
    plain = (bool, int, type(None))
    return {
        name: tuple(value.shape)
        if isinstance(value, torch.Tensor)
        else value
        if isinstance(value, plain)
        else type(value).__name__
        for name, value in call.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_single_pass_is_asked_for_as_generate_asks(family: str, calls) -> None:
    hooked, ids = shared(family), torch.arange(5, 20)[None]
    seen = calls(hooked)
    for cached in (True, False):
        hooked.model.generate(ids[:, :-1], max_new_tokens=2, do_sample=False, use_cache=cached)
        theirs = asked(seen[-1])
        next_pass(hooked.model, ids, prefilled(hooked.model, ids[:, :-1]) if cached else None)()
        assert asked(seen[-1]) == theirs
        assert theirs["use_cache"] is cached
        assert theirs["logits_to_keep"] == 1


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_timed_runs_write_what_every_run_writes(hooked: HookedModel, limits: Limits, settings: Settings) -> None:
    before = torch.get_rng_state()
    found = last(measure(hooked, PROMPT, settings, limits, parts=["phases"]))
    assert torch.equal(torch.get_rng_state(), before)
    said = {name: getattr(settings, name) for name in Settings.__slots__}
    assert found.text == trace(hooked, PROMPT, additions=False, **said).text


# The cache changes the time, not the text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_without_the_cache_the_same_tokens_are_written(family: str, settings: Settings) -> None:
    model, ids = shared(family).model, torch.arange(5, 20)[None]
    settings, written = replace(settings, max_new_tokens=20), []
    for cached in (True, False):
        torch.manual_seed(settings.seed)
        written.append(model.generate(ids, **(generate_options(settings) | {"use_cache": cached})))
    assert torch.equal(*written)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_race_finds_the_same_tokens_and_a_difference_of_rounding(family: str, limits: Limits) -> None:
    found = last(measure(shared(family), PROMPT, GREEDY, limits, repeats=1, parts=["race"]))
    assert found.race_lengths.tolist()[:4] == [16, 32, 64, 128]
    assert all(on == off for on, off in found.race_tokens)
    assert (found.race_difference < 1e-5 * found.race_scale).all()
    assert (found.race_difference > 0).any()  # two ways to compute: were it one and the same, nothing would be compared


def test_the_race_reads_the_last_token_from_a_cache_and_the_whole_text_without(
    hooked: HookedModel, limits: Limits, calls
) -> None:
    small = replace(limits, prompt_tokens=32)
    found: list[tuple[int, int | None]] = []  # tokens that a pass reads, and tokens that its cache has before it

    def note() -> None:
        cache = seen[-1].get("past_key_values")
        found.append((seen[-1]["input_ids"].shape[1], None if cache is None else cache.get_seq_length()))

    seen = calls(hooked, note)
    last(measure(hooked, PROMPT, GREEDY, small, repeats=2, parts=["race"]))
    laps = ([(n - 1, 0), (n, None), (1, n - 1), (n, None), (1, n - 1)] for n in (16, 32))
    assert found[3:] == [each for lap in laps for each in lap]  # after a warm-up of three tokens


# The record


def test_a_complete_record_has_every_part(whole: Measurement) -> None:
    assert whole.ttft.shape == (2,) and whole.itl.shape == (2, 5)
    assert whole.race_on.shape == whole.race_off.shape == (4, 2)
    assert whole.batch_sizes.tolist() == [1, 2, 4, 8, 16] and whole.batch_seconds.shape == (5, 2)
    assert all((array > 0).all() for name, array in whole.arrays().items() if name != "race_difference")
    assert (whole.hooks, whole.warm_up, whole.n_prompt, whole.n_new) == (0, 1, 5, 6)
    assert np.allclose(whole.end_to_end, whole.ttft + whole.tpot * (whole.n_new - 1))


def test_its_work_is_of_the_passes_that_were_timed(whole: Measurement) -> None:
    assert (whole.prefill_work.n_new, whole.prefill_work.n_context) == (5, 5)
    assert (whole.decode_work.n_new, whole.decode_work.n_context) == (1, 5 + 3)
    assert [each.n_context for each in whole.race_off_work] == [each.n_new for each in whole.race_off_work]
    assert [each.n_context for each in whole.race_on_work] == whole.race_lengths.tolist()
    assert {each.n_new for each in (*whole.race_on_work, *whole.batch_work)} == {1}
    assert [each.batch for each in whole.batch_work] == whole.batch_sizes.tolist()
    assert [each.kv_read for each in whole.race_off_work] == [0] * 4


def test_a_record_comes_back_from_its_file(whole: Measurement, tmp_path: Path) -> None:
    assert whole.save(tmp_path / "a.measurement") == (tmp_path / "a.measurement").stat().st_size
    back = Measurement.open(tmp_path / "a.measurement")
    for name, array in whole.arrays().items():
        assert np.array_equal(getattr(back, name), array) and getattr(back, name).dtype == array.dtype
    assert back.save(tmp_path / "b.measurement")
    assert (tmp_path / "a.measurement").read_bytes() == (tmp_path / "b.measurement").read_bytes()
    assert (back.text, back.notes, back.settings) == (whole.text, whole.notes, whole.settings)


def test_it_grows_piece_by_piece(hooked: HookedModel, limits: Limits) -> None:
    job = Told()
    records = measure(hooked, PROMPT, GREEDY, limits, repeats=2, job=job)
    rows = [(len(each.ttft), len(each.race_lengths), len(each.batch_sizes)) for each in records]
    assert rows == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
        *((2, n, 0) for n in range(1, 5)),
        *((2, 4, n) for n in range(1, 6)),
        (2, 4, 5),
    ]
    assert [done for done, _, _ in job.said] == list(range(len(job.said)))
    assert {total for _, total, _ in job.said} == {job.said[-1][0]}


@pytest.mark.parametrize("n_prompt", [1, 3, 5, 12])
def test_the_prompt_is_cut_or_repeated(hooked: HookedModel, limits: Limits, n_prompt: int) -> None:
    found = last(measure(hooked, PROMPT, GREEDY, limits, parts=["phases"], repeats=1, n_prompt=n_prompt))
    words = (PROMPT.split() * 3)[:n_prompt]
    assert (found.n_prompt, found.prompt.split()) == (n_prompt, words)
    assert any(f"to {n_prompt}" in note for note in found.notes) == (n_prompt != 5)


def test_one_token_has_no_interval(hooked: HookedModel, limits: Limits) -> None:
    found = last(measure(hooked, PROMPT, Settings(max_new_tokens=1), limits, repeats=2))
    assert found.itl.shape == (2, 0)
    assert np.isnan(found.tpot).all()
    assert np.array_equal(found.end_to_end, found.ttft)


def test_a_text_that_ends_early_is_timed_as_far_as_it_goes(limits: Limits) -> None:
    hooked = tiny()
    third = passes(hooked.model, list(range(5, 10)), Settings(max_new_tokens=3), None)
    hooked.model.generation_config.eos_token_id = [int(each.chosen.ids) for each in third][2]
    found = last(measure(hooked, PROMPT, replace(GREEDY, max_new_tokens=9), limits, parts=["phases"]))
    assert found.n_new == 3 and found.itl.shape == (3, 2)
    assert "the model ended its text after 3 of 9 tokens." in found.notes


# The clock


def test_the_clock_tells_prefill_from_decode_and_leaves_the_warm_up_out(
    hooked: HookedModel, limits: Limits, calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def takes_time() -> None:
        first = seen[-1]["input_ids"].shape[1] > 1
        now[0] += 0.5 if len(seen) <= 3 else 0.06 if first else 0.02

    monkeypatch.setattr(timing, "time", SimpleNamespace(**{**vars(time), "perf_counter": lambda: now[0]}))
    seen = calls(hooked, takes_time)
    found = last(measure(hooked, PROMPT, GREEDY, limits, parts=["phases"]))
    assert len(seen) == 3 + 3 * 6
    assert np.allclose(found.ttft, 0.06) and np.allclose(found.itl, 0.02)


def test_the_race_ends_before_it_takes_too_long(
    hooked: HookedModel, limits: Limits, calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def n_read() -> int:
        return sum(call["input_ids"].shape[1] for call in seen)

    clock = SimpleNamespace(**{**vars(time), "perf_counter": lambda: n_read() * 0.001})  # a millisecond a token
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(timing, "RACE_SECONDS", 0.6)
    seen = calls(hooked)
    found = last(measure(hooked, PROMPT, GREEDY, limits, repeats=2, parts=["race"]))
    assert found.race_lengths.tolist() == [16, 32, 64]
    assert n_read() * 0.001 < 0.6
    assert any("the cache ends before" in note for note in found.notes)


def test_batches_are_really_run_together(hooked: HookedModel, limits: Limits, calls) -> None:
    seen = calls(hooked)
    found = last(measure(hooked, PROMPT, GREEDY, limits, repeats=2, parts=["batch"]))
    together = [call for call in seen[3:] if call["input_ids"].shape[1] == 1][1::2]  # the second try of each
    assert [len(call["input_ids"]) for call in together] == [1, 2, 4, 8, 16] == found.batch_sizes.tolist()
    for call, predicted in zip(together, found.batch_work, strict=True):
        assert cache_bytes(call["past_key_values"]) == predicted.kv_read + predicted.kv_written


def test_batches_end_where_their_cache_would_be_too_large(
    hooked: HookedModel, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_BATCH_BYTES", 3 * kv_bytes(hooked.card, 8))
    found = last(measure(hooked, PROMPT, GREEDY, limits, repeats=1, parts=["batch"]))
    assert found.batch_sizes.tolist() == [1, 2]
    assert any("batches end before 4" in note for note in found.notes)


# Unhooked


def test_nothing_is_attached_while_a_pass_is_timed(hooked: HookedModel, limits: Limits, calls) -> None:
    counts: list[int] = []
    calls(hooked, lambda: counts.append(count_hooks(hooked.model)))
    assert last(measure(hooked, PROMPT, GREEDY, limits, repeats=1)).hooks == 0
    assert len(counts) > 20 and set(counts) == {0}


def test_no_tracer_and_no_recording_choice_takes_part(
    hooked: HookedModel, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: Any, **__: Any) -> Any:
        raise AssertionError("timed code was recorded")

    monkeypatch.setattr(tracing.Tracer, "__init__", no)
    monkeypatch.setattr(tracing.Tracer, "attend", no)
    monkeypatch.setattr("model.capture.decoding.choose", no)
    monkeypatch.setattr(sampling, "choose", no)
    with pytest.raises(AssertionError, match="recorded"):  # the net catches a recorded run
        trace(hooked, PROMPT, max_new_tokens=1)
    assert last(measure(hooked, PROMPT, SAMPLED, limits, repeats=1)).hooks == 0


def attach_hook(hooked: HookedModel) -> Callable[[], None]:
    return hooked.model.model.layers[1].register_forward_hook(lambda *_: None).remove


def attach_pre_hook(hooked: HookedModel) -> Callable[[], None]:
    return hooked.model.lm_head.register_forward_pre_hook(lambda *_: None).remove


def attach_to_all(_: HookedModel) -> Callable[[], None]:
    return torch.nn.modules.module.register_module_forward_hook(lambda *_: None).remove


def replace_forward(hooked: HookedModel) -> Callable[[], None]:
    layer = hooked.model.model.layers[0]
    layer.forward = layer.forward
    return lambda: delattr(layer, "forward")


@pytest.mark.parametrize("attach", [attach_hook, attach_pre_hook, attach_to_all, replace_forward])
def test_a_hook_of_somebody_else_is_counted_and_told(hooked: HookedModel, limits: Limits, attach) -> None:
    remove = attach(hooked)
    try:
        found = last(measure(hooked, PROMPT, GREEDY, limits, repeats=1, parts=["phases"]))
    finally:
        remove()
    assert found.hooks == 1
    assert any("1 hook" in note for note in found.notes)
    assert count_hooks(hooked.model) == 0


def test_a_hook_that_comes_and_goes_is_counted(hooked: HookedModel, limits: Limits) -> None:
    removes: list[Callable[[], None]] = []

    def meddle(done: int, total: int, what: str) -> None:
        if removes:
            removes.pop()()
        elif what.startswith("run 2"):
            removes.append(attach_hook(hooked))

    found = last(measure(hooked, PROMPT, GREEDY, limits, repeats=3, parts=["phases"], job=Told(meddle)))
    assert (found.hooks, count_hooks(hooked.model)) == (1, 0)


# Stopping


def test_closed_midway_it_leaves_the_model_as_it_was(hooked: HookedModel, limits: Limits) -> None:
    before = trace(hooked, PROMPT, max_new_tokens=4, additions=False)
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    for pieces in (1, 2, 3, 4, 7, 8, 11):  # after the machine, each run, the race and each batch
        records = measure(hooked, PROMPT, SAMPLED, limits, repeats=2)
        for _ in range(pieces):
            next(records)
            assert not hooked.guard.locked()
            assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == modes
        records.close()
    after = trace(hooked, PROMPT, max_new_tokens=4, additions=False)
    assert np.array_equal(before.logits, after.logits)
    assert count_hooks(hooked.model) == 0


def test_the_model_is_held_during_every_pass(hooked: HookedModel, limits: Limits, calls) -> None:
    held: list[bool] = []
    calls(hooked, lambda: held.append(hooked.guard.locked()))
    last(measure(hooked, PROMPT, GREEDY, limits, repeats=1))
    assert all(held) and held


@pytest.mark.parametrize("after", [1, 2, 5, 10, 16, 25, 32, 40])
def test_cancelled_it_stops_before_the_next_pass(hooked: HookedModel, limits: Limits, calls, after: int) -> None:
    seen = calls(hooked)
    records = list(measure(hooked, PROMPT, GREEDY, limits, repeats=2, job=StopsWhen(lambda: len(seen) >= after)))
    assert len(seen) == after
    assert len(records) < 13
    assert not hooked.guard.locked()
    trace(hooked, PROMPT, max_new_tokens=2, additions=False)


# Refusals


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (dict(prompt="  "), BadPrompt),
        (dict(prompt=" ".join(["w5"] * 126)), PromptTooLong),
        (dict(prompt=[500]), BadPrompt),
        (dict(n_prompt=125), PromptTooLong),
        (dict(n_prompt=10**12), BadSetting),
        (dict(n_prompt=0), BadSetting),
        (dict(repeats=0), BadSetting),
        (dict(settings=Settings(max_new_tokens=300)), BadSetting),
        (dict(settings=Settings(chat=True)), BadSetting),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(hooked: HookedModel, limits: Limits, given, refusal) -> None:
    given = dict(prompt=PROMPT, settings=GREEDY) | given
    with pytest.raises(refusal):
        measure(hooked, limits=limits, **given)


def test_a_mixture_of_experts_is_refused_at_once(limits: Limits) -> None:
    with pytest.raises(NotShown, match="expert"):
        measure(shared("gpt_oss"), PROMPT, GREEDY, limits)


@pytest.mark.parametrize("parts", [["phases"], ["race"], ["batch"]])
@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_model_that_computes_nan_is_refused(limits: Limits, parts, settings: Settings) -> None:
    hooked = tiny()
    with torch.no_grad():
        hooked.model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(NotANumber):
        last(measure(hooked, PROMPT, settings, limits, parts=parts))
    assert not hooked.guard.locked()


@pytest.mark.long
def test_the_default_model(default_model: HookedModel, limits: Limits) -> None:
    small = replace(limits, prompt_tokens=32)
    found = last(measure(default_model, "The capital of France is", GREEDY, small, repeats=2, parts=["phases", "race"]))
    assert found.text.startswith(" Paris") and found.hooks == 0
    assert found.race_lengths.tolist() == [16, 32]
    assert all(on == off for on, off in found.race_tokens)
    assert (found.race_difference < 1e-5 * found.race_scale).all()
    assert found.race_off[-1].min() > found.race_on[-1].min()
    assert found.decode_work.kv_read + found.decode_work.kv_written == kv_bytes(found.model, 5 + 3)
