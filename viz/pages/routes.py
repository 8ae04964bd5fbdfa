"""The plain HTTP routes beside Gradio: a run's frames, its downloads, the page's scripts; and headers for every answer.

They stand under /gradio_api/, the one prefix that every way of hosting a Gradio app lets through. Run ids are
unguessable and are all that opens a run.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.errors import BadSetting, Refusal
from model.records import Trace
from viz import export, frames
from viz.pages.live import Models
from viz.store import RunStore, StoredRun

PREFIX = "/gradio_api/tokenoscope"
ASSETS = Path(__file__).parent.parent.parent / "assets"
BODY_BYTES = 512_000  # of a posted request; a prompt of 32 kB fits many times over

_GONE = "This run is no longer kept: newer runs needed its place, or the program was started again. Run it again."
_CSP = "; ".join((
    "default-src 'self'",
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's own page needs both
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'self' https://huggingface.co https://*.huggingface.co",  # a Space stands in a frame of the hub
))  # fmt: skip
_HEADERS = (
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


def build_routes(store: RunStore, models: Models, recorded: dict[str, bytes]) -> list[BaseRoute]:
    """All routes of the app. `recorded`: the frames of runs that come with it, by name."""

    def run_frames(request: Request, run: StoredRun) -> Response:
        first = _whole(request.query_params.get("from", "0"))
        done, ready = run.done, run.frames
        return _lasting(request, b"".join(ready[first:]), f"{request.path_params['run']}-{len(ready)}-{first}", done)

    def layer(request: Request, run: StoredRun) -> Response:
        place = request.path_params["layer"]
        return _lasting(request, frames.layer(_trace(run), place), f"{request.path_params['run']}-l{place}", run.done)

    def row(request: Request, run: StoredRun) -> Response:
        at, trace = request.path_params, _trace(run)
        if at["position"] >= trace.n_fed:
            raise BadSetting(f"position {at['position']} does not exist: this run has read {trace.n_fed} tokens.")
        body = frames.row(trace, at["layer"], at["head"], at["position"])
        return _lasting(request, body, f"{at['run']}-r{at['layer']}-{at['head']}-{at['position']}", run.done)

    def trace_file(request: Request, run: StoredRun) -> Response:
        handle, path = tempfile.mkstemp(suffix=".trace")
        os.close(handle)
        gone = BackgroundTask(os.unlink, path)
        try:
            _trace(run).save(path)
        except BaseException:
            os.unlink(path)
            raise
        return FileResponse(path, filename="run.trace", media_type="application/octet-stream", background=gone)

    def page_file(request: Request, run: StoredRun) -> Response:
        attachment = {"content-disposition": 'attachment; filename="run.html"', "cache-control": "no-store"}
        return Response(export.page(_trace(run)), media_type="text/html; charset=utf-8", headers=attachment)

    def of_run(answer: Callable[[Request, StoredRun], Response]) -> Callable:
        async def endpoint(request: Request) -> Response:
            run = store.get(request.path_params["run"])
            if run is None:
                return PlainTextResponse(_GONE, 404, {"cache-control": "no-store"})
            try:
                return await run_in_threadpool(answer, request, run)
            except Refusal as error:
                return PlainTextResponse(str(error), 404, {"cache-control": "no-store"})

        return endpoint

    async def recorded_frames(request: Request) -> Response:
        body = recorded.get(name := request.path_params["name"])
        if body is None:
            return PlainTextResponse("There is no recorded run by that name.", 404)
        first = _whole(request.query_params.get("from", "0"))
        return _lasting(request, b"".join(split(body)[first:]), f"{name}-{len(body)}-{first}", False)

    async def model_state(request: Request) -> Response:
        name = request.query_params.get("name") or models.names[0]
        if name not in models.names:
            return PlainTextResponse("This host does not offer that model.", 404)
        state = models.state(name)
        about = {"name": name, "phase": state.phase, "text": state.text, "fraction": state.fraction}
        return JSONResponse(about, headers={"cache-control": "no-store"})

    return [
        Route("/gradio_api/upload", _no_uploads, methods=["POST"]),
        Route(f"{PREFIX}/runs/{{run}}/frames", of_run(run_frames)),
        Route(f"{PREFIX}/runs/{{run}}/layer/{{layer:int}}", of_run(layer)),
        Route(f"{PREFIX}/runs/{{run}}/row/{{layer:int}}/{{head:int}}/{{position:int}}", of_run(row)),
        Route(f"{PREFIX}/runs/{{run}}/trace", of_run(trace_file)),
        Route(f"{PREFIX}/runs/{{run}}/page", of_run(page_file)),
        Route(f"{PREFIX}/recorded/{{name}}/frames", recorded_frames),
        Route(f"{PREFIX}/model", model_state),
        Mount(f"{PREFIX}/assets", _Assets(directory=ASSETS)),
    ]


def split(body: bytes) -> list[bytes]:
    """The frames that a file of frames holds, one after the other."""
    found, at = [], 0
    while at < len(body):
        stop = at + 4 + int.from_bytes(body[at : at + 4], "little")
        found.append(body[at:stop])
        at = stop
    return found


class Guard:
    """Puts the security headers on every answer, and turns away bodies that no form of this page sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > BODY_BYTES:
            refused = PlainTextResponse(f"The request has more than {BODY_BYTES:,} bytes, or does not say how many.", 413)
            await refused(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


MIDDLEWARE = [Middleware(Guard)]


class _Assets(StaticFiles):
    """The page's scripts and styles; browsers ask each time whether they have changed."""

    def file_response(self, *args, **kwargs) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


async def _no_uploads(request: Request) -> Response:
    return PlainTextResponse("This page takes no files.", 403)


def _lasting(request: Request, body: bytes, tag: str, done: bool) -> Response:
    """Bytes that never change once the run is done: the browser may keep them."""
    if not done:
        return Response(body, media_type="application/octet-stream", headers={"cache-control": "no-store"})
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
