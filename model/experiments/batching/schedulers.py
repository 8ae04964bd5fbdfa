"""The same texts timed under three schedulers: continuous batching, static batching, and sequential."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from model.api.job import Job
from model.arch.placement import home
from model.capture.generation_config import generate_options
from model.capture.hooked import HookedModel
from model.experiments.batching.paged import Bounds, EngineTick, Paged
from model.records.batching import TimedPass
from model.records.trace import Settings

Name = Literal["continuous", "static", "sequential"]
NAMES: tuple[Name, ...] = get_args(Name)
_NAP_S = 0.02  # between two checks for a stop, while no text has arrived


class Stopwatch:
    """Seconds since the start of a run, without those in which other jobs used the model."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def at(self, now: float) -> float:
        """The run's own time at a value of `time.perf_counter`."""
        return now - self._started

    def until(self, at_s: float) -> float:
        """Seconds left until a time of the run; negative once it has passed."""
        return at_s - self.at(time.perf_counter())

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Inside, the run's time stands still."""
        left = time.perf_counter()
        yield
        self._started += time.perf_counter() - left


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text to be continued, as the model reads it."""

    ids: tuple[int, ...]
    max_new_tokens: int
    arrives_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRun:
    """One timed run: seconds from its start to each token of each text, its passes, and the tokens."""

    passes: tuple[TimedPass, ...]
    at: tuple[tuple[float, ...], ...]
    written: tuple[tuple[int, ...], ...]

    @property
    def seconds(self) -> float:
        """From the start to the last token."""
        return max(times[-1] for times in self.at)


def run(
    name: Name,
    hooked: HookedModel,
    texts: Sequence[Text],
    settings: Settings,
    bounds: Bounds,
    job: Job,
) -> TimedRun:
    """Serve the texts under one of the three schedulers, as fast as possible, each from its arrival on.

    Continuous: the engine, with the model's own attention implementation. Static: `generate` for the texts that have
    arrived, at most `max_requests` of them, padded to the longest, until the last one is finished; then the next batch.
    Sequential: `generate` for each text in the order of arrival, which is plain decoding.
    Raises: Cancelled, between two passes; NoBlockLeft.
    """
    if name == "continuous":
        with hooked.guard:
            paged = Paged(hooked, bounds, eager=False)
        recorder = _RunRecorder(texts)
        for tick in ticks(hooked, paged, texts, recorder.watch, job):
            if tick is not None:
                recorder.tick(tick)
    else:
        recorder = _RunRecorder(texts)
        _in_batches(hooked, settings, bounds.max_requests if name == "static" else 1, recorder, job)
    return recorder.run()


def ticks(
    hooked: HookedModel,
    paged: Paged,
    texts: Sequence[Text],
    watch: Stopwatch,
    job: Job,
    room: Callable[[], int | None] = lambda: None,
) -> Generator[EngineTick | None]:
    """The engine's ticks, until all texts have arrived and are finished; None now and then while it waits for a text.

    The guard is held during a tick only. `room` is called before each tick: how many numbers of its attention may be
    kept; None: attention is not recorded.
    """
    coming = _in_order(texts)
    while True:
        job.check()
        with hooked.guard:  # first: a text that arrives while waiting for the guard is scheduled in this tick
            while coming and watch.until(texts[coming[0]].arrives_s) <= 0:
                number = coming.popleft()
                paged.add(number, texts[number].ids, texts[number].max_new_tokens)
            tick = paged.tick(room=room())
        if tick is not None:
            yield tick
        elif not coming:
            return
        else:
            for _ in _naps(texts[coming[0]], watch, job):
                yield None


def ends_of(model: Any) -> frozenset[int]:
    """The ids of a model's end of sequence, after which `generate` writes no more."""
    given = model.generation_config.eos_token_id
    return frozenset([given] if isinstance(given, int) else given or ())


def _in_order(texts: Sequence[Text]) -> deque[int]:
    return deque(sorted(range(len(texts)), key=lambda number: texts[number].arrives_s))


def _naps(text: Text, watch: Stopwatch, job: Job) -> Iterator[None]:
    """Wait until the text arrives."""
    while (left := watch.until(text.arrives_s)) > 0:
        job.check()
        time.sleep(min(left, _NAP_S))
        yield


def _in_batches(hooked: HookedModel, settings: Settings, size: int, recorder: "_RunRecorder", job: Job) -> None:
    texts, coming = recorder.texts, _in_order(recorder.texts)
    while coming:
        for _ in _naps(texts[coming[0]], recorder.watch, job):
            pass
        batch = [number for number in list(coming)[:size] if recorder.watch.until(texts[number].arrives_s) <= 0]
        for _ in batch:
            coming.popleft()
        products = nullcontext() if len(batch) == 1 else hooked.products.taken()  # one alone is plain decoding
        with hooked.guard, products:
            streamer = recorder.streamer(hooked, batch, job)
            _generate(hooked.model, [texts[number] for number in batch], settings, streamer)


