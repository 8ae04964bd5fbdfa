"""What every kind of experiment keeps to: it is made from its request, yields in time, and is timed undisturbed."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model import HookedModel, Trace, trace
from model.api.inputs import Inputs
from model.api.job import Job
from model.capture import machine
from model.errors import BadPrompt, BadTrace, Refusal
from model.limits import Limits
from model.requests.batching import Serve, Text
from model.requests.cache import TryCaches
from model.requests.registry import EXPERIMENTS, of_request
from model.requests.request import Request
from model.requests.run import Run
from model.requests.speculation import Speculate
from model.requests.timing import Measure
from tests.model.jobs import StopsWhen, Told
from tests.tiny import tiny

PROMPT = "w5 w37 w40 w8 w5 w37"
REQUESTS: dict[str, Request] = {
    "run": Run(prompt=PROMPT, max_new_tokens=4),
    "measure": Measure(prompt=PROMPT, max_new_tokens=3),
    "cache": TryCaches(prompt=PROMPT, max_new_tokens=4, window=4, sink=2, dropped=(1,)),
    "serve": Serve(texts=tuple(Text(prompt=f"{PROMPT} w{word}", max_new_tokens=3) for word in (7, 8)), block_size=4),
    "speculate": Speculate(prompt=PROMPT, max_new_tokens=4, modes=("prompt lookup", "early exit")),
}
TIMED = {"measure", "serve", "speculate"}
KINDS = pytest.mark.parametrize("kind", list(REQUESTS))


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny("llama")


@pytest.fixture
def inputs(hooked: HookedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inputs:
    monkeypatch.setattr(machine, "_BUFFER_BYTES", 1024 * 1024)
    monkeypatch.setattr(machine, "_LARGEST", 256)
    return Inputs(models={"target": hooked}, limits=Limits(cache=tmp_path, prompt_tokens=32))


def begin(kind: str, inputs: Inputs, job: Job, **changes: Any) -> Iterator[Any]:
    request = dataclasses.replace(REQUESTS[kind], **changes)
    request.check(inputs.limits, inputs.target.card)
    return of_request(request).function()(inputs, request, job)


def test_every_kind_is_tried_here() -> None:
    assert [each.name for each in EXPERIMENTS if each.name in REQUESTS] == list(REQUESTS)


@KINDS
def test_its_values_are_records_of_its_kind_and_the_last_one_is_whole(kind: str, inputs: Inputs) -> None:
    job = Told()
    *before, last = [each for each in begin(kind, inputs, job) if each is not None]
    record = of_request(REQUESTS[kind]).record
    assert isinstance(last, record) and all(isinstance(each, record) for each in before) and before
    done = [done for done, _, _ in job.said]
    assert done == sorted(done) and all(0 <= done <= total for done, total, _ in job.said)
    assert all(what for _, _, what in job.said)


@KINDS
def test_between_its_values_the_model_is_free_and_nothing_is_timed(kind: str, inputs: Inputs) -> None:
    job = Told()
    for _ in begin(kind, inputs, job):
        assert not job.timing and not inputs.target.guard.locked()
    assert bool(job.clocks) == (kind in TIMED)


@KINDS
def test_the_clock_is_waited_for_before_the_model_is_held(kind: str, inputs: Inputs) -> None:
    """Else two that wait for each other would wait for ever."""
    guard = inputs.target.guard

    class Watching(Told):
        def clock(self) -> Any:
            assert not guard.locked()
            return super().clock()

    for _ in begin(kind, inputs, Watching()):
        pass


@pytest.mark.parametrize("kind", sorted(TIMED))
def test_whatever_is_compared_is_timed_with_the_clock(kind: str, inputs: Inputs, monkeypatch: Any) -> None:
    """What is only recorded, or warms up, runs first and outside; every run of the library after that inside."""
    job = Told()
    model = inputs.target.model
    inside: list[bool] = []
    real = model.generate

    def generate(*given: Any, **named: Any) -> Any:
        if "custom_generate" not in named:
            inside.append(job.timing)
        return real(*given, **named)

    monkeypatch.setattr(model, "generate", generate, raising=False)
    for _ in begin(kind, inputs, job):
        pass
    outside = inside.index(True)
    assert outside <= 6 and all(inside[outside:])
    runs = {"measure": 3, "serve": 3 * 2 + 3, "speculate": 2 * 2 * 3}[kind]  # static batches hold both texts
    assert sum(inside) >= runs  # early exit drafts by runs of the same model


@KINDS
@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_stopped_it_ends_with_at_most_one_more_record(kind: str, inputs: Inputs, after: int) -> None:
    values: list[Any] = []
    job = StopsWhen(lambda: len(values) >= after)
    for each in begin(kind, inputs, job):
        if job.is_settled:  # from here on the engine ends it
            break
        values.append(each)
    assert len(values) <= after + 1 and not inputs.target.guard.locked()
    if kind == "run" and after in (1, 2):
        assert values[-1].ended == "stopped" and values[-1].n_generated == values[-2].n_generated
        assert values[-1].embed_ids is None and not job.is_settled


@KINDS
def test_it_says_how_large_its_record_will_be(kind: str, inputs: Inputs) -> None:
    job = Job()
    begin(kind, inputs, job)
    assert job.expected_bytes > 0


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma2", "gpt_oss", "gpt_neox"])
@pytest.mark.parametrize(("n_prompt", "n_new"), [(4, 1), (4, 40), (60, 20)])
def test_a_runs_expected_bytes_are_an_upper_bound_of_its_arrays_and_no_loose_one(
    family: str, n_prompt: int, n_new: int
) -> None:
    one, job = tiny(family), Job()
    one.model.generation_config.eos_token_id = None
    request = Run(prompt=" ".join(f"w{30 + word}" for word in range(n_prompt)), max_new_tokens=n_new)
    steps = of_request(request).function()(Inputs(models={"target": one}, limits=Limits()), request, job)
    whole = [each for each in steps if each is not None][-1]
    assert isinstance(whole, Trace) and whole.ended == "length" and whole.embed_ids is not None
    n_bytes = sum(array.nbytes for array in whole.arrays().values())
    spoken = n_new * 30_000 + (n_prompt + n_new) * 1_000  # Python's own objects, which no array counts
    assert n_bytes <= job.expected_bytes - spoken <= 1.3 * n_bytes


def test_a_run_is_settled_before_anything_is_added(inputs: Inputs) -> None:
    job = Job()
    settled = [(each is not None, job.is_settled) for each in begin("run", inputs, job)]
    first = settled.index((True, True))  # before it, a value for each pass, and one more where the lens had time
    assert first >= 4 and settled[:first] == [(True, False)] * first
    assert all(is_settled for _, is_settled in settled[first:]) and len(settled) > first + 1


# Inputs that are records


def test_trials_of_a_record_are_of_that_run(hooked: HookedModel, inputs: Inputs) -> None:
    whole = trace(hooked, "w90 w91 w92", max_new_tokens=3, additions=False)
    given = dataclasses.replace(inputs, records={"run": whole})
    *_, tried = (each for each in begin("cache", given, Job(), run="its id", prompt="", dropped=()) if each)
    assert [token.id for token in tried.tokens] == [token.id for token in whole.tokens]


def test_trials_of_what_is_no_run_or_of_nothing_are_refused(inputs: Inputs) -> None:
    *_, other = (each for each in begin("cache", inputs, Job()) if each)
    given = dataclasses.replace(inputs, records={"run": other})
    with pytest.raises(BadTrace, match="is a CacheTrials; it must be a run"):
        begin("cache", given, Job(), run="its id")
    with pytest.raises(BadPrompt):
        begin("cache", inputs, Job(), prompt=" ")


def test_a_draft_model_comes_as_an_input(inputs: Inputs) -> None:
    modes, other = ("draft model",), tiny("llama")
    with pytest.raises(Refusal, match="no draft model was given"):
        begin("speculate", inputs, Job(), modes=modes, draft="other")
    given = dataclasses.replace(inputs, models={**inputs.models, "draft": other})
    *_, drafted = (each for each in begin("speculate", given, Job(), modes=modes, draft="other") if each)
    assert [each.mode for each in drafted.attempts] == ["draft model"]
