"""A record's parts as they come: those from one on, and a status frame after them."""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from model.errors import NotShown
from viz.server.answers import PASSING, lasting, whole
from viz.server.store import GONE, Kept, Reading, Store

_ANSWER_S = 1.0  # that an answer which follows lasts: a request for each part would cost a run more than its making
_LOOK_S = 0.02
_FOLLOWED = PASSING | {"x-accel-buffering": "no"}  # a proxy in between hands on what comes


def answer(request: Request, store: Store, kept: Kept) -> Response:
    """The parts that are there; with `follow=1` those of the next second as well, unless nothing more comes."""
    since = whole(request.query_params.get("since"))
    reading = _read(store, kept, since)
    if reading.complete or request.query_params.get("follow") != "1":
        return lasting(request, _body(reading), f"{reading.n_parts}-{since}", reading.complete)
    return StreamingResponse(_followed(store, kept, reading), headers=_FOLLOWED, media_type="application/octet-stream")


async def _followed(store: Store, kept: Kept, reading: Reading) -> AsyncIterator[bytes]:
    """What changes within a second: new parts, and after them how things stand."""
    yield _body(reading)
    end = time.monotonic() + _ANSWER_S
    while not reading.complete and time.monotonic() < end and store.get(kept.id) is kept:
        await asyncio.sleep(_LOOK_S)
        if kept.changed != reading.changed:
            reading = _read(store, kept, reading.n_parts)
            yield _body(reading)


def _read(store: Store, kept: Kept, since: int) -> Reading:
    if (reading := store.read(kept, since)) is None:
        raise NotShown("{gone}", gone=GONE)
    return reading


def _body(reading: Reading) -> bytes:
    return b"".join((*reading.parts, reading.status))
