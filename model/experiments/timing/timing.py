"""How long a model's phases take, and what its KV cache saves: the library's own passes, timed without hooks."""

import copy
import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from model.api.job import Job, records_of
from model.arch.hooks import count_hooks
from model.arch.placement import home
from model.arch.tokens import Prompt
from model.capture.decoding import next_pass, prefilled
from model.capture.device import own_randomness, wait_for
from model.capture.generation_config import check_one_pass_a_token, generate_options, stop_options
from model.capture.hooked import HookedModel
from model.capture.machine import probe
from model.capture.prompts import check_lengths, read_prompt
from model.errors import Cancelled, NotANumber
from model.experiments.timing.costs import shapes_of, work
from model.limits import Limits
from model.records.timing import Machine, Measurement, Work
from model.records.trace import Settings
from model.requests.request import check_repeats
from model.requests.timing import Measure
from model.texts import phrase

Part = Literal["phases", "race", "batch"]
PARTS: tuple[Part, ...] = ("phases", "race", "batch")

RACE_SECONDS = 20.0  # prefills and copies of caches included
_BATCH_SECONDS = 10.0
_BATCH_BYTES = 1_000_000_000  # of the largest batch's cache
_BATCHES = (1, 2, 4, 8, 16)
_FIRST_LENGTH = 16
_WARM_UP_TOKENS = 3
_RECORD_BYTES = 100_000  # of a measurement without its runs: a few tables and sentences


def measure(
    hooked: HookedModel,
    prompt: str | Sequence[int],
    settings: Settings,
    limits: Limits,
    *,
    repeats: int = 3,
    parts: Sequence[Part] = PARTS,
    n_prompt: int | None = None,
    job: Job | None = None,
) -> Generator[Measurement]:
    """Time a model on a prompt; yields the record so far after each run, length and batch, the last one complete.

    The phases are runs of the library's own `generate`, timed as each token reaches the program: TTFT from the call
    to the first token, its choice included, ITL from each token to the next, TPOT their mean, (end-to-end latency -
    TTFT) / (tokens - 1). The race runs one and the same pass with a cache and without, at doubling lengths, for about
    20 seconds; the batches run the decode pass in the middle of the run for several copies of the text at once.
    The model is warmed up first. This program's hooks are not attached meanwhile, and whatever others have attached
    is counted in the record. `n_prompt` cuts or repeats the prompt to so many tokens. `job` is told what comes next;
    stopping it ends the measuring between two passes with what has been yielded, as `close()` does.
    The model is held (`hooked.guard`) for one piece at a time, never while the caller has the record.
    Raises: Refusal, at once, for a prompt, a setting or a model that cannot be measured; NotANumber, later on.
    Source: Databricks 2023, "LLM Inference Performance Engineering", for TTFT and TPOT; NVIDIA, GenAI-Perf and NIM
    metrics, for ITL; Pope et al. 2022, "Efficiently Scaling Transformer Inference", for the two phases.
    """
    pieces = measure_in_pieces(
        hooked, prompt, settings, limits, repeats=repeats, parts=parts, n_prompt=n_prompt, job=job or Job()
    )
    return records_of(pieces)


def measure_in_pieces(
    hooked: HookedModel,
    prompt: str | Sequence[int],
    settings: Settings,
    limits: Limits,
    *,
    repeats: int = 3,
    parts: Sequence[Part] = PARTS,
    n_prompt: int | None = None,
    job: Job,
) -> Generator[Measurement | None]:
    """As `measure`, but also yields None after a pass that adds nothing to the record: others may use the model there.

    Sets the job's `expected_bytes`.
    """
    check_one_pass_a_token(hooked.model)
    check_repeats(repeats, limits)
    Measure.check_values(limits, n_prompt=n_prompt)
    check_lengths(hooked, n_prompt or 1, settings, limits)  # before as many ids are made
    read = _of_length(hooked, read_prompt(hooked, prompt, settings), n_prompt)
    check_lengths(hooked, len(read.ids), settings, limits)
    job.expected_bytes = _RECORD_BYTES + 8 * repeats * settings.max_new_tokens
    timing = _Timing(hooked, read, settings, limits, repeats, job)
    return timing.records([each for each in PARTS if each in parts])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lap:
    """The race at one length: seconds of each try, and what both passes said."""

    length: int
    on: list[float]
    off: list[float]
    difference: float
    scale: float
    tokens: tuple[int, int]
    seconds: float  # that the lap took, prefill and copies included