def _generate(model: Any, texts: Sequence[Text], settings: Settings, streamer: "_PassStreamer") -> None:
    """The library's own `generate`, for texts of several lengths, padded on the left as it requires."""
    width = max(len(text.ids) for text in texts)
    pad = model.generation_config.pad_token_id
    pad = next(iter(sorted(ends_of(model))), 0) if pad is None else pad
    ids = torch.tensor([[pad] * (width - len(text.ids)) + list(text.ids) for text in texts], device=home(model))
    mask = torch.tensor([[0] * (width - len(text.ids)) + [1] * len(text.ids) for text in texts], device=home(model))
    longest = replace(settings, max_new_tokens=max(text.max_new_tokens for text in texts))
    model.generate(
        ids,
        attention_mask=mask,
        streamer=streamer,
        stopping_criteria=StoppingCriteriaList([_OwnLength(width, [text.max_new_tokens for text in texts])]),
        pad_token_id=pad,
        **generate_options(longest),
    )


class _OwnLength(StoppingCriteria):
    """Stops each text of a batch at its own length."""

    def __init__(self, width: int, lengths: Sequence[int]) -> None:
        self._ends = torch.tensor([width + length for length in lengths])

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> Any:  # noqa: ARG002
        return (self._ends <= input_ids.shape[1]).to(input_ids.device)


class _RunRecorder:
    """Records a run: its passes, and the tokens of each text with their times."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self.texts = texts
        self.written: list[list[int]] = [[] for _ in texts]
        self.passes: list[TimedPass] = []
        self.watch = Stopwatch()
        self._at: list[list[float]] = [[] for _ in texts]

    def tick(self, tick: EngineTick) -> None:
        self.add_pass(tick.began, tick.ended, tuple((chunk.request, chunk.n_tokens, 0) for chunk in tick.scheduled))
        for chunk in tick.scheduled:
            if chunk.written is not None:
                self.add_token(chunk.request, chunk.written, tick.ended)

    def streamer(self, hooked: HookedModel, numbers: Sequence[int], job: Job) -> "_PassStreamer":
        return _PassStreamer(self, numbers, ends_of(hooked.model), job)

    def add_pass(self, began: float, ended: float, rows: tuple[tuple[int, int, int], ...]) -> None:
        self.passes.append(TimedPass(at_s=self.watch.at(began), seconds=ended - began, rows=rows))

    def add_token(self, number: int, token: int, now: float) -> None:
        self.written[number].append(token)
        self._at[number].append(self.watch.at(now))

    def run(self) -> TimedRun:
        return TimedRun(
            passes=tuple(self.passes),
            at=tuple(map(tuple, self._at)),
            written=tuple(map(tuple, self.written)),
        )


class _PassStreamer(BaseStreamer):
    """Records each pass of a batch when the library's loop has its tokens on the host."""

    def __init__(self, recorder: _RunRecorder, numbers: Sequence[int], ends: frozenset[int], job: Job) -> None:
        self._recorder, self._numbers, self._ends, self._job = recorder, numbers, ends, job
        self._mark = time.perf_counter()
        self._running: set[int] | None = None  # None before the prompts, which `generate` puts first

    def put(self, value: torch.Tensor) -> None:
        now = time.perf_counter()
        if self._running is None:
            self._running = set(self._numbers)
            return
        self._recorder.add_pass(self._mark, now, self._rows())
        for number, token in zip(self._numbers, value.tolist(), strict=True):
            if number in self._running:
                self._recorder.add_token(number, token, now)
                if (
                    token in self._ends
                    or len(self._recorder.written[number]) == self._recorder.texts[number].max_new_tokens
                ):
                    self._running.remove(number)
        self._mark = now
        self._job.check()

    def end(self) -> None:
        """The batch is finished; there is nothing to do."""

    def _rows(self) -> tuple[tuple[int, int, int], ...]:
        """Of each text in the pass: its number, its tokens and its padding tokens."""
        texts, first = self._recorder.texts, not any(self._recorder.written[number] for number in self._numbers)
        if first:
            width = max(len(texts[number].ids) for number in self._numbers)
            return tuple((number, len(texts[number].ids), width - len(texts[number].ids)) for number in self._numbers)
        running = self._running or set()
        return tuple((number, int(number in running), int(number not in running)) for number in self._numbers)
