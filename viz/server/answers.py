"""What the routes' answers share: headers, refusals, numbers and a selection read from an address."""

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from model.errors import NotShown, Refusal
from model.records.file import Saved
from viz.server.store import Kept, Store
from viz.theme import Mode
from viz.view import AXES, Selection, refusal_page

PASSING = {"cache-control": "no-store"}
FRAMED = PASSING | {
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
}
_DIGITS = 9  # of a number in an address


def not_found(_: Request, sentence: str) -> Response:
    """A refusal as plain text."""
    return PlainTextResponse(sentence, 404, PASSING)


def refused_frame(request: Request, sentence: str) -> Response:
    """A refusal as a page for a frame."""
    return HTMLResponse(refusal_page(sentence, mode(request)), 404, headers=FRAMED)


def lasting(request: Request, body: bytes, tag: str, done: bool) -> Response:
    """Bytes that never change once the record is complete: the browser may keep them."""
    if not done:
        return Response(body, media_type="application/octet-stream", headers=PASSING)
    headers = {"etag": f'"{tag}"', "cache-control": "private, max-age=31536000, immutable"}
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/octet-stream", headers=headers)


def whole(text: str | None) -> int:
    """A number of an address: what is none, or has too many digits, counts as 0."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def selection(request: Request) -> Selection:
    """What is looked at, as the address says it; an axis that it leaves out has its default. Raises: BadSetting."""
    asked = request.query_params
    given: dict[str, Any] = {name: whole(asked[name]) for name in AXES if name in asked}
    given |= {name: whole(asked[name]) for name in ("context", "users", "bits") if asked.get(name)}
    return Selection(**given)


def mode(request: Request) -> Mode:
    """The theme that the page has."""
    return "dark" if request.query_params.get("dark") == "1" else "light"


def record_of(store: Store, kept: Kept) -> Saved:
    """The record itself. Raises: NotShown for a run that comes with the app; Refusal, if there is none (yet)."""
    if kept.shipped is not None and kept.record is None:
        raise NotShown("A recorded run does not include its arrays. Press Run to see this for your own run.")
    record = store.record(kept)
    if record is None:
        raise Refusal("This record has nothing to show yet.")
    return record