Piece = tuple[str, Callable[[], Iterator[None]]]  # what it is, in words, and what runs it: a pass at each `next`


class _Timing:
    """One measuring in progress: what it has found so far, and the pieces that are left."""

    def __init__(
        self,
        hooked: HookedModel,
        read: Prompt,
        settings: Settings,
        limits: Limits,
        repeats: int,
        job: Job,
    ) -> None:
        self._hooked, self._model = hooked, hooked.model
        self._read, self._settings, self._limits, self._repeats = read, settings, limits, repeats
        self._job = job
        self._shapes = shapes_of(hooked)
        self._hooks = 0
        self._notes = list(read.notes)
        self._written: list[int] = []
        self._runs: list[np.ndarray] = []  # of each: seconds from the call to every token
        self._laps: list[_Lap] = []
        self._batches: dict[int, list[float]] = {}

    def records(self, parts: Sequence[Part]) -> Generator[Measurement | None]:
        """The record after each piece, None between its passes, and the whole record at the end."""
        job = self._job
        pieces_of = {"phases": self._phases, "race": self._race, "batch": self._batch}
        lengths = {"phases": self._repeats, "race": len(self._race_lengths()), "batch": len(_BATCHES)}
        done, total = 0, 2 + sum(lengths[part] for part in parts)
        job.progress(done, total, phrase("this machine's memory and matrix speed"))
        warm_up: list[Piece] = [(phrase("a warm-up"), self._warm_up)]
        try:
            with job.clock():
                machine = probe(self._hooked, self._limits, between=job.check)
            taken = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            for what, act in itertools.chain(warm_up, *(pieces_of[part]() for part in parts)):
                done += 1
                job.progress(done, total, what)
                yield from act()
                yield self._record(machine, taken)
        except Cancelled:
            return
        job.progress(total, total, phrase("done"))
        yield self._record(machine, taken)

    @contextmanager
    def _holding(self, *, timed: bool = True) -> Iterator[None]:
        """Nothing else runs on the model, nothing is kept for a backward pass, and hooks are counted at both ends.

        With `timed`, nothing else of the host runs either.
        """
        self._job.check()
        with self._job.clock() if timed else nullcontext(), self._hooked.guard, torch.no_grad():
            before = count_hooks(self._model)
            yield
            self._hooks = max(self._hooks, before, count_hooks(self._model))

    # The phases

    def _warm_up(self) -> Iterator[None]:
        short = replace(self._settings, max_new_tokens=min(_WARM_UP_TOKENS, self._settings.max_new_tokens))
        with self._holding(timed=False):
            self._run(short, logits_processor=LogitsProcessorList([_RefuseNaN()]))
        yield

    def _phases(self) -> Iterator[Piece]:
        for count in range(1, self._repeats + 1):
            yield phrase("run {count} of {repeats}", count=count, repeats=self._repeats), self._timed_run
        wanted, written = self._settings.max_new_tokens, len(self._written)
        if written < wanted:
            self._notes.append(
                phrase("the model ended its text after {written} of {wanted} tokens.", written=written, wanted=wanted)
            )

    def _timed_run(self) -> Iterator[None]:
        with self._holding():
            clock, started = self._run(self._settings)
        if self._written and clock.ids != self._written:
            self._notes.append(
                phrase("the runs did not all write the same text: this device rounds differently each time.")
            )
        self._written = self._written or clock.ids
        self._runs.append(np.array(clock.seconds) - started)
        yield

    def _run(self, settings: Settings, **more: Any) -> tuple["_TokenTimes", float]:
        """The library's own generate, and when it was called; a seed is set for it alone."""
        device, clock = home(self._model), _TokenTimes(self._job.check)
        ids = torch.tensor([self._read.ids], device=device)
        with own_randomness(device):
            torch.manual_seed(settings.seed)
            wait_for(device)
            started = time.perf_counter()
            ends = stop_options(self._model, self._hooked.tokenizer)
            self._model.generate(ids, streamer=clock, **ends, **generate_options(settings), **more)
        return clock, started

    # The race

    def _race(self) -> Iterator[Piece]:
        for length in self._race_lengths():
            needed = self._lap_seconds(length)
            if sum(lap.seconds for lap in self._laps) + needed > RACE_SECONDS:
                self._notes.append(
                    phrase(
                        "the comparison with and without the cache ends before {length:,} tokens: they would take "
                        "about {needed:.0f} s, and all of it may take {most:.0f} s.",
                        length=length,
                        needed=needed,
                        most=RACE_SECONDS,
                    )
                )
                break
            yield phrase("with and without the cache, at {length:,} tokens", length=length), partial(self._lap, length)
        self._notes.append(phrase("with and without the cache, the text is repeated or cut to each length."))

    def _race_lengths(self) -> list[int]:
        """Context lengths that the race may reach: doubling, within the model's bounds and the host's."""
        most = min(self._hooked.card.n_ctx, self._limits.prompt_tokens)
        return list(itertools.takewhile(lambda n: n <= most, (_FIRST_LENGTH << k for k in range(32)))) or [most]

    def _lap_seconds(self, length: int) -> float:
        """What a lap will take, by the one before it, or by the prefill; 0 where nothing is known yet."""
        if not self._laps and not self._runs:
            return 0.0
        if self._laps:
            before, off, on = self._laps[-1].length, np.median(self._laps[-1].off), np.median(self._laps[-1].on)
        else:
            before = len(self._read.ids)
            off = on = np.median([run[0] for run in self._runs])
        growth = self._work(length, length).flops / self._work(before, before).flops
        return float(off * growth * (self._repeats + 1) + on * self._repeats)

    def _lap(self, length: int) -> Iterator[None]:
        """Both passes at one length, in turn; the copy of the cache that a pass adds to is made before its clock."""
        ids = self._text(length)
        cache, took = self._prefilled(ids)
        yield
        on = off = torch.empty(0)
        tries_on: list[float] = []
        tries_off: list[float] = []
        for _ in range(self._repeats):
            with self._holding():
                began = time.perf_counter()
                own = copy.deepcopy(cache)
                off, seconds = self._timed(next_pass(self._model, ids))
                tries_off.append(seconds)
                on, seconds = self._timed(next_pass(self._model, ids, own))
                tries_on.append(seconds)
                took += time.perf_counter() - began
            yield
        self._laps.append(
            _Lap(
                length=length,
                on=tries_on,
                off=tries_off,
                difference=float((on - off).abs().max()),
                scale=float(off.abs().max()),
                tokens=(int(on.argmax()), int(off.argmax())),
                seconds=took,
            )
        )

    # Batches

    def _batch(self) -> Iterator[Piece]:
        n_context = self._middle()
        for size in _BATCHES:
            spent, last = sum(map(sum, self._batches.values())), max(self._batches.get(size // 2, [0.0]))
            n_bytes = self._work(1, n_context, batch=size).kv_read
            if spent + 2 * last * self._repeats > _BATCH_SECONDS or n_bytes > _BATCH_BYTES:
                self._notes.append(
                    phrase(
                        "batches end before {size}: the limit is {batch_seconds:.0f} s and {batch_bytes:,} bytes of "
                        "cache.",
                        size=size,
                        batch_seconds=_BATCH_SECONDS,
                        batch_bytes=_BATCH_BYTES,
                    )
                )
                break
            yield phrase("a decode pass for a batch of {size}", size=size), partial(self._decode_together, size)

    def _decode_together(self, size: int) -> Iterator[None]:
        ids = self._text(self._middle())
        cache, _ = self._prefilled(ids)
        yield
        tries = []
        for _ in range(self._repeats):
            with self._holding():
                own = copy.deepcopy(cache)
                own.batch_repeat_interleave(size)
                tries.append(self._timed(next_pass(self._model, ids.repeat(size, 1), own))[1])
            yield
        self._batches[size] = tries

    # What both need

    def _prefilled(self, ids: torch.Tensor) -> tuple[Any, float]:
        """The cache of all ids but the last, and the seconds that it took; they are not part of any result."""
        with self._holding(timed=False):
            began = time.perf_counter()
            return prefilled(self._model, ids[:, :-1]), time.perf_counter() - began

    def _timed(self, run: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
        """The logits of a pass, float32 [B, V], and its seconds."""
        self._job.check()
        wait_for(home(self._model))
        started = time.perf_counter()
        logits = run()
        wait_for(home(self._model))
        seconds = time.perf_counter() - started
        return logits.float(), seconds

    def _text(self, length: int) -> torch.Tensor:
        """So many ids [1, length]: the prompt, what the model wrote, and all of it again."""
        ids = itertools.islice(itertools.cycle([*self._read.ids, *self._written]), length)
        return torch.tensor([list(ids)], device=home(self._model))

    def _n_new(self) -> int:
        return len(self._written) or self._settings.max_new_tokens

    def _middle(self) -> int:
        """Tokens that the decode pass in the middle of the run attends to."""
        return len(self._read.ids) + max(self._n_new() // 2, 1)

    def _work(self, n_new: int, n_context: int, *, batch: int = 1, cached: bool = True) -> Work:
        return work(self._shapes, n_new=n_new, n_context=n_context, batch=batch, cached=cached)

    def _record(self, machine: Machine, taken: str) -> Measurement:
        n_prompt, n_new = len(self._read.ids), min([len(run) for run in self._runs], default=self._n_new())
        runs = np.array([run[:n_new] for run in self._runs], np.float64).reshape(-1, n_new)
        laps, sizes = self._laps, tuple(self._batches)
        return Measurement(
            model=self._hooked.card,
            machine=machine,
            prompt=self._read.text,
            settings=self._settings,
            n_prompt=n_prompt,
            n_new=n_new,
            warm_up=1,
            hooks=self._hooks,
            taken=taken,
            text=self._hooked.reader.written(self._read.ids, self._written),
            prefill_work=self._work(n_prompt, n_prompt),
            decode_work=self._work(1, self._middle()),
            race_on_work=tuple(self._work(1, lap.length) for lap in laps),
            race_off_work=tuple(self._work(lap.length, lap.length, cached=False) for lap in laps),
            race_tokens=tuple(lap.tokens for lap in laps),
            batch_work=tuple(self._work(1, self._middle(), batch=size) for size in sizes),
            windows=self._shapes.windows,
            notes=(*self._notes, *self._hook_note()),
            ttft=runs[:, 0].copy(),
            itl=np.diff(runs, axis=1),
            race_lengths=np.array([lap.length for lap in laps], np.int32),
            race_on=_rows([lap.on for lap in laps], self._repeats),
            race_off=_rows([lap.off for lap in laps], self._repeats),
            race_difference=np.array([lap.difference for lap in laps], np.float64),
            race_scale=np.array([lap.scale for lap in laps], np.float64),
            batch_sizes=np.array(sizes, np.int32),
            batch_seconds=_rows(list(self._batches.values()), self._repeats),
        )

    def _hook_note(self) -> tuple[str, ...]:
        if not self._hooks:
            return ()
        return (
            phrase(
                "{hooks} hooks of other programs are on the model's modules: the times include them.",
                hooks=self._hooks,
            ),
        )


class _TokenTimes(BaseStreamer):
    """Notes when the library's loop has each token on the host."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.seconds: list[float] = []
        self.ids: list[int] = []
        self._check = check
        self._heard_prompt = False

    def put(self, value: torch.Tensor) -> None:
        now = time.perf_counter()
        if not self._heard_prompt:
            self._heard_prompt = True
            return
        self.seconds.append(now)
        self.ids.append(int(value))
        self._check()

    def end(self) -> None:
        """The run is over; nothing is left to hear."""


class _RefuseNaN(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        if bool(torch.isnan(scores).any()):
            raise NotANumber(
                "the model computed NaN (not a number), so its times would say nothing. Its weights are damaged, or "
                "overflow in its number type. Load other weights."
            )
        return scores


def _of_length(hooked: HookedModel, read: Prompt, n_prompt: int | None) -> Prompt:
    """The prompt, cut or repeated to so many tokens."""
    if n_prompt is None or n_prompt == len(read.ids):
        return read
    ids = tuple(itertools.islice(itertools.cycle(read.ids), n_prompt))
    counts = {"n": len(read.ids), "n_prompt": n_prompt}
    if n_prompt < len(read.ids):
        note = phrase("the prompt's {n:,} tokens were cut to {n_prompt:,}.", **counts)
    else:
        note = phrase("the prompt's {n:,} tokens were repeated to {n_prompt:,}.", **counts)
    return Prompt(text=hooked.tokenizer.decode(list(ids)), ids=ids, notes=(*read.notes, note))


def _rows(rows: list[list[float]], width: int) -> np.ndarray:
    return np.array(rows, np.float64).reshape(len(rows), width)
