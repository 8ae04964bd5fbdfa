"""The pictures of a record that are drawn in Python, as frames of a saved page: one for each place that they follow."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from model.requests.registry import of_record as of_kind
from model.texts import phrase
from viz import views
from viz.view import Record, Selection, View
from viz.wire import parts
from viz.wire.packing import pack

BEGINNING, END = 300, 100  # ticks or rounds of a long run that its saved page holds
NOT_HELD = phrase("This page does not hold this picture.")
_HELD_FIXED = phrase(
    "A saved page holds this picture for one tick, layer and head only. The page Serve and the Python library, which "
    "opens the record's file, draw it for all of them."
)


def saved(record: Record, at: Selection | None = None) -> list[bytes]:
    """What the record says of itself, then every picture, in light and dark where these differ.

    `at` is what the page opens on, by default what is worth looking at first. Of a long run it holds the pictures of
    the first 300 and the last 100 steps and of that one; the others say that they are not held.
    """
    account = views.account_of(record)
    at = at or account.first(record)
    drawn, notes = [], {}
    for shown in views.all_views(type(record)):
        if shown.missing(record):
            continue
        places = (account.steps.places(record, shown.follows) if account.steps else []) or [at]
        left_out = _left_out(record, places, at)
        if note := _note(shown, record, left_out, at):
            notes[shown.name] = note
        for place in places:
            drawn += _pictures(shown, record, place, held=place not in left_out)
    name = of_kind(type(record)).name
    return [parts.of_record(record, name, at=_axes(record, at), notes=notes), *drawn]


def _pictures(shown: View, record: Record, at: Selection, *, held: bool) -> Iterator[bytes]:
    """One picture, or one for each theme; tables and the like take their colours from the page's style."""
    about: dict[str, Any] = {"name": shown.name, "at": _followed(shown, at), "dark": None}
    steps = views.account_of(record).steps
    if steps is not None and shown.follows == steps.name:
        about["words"] = steps.words(record, at)
    if not held:
        yield pack("picture", about | {"picture": {"html": None, "figure": None, "missing": NOT_HELD}})
        return
    for mode in ("light", "dark"):
        drawn = shown.draw(record, at, mode)
        if isinstance(drawn, str):
            yield pack("picture", about | {"picture": {"html": drawn, "figure": None, "missing": None}})
            return
        picture = {"html": None, "figure": json.loads(drawn.to_json() or "null"), "missing": None}
        yield pack("picture", about | {"dark": mode == "dark", "picture": picture})


def _followed(shown: View, at: Selection) -> dict[str, int]:
    """The part of the selection that this picture is of."""
    axes = {"tick": ("tick",), "round": ("attempt", "round"), "attempt": ("attempt",)}.get(shown.follows, ())
    return {name: getattr(at, name) for name in axes}


def _axes(record: Record, at: Selection) -> dict[str, Any]:
    """What the page opens on, as far as this kind of record has it."""
    names = {"tick": ("tick", "layer", "head"), "round": ("attempt", "round", "token")}
    which = names.get(_steps(record), ("context", "users", "bits"))
    return {name: getattr(at, name) for name in which}


def _steps(record: Record) -> str:
    """What its steps are called; empty for none."""
    steps = views.account_of(record).steps
    return steps.name if steps else ""


def _left_out(record: Record, places: list[Selection], at: Selection) -> set[Selection]:
    """Those in the middle of a long run, except the one that the page opens on."""
    name = _steps(record)
    if not name:
        return set()
    counts = Counter(place.attempt for place in places)
    middle = {place for place in places if BEGINNING <= getattr(place, name) < counts[place.attempt] - END}
    return {place for place in middle if (place.attempt, getattr(place, name)) != (at.attempt, getattr(at, name))}


def _note(shown: View, record: Record, left_out: set[Selection], at: Selection) -> str:
    """What to know of a picture that this page does not hold for everything."""
    if shown.follows == "pick":
        return _HELD_FIXED
    if not left_out:
        return ""
    name = _steps(record)
    first = getattr(at, name)
    count = max(getattr(place, name) for place in left_out) + 1 + END
    held = {"first": BEGINNING, "last": END}
    if BEGINNING <= first < count - END:
        one = first
        said = (
            phrase(
                "This page holds the picture of the first {first} and the last {last} ticks, and of tick {one}.",
                **held,
                one=one,
            )
            if name == "tick"
            else phrase(
                "This page holds the picture of the first {first} and the last {last} rounds, and of round {one}.",
                **held,
                one=one,
            )
        )
    elif name == "tick":
        said = phrase("This page holds the picture of the first {first} and the last {last} ticks.", **held)
    else:
        said = phrase("This page holds the picture of the first {first} and the last {last} rounds.", **held)
    others = phrase("The page Serve and the Python library, which opens the record's file, draw the others.")
    return f"{said} {others}"
