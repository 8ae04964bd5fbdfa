"""The ticks of served texts, or the rounds of a draft, as steps to move over: how many, and each in a line of words."""

from typing import Literal

from model.records.batching import Batching, Tick
from model.records.speculation import Attempt, Round, Speculation
from model.texts import counted, phrase
from viz import served
from viz.measured import n_tokens
from viz.view import Follows, Record, Selection


def name_of(record: Batching | Speculation) -> Literal["tick", "round"]:
    """What a step of this record is called."""
    return "tick" if isinstance(record, Batching) else "round"


def picks(record: Batching | Speculation, attempt: int = 0) -> list[Selection]:
    """Every tick, or every round of that draft, as a selection; of an unknown draft none."""
    if isinstance(record, Batching):
        return [Selection(tick=i) for i in range(len(record.ticks))]
    if attempt >= len(record.attempts):
        return []
    return [Selection(attempt=attempt, round=i) for i in range(len(record.attempts[attempt].rounds))]


def places(record: Record, follows: Follows) -> list[Selection]:
    """Every place of which a picture that follows this part of the selection has one; none for what has no steps."""
    if isinstance(record, Batching) and follows == "tick":
        return picks(record)
    if not isinstance(record, Speculation) or follows not in ("attempt", "round"):
        return []
    attempts = range(len(record.attempts))
    if follows == "attempt":
        return [Selection(attempt=i) for i in attempts]
    return [place for i in attempts for place in picks(record, i)]


def first_seen(record: Batching | Speculation) -> Selection:
    """What is worth looking at first: the tick that preempts a text, else the one that serves most at once; or the
    draft of which most was accepted, where that begins.
    """
    if isinstance(record, Batching):
        return Selection(tick=_first_tick(record)[0])
    best = max(range(len(record.attempts)), key=lambda i: record.attempts[i].n_accepted, default=0)
    return Selection(attempt=best, round=first_round(record.attempts[best]) if record.attempts else 0)


def first_round(attempt: Attempt) -> int:
    """The first round in which a guess was accepted, else the first with a guess, else the first."""
    guessed = [i for i, one in enumerate(attempt.rounds) if one.drafted]
    return next((i for i in guessed if attempt.rounds[i].n_accepted), guessed[0] if guessed else 0)


def why_first(record: Batching | Speculation) -> str:
    """Why that tick is worth looking at, to follow its words; nothing for a round."""
    return f"; {_first_tick(record)[1]}" if isinstance(record, Batching) else ""


def words(record: Batching | Speculation, at: Selection) -> str:
    """What happened in that tick or round, in one line of plain text."""
    if isinstance(record, Batching):
        return _tick(record, record.ticks[at.tick])
    return _round(record.attempts[at.attempt].rounds[at.round])


def _first_tick(record: Batching) -> tuple[int, str]:
    preempting = next((i for i, tick in enumerate(record.ticks) if tick.preempted), None)
    if preempting is not None:
        return preempting, phrase("here the blocks run out, and a text is preempted")
    fullest = max(range(len(record.ticks)), key=lambda i: len(record.ticks[i].scheduled), default=0)
    return fullest, phrase("the largest batch")


def _tick(record: Batching, tick: Tick) -> str:
    waiting = list(tick.waiting)
    parts = [
        phrase("read {n} of at most {tokens}", n=tick.n_tokens, tokens=n_tokens(record.token_budget)),
        phrase("for {texts}", texts=served.letters([chunk.request for chunk in tick.scheduled]))
        if tick.scheduled
        else "",
        counted(len(waiting), "{texts} waits", "{texts} wait", texts=served.letters(waiting)) if waiting else "",
        phrase("{free} of {n:,} blocks are free after it", free=tick.n_free_blocks, n=record.n_blocks),
    ]
    return "; ".join(filter(None, parts))


def _round(one: Round) -> str:
    if not one.drafted:
        return phrase("nothing was drafted, and the model decoded one token as usual")
    parts = [
        phrase("{n} drafted", n=len(one.drafted)),
        phrase("{n} accepted", n=one.n_accepted),
        {"corrected": phrase("1 corrected"), "bonus": phrase("1 bonus token"), "none": ""}[one.own],
        phrase("{n:,} written", n=len(one.written)),
    ]
    return ", ".join(filter(None, parts))
