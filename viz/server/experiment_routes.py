"""The plain HTTP routes of experiments: the pictures of a record, and the record and its page as files to keep."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from model.errors import NotShown, Refusal
from model.records.batching import Batching
from model.records.cache import CacheTrials
from model.records.speculation import Speculation
from model.records.timing import Measurement
from viz import measured_page
from viz.server import serving_routes
from viz.server.experiments import Experiments, Result
from viz.server.routes import PREFIX
from viz.theme import Mode
from viz.view import Load

_PASSING = {"cache-control": "no-store"}
_GONE = "This record is no longer kept: newer ones needed its place, or the program was started again."
_DIGITS = 9  # of a number in an address


def build_routes(experiments: Experiments) -> list[BaseRoute]:
    """All of them. Ids are unguessable and are all that opens a record."""

    def of_record(path: str, answer: Callable[[Request, Result], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            record = experiments.get(request.path_params["record"])
            if record is None:
                return PlainTextResponse(_GONE, 404, _PASSING)
            if request.method == "HEAD":  # whether it is there: nothing is drawn for that
                return Response(headers=_PASSING)
            try:
                return await run_in_threadpool(answer, request, record)
            except Refusal as error:
                return PlainTextResponse(str(error), 404, _PASSING)

        return Route(f"{PREFIX}/experiments/{{record}}/{path}", endpoint)

    def of_serving(path: str, answer: Callable[[Request, Batching | Speculation], Response]) -> Route:
        def answer_only_those(request: Request, record: Result) -> Response:
            if isinstance(record, Measurement | CacheTrials):
                raise NotShown("This record is none of texts that were served or drafted.")
            return answer(request, record)

        return of_record(path, answer_only_those)

    return [
        of_record("pictures", _pictures),
        of_record("file", _file),
        of_record("page", _page),
        of_serving("frames", serving_routes.frames),
        of_serving("picture", serving_routes.picture),
    ]


def _pictures(request: Request, record: Result) -> Response:
    if isinstance(record, Batching | Speculation):
        return serving_routes.overview(request, record)
    mode: Mode = "dark" if request.query_params.get("dark") == "1" else "light"
    drawn, facts = measured_page.pictures(record, _load(request), mode), json.dumps(measured_page.facts(record))
    body = f'{{"facts": {facts}, "pictures": {drawn}}}'
    return Response(body, media_type="application/json", headers=_PASSING)


def _load(request: Request) -> Load:
    asked = request.query_params
    given: dict[str, Any] = {name: _whole(asked[name]) for name in ("context", "users", "bits") if asked.get(name)}
    return Load(**given)


def _file(_: Request, record: Result) -> Response:
    with tempfile.NamedTemporaryFile(prefix="tokenoscope-", delete=False) as file:
        path = Path(file.name)
    try:
        record.save(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    name = f"tokenoscope.{type(record).__name__.lower()}"
    return FileResponse(path, filename=name, headers=_PASSING, background=BackgroundTask(path.unlink, missing_ok=True))


def _page(_: Request, record: Result) -> Response:
    held = {"content-disposition": 'attachment; filename="tokenoscope-experiment.html"'}
    return HTMLResponse(measured_page.measured_page(record), headers=_PASSING | held)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0
