"""The ticks of served texts as steps to move over: which is worth looking at first, and each in a line of words."""

from model.records.batching import Batching, Tick
from model.texts import counted, phrase
from viz import served
from viz.account import Steps
from viz.measured import n_tokens
from viz.view import Follows, Selection


def first_tick(record: Batching) -> tuple[int, str]:
    """What is worth looking at first, and why: the tick that preempts a text, else the one that serves most at once."""
    preempting = next((i for i, tick in enumerate(record.ticks) if tick.preempted), None)
    if preempting is not None:
        return preempting, phrase("here the blocks run out, and a text is preempted")
    fullest = max(range(len(record.ticks)), key=lambda i: len(record.ticks[i].scheduled), default=0)
    return fullest, phrase("the largest batch")


def _picks(record: Batching, _: int = 0) -> list[Selection]:
    return [Selection(tick=i) for i in range(len(record.ticks))]


def _places(record: Batching, follows: Follows) -> list[Selection]:
    return _picks(record) if follows == "tick" else []


def _words(record: Batching, at: Selection) -> str:
    return _told(record, record.ticks[at.tick])


def _told(record: Batching, tick: Tick) -> str:
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


TICKS = Steps(name="tick", picks=_picks, places=_places, words=_words)
