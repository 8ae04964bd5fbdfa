"""What a model did with a draft before it: Speculation, round by round.

Frozen values, numpy only. Seconds are by the wall clock. What was recorded round by round was slowed by the recording;
the times that are compared come from runs of their own without it. Axes of the arrays, by letter: R repeated runs,
S sizes of a verify pass, Q tries of one size.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.trace import Candidate, ModelCard, Settings, Token


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
        """The share of the verified tokens that was accepted; those after a rejected one are not. None if none was."""
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
