"""Several texts through a continuous-batching engine, recorded tick by tick, then timed under three schedulers.

The recorded run uses eager attention, the only implementation that returns weights. The schedulers are timed after it,
without recording, with the model's own attention implementation.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from model.api.job import Job, records_of
from model.arch.rounding import why_texts_differ
from model.arch.tokens import Prompt
from model.capture.generation_config import check_plain
from model.capture.hooked import HookedModel
from model.capture.machine import in_words
from model.errors import BadSetting, Cancelled, NotANumber
from model.experiments.batching.checks import Ask, check_bounds, check_room, check_settings, reads_of
from model.experiments.batching.paged import Bounds, EngineTick, NoBlockLeft, Paged, check_model
from model.experiments.batching.schedulers import NAMES, Name, Stopwatch, Text, TimedRun, ends_of, run, ticks
from model.limits import Limits
from model.records.batching import SCHEDULER_LABELS, Batching, Request, Tick, TimedScheduler, letter
from model.records.products import FewRows
from model.records.trace import Settings, Token
from model.requests.batching import Serve
from model.texts import phrase, translated

KEPT_BYTES = 64_000_000  # of attention weights
_TICK_BYTES = 4000  # of one tick in a record, roughly; there are about as many ticks as tokens at most
LOWEST_RATE = 0.05  # texts a second: 20 s between two arrivals on average
_IN_TURN: tuple[Name, ...] = ("sequential", "static", "continuous")

Ended = Literal["waiting", "running", "end of sequence", "length", "no block left", "stopped"]


def arrivals(n: int, rate: float, seed: int) -> tuple[float, ...]:
    """Arrival times of n texts in seconds, `rate` texts per second on average; a rate of 0 means all at once.

    The first arrives at the start, each next one after a gap drawn from an exponential distribution: a Poisson
    process. Raises: BadSetting, for a rate below `LOWEST_RATE`.
    """
    if 0 < rate < LOWEST_RATE:
        raise BadSetting(
            "the rate is {rate:g} texts a second; it must be at least {lowest:g}, because the run waits until all "
            "texts have arrived. Ask for a higher rate, or for 0: then all arrive at once.",
            rate=rate,
            lowest=LOWEST_RATE,
        )
    if rate <= 0:
        return (0.0,) * n
    gaps = np.random.default_rng(seed).exponential(1 / rate, max(n - 1, 0))
    return (0.0, *(float(at) for at in np.cumsum(gaps)))[:n]


def serve(
    hooked: HookedModel,
    asked: Sequence[Ask],
    settings: Settings,
    limits: Limits,
    *,
    block_size: int = Serve.block_size,
    n_blocks: int = Serve.n_blocks,
    token_budget: int = Serve.token_budget,
    max_requests: int = Serve.max_requests,
    prefix_caching: bool = Serve.prefix_caching,
    repeats: int = 1,
    attention: bool = True,
    job: Job | None = None,
) -> Generator[Batching]:
    """Continue several texts together in transformers' engine; yields the record so far after each of its ticks.

    After the last tick the same texts are served again without recording, `repeats` times under each scheduler, in
    turns: sequential (plain `generate`), static batching and continuous batching; the record is yielded after each
    turn. Decoding is greedy. `attention` keeps the attention weights of the first ticks, at most 64 MB. Stopping `job`
    ends the run between two passes, with one last record; its progress counts written tokens. The model's guard is
    held only during a pass, and the model is restored after each. The time that the caller takes between two records
    does not count.
    Raises: Refusal, at once, for texts, bounds or a model that cannot be served; NotANumber, later on.
    Source: Yu et al. 2022, "Orca", section 3 (iteration-level scheduling); Kwon et al. 2023,
    "Efficient Memory Management for LLM Serving with PagedAttention", section 4 (blocks, block tables and
    prefix sharing); Agrawal et al. 2023, "Sarathi" (chunked prefill in the same pass as decodes).
    """
    bounds = Bounds(
        block_size=block_size,
        n_blocks=n_blocks,
        token_budget=token_budget,
        max_requests=max_requests,
        prefix_caching=prefix_caching,
    )
    pieces = serve_in_ticks(
        hooked, asked, settings, limits, bounds, repeats=repeats, attention=attention, job=job or Job()
    )
    return records_of(pieces)


def serve_in_ticks(
    hooked: HookedModel,
    asked: Sequence[Ask],
    settings: Settings,
    limits: Limits,
    bounds: Bounds,
    *,
    repeats: int,
    attention: bool,
    job: Job,
) -> Generator[Batching | None]:
    """As `serve`, but also yields None where the record has nothing new and other jobs may use the model.

    That is while no text has arrived, and after each timed run. Sets the job's `expected_bytes`.
    """
    check_bounds(bounds, limits, repeats)
    check_settings(settings)
    reads = reads_of(hooked, asked, settings, limits)
    check_model(hooked)
    check_plain(hooked.model, hooked.card.name)
    check_room(reads, asked, bounds)
    n_tokens = sum(len(read.ids) + each.max_new_tokens for read, each in zip(reads, asked, strict=True))
    numbers = hooked.card.n_layers * hooked.card.n_heads * n_tokens * bounds.n_blocks * bounds.block_size
    job.expected_bytes = n_tokens * _TICK_BYTES + (min(4 * numbers, KEPT_BYTES) if attention else 0)
    return _Serving(hooked, asked, reads, settings, bounds, job).records(repeats, attention)


class _Serving:
    """One serving in progress: the state of each text, the ticks so far, and the timed runs of each scheduler."""

    def __init__(
        self,
        hooked: HookedModel,
        asked: Sequence[Ask],
        reads: Sequence[Prompt],
        settings: Settings,
        bounds: Bounds,
        job: Job,
    ) -> None:
        self._hooked, self._settings, self._bounds, self._job = hooked, settings, bounds, job
        self._machine = in_words(hooked)
        self._texts = [
            Text(ids=read.ids, max_new_tokens=each.max_new_tokens, arrives_s=float(each.arrives_s))
            for read, each in zip(reads, asked, strict=True)
        ]
        self._served = [_Served(hooked, read, text) for read, text in zip(reads, self._texts, strict=True)]
        self._weights = _Weights()
        self._ticks: list[Tick] = []
        self._runs: dict[Name, list[TimedRun]] = {}
        self._products: tuple[FewRows, ...] = ()
        self._notes = list(dict.fromkeys(note for read in reads for note in read.notes))
        self._n_written = self._n_expected = self._n_blocks = self._block_bytes = 0

    def records(self, repeats: int, attention: bool) -> Generator[Batching | None]:
        """The record after each tick and after each turn of timed runs."""
        self._n_expected = sum(text.max_new_tokens for text in self._texts) * (1 + repeats * len(NAMES))
        try:
            self._job.check()
            with self._job.clock(), self._hooked.guard:
                self._products = self._hooked.products.measure(range(2, self._most_together() + 1))
            yield from self._recorded(attention)
            if all(each.finished for each in self._served):
                yield from self._timed(repeats)
        except Cancelled:
            for each in self._served:
                each.ended = each.ended if each.finished else "stopped"
            yield self._record()

    def _most_together(self) -> int:
        """Texts that a pass can work on at once, each one row of a decode pass."""
        return min(len(self._texts), self._bounds.max_requests)

    def _note(self, sentence: str) -> None:
        """For the record, once."""
        if sentence not in self._notes:
            self._notes.append(sentence)

    # The recorded run

    def _recorded(self, attention: bool) -> Iterator[Batching | None]:
        with self._hooked.guard:
            paged = Paged(self._hooked, self._bounds, eager=True)
        self._n_blocks, self._block_bytes = paged.n_blocks, paged.block_bytes
        if paged.n_blocks != self._bounds.n_blocks:
            self._notes.append(
                phrase(
                    "the engine rounds {n_blocks} blocks up to {rounded}.",
                    n_blocks=self._bounds.n_blocks,
                    rounded=paged.n_blocks,
                )
            )
        watch, room = Stopwatch(), self._weights.room if attention else lambda: None
        try:
            for tick in ticks(self._hooked, paged, self._texts, watch, self._job, room):
                if tick is not None:
                    self._ticks.append(self._tick(tick, watch.at(tick.began)))
                    self._job.progress(
                        self._n_written, self._n_expected, phrase("tick {tick}", tick=len(self._ticks) - 1)
                    )
                with watch.stopped():
                    yield None if tick is None else self._record()
        except NoBlockLeft:
            for each in self._served:
                each.ended = each.ended if each.finished else "no block left"
            self._notes.append(phrase("the engine could not continue any text: too few blocks were left."))
            yield self._record()
        self._weights.close()

    def _tick(self, tick: EngineTick, at_s: float) -> Tick:
        """One tick for the record; updates the state of each text."""
        for chunk in tick.scheduled:
            self._n_written += chunk.written is not None
            self._served[chunk.request].read(chunk.written, finished=chunk.request in tick.finished)
        for number in tick.preempted:
            self._served[number].ended = "waiting"
        weights_at = self._attention(tick)
        return Tick(
            at_s=at_s,
            seconds=tick.ended - tick.began,
            scheduled=tick.scheduled,
            waiting=tick.waiting,
            block_tables=tick.block_tables,
            freed=tuple(sorted({*tick.finished, *tick.preempted})),
            preempted=tick.preempted,
            n_free_blocks=tick.n_free_blocks,
            cached_blocks=tick.cached_blocks,
            shared_blocks=tick.shared_blocks,
            n_cached_tokens=tick.n_cached_tokens,
            key_lengths=tick.key_lengths,
            weights_at=weights_at,
            cross_request_weight=tick.cross_request_weight,
        )

    def _attention(self, tick: EngineTick) -> int | None:
        """Where the tick's weights start in the record, or None if they are not kept. Raises: NotANumber."""
        if tick.cross_request_weight is None:
            return None
        if math.isnan(tick.cross_request_weight):
            raise NotANumber(
                "the model computed NaN (not a number) in tick {tick}. Its weights are damaged, or "
                "overflow in its number type. Load other weights.",
                tick=len(self._ticks),
            )
        if tick.attention is not None:
            return self._weights.keep(tick.attention)
        if self._weights.shut():
            self._notes.append(
                phrase(
                    "attention is kept for the first {n_ticks} ticks: more do not fit into {size} MB.",
                    n_ticks=len(self._ticks),
                    size=KEPT_BYTES // 1_000_000,
                )
            )
        return None

    # The schedulers, timed

    def _timed(self, repeats: int) -> Iterator[Batching | None]:
        """In turns: sequential runs first, because the other schedulers are compared with its tokens."""
        for name in _IN_TURN:
            self._warm_up(name)
            yield None
        for turn in range(repeats):
            for name in _IN_TURN:
                self._job.progress(
                    self._n_written,
                    self._n_expected,
                    phrase(
                        "timed: {scheduler}, {turn} of {repeats}",
                        scheduler=translated(SCHEDULER_LABELS[name]),
                        turn=turn + 1,
                        repeats=repeats,
                    ),
                )
                try:
                    with self._job.clock():
                        ran = run(name, self._hooked, self._texts, self._settings, self._bounds, self._job)
                except NoBlockLeft:
                    self._note(
                        phrase(
                            "{scheduler} could not be timed: too few blocks were left for any text to continue.",
                            scheduler=translated(SCHEDULER_LABELS[name]),
                        )
                    )
                    continue
                self._runs.setdefault(name, []).append(ran)
                self._n_written += sum(map(len, ran.written))
                if len(self._runs) == 1 and turn == 0:
                    self._compare(ran)
                yield None
            yield self._record()  # not within a turn: drawing it would disturb the runs after it
        self._job.progress(self._n_expected, self._n_expected, phrase("done"))

    def _warm_up(self, name: Name) -> None:
        """The first passes of a process are slow: run two tokens of the shortest text untimed."""
        shortest = min(self._texts, key=lambda text: len(text.ids))
        short = replace(shortest, max_new_tokens=min(2, shortest.max_new_tokens), arrives_s=0.0)
        run(name, self._hooked, [short], self._settings, self._bounds, self._job)

    def _compare(self, plain: TimedRun) -> None:
        for number, (served, own) in enumerate(zip(self._served, plain.written, strict=True)):
            if tuple(served.written) != own:
                pairs = zip(served.written, own, strict=False)
                shorter = min(len(served.written), len(own))
                alike = next((at for at, (one, other) in enumerate(pairs) if one != other), shorter)
                self._notes.append(
                    phrase(
                        "text {letter} has other tokens in the recorded run than from plain generate, the sequential "
                        "baseline, from its generated token {number} on.",
                        letter=letter(number),
                        number=alike,
                    )
                )
                if (why := why_texts_differ(self._hooked.model)) is not None:
                    self._note(why)

    def _schedulers(self) -> Iterator[TimedScheduler]:
        plain = self._runs["sequential"][0].written if self._runs else ()
        for name in NAMES:
            if runs := self._runs.get(name):
                ran = sorted(runs, key=lambda each: each.seconds)[(len(runs) - 1) // 2]
                pairs = list(zip(ran.at, self._texts, strict=True))
                yield TimedScheduler(
                    name=name,
                    seconds=tuple(each.seconds for each in runs),
                    ttft=tuple(at[0] - text.arrives_s for at, text in pairs),
                    latency=tuple(at[-1] - text.arrives_s for at, text in pairs),
                    passes=ran.passes,
                    n_written=sum(map(len, ran.written)),
                    same_tokens=tuple(own == other for own, other in zip(ran.written, plain, strict=True)),
                )

    def _record(self) -> Batching:
        return Batching(
            model=self._hooked.card,
            machine=self._machine,
            settings=self._settings,
            requests=tuple(each.request() for each in self._served),
            block_size=self._bounds.block_size,
            n_blocks=self._n_blocks,
            block_bytes=self._block_bytes,
            token_budget=self._bounds.token_budget,
            max_requests=self._bounds.max_requests,
            prefix_caching=self._bounds.prefix_caching,
            ticks=tuple(self._ticks),
            schedulers=tuple(self._schedulers()),
            notes=tuple(self._notes),
            products=self._products,
            weights=self._weights.array(),
        )


class _Served:
    """One text of the recorded run: its tokens and its state."""

    def __init__(self, hooked: HookedModel, read: Prompt, text: Text) -> None:
        self.written: list[int] = []
        self.ended: Ended = "waiting"
        self._reader, self._ends = hooked.reader, ends_of(hooked.model)
        self._read, self._text = read, text
        self._tokens: list[Token] = list(hooked.reader.tokens(read.ids))

    @property
    def finished(self) -> bool:
        """Whether its last token is written."""
        return self.ended in ("end of sequence", "length")

    def read(self, written: int | None, *, finished: bool) -> None:
        """It was scheduled in a tick, which wrote a token, or none while its prompt is not fully read."""
        self.ended = "running"
        if written is not None:
            self.written.append(written)
            self._tokens.append(self._reader.token(written, self._tokens[-1].span[1], generated=True))
        if finished:
            self.ended = "end of sequence" if written in self._ends else "length"

    def request(self) -> Request:
        """Its state, for the record."""
        return Request(
            prompt=self._read.text,
            n_prompt=len(self._read.ids),
            max_new_tokens=self._text.max_new_tokens,
            arrives_s=self._text.arrives_s,
            tokens=tuple(self._tokens),
            text=self._reader.written(self._read.ids, self.written),
            ended=self.ended,
        )


class _Weights:
    """The attention weights that are kept, one tick after the other, up to `KEPT_BYTES`."""

    def __init__(self) -> None:
        self._kept = np.empty(KEPT_BYTES // 4, np.float32)  # the system allocates pages as they are written
        self._count = 0
        self._shut = False

    def room(self) -> int:
        """How many more weights may be kept: none once those of a tick did not fit."""
        return 0 if self._shut else len(self._kept) - self._count

    def keep(self, weights: torch.Tensor) -> int:
        """Keep these weights, which must fit. Returns where they start."""
        at = self._count
        self._count += weights.numel()
        self._kept[at : self._count] = weights.numpy().ravel()
        return at

    def shut(self) -> bool:
        """Keep no more. Returns whether this is the first call."""
        before, self._shut = self._shut, True
        return not before

    def array(self) -> np.ndarray:
        """The weights kept so far; they share memory until `close`."""
        return self._kept[: self._count]

    def close(self) -> None:
        """Release the memory that is not used."""
        self._kept = self._kept[: self._count].copy()
