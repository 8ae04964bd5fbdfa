"""What a model at work for several texts at once, or with a draft before it, did: Batching and Speculation.

Frozen values, as `records` has them of one generation; numpy only. Seconds are by the wall clock, from the start of
the run. What was recorded tick by tick or round by round was slowed by the recording; the times that are compared come
from runs of their own without it. Axes of the arrays, by letter: W attention weights of all ticks, one after the
other; R repeated runs, S sizes of a verify pass, Q tries of one size.
"""

import statistics
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from model.errors import BadTrace
from model.records import Candidate, ModelCard, Settings, Token
from model.storage import Saved, Shape


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
    """One way to serve the same requests, timed without recording: continuous batching, static, or one by one."""

    name: Literal["continuous", "static", "one by one"]
    seconds: tuple[float, ...]  # from the start to the last token, of each repeated run
    ttft: tuple[float, ...]  # of each request, from its arrival to its first token, in the run of median length
    latency: tuple[float, ...]  # of each request, from its arrival to its last token, in that run
    passes: tuple["TimedPass", ...]  # of that run
    n_written: int  # tokens
    same_tokens: tuple[bool, ...]  # of each request: whether it wrote what plain `generate` writes

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
    """One forward pass of a way to serve."""

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
    """Several requests through a continuous-batching engine, tick by tick, and the same ones served in other ways.

    weights [W] holds the attention of the ticks as it ran, each float32 of (layers, heads, tokens of the pass, keys
    of the pass), one tick after the other from its `weights_at` on; `attention` cuts it. It was run with eager
    attention, the only one that gives weights; the ways were timed with the attention that the model runs on anyway.
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
                raise BadTrace(f"{way.name} does not tell of {len(self.requests)} requests.")

    def _check_tick(self, at: int, tick: Tick) -> None:
        """Tokens and blocks are conserved: every block is free, kept, or in a table, and only shared ones twice."""
        mentioned = {*(s.request for s in tick.shares), *(t.request for t in tick.tables), *tick.waiting}
        if not all(0 <= each < len(self.requests) for each in mentioned):
            raise BadTrace(f"tick {at} tells of a request that was not made.")
        held = {block for table in tick.tables if table.request not in tick.freed for block in table.blocks}
        if tick.n_free + len(set(tick.cached) - held) + len(held) != self.n_blocks:
            raise BadTrace(f"tick {at} has {len(held)} blocks in use and {tick.n_free} free of {self.n_blocks}.")
        if tick.n_tokens > self.token_budget:
            raise BadTrace(f"tick {at} reads {tick.n_tokens} tokens, and may read {self.token_budget}.")
        if tick.weights_at is not None and tick.weights_at + self._size(tick) > len(self.weights):
            raise BadTrace(f"the attention of tick {at} is not all there.")

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drafted:
    """One drafted token before the judge: what draft and target thought of it, and the verdict."""

    id: int
    q: float | None  # the draft's probability of it; None where the draft has none, as in prompt lookup
    p: float  # the target's probability of it, after the settings' processors
    random: float | None  # the number that it was judged by; None where there is none (greedy, or after a refusal)
    accepted: bool
    draft_best: tuple[Candidate, ...]  # the draft's likeliest tokens; empty where it has no probabilities
    target_best: tuple[Candidate, ...]  # the target's likeliest tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """One round of speculation: a few tokens drafted, one pass of the target over all of them, and the verdicts."""

    first: int  # position of the first drafted token in the text
    drafted: tuple[Drafted, ...]  # may be none, where the draft had nothing to say
    n_accepted: int
    written: tuple[int, ...]  # ids: the accepted ones, and the target's own token after them, if it was kept
    own: Literal["corrected", "bonus", "none"]  # the target's own token: in place of a refused one, or after them all
    own_best: tuple[Candidate, ...]  # likeliest of what it came from, max(p - q, 0) or p, and the token itself
    n_read: int  # tokens that the target's pass read
    draft_s: float  # recording included
    verify_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """One way to speculate, tried on the run's prompt: its rounds, and its time beside plain decoding's.

    plain_s and speculated_s are runs without recording, in turns: plain, speculated, plain, ...
    """

    mode: Literal["prompt lookup", "early exit", "own draft", "draft model"]
    name: str  # in words, such as "early exit after layer 14 of 30"
    n_draft: int  # the most tokens drafted in a round
    rounds: tuple[Round, ...]
    tokens: tuple[Token, ...]  # prompt and written
    same_tokens: bool | None  # whether they are plain decoding's own; None where they are drawn, and may differ
    plain_s: tuple[float, ...]  # seconds from the call to the last token
    speculated_s: tuple[float, ...]
    plain_tokens: int  # written in each plain run
    speculated_tokens: int
    draft_token_s: float | None  # one drafted token, median of the rounds of the unrecorded runs
    notes: tuple[str, ...] = ()  # such as why it loses

    @property
    def n_drafted(self) -> int:
        """Tokens drafted in all rounds."""
        return sum(len(each.drafted) for each in self.rounds)

    @property
    def n_accepted(self) -> int:
        """Drafted tokens that were accepted."""
        return sum(each.n_accepted for each in self.rounds)

    @property
    def acceptance(self) -> float | None:
        """Accepted of the tokens that were judged: those after a refused one were not. None if none was."""
        judged = sum(each.n_accepted + (each.own == "corrected") for each in self.rounds)
        return self.n_accepted / judged if judged else None

    @property
    def tokens_per_pass(self) -> float:
        """Tokens written for each pass of the target."""
        return sum(len(each.written) for each in self.rounds) / len(self.rounds) if self.rounds else 0.0

    @property
    def turns(self) -> tuple[float, ...]:
        """Of each turn, how many times as fast as plain decoding it wrote a token; none while they are not timed."""
        pairs = zip(self.plain_s, self.speculated_s, strict=False)
        return tuple((one / self.plain_tokens) / (two / self.speculated_tokens) for one, two in pairs)

    @property
    def speedup(self) -> float | None:
        """Plain seconds a token over speculated seconds a token, medians: above 1 speculation gains."""
        if not self.plain_s or not self.speculated_s:
            return None
        plain = float(np.median(self.plain_s)) / self.plain_tokens
        return plain / (float(np.median(self.speculated_s)) / self.speculated_tokens)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Speculation(Saved):
    """One prompt continued with a draft before the model, in one or more ways, round by round.

    verify_s [S, Q] is a pass of the target that reads verify_sizes [S] tokens after a context of the run's length,
    timed without recording: 1 is a plain decode pass, k + 1 a round with k drafted tokens.
    """

    model: ModelCard
    machine: str  # in words: processor, threads, device, dtype
    prompt: str
    settings: Settings
    n_prompt: int
    tokens: tuple[Token, ...]  # as plain decoding writes them: prompt and written
    texts: dict[int, str]  # of every id that the attempts mention
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()

    verify_sizes: Annotated[np.ndarray, Shape("int32", "S")]
    verify_s: Annotated[np.ndarray, Shape("float64", "S Q")]

    def __post_init__(self) -> None:
        super().__post_init__()
        for attempt in self.attempts:
            self._check_attempt(attempt)

    def _check_attempt(self, attempt: Attempt) -> None:
        """Every written token comes from one round, accepted ones are the drafted ones, and all can be read."""
        written = [each for one in attempt.rounds for each in one.written]
        if written != [token.id for token in attempt.tokens[self.n_prompt :]]:
            raise BadTrace(
                f"the rounds of {attempt.name} do not write its {len(attempt.tokens) - self.n_prompt} tokens."
            )
        for one in attempt.rounds:
            accepted = [each.id for each in one.drafted if each.accepted]
            if len(accepted) != one.n_accepted or list(one.written[: len(accepted)]) != accepted:
                raise BadTrace(f"a round of {attempt.name} writes other tokens than it accepts.")
            best = (each.id for drafted in one.drafted for each in (*drafted.draft_best, *drafted.target_best))
            mentioned = {*best, *one.written, *(each.id for each in (*one.own_best, *one.drafted))}
            if missing := mentioned - self.texts.keys():
                raise BadTrace(f"{attempt.name} mentions token {min(missing)} and does not say how it reads.")
