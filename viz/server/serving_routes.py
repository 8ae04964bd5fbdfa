"""What the page "Serve" fetches of a record: its pictures, and those that follow the tick or the round, one for each.

The browser holds the pictures of every tick, so that moving over them asks nothing. What is too large for that, such
as the attention of one layer and head, is asked for when it is looked at.
"""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from model.errors import NotShown
from model.records.batching import Batching
from model.records.speculation import Speculation
from viz import glossary, measured_page, steps
from viz.served import letter
from viz.theme import Mode
from viz.view import Pick, View, as_json

AT_ONCE = 100  # pictures of ticks in one answer
_PASSING = {"cache-control": "no-store"}
_PICKED = ("tick", "layer", "head", "request", "attempt", "round", "token")
_DIGITS = 6  # of a number in an address


def overview(request: Request, record: Batching | Speculation) -> Response:
    """What can be picked, and every picture; of those that follow a pick, the title and the sentence alone."""
    mode, at = _mode(request), pick(request)
    drawn = [
        as_json(shown, record, at, mode) if shown.follows in ("nothing", "attempt") else _shell(shown, record)
        for shown in measured_page.views_of(type(record))
    ]
    facts, counts = json.dumps(measured_page.facts(record)), json.dumps(_counts(record))
    return _json(f'{{"facts": {facts}, "counts": {counts}, "pictures": [{", ".join(drawn)}]}}')


def frames(request: Request, record: Batching | Speculation) -> Response:
    """The pictures that follow the tick, or the round of one attempt, from the `from`th on: at most AT_ONCE of each."""
    mode, at = _mode(request), pick(request)
    first, there = _whole(request.query_params.get("from", "")), steps.picks(record, at.attempt)
    asked = there[first : first + AT_ONCE]
    shown = [each for each in measured_page.views_of(type(record)) if each.follows == steps.name_of(record)]
    drawn = {each.name: [as_json(each, record, step, mode) for step in asked] for each in shown}
    lists = ", ".join(f"{json.dumps(each)}: [{', '.join(pictures)}]" for each, pictures in drawn.items())
    words = json.dumps([steps.words(record, step) for step in asked])
    return _json(f'{{"from": {first}, "count": {len(there)}, "words": {words}, "frames": {{{lists}}}}}')


def picture(request: Request, record: Batching | Speculation) -> Response:
    """One picture as it is for everything that is picked. Raises: NotShown, if there is none by that name."""
    name = request.query_params.get("name", "")
    for shown in measured_page.views_of(type(record)):
        if shown.name == name:
            return _json(as_json(shown, record, pick(request), _mode(request)))
    raise NotShown(f"There is no picture by the name {ascii(name)[:60]}.")


def pick(request: Request) -> Pick:
    """What is looked at, as the address says it; what it does not say is 0."""
    return Pick(**{name: _whole(request.query_params.get(name, "")) for name in _PICKED})


def _counts(record: Batching | Speculation) -> dict[str, Any]:
    """What can be picked, and what of it is worth looking at first."""
    first = steps.first_seen(record)
    if isinstance(record, Speculation):
        return {
            "attempts": [each.name for each in record.attempts],
            "best": first.attempt,
            "starts": [steps.first_round(each) for each in record.attempts],
        }
    return {
        "starts": [first.tick],
        "why": steps.why_first(record),
        "layers": record.model.n_layers,
        "heads": record.model.n_heads,
        "requests": [letter(i) for i in range(len(record.requests))],
    }


def _shell(shown: View, record: Batching | Speculation) -> str:
    parts = {name: getattr(shown, name) for name in ("name", "title", "caption", "follows")}
    parts["said"] = glossary.explained(shown.caption)
    return json.dumps({**parts, "missing": shown.missing(record), "html": None, "figure": None})


def _mode(request: Request) -> Mode:
    return "dark" if request.query_params.get("dark") == "1" else "light"


def _json(body: str) -> Response:
    return Response(body, media_type="application/json", headers=_PASSING)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0
