"""For all pictures of served texts: a letter and a colour for each text, and its state in each tick."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from model.errors import NotShown
from model.records.batching import Batching, Request, ScheduledChunk, Tick, TimedScheduler, letter
from model.records.trace import Token
from model.texts import counted, listed, phrase
from viz import markup, theme
from viz.theme import Mode
from viz.view import Selection

HUES = ("query", "generated", "value", "doubt", "key", "prompt", "weight")
"""Roles of the theme whose colours the texts use, in turns; assets/css/views/serving.css repeats their order."""

Doing = Literal["not here", "waiting", "prefill", "decode", "idle", "preempted", "done"]


def letters(requests: list[int]) -> str:
    """Several of them in words: A, B and C."""
    return listed([letter(each) for each in requests])


def said_of(state: Doing) -> str:
    """The state of a text in a tick, in words."""
    return {
        "not here": phrase("not arrived yet"),
        "waiting": phrase("waiting"),
        "prefill": phrase("prefill"),
        "decode": phrase("decode"),
        "idle": phrase("not scheduled"),
        "preempted": phrase("preempted"),
        "done": phrase("finished"),
    }[state]


def colour(request: int, mode: Mode) -> str:
    """The fill of a text's colour."""
    return theme.ROLES[HUES[request % len(HUES)]][mode].fill


def css_class(request: int) -> str:
    """The class that gives an element the text's colour."""
    return f"ts-r{request % len(HUES)}"


def tick_of(record: Batching, at: Selection) -> Tick:
    """The picked tick. Raises: NotShown, if the record has fewer."""
    if at.tick >= len(record.ticks):
        raise NotShown("there is no tick {tick}; this record has {n_ticks}.", tick=at.tick, n_ticks=len(record.ticks))
    return record.ticks[at.tick]


def chunk_of(tick: Tick, request: int) -> ScheduledChunk | None:
    """The chunk of this text that the tick schedules, if any."""
    return next((chunk for chunk in tick.scheduled if chunk.request == request), None)


@dataclass(frozen=True, slots=True)
class History:
    """What the picture of each tick needs from all ticks, computed once for a record."""

    doing: tuple[tuple[Doing, ...], ...]  # of each text, in each tick
    used: tuple[int, ...]  # blocks that were ever used or cached, in order
    users: dict[int, tuple[tuple[int, int], ...]]  # of each block: (tick, request) where its user changes

    def last_user(self, block: int, tick: int) -> int | None:
        """The request whose tokens the block holds after this tick, running or not; None if none has used it."""
        users = self.users.get(block, ())
        place = bisect_right(users, tick, key=lambda since: since[0])
        return users[place - 1][1] if place else None


def history(record: Batching) -> History:
    """The history of this record object; a record that grows is a new object at each tick."""
    found = _HISTORIES.get(record)
    if found is None:
        _HISTORIES[record] = found = _history(record)
    return found


_HISTORIES: WeakKeyDictionary[Batching, History] = WeakKeyDictionary()  # a cache, for as long as the record lives


def _history(record: Batching) -> History:
    users: dict[int, list[tuple[int, int]]] = {}
    used: set[int] = set()
    for number, tick in enumerate(record.ticks):
        used.update(tick.cached_blocks)
        first: dict[int, int] = {}
        for table in tick.block_tables:
            for block in table.blocks:
                first.setdefault(block, table.request)
        for block, request in first.items():
            since = users.setdefault(block, [])
            if not since or since[-1][1] != request:
                since.append((number, request))
    return History(
        doing=tuple(tuple(_doing(record, request)) for request in range(len(record.requests))),
        used=tuple(sorted(used | users.keys())),
        users={block: tuple(since) for block, since in users.items()},
    )


def doing(record: Batching, request: int) -> tuple[Doing, ...]:
    """The state of one text in each tick."""
    return history(record).doing[request]


def _doing(record: Batching, request: int) -> list[Doing]:
    states: list[Doing] = []
    done = False
    for tick in record.ticks:
        chunk = chunk_of(tick, request)
        if done:
            states.append("done")
        elif chunk:
            states.append(chunk.phase)
        elif request in tick.preempted:
            states.append("preempted")
        elif any(table.request == request for table in tick.block_tables):
            states.append("idle")
        elif request in tick.waiting or record.requests[request].arrives_s <= tick.at_s:
            states.append("waiting")
        else:
            states.append("not here")
        done = done or (request in tick.freed and request not in tick.preempted)
    return states


def why_not(record: Batching, tick: Tick, request: int) -> str:
    """Why a text that has arrived is not scheduled in a tick: the engine's rules, in its order."""
    if tick.n_tokens >= record.token_budget:
        return phrase("the token budget of {budget:,} is used up", budget=record.token_budget)
    if len(tick.scheduled) >= record.max_requests:
        return counted(
            record.max_requests,
            "1 text is scheduled, the limit of a tick",
            "{n:,} texts are scheduled, the limit of a tick",
        )
    most = record.n_blocks * record.block_size
    held = next((table.n_tokens for table in tick.block_tables if table.request == request), 0)
    if sum(chunk.first for chunk in tick.scheduled) + max(held, 1) > most:
        return phrase(
            "a tick attends to at most {most:,} cached tokens; a token in a shared block counts once for each text "
            "that uses it",
            most=most,
        )
    return phrase("too few blocks are free: the engine reserves some for texts that are already decoding")


def blocks_in_use(tick: Tick) -> dict[int, list[int]]:
    """The requests that use each block after the tick."""
    users: dict[int, list[int]] = {}
    for table in tick.block_tables:
        for block in table.blocks if table.request not in tick.freed else ():
            users.setdefault(block, []).append(table.request)
    return users


def is_always_faster(one: TimedScheduler, other: TimedScheduler) -> bool:
    """Whether `one` wrote more tokens per second in every turn of as many runs."""
    pairs = zip(one.seconds, other.seconds, strict=True)
    return all(one.n_written / mine > other.n_written / theirs for mine, theirs in pairs)


def token_at(record: Batching, request: int, position: int) -> Token | None:
    """The token of a text at a position, if it exists already."""
    tokens = record.requests[request].tokens
    return tokens[position] if position < len(tokens) else None


def start(record: Batching, request: int, most: int = 26) -> str:
    """The start of a prompt on one line, in plain text; its end, where another prompt has the same start."""
    prompt, *others = (" ".join(each.prompt.split()) for each in _first(record, request))
    alike = len(prompt) > most and any(each[: most - 1] == prompt[: most - 1] for each in others)
    shown = prompt[-most:] if alike else prompt[: most + 1]
    shown = "".join(markup.visible(_piece(each)) if each != " " else " " for each in shown)
    if alike:
        return "\u2026" + shown[1 - most :].lstrip(" .,;:")
    return shown if len(shown) <= most else shown[: most - 1] + "\u2026"


def _first(record: Batching, request: int) -> list[Request]:
    """All requests, this one first."""
    return [record.requests[request], *(each for i, each in enumerate(record.requests) if i != request)]


def _piece(character: str) -> Token:
    return Token(id=0, text=character, data=b"", span=(0, 0), special=False, generated=False)
