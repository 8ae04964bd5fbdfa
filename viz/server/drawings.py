"""Pictures that are drawn in Python: one at a selection, as JSON or as a page for a frame; or those of many steps."""

import json

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from model.errors import BadSetting, NotShown
from model.records.file import Saved
from model.records.trace import Trace
from viz import views
from viz.server.answers import FRAMED, PASSING, mode, record_of, selection, whole
from viz.server.store import Kept, Store
from viz.view import View, as_json, page, page_of
from viz.views.trace.heads import BY_LOOKS, Looks, looks_of
from viz.wire import recorded

AT_ONCE = 100  # pictures of steps in one answer


def answer(request: Request, store: Store, kept: Kept) -> Response:
    """One picture; with `frame=1` as a page; with `along=tick` or `round` those of the steps from the `from`th on.

    Lines between tokens are drawn of runs that come with the app, too, and with `without_first=1` not to the first one.
    """
    name = request.path_params["view"]
    if name in BY_LOOKS and request.query_params.get("frame") == "1":
        return _lines(request, name, store, kept)
    record = record_of(store, kept)
    shown = _named(name, record)
    if "along" in request.query_params:
        return _along(request, shown, record)
    if request.query_params.get("frame") == "1":
        return _framed(request, shown, record)
    return _json(as_json(shown, record, selection(request), mode(request)))


def _along(request: Request, shown: View, record: Saved) -> Response:
    """A list of pictures, each with its step in words; past the last step it is empty."""
    along = request.query_params["along"]
    steps = views.account_of(record).steps
    if steps is None or steps.name != along:
        raise NotShown("this record has no steps named {along}.", along=ascii(along)[:60])
    first = whole(request.query_params.get("from"))
    places = steps.picks(record, selection(request).attempt)[first : first + AT_ONCE]
    drawn = (
        as_json(shown, record, at, mode(request))[:-1] + f', "words": {json.dumps(steps.words(record, at))}}}'
        for at in places
    )
    return _json(f"[{', '.join(drawn)}]")


def _lines(request: Request, name: str, store: Store, kept: Kept) -> Response:
    """Lines from token to token, as a page."""
    looks, at = _looks(name, store, kept), selection(request)
    if at.layer >= looks.n_layers:
        raise BadSetting(
            "layer {layer} does not exist: this model's layers are 0 to {last}.",
            layer=at.layer,
            last=looks.n_layers - 1,
        )
    if request.query_params.get("without_first") == "1":
        looks = looks.without_first()
    return HTMLResponse(page_of(BY_LOOKS[name](looks, at, mode(request)), mode(request)), headers=FRAMED)


def _looks(name: str, store: Store, kept: Kept) -> Looks:
    if kept.shipped is not None and kept.record is None:
        return recorded.looks(kept.shipped)
    record = record_of(store, kept)
    if missing := _named(name, record).missing(record):
        raise NotShown("{reason}", reason=missing)
    assert isinstance(record, Trace), "no other kind has such a view"
    return looks_of(record)


def _framed(request: Request, shown: View, record: Saved) -> Response:
    """A page which may run its scripts, reach plotly.js, and nothing else."""
    import plotly

    at = selection(request)
    address = f"../../../plotly.js?v={plotly.__version__}"
    drawn = page(shown, record, at, mode(request), plotly=address)
    return HTMLResponse(drawn, headers=FRAMED)


def _named(name: str, record: Saved) -> View:
    shown = next((each for each in views.all_views(type(record)) if each.name == name), None)
    if shown is None:
        raise NotShown("there is no view named {name}.", name=ascii(name)[:60])
    return shown


def _json(body: str) -> Response:
    return Response(body, media_type="application/json", headers=PASSING)
