"""The plain HTTP routes beside Gradio: a run's frames, its downloads, how far the model is, the page's scripts.

They stand under /gradio_api/, the one prefix that every way of hosting a Gradio app lets through. Run ids are
unguessable and are all that opens a run.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from model.errors import BadSetting, NotShown, Refusal
from model.records.trace import Trace
from viz import export
from viz.examples import EXAMPLES
from viz.server.live import Models
from viz.server.store import RunStore, StoredRun
from viz.theme import Mode
from viz.view import Selection, page, refusal_page
from viz.views import all_views
from viz.wire import slices
from viz.wire.recorded import Recorded

PREFIX = "/gradio_api/tokenoscope"
Answer = Callable[[Request, StoredRun], Response]
ASSETS = Path(__file__).parents[2] / "assets"

_ANSWER_S = 1.0
_LOOK_S = 0.02  # between two looks at a run that is followed
_PASSING = {"cache-control": "no-store"}
_FOLLOWED = _PASSING | {"x-accel-buffering": "no"}  # a proxy in between hands on what comes
_FRAMED = _PASSING | {
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
}
_NOT_RECORDED = "There is no recorded run by that name."
_GONE = "This run is no longer kept: newer runs needed its place, or the program was started again. Run it again."


def build_routes(store: RunStore, models: Models, recorded: dict[str, Recorded]) -> list[BaseRoute]:
    """All routes of the app. `recorded`: the runs that come with it, by name."""

    def of_run(path: str, answer: Answer, refused: Callable[[Request, str], Response] = _refused) -> Route:
        async def endpoint(request: Request) -> Response:
            run = store.get(request.path_params["run"])
            if run is None:
                return refused(request, _GONE)
            try:
                return await run_in_threadpool(answer, request, run)
            except Refusal as error:
                return refused(request, str(error))

        return Route(f"{PREFIX}/runs/{{run}}/{path}", endpoint)

    return [
        of_run("frames", _frames(store)),
        of_run("layer/{layer:int}", _layer),
        of_run("row/{layer:int}/{head:int}/{position:int}", _row),
        of_run("vectors/{layer:int}", _vectors),
        of_run("logits/{index:int}", _logits),
        of_run("trace", _trace_file),
        of_run("page", _page_file),
        of_run("view/{view}", _view, _no_view),
        Route(f"{PREFIX}/views", _views),
        Route(f"{PREFIX}/plotly.js", _plotly),
        Route(f"{PREFIX}/recorded", _recorded_list(recorded)),
        Route(f"{PREFIX}/recorded/{{name}}/frames", _recorded_frames(recorded)),
        Route(f"{PREFIX}/recorded/{{name}}/{{kind}}/{{number:int}}", _recorded_part(recorded)),
        Route(f"{PREFIX}/model", _model_state(models)),
        Mount(f"{PREFIX}/assets", _Assets(directory=ASSETS)),
        Route("/gradio_api/upload", _no_uploads, methods=["POST"]),
    ]


class _Assets(StaticFiles):
    """The page's scripts and styles; browsers ask each time whether they have changed."""

    def file_response(self, *args, **kwargs) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def _frames(store: RunStore) -> Answer:
    """The frames that are ready, from one on; with `follow=1` those of the next second as well.

    A request for each pass would cost the run more than the making of its frame.
    """

    def answer(request: Request, run: StoredRun) -> Response:
        first = _whole(request.query_params.get("from", "0"))
        done, ready = run.done, run.frames  # in this order: frames only grow until a run is done
        if done or request.query_params.get("follow") != "1":
            return _lasting(request, b"".join(ready[first:]), f"{len(ready)}-{first}", done)
        name = request.path_params["run"]
        return StreamingResponse(
            _followed(run, first, lambda: store.get(name) is run),
            headers=_FOLLOWED,
            media_type="application/octet-stream",
        )

    return answer


async def _followed(run: StoredRun, first: int, is_kept: Callable[[], bool]) -> AsyncIterator[bytes]:
    """A run's frames as they become ready, for a second: other tabs of the same browser, with which it shares six
    connections, get their turn before the page asks again. It ends with the run, or when that has left the store.
    """
    end = time.monotonic() + _ANSWER_S
    while time.monotonic() < end:
        done, ready = run.done, run.frames
        if len(ready) > first:
            yield b"".join(ready[first:])
            first = len(ready)
        if done or not is_kept():
            return
        await asyncio.sleep(_LOOK_S)


def _layer(request: Request, run: StoredRun) -> Response:
    done, place = run.done, request.path_params["layer"]  # done first: the run may end while its layer is read
    return _lasting(request, slices.layer(_trace(run), place), f"layer-{place}", done)


def _row(request: Request, run: StoredRun) -> Response:
    done, trace = run.done, _trace(run)
    layer, head, position = (request.path_params[name] for name in ("layer", "head", "position"))
    if position >= trace.n_fed:
        raise BadSetting(f"position {position} does not exist: this run has read {trace.n_fed} tokens.")
    return _lasting(request, slices.row(trace, layer, head, position), f"row-{layer}-{head}-{position}", done)


