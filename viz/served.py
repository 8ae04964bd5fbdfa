"""What the pictures of served texts share: a letter and a colour for each text, and who does what in a tick."""

from typing import Literal

from model.errors import NotShown
from model.records import Token
from model.serving import Batching, Share, Tick
from viz import markup, theme
from viz.theme import Mode
from viz.view import Pick

HUES = ("query", "generated", "value", "doubt", "key", "prompt", "weight")
"""Roles of the theme whose colours the texts have, in turns; assets/css/views/serving.css repeats their order."""

Doing = Literal["not here", "waiting", "prefill", "decode", "idle", "put back", "done"]


def letter(request: int) -> str:
    """What a text is called: A to Z, then AA, AB and so on."""
    name = ""
    request += 1
    while request:
        request, place = divmod(request - 1, 26)
        name = chr(65 + place) + name
    return name


def letters(requests: list[int]) -> str:
    """Several of them in words: A, B and C."""
    *most, last = [letter(each) for each in requests]
    return f"{', '.join(most)} and {last}" if most else last


def colour(request: int, mode: Mode) -> str:
    """The fill of a text's colour."""
    return theme.ROLES[HUES[request % len(HUES)]][mode].fill


def css_class(request: int) -> str:
    """The class that gives an element the text's colour."""
    return f"ts-r{request % len(HUES)}"


def tick_of(record: Batching, at: Pick) -> Tick:
    """The picked tick. Raises: NotShown, if the record has fewer."""
    if at.tick >= len(record.ticks):
        raise NotShown(f"Tick {at.tick + 1} was asked for; this record has {len(record.ticks)}.")
    return record.ticks[at.tick]


def share_of(tick: Tick, request: int) -> Share | None:
    """What this text had of the tick, if anything."""
    return next((share for share in tick.shares if share.request == request), None)


def doing(record: Batching, request: int) -> list[Doing]:
    """What became of one text in each tick."""
    told: list[Doing] = []
    done = False
    for tick in record.ticks:
        share = share_of(tick, request)
        if done:
            told.append("done")
        elif share:
            told.append(share.phase)
        elif request in tick.put_back:
            told.append("put back")
        elif any(table.request == request for table in tick.tables):
            told.append("idle")
        elif request in tick.waiting or record.requests[request].arrives_s <= tick.at_s:
            told.append("waiting")
        else:
            told.append("not here")
        done = done or (request in tick.freed and request not in tick.put_back)
    return told


def token_at(record: Batching, request: int, position: int) -> Token | None:
    """The token of a text at a position, if it is there (already)."""
    tokens = record.requests[request].tokens
    return tokens[position] if position < len(tokens) else None


def start(record: Batching, request: int, most: int = 26) -> str:
    """How a text begins, in plain text on one line."""
    prompt = " ".join(record.requests[request].prompt.split())
    prompt = "".join(markup.visible(_piece(each)) if each != " " else " " for each in prompt[: most + 1])
    return prompt if len(prompt) <= most else prompt[: most - 1] + "\u2026"


def _piece(character: str) -> Token:
    return Token(id=0, text=character, data=b"", span=(0, 0), special=False, generated=False)
