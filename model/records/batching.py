"""What a model at work for several texts at once did: Batching, tick by tick.

Frozen values, numpy only. Seconds are by the wall clock, from the start of the run. What was recorded tick by tick was
slowed by the recording; the times that are compared come from runs of their own without it. Axes of the arrays, by
letter: W attention weights of all ticks, one after the other; R repeated runs.
"""

import statistics
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.trace import ModelCard, Settings, Token
from model.texts import translated

CALLED = {"one by one": "sequential", "static": "static batching", "continuous": "continuous batching"}
"""The schedulers as files name them, and what they are called in the field."""


def letter(request: int) -> str:
    """What a text is called: A to Z, then AA, AB and so on."""
    name = ""
    request += 1
    while request:
        request, place = divmod(request - 1, 26)
        name = chr(65 + place) + name
    return name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One text that asks to be continued, and what became of it."""

    prompt: str
    n_prompt: int  # tokens
    max_new_tokens: int
    arrives_s: float  # when it was asked for, from the start of the run
    tokens: tuple[Token, ...]  # prompt and written
    text: str  # what was written
    ended: Literal["waiting", "running", "end of sequence", "length", "no block left", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Share:
    """What one request had of a tick."""

    request: int  # its place among the requests, from 0
    phase: Literal["prefill", "decode"]
    first: int  # position of the first token that it read
    n_tokens: int  # that it read
    written: int | None  # id of the token chosen for it; None while its prompt is not read to the end


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """The block table of a request: which blocks of the cache hold its tokens, in the order of the text."""

    request: int
    blocks: tuple[int, ...]
    n_tokens: int  # that stand in them; the last block may not be full


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tick:
    """One forward pass of the engine, for every request that has a share in it, and the cache after it."""

    at_s: float  # when it began
    seconds: float  # that it took, recording included
    shares: tuple[Share, ...]  # in the order in which their tokens stand in the pass
    waiting: tuple[int, ...]  # requests that wait after it, the next one first
    tables: tuple[Table, ...]  # after it, of the requests that go on or that ended with it; see `freed`
    freed: tuple[int, ...]  # requests whose blocks went back with it, because they ended or had to make room
    put_back: tuple[int, ...]  # requests that had to make room before it, and wait to be read again from the start
    n_free: int  # blocks that hold nothing, after what was freed
    cached: tuple[int, ...]  # blocks that nobody uses and whose tokens are kept for a prompt that begins alike
    shared: tuple[tuple[int, int], ...]  # blocks that more than one request uses, and how many do
    reused: tuple[tuple[int, int], ...]  # requests that joined with it, share or none, and tokens found in the cache
    keys: tuple[tuple[int, int], ...]  # of the pass: which request's keys stand side by side, and how many
    weights_at: int | None  # where its attention begins in `weights`; None where it was not kept
    stray: float | None  # the largest weight that any token gave to another request's; None: not looked at

    @property
    def n_tokens(self) -> int:
        """Tokens that the pass read."""
        return sum(share.n_tokens for share in self.shares)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """The same requests under one scheduler, timed without recording: continuous, static or sequential."""

    name: Literal["continuous", "static", "one by one"]
    seconds: tuple[float, ...]  # from the start to the last token, of each repeated run
    ttft: tuple[float, ...]  # of each request, from its arrival to its first token, in the run of median length
    latency: tuple[float, ...]  # of each request, from its arrival to its last token, in that run
    passes: tuple["TimedPass", ...]  # of that run
    n_written: int  # tokens
    same_tokens: tuple[bool, ...]  # of each request: whether it wrote what plain `generate` writes

    @property
    def scheduler(self) -> str:
        """What it is called in the field; files call the sequential baseline "one by one"."""
        return translated(CALLED[self.name])

    @property
    def total_s(self) -> float:
        """Seconds of the run that all its numbers are of: of median length, the shorter of two in the middle."""
        return statistics.median_low(self.seconds)

    @property
    def rate(self) -> float:
        """Tokens written a second, in that run."""
        return self.n_written / self.total_s

    @property
    def n_read(self) -> int:
        """Tokens that its passes worked on, padding included."""
        return sum(each.n_tokens + each.n_padding for each in self.passes)

    @property
    def n_padding(self) -> int:
        """Of those, tokens that are no text: work for nothing."""
        return sum(each.n_padding for each in self.passes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedPass:
    """One forward pass of a timed run."""

    at_s: float
    seconds: float
    rows: tuple[tuple[int, int, int], ...]  # request, tokens of its text, padding beside them

    @property
    def n_tokens(self) -> int:
        """Tokens of text that it worked on."""
        return sum(n_tokens for _, n_tokens, _ in self.rows)

    @property
    def n_padding(self) -> int:
        """Padding that it worked on."""
        return sum(n_padding for _, _, n_padding in self.rows)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Batching(Saved):
    """Several requests through a continuous-batching engine, tick by tick, and the same ones under other schedulers.

    weights [W] holds the attention of the ticks as it ran, each float32 of (layers, heads, tokens of the pass, keys
    of the pass), one tick after the other from its `weights_at` on; `attention` cuts it. It was run with eager
    attention, the only one that gives weights; the schedulers were timed with the attention that the model runs on.
    """

    model: ModelCard
    machine: str  # in words: processor, threads, device, dtype
    settings: Settings
    requests: tuple[Request, ...]
    block_size: int  # tokens of one request that a block holds
    n_blocks: int
    block_bytes: int  # of one block, over all layers, from the cache's tensors
    token_budget: int  # the most tokens that a tick reads
    max_requests: int  # the most requests that a tick works on
    sharing: bool  # whether prompts that begin alike share blocks
    ticks: tuple[Tick, ...] = ()
    ways: tuple[Way, ...] = ()
    notes: tuple[str, ...] = ()

    weights: Annotated[np.ndarray, Shape("float32", "W")]

    def __post_init__(self) -> None:
        super().__post_init__()
        for at, tick in enumerate(self.ticks):
            self._check_tick(at, tick)
        for way in self.ways:
            if not len(way.ttft) == len(way.latency) == len(way.same_tokens) == len(self.requests):
                raise BadTrace(
                    "{scheduler} does not have {n_requests} requests.",
                    scheduler=way.name,
                    n_requests=len(self.requests),
                )

    def _check_tick(self, at: int, tick: Tick) -> None:
        """Tokens and blocks are conserved: every block is free, kept, or in a table, and only shared ones twice."""
        mentioned = {*(s.request for s in tick.shares), *(t.request for t in tick.tables), *tick.waiting}
        if not all(0 <= each < len(self.requests) for each in mentioned):
            raise BadTrace("tick {at} has a request that does not exist.", at=at)
        held = {block for table in tick.tables if table.request not in tick.freed for block in table.blocks}
        if tick.n_free + len(set(tick.cached) - held) + len(held) != self.n_blocks:
            raise BadTrace(
                "tick {at} has {n_held} blocks in use and {n_free} free, of {n_blocks} in all.",
                at=at,
                n_held=len(held),
                n_free=tick.n_free,
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
        return self.model.n_layers * self.model.n_heads * tick.n_tokens * sum(count for _, count in tick.keys)

    def attention(self, tick: int, layer: int, head: int) -> np.ndarray | None:
        """The weights of one head as they ran, float32 [tokens of the pass, keys of the pass]; None if not kept."""
        asked = self.ticks[tick]
        if asked.weights_at is None:
            return None
        n_keys = sum(count for _, count in asked.keys)
        kept = self.weights[asked.weights_at : asked.weights_at + self._size(asked)]
        return kept.reshape(self.model.n_layers, self.model.n_heads, asked.n_tokens, n_keys)[layer, head]