def _vectors(request: Request, run: StoredRun) -> Response:
    done, layer = run.done, request.path_params["layer"]
    return _lasting(request, slices.vectors(_trace(run), layer), f"vectors-{layer}", done)


def _logits(request: Request, run: StoredRun) -> Response:
    index = request.path_params["index"]
    return _lasting(request, slices.logits(_trace(run), index), f"logits-{index}", run.done)


def _trace_file(_: Request, run: StoredRun) -> Response:
    folder = tempfile.TemporaryDirectory(prefix="tokenoscope-")
    path = Path(folder.name) / "run.trace"
    try:
        _trace(run).save(path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path, filename=path.name, media_type="application/octet-stream", background=BackgroundTask(folder.cleanup)
    )


def _page_file(_: Request, run: StoredRun) -> Response:
    attachment = {"content-disposition": 'attachment; filename="run.html"', "cache-control": "no-store"}
    return Response(export.page(_trace(run)), media_type="text/html; charset=utf-8", headers=attachment)


def _view(request: Request, run: StoredRun) -> Response:
    """One of viz/views/ as a page for a frame, which may run its scripts, reach plotly.js, and nothing else."""
    import plotly

    trace, name = _trace(run), request.path_params["view"]
    shown = next((each for each in all_views() if each.name == name), None)
    if shown is None:
        raise BadSetting("There is no picture by that name.")
    at = Selection(**{part: _whole(request.query_params.get(part, "0")) for part in ("step", "layer", "token")})
    if at.layer >= trace.model.n_layers:
        raise BadSetting(f"layer {at.layer} does not exist: this model's layers are 0 to {trace.model.n_layers - 1}.")
    address = f"../../../plotly.js?v={plotly.__version__}"
    return HTMLResponse(page(shown, trace, at, _mode(request), plotly=address), headers=_FRAMED)


def _no_view(request: Request, sentence: str) -> Response:
    return HTMLResponse(refusal_page(sentence, _mode(request)), 404, headers=_FRAMED)


def _mode(request: Request) -> Mode:
    return "dark" if request.query_params.get("dark") == "1" else "light"


async def _views(_: Request) -> Response:
    """Which pictures there are, as the page lists them."""
    found = await run_in_threadpool(all_views)
    return JSONResponse(
        [{"name": each.name, "title": each.title, "caption": each.caption, "follows": each.follows} for each in found],
        headers=_PASSING,
    )


async def _plotly(_: Request) -> Response:
    """The plotly.js of the installed package, which has drawn these charts' descriptions; named by its version."""
    import plotly

    path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return FileResponse(path, media_type="text/javascript", headers={"cache-control": "public, max-age=31536000"})


def _recorded_frames(recorded: dict[str, Recorded]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        run = recorded.get(request.path_params["name"])
        if run is None:
            return _not_found(_NOT_RECORDED)
        first = _whole(request.query_params.get("from", "0"))
        return _lasting(request, b"".join(run.frames[first:]), "recorded", done=False)

    return endpoint


def _recorded_part(recorded: dict[str, Recorded]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        run, kind = recorded.get(request.path_params["name"]), request.path_params["kind"]
        if run is None:
            return _not_found(_NOT_RECORDED)
        try:
            part = await run_in_threadpool(run.part, kind, request.path_params["number"])
        except NotShown as error:
            return _not_found(str(error))
        return _lasting(request, part, "recorded", done=False)

    return endpoint


def _recorded_list(recorded: dict[str, Recorded]) -> Callable[[Request], Awaitable[Response]]:
    """The runs that come with the app, and every prompt that the page itself offers: no words of the person's own."""
    runs = [
        {"name": name, "label": run.label, "ready": len(run.frames), "prompt": run.prompt, "chat": run.chat}
        for name, run in recorded.items()
    ]
    offered = [each.prompt for each in EXAMPLES] + [run["prompt"] for run in runs]

    async def endpoint(_: Request) -> Response:
        return JSONResponse({"runs": runs, "offered": offered}, headers=_PASSING)

    return endpoint


def _model_state(models: Models) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        name = request.query_params.get("name") or models.names[0]
        if name not in models.names:
            return _not_found("This host does not offer that model.")
        return JSONResponse({"name": name, **asdict(models.state(name))}, headers=_PASSING)

    return endpoint


async def _no_uploads(_: Request) -> Response:
    return PlainTextResponse("This page takes no files.", 403)


def _refused(_: Request, sentence: str) -> Response:
    return _not_found(sentence)


def _not_found(sentence: str) -> Response:
    return PlainTextResponse(sentence, 404, _PASSING)


def _lasting(request: Request, body: bytes, tag: str, done: bool) -> Response:
    """Bytes that never change once the run is done: the browser may keep them."""
    if not done:
        return Response(body, media_type="application/octet-stream", headers=_PASSING)
    headers = {"etag": f'"{tag}"', "cache-control": "private, max-age=31536000, immutable"}
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/octet-stream", headers=headers)


def _trace(run: StoredRun) -> Trace:
    if run.trace is None:
        raise Refusal("This run has nothing to show yet: its prompt is still being read.")
    return run.trace


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
