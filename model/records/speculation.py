"""Speculative decoding of one prompt, round by round.

Frozen values, numpy only. Seconds are by the wall clock. Recording slows the rounds down; the times that are compared
come from separate runs without recording. Axes of the arrays, by letter: S sizes of a verification pass, Q tries of one
size.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.products import FewRows
from model.records.schema import added
from model.records.trace import Candidate, ModelCard, Settings, Token


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drafted:
    """One drafted token and its verification: its probability under draft and target, and the verdict."""

    id: int
    q: float | None  # its probability under the draft; None if the draft has none, as in prompt lookup
    p: float  # its probability under the target, after the settings' processors
    random: float | None  # the random number of the test; None if there is none (greedy, or after a rejection)
    accepted: bool
    draft_best: tuple[Candidate, ...]  # the draft's likeliest tokens; empty if it has no probabilities
    target_best: tuple[Candidate, ...]  # the target's likeliest tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """One round of speculation: a few drafted tokens, and their verification in one pass of the target."""

    first: int  # position of the first drafted token in the text
    drafted: tuple[Drafted, ...]  # empty if the draft proposed nothing
    n_accepted: int
    written: tuple[int, ...]  # ids: accepted tokens, then the target's own token, if it was kept
    own: Literal[
        "corrected", "bonus", "none"
    ]  # the target's own token: in place of a rejected one, or after all accepted
    own_best: tuple[Candidate, ...]  # likeliest tokens of its distribution, max(p - q, 0) or p, and itself
    n_read: int  # tokens that the verification pass reads
    draft_s: float  # recording included
    verify_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """The prompt continued with one drafting method: its rounds, and its time beside that of plain decoding.

    plain_s and speculated_s are runs without recording, in turns: plain, speculated, plain, ...
    """

    mode: Literal["prompt lookup", "early exit", "own draft", "draft model"]
    name: str  # in words, such as "early exit after 15 of 30 layers"
    n_draft: int  # tokens drafted in a round at most
    rounds: tuple[Round, ...]
    tokens: tuple[Token, ...]  # prompt and written
    same_tokens: bool | None  # whether they equal those of plain decoding; None if they are sampled
    plain_s: tuple[float, ...]  # seconds from the call to the last token
    speculated_s: tuple[float, ...]
    plain_tokens: int  # written in each plain run
    speculated_tokens: int
    draft_token_s: float | None  # one drafted token, median over the rounds of the timed runs
    notes: tuple[str, ...] = ()  # such as why it is slower

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
        """Accepted tokens as a share of the verified ones; those after a rejection are not. None if none is."""
        n_verified = sum(each.n_accepted + (each.own == "corrected") for each in self.rounds)
        return self.n_accepted / n_verified if n_verified else None

    @property
    def tokens_per_pass(self) -> float:
        """Tokens written for each pass of the target."""
        return sum(len(each.written) for each in self.rounds) / len(self.rounds) if self.rounds else 0.0

    @property
    def turns(self) -> tuple[float, ...]:
        """The speedup over plain decoding per token in each turn; empty while they are not timed."""
        pairs = zip(self.plain_s, self.speculated_s, strict=False)
        return tuple((one / self.plain_tokens) / (two / self.speculated_tokens) for one, two in pairs)

    @property
    def speedup(self) -> float | None:
        """Median seconds per token of plain decoding over those with the draft: above 1 the draft pays."""
        if not self.plain_s or not self.speculated_s:
            return None
        plain = float(np.median(self.plain_s)) / self.plain_tokens
        return plain / (float(np.median(self.speculated_s)) / self.speculated_tokens)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Speculation(Saved):
    """One prompt continued by speculative decoding, with one or more drafting methods, round by round.

    verify_s [S, Q] is the time of a pass of the target over verify_sizes [S] tokens after a context of the run's
    length, without recording: 1 token is a plain decode pass, k + 1 the verification of k drafted tokens.
    """

    model: ModelCard
    machine: str  # in words: processor, threads, device, dtype
    prompt: str
    settings: Settings
    n_prompt: int
    tokens: tuple[Token, ...]  # prompt and tokens written by plain decoding
    texts: dict[int, str]  # the text of every id in the attempts
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    products: tuple[FewRows, ...] = added(())  # measured on this host before it ran; empty: all were torch's `linear`

    verify_sizes: Annotated[np.ndarray, Shape("int32", "S")]
    verify_s: Annotated[np.ndarray, Shape("float64", "S Q")]

    def __post_init__(self) -> None:
        super().__post_init__()
        for attempt in self.attempts:
            self._check_attempt(attempt)

    def _check_attempt(self, attempt: Attempt) -> None:
        """Check that the rounds write the tokens, accept drafted tokens, and that each id has its text."""
        written = [each for one in attempt.rounds for each in one.written]
        if written != [token.id for token in attempt.tokens[self.n_prompt :]]:
            raise BadTrace(
                "the rounds of {attempt} do not add up to its {n_tokens} tokens.",
                attempt=attempt.name,
                n_tokens=len(attempt.tokens) - self.n_prompt,
            )
        for one in attempt.rounds:
            accepted = [each.id for each in one.drafted if each.accepted]
            if len(accepted) != one.n_accepted or list(one.written[: len(accepted)]) != accepted:
                raise BadTrace("a round of {attempt} writes other tokens than it accepts.", attempt=attempt.name)
            best = (each.id for drafted in one.drafted for each in (*drafted.draft_best, *drafted.target_best))
            mentioned = {*best, *one.written, *(each.id for each in (*one.own_best, *one.drafted))}
            if missing := mentioned - self.texts.keys():
                raise BadTrace(
                    "{attempt} mentions token {missing}, whose text is missing.",
                    attempt=attempt.name,
                    missing=min(missing),
                )
