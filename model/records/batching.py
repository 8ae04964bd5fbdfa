"""Several requests served at once: Batching, tick by tick.

Frozen values, numpy only. Seconds are by the wall clock, from the start of the run. Recording slows the ticks down; the
schedulers are compared by separate runs without recording. Axes of the arrays, by
letter: W attention weights of all ticks, one after the other; R repeated runs.
"""

import statistics
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.products import FewRows
from model.records.schema import added
from model.records.trace import ModelCard, Settings, Token
from model.texts import translated

SCHEDULER_LABELS = {"sequential": "sequential", "static": "static batching", "continuous": "continuous batching"}
"""The name of a scheduler in a record -> its label on the screen."""


def letter(request: int) -> str:
    """The label of a request on the screen: A to Z, then AA, AB and so on."""
    name = ""
    request += 1
    while request:
        request, place = divmod(request - 1, 26)
        name = chr(65 + place) + name
    return name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One text to continue, and its result so far."""

    prompt: str
    n_prompt: int  # tokens
    max_new_tokens: int
    arrives_s: float  # when it is added to the queue, from the start of the run
    tokens: tuple[Token, ...]  # prompt and written
    text: str  # what was written
    ended: Literal["waiting", "running", "end of sequence", "length", "no block left", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScheduledChunk:
    """The tokens of one request that a tick reads: part of a prompt in prefill, one token in decode."""

    request: int  # index into `Batching.requests`
    phase: Literal["prefill", "decode"]
    first: int  # position of its first token
    n_tokens: int
    written: int | None  # id of the sampled token; None while the prompt is not fully read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockTable:
    """The block table of a request: the cache blocks that hold its tokens, in the order of the text."""

    request: int
    blocks: tuple[int, ...]
    n_tokens: int  # in these blocks; the last block may not be full


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tick:
    """One forward pass of the engine for all scheduled requests, and the KV cache after it.

    Pairs are (request, count), except in `shared_blocks`: (block, number of requests that use it).
    """

    at_s: float  # when it starts
    seconds: float  # its duration, recording included
    scheduled: tuple[ScheduledChunk, ...]  # in the order in which their tokens are packed
    waiting: tuple[int, ...]  # requests in the waiting queue after it, the next one first
    block_tables: tuple[BlockTable, ...]  # after it, of running requests and of those that it finishes; see `freed`
    freed: tuple[int, ...]  # requests whose blocks are freed: finished with this tick, or preempted before it
    preempted: tuple[int, ...]  # requests whose blocks are freed before it for others; they are recomputed later
    n_free_blocks: int  # blocks that hold no tokens
    cached_blocks: tuple[int, ...]  # blocks that no request uses, whose tokens stay cached for an equal prefix
    shared_blocks: tuple[tuple[int, int], ...]  # blocks that more than one request uses
    n_cached_tokens: tuple[tuple[int, int], ...]  # of requests that start: prefix tokens found in the cache, if any
    key_lengths: tuple[tuple[int, int], ...]  # of the requests of the pass, in the order in which keys are packed
    weights_at: int | None  # where its attention starts in `weights`; None: not kept
    cross_request_weight: float | None  # the largest attention weight between two requests; None: not measured

    @property
    def n_tokens(self) -> int:
        """Tokens that the pass reads."""
        return sum(chunk.n_tokens for chunk in self.scheduled)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedScheduler:
    """The same requests under one scheduler, timed without recording: continuous, static or sequential."""

    name: Literal["continuous", "static", "sequential"]
    seconds: tuple[float, ...]  # of each repeated run, from its start to the last token
    ttft: tuple[float, ...]  # of each request, from its arrival to its first token, in the run of median length
    latency: tuple[float, ...]  # of each request, from its arrival to its last token, in the same run
    passes: tuple["TimedPass", ...]  # of the same run
    n_written: int  # tokens
    same_tokens: tuple[bool, ...]  # of each request: whether its tokens equal those of plain `generate`

    @property
    def label(self) -> str:
        """Its name on the screen."""
        return translated(SCHEDULER_LABELS[self.name])

    @property
    def total_s(self) -> float:
        """Seconds of the run of median length (of an even number, the shorter of the two in the middle)."""
        return statistics.median_low(self.seconds)

    @property
    def rate(self) -> float:
        """Tokens written per second in the run of median length."""
        return self.n_written / self.total_s

    @property
    def n_read(self) -> int:
        """Tokens that its passes compute, padding included."""
        return sum(each.n_tokens + each.n_padding for each in self.passes)

    @property
    def n_padding(self) -> int:
        """Padding tokens among them."""
        return sum(each.n_padding for each in self.passes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedPass:
    """One forward pass of a timed run."""

    at_s: float
    seconds: float
    rows: tuple[tuple[int, int, int], ...]  # request, its tokens, its padding tokens

    @property
    def n_tokens(self) -> int:
        """Tokens that it computes, without padding."""
        return sum(n_tokens for _, n_tokens, _ in self.rows)

    @property
    def n_padding(self) -> int:
        """Padding tokens that it computes."""
        return sum(n_padding for _, _, n_padding in self.rows)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Batching(Saved):
    """Several requests in a continuous-batching engine, tick by tick, and the same requests timed under each scheduler.

    weights [W] holds the attention weights of the ticks, each float32 (layers, heads, tokens of the pass, keys of the
    pass), one tick after the other; `attention` slices it. The recorded run uses eager attention, the only
    implementation that returns weights; the schedulers are timed with the model's own attention implementation.
    """

    VERSION: ClassVar[int] = 2

    model: ModelCard
    machine: str  # in words: processor, threads, device, dtype
    settings: Settings
    requests: tuple[Request, ...]
    block_size: int  # tokens that a block holds
    n_blocks: int
    block_bytes: int  # of one block over all layers, from the cache's tensors
    token_budget: int  # the most tokens that a tick reads
    max_requests: int  # the most requests that a tick works on
    prefix_caching: bool  # whether prompts with the same prefix share blocks
    ticks: tuple[Tick, ...] = ()
    schedulers: tuple[TimedScheduler, ...] = ()
    notes: tuple[str, ...] = ()
    products: tuple[FewRows, ...] = added(())  # measured on this host before it ran; empty: all were torch's `linear`

    weights: Annotated[np.ndarray, Shape("float32", "W")]

    def __post_init__(self) -> None:
        super().__post_init__()
        for at, tick in enumerate(self.ticks):
            self._check_tick(at, tick)
        for scheduler in self.schedulers:
            if not len(scheduler.ttft) == len(scheduler.latency) == len(scheduler.same_tokens) == len(self.requests):
                raise BadTrace(
                    "{scheduler} does not have {n_requests} requests.",
                    scheduler=scheduler.name,
                    n_requests=len(self.requests),
                )

    def _check_tick(self, at: int, tick: Tick) -> None:
        """Check that each block is free, cached or in a block table, and that the tick is within its token budget."""
        mentioned = {*(s.request for s in tick.scheduled), *(t.request for t in tick.block_tables), *tick.waiting}
        if not all(0 <= each < len(self.requests) for each in mentioned):
            raise BadTrace("tick {at} has a request that does not exist.", at=at)
        held = {block for table in tick.block_tables if table.request not in tick.freed for block in table.blocks}
        if tick.n_free_blocks + len(set(tick.cached_blocks) - held) + len(held) != self.n_blocks:
            raise BadTrace(
                "tick {at} has {n_held} blocks in use and {n_free} free, of {n_blocks} in all.",
                at=at,
                n_held=len(held),
                n_free=tick.n_free_blocks,
                n_blocks=self.n_blocks,
            )
        if tick.n_tokens > self.token_budget:
            raise BadTrace(
                "tick {at} reads {n_tokens} tokens; its token budget is {token_budget}.",
                at=at,
                n_tokens=tick.n_tokens,
                token_budget=self.token_budget,
            )
        if tick.weights_at is not None and tick.weights_at + self._size(tick) > len(self.weights):
            raise BadTrace("the attention of tick {at} is incomplete.", at=at)

    def _size(self, tick: Tick) -> int:
        return self.model.n_layers * self.model.n_heads * tick.n_tokens * sum(count for _, count in tick.key_lengths)

    def attention(self, tick: int, layer: int, head: int) -> np.ndarray | None:
        """The recorded weights of one head, float32 [tokens of the pass, keys of the pass]; None if not kept."""
        of = self.ticks[tick]
        if of.weights_at is None:
            return None
        n_keys = sum(count for _, count in of.key_lengths)
        kept = self.weights[of.weights_at : of.weights_at + self._size(of)]
        return kept.reshape(self.model.n_layers, self.model.n_heads, of.n_tokens, n_keys)[layer, head]
