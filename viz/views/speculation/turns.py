"""The rounds of a draft as steps to move over: which is worth looking at first, and each in a line of words."""

from model.records.speculation import Attempt, Round, Speculation
from model.texts import phrase
from viz.account import Steps
from viz.view import Follows, Selection


def first_seen(record: Speculation) -> Selection:
    """The draft of which most was accepted, where that begins."""
    best = max(range(len(record.attempts)), key=lambda i: record.attempts[i].n_accepted, default=0)
    return Selection(attempt=best, round=first_round(record.attempts[best]) if record.attempts else 0)


def first_round(attempt: Attempt) -> int:
    """The first round in which a guess was accepted, else the first with a guess, else the first."""
    guessed = [i for i, one in enumerate(attempt.rounds) if one.drafted]
    return next((i for i in guessed if attempt.rounds[i].n_accepted), guessed[0] if guessed else 0)


def _picks(record: Speculation, attempt: int = 0) -> list[Selection]:
    if attempt >= len(record.attempts):
        return []
    return [Selection(attempt=attempt, round=i) for i in range(len(record.attempts[attempt].rounds))]


def _places(record: Speculation, follows: Follows) -> list[Selection]:
    attempts = range(len(record.attempts))
    if follows == "attempt":
        return [Selection(attempt=i) for i in attempts]
    return [place for i in attempts for place in _picks(record, i)] if follows == "round" else []


def _words(record: Speculation, at: Selection) -> str:
    return _told(record.attempts[at.attempt].rounds[at.round])


def _told(one: Round) -> str:
    if not one.drafted:
        return phrase("nothing was drafted, and the model decoded one token as usual")
    parts = [
        phrase("{n} drafted", n=len(one.drafted)),
        phrase("{n} accepted", n=one.n_accepted),
        {"corrected": phrase("1 corrected"), "bonus": phrase("1 bonus token"), "none": ""}[one.own],
        phrase("{n:,} written", n=len(one.written)),
    ]
    return ", ".join(filter(None, parts))


ROUNDS = Steps(name="round", picks=_picks, places=_places, words=_words)
