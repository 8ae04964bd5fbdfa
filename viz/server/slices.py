"""What a page asks for one by one of a run: a layer's rows or vectors, pooled maps and exact parts of them, one row's
numbers, one choice's logits, columns of the logit lens.
"""

import threading
import time

from starlette.requests import Request
from starlette.responses import Response

from model.api.engine import Engine, Models
from model.api.job import Job
from model.errors import BadSetting, Busy, NotShown
from model.records.lens import missing_columns, with_columns_of
from model.records.trace import Trace
from viz.server.answers import PASSING, lasting, record_of, whole
from viz.server.store import Kept, Store
from viz.wire import slices

_COLUMNS = 32  # of the lens, in one question
_COLUMNS_S = 4.0  # that an answer waits for columns that nobody has computed yet
_waiting = threading.BoundedSemaphore(4)  # answers that wait so: each has one of the server's threads
_LOOK_S = 0.1


def layer(request: Request, store: Store, kept: Kept) -> Response:
    """One layer's attention rows."""
    done, number = kept.standing.complete, request.path_params["layer"]  # done first: it may end while this is read
    return lasting(request, slices.layer(_run(store, kept, "layer", number), number), f"layer-{number}", done)


def pooled(request: Request, store: Store, kept: Kept) -> Response:
    """One head's map, pooled."""
    layer, head = (request.path_params[name] for name in ("layer", "head"))
    done, run = kept.standing.complete, _run(store, kept, "map", layer)
    return lasting(request, slices.pooled(run, layer, head), f"map-{layer}-{head}", done)


def part(request: Request, store: Store, kept: Kept) -> Response:
    """An exact part of one head's map."""
    layer, head, row, key = (request.path_params[name] for name in ("layer", "head", "row", "key"))
    done, run = kept.standing.complete, _run(store, kept, "part", layer)
    return lasting(request, slices.part(run, layer, head, row, key), f"part-{layer}-{head}-{row}-{key}", done)


def rows(request: Request, store: Store, kept: Kept) -> Response:
    """One token's rows in every head of a layer."""
    layer, position = request.path_params["layer"], request.path_params["position"]
    done, run = kept.standing.complete, _run(store, kept, "rows", layer)
    return lasting(request, slices.rows(run, layer, position), f"rows-{layer}-{position}", done)


def little(request: Request, store: Store, kept: Kept) -> Response:
    """Every head's map in little."""
    done = kept.standing.complete
    return lasting(request, slices.little(_run(store, kept, "little", 0)), "little", done)


def row(request: Request, store: Store, kept: Kept) -> Response:
    """The exact numbers of one row."""
    layer, head, position = (request.path_params[name] for name in ("layer", "head", "position"))
    done, run = kept.standing.complete, _run(store, kept, "row", position)
    slices.check_position(run, position)
    return lasting(request, slices.row(run, layer, head, position), f"row-{layer}-{head}-{position}", done)


def vectors(request: Request, store: Store, kept: Kept) -> Response:
    """One layer's queries, keys and values."""
    number, done = request.path_params["number"], kept.standing.complete
    if kept.shipped is not None:
        return lasting(request, kept.shipped.part("vectors", number), f"vectors-{number}", done)
    return lasting(request, slices.vectors(_run(store, kept, "vectors", number), number), f"vectors-{number}", done)


def logits(request: Request, store: Store, kept: Kept) -> Response:
    """The raw scores of one choice."""
    number, done = request.path_params["number"], kept.standing.complete
    if kept.shipped is not None:
        return lasting(request, kept.shipped.part("logits", number), f"logits-{number}", done)
    return lasting(request, slices.logits(_run(store, kept, "logits", number), number), f"logits-{number}", done)


def lens(request: Request, store: Store, kept: Kept, models: Models) -> Response:
    """Columns of the logit lens: those that the record lacks are computed now, where nobody else waits for the model.

    Fewer than were asked for come where time or somebody else cut the work short. The record keeps what was computed.
    """
    positions = _positions(request.path_params["positions"])
    run = _run(store, kept, "lens", positions[0])
    if not kept.standing.complete:
        raise NotShown("These columns of the logit lens are computed once the run has ended.")
    slices.check_position(run, max(positions))
    if missing := missing_columns(run, positions):
        run = with_columns_of(run, _computed(models, run, missing))
        store.enrich(kept, lambda now: with_columns_of(now, run))
    lacking = set(missing_columns(run, positions))
    found = [each for each in positions if each not in lacking]
    return Response(slices.lens(run, found), media_type="application/octet-stream", headers=PASSING)


def _computed(models: Models, run: Trace, positions: list[int]) -> Trace:
    """The run with those of these columns for which there was time. Raises: Refusal, where there was for none."""
    engine, job = _engine_of(models, run), Job()
    if not _waiting.acquire(blocking=False):
        raise _busy()
    try:
        engine.add_columns(run, positions, job)
        ends = time.monotonic() + _COLUMNS_S
        for status in job.updates(wait_s=_LOOK_S):
            stats = engine.stats()
            if not status.complete and (stats.waiting or stats.running or time.monotonic() > ends):
                job.stop()
                break
    finally:
        _waiting.release()
    if job.error is not None:
        raise job.error
    if job.record is None:
        raise _busy()
    return job.record


def _busy() -> Busy:
    return Busy("Coming when the model is free: others use it now.")


def _engine_of(models: Models, run: Trace) -> Engine:
    """The loaded model that made the run."""
    made = (run.model.name, run.model.fingerprint)
    for name in models.names:
        engine = models.engine(name) if models.state(name).phase == "ready" else None
        if engine is not None and (engine.card.name, engine.card.fingerprint) == made:
            return engine
    raise NotShown("{model} is not loaded now, and only the model that made a run adds to it.", model=run.model.name)


def _positions(text: str) -> list[int]:
    """What an address names. Raises: BadSetting."""
    parts = text.split(",")
    if len(parts) > _COLUMNS:
        raise BadSetting("{n} columns are too many for one question; the limit is {most}.", n=len(parts), most=_COLUMNS)
    return list(dict.fromkeys(map(whole, parts)))


def _run(store: Store, kept: Kept, kind: str, number: int) -> Trace:
    if kept.shipped is not None:
        kept.shipped.part(kind, number)  # refuses, with the reason
    record = record_of(store, kept)
    if not isinstance(record, Trace):
        raise NotShown("This record is not a run, so it has no attention or logits.")
    return record
