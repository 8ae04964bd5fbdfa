"""What a page asks for one by one of a run: a layer's rows or vectors, one row's numbers, one choice's logits."""

from starlette.requests import Request
from starlette.responses import Response

from model.errors import BadSetting, NotShown
from model.records.trace import Trace
from viz.server.answers import lasting, record_of
from viz.server.store import Kept, Store
from viz.wire import slices


def layer(request: Request, store: Store, kept: Kept) -> Response:
    """One layer's attention rows."""
    done, number = kept.standing.complete, request.path_params["layer"]  # done first: it may end while this is read
    return lasting(request, slices.layer(_run(store, kept, "layer", number), number), f"layer-{number}", done)


def row(request: Request, store: Store, kept: Kept) -> Response:
    """The exact numbers of one row."""
    layer, head, position = (request.path_params[name] for name in ("layer", "head", "position"))
    done, run = kept.standing.complete, _run(store, kept, "row", position)
    if position >= run.n_fed:
        raise BadSetting(
            "position {position} does not exist: this run has read {n_fed} tokens.", position=position, n_fed=run.n_fed
        )
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


def _run(store: Store, kept: Kept, kind: str, number: int) -> Trace:
    if kept.shipped is not None:
        kept.shipped.part(kind, number)  # refuses, with the reason
    record = record_of(store, kept)
    if not isinstance(record, Trace):
        raise NotShown("This record is not a run, so it has no attention or logits.")
    return record
