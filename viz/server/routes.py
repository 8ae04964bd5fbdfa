"""The plain HTTP routes beside Gradio: records of every kind, how far the model is, the page's scripts.

They stand under /gradio_api/, the one prefix that every way of hosting a Gradio app lets through. Ids are unguessable
and are all that opens a record.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles

from model.api.engine import Models
from model.errors import Refusal
from model.requests.registry import EXPERIMENTS
from model.texts import phrase
from viz import markup, views
from viz.examples import OFFERED
from viz.server import downloads, drawings, parts, slices
from viz.server.answers import PASSING, not_found, refused_frame
from viz.server.store import GONE, Kept, Store
from viz.view import words

PREFIX = "/gradio_api/tokenoscope"
ASSETS = Path(__file__).parents[2] / "assets"
BUNDLES = ("page.js", "texts.js", "chat_fields.js")
"""Modules of assets/js/board/ that the page's forms import."""
_MOST_ASKED = 64  # records in one question
Answer = Callable[[Request, Kept], Response]


def build_routes(store: Store, models: Models) -> list[BaseRoute]:
    """All routes of the app."""

    def of_record(path: str, answer: Callable[[Request, Store, Kept], Response], framed: bool = False) -> Route:
        async def endpoint(request: Request) -> Response:
            kept = store.get(request.path_params["record"])
            refuse = refused_frame if framed and request.query_params.get("frame") == "1" else not_found
            if kept is None:
                return refuse(request, GONE)
            try:
                return await run_in_threadpool(answer, request, store, kept)
            except Refusal as error:
                return refuse(request, str(error))

        return Route(f"{PREFIX}/records/{{record}}{path}", endpoint)

    return [
        Route(f"{PREFIX}/records", _shipped(store)),
        Route(f"{PREFIX}/held", _held(store)),
        of_record("", _is_there),
        of_record("/parts", parts.answer),
        of_record("/slice/layer/{layer:int}", slices.layer),
        of_record("/slice/map/{layer:int}/{head:int}", slices.pooled),
        of_record("/slice/part/{layer:int}/{head:int}/{row:int}/{key:int}", slices.part),
        of_record("/slice/rows/{layer:int}/{position:int}", slices.rows),
        of_record("/slice/little", slices.little),
        of_record("/slice/row/{layer:int}/{head:int}/{position:int}", slices.row),
        of_record("/slice/vectors/{number:int}", slices.vectors),
        of_record("/slice/logits/{number:int}", slices.logits),
        of_record("/slice/lens/{positions}", partial(slices.lens, models=models)),
        of_record("/view/{view}", drawings.answer, framed=True),
        of_record("/file", downloads.file),
        of_record("/page", downloads.page),
        Route(f"{PREFIX}/views", _views),
        Route(f"{PREFIX}/plotly.js", _plotly),
        Route(f"{PREFIX}/model", _model_state(models)),
        Route(f"{PREFIX}/assets/{{path:path}}", _assets()),
        Route("/gradio_api/upload", _no_uploads, methods=["POST"]),
    ]


def _assets() -> Callable[[Request], Awaitable[Response]]:
    """The page's scripts and styles; browsers ask each time whether they have changed, but of what an address names by
    its version: js/bundles/ holds modules of js/board/ with all that they import, css/bundles/ all styles of pictures.

    No mount: below one, Starlette takes the path of a proxy in front (GRADIO_ROOT_PATH) for a part of the file's name.
    """
    files = StaticFiles(directory=ASSETS)
    bundled: dict[str, Callable[[], str]] = {
        **{f"js/bundles/{name}": cache(partial(markup.bundle, f"board/{name}")) for name in BUNDLES},
        "css/bundles/pictures.css": cache(partial(markup.style, "measure.css", "serve.css")),
        f"js/{markup.CATALOGUE_MODULE}": partial(markup.module_source, markup.CATALOGUE_MODULE),
    }

    async def endpoint(request: Request) -> Response:
        path = os.path.normpath(request.path_params["path"])
        if (made := bundled.get(path)) is not None:
            kind = "text/css" if path.endswith(".css") else "text/javascript"
            response = Response(await run_in_threadpool(made), media_type=kind)
        else:
            response = await files.get_response(path, request.scope)
        lasts = made is not None and "v" in request.query_params
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if lasts else "no-cache"
        return response

    return endpoint


def _is_there(_: Request, __: Store, kept: Kept) -> Response:
    """Whether it is there: nothing is read or drawn for that."""
    return JSONResponse({"id": kept.id, "experiment": kept.standing.experiment}, headers=PASSING)


def _shipped(store: Store) -> Callable[[Request], Awaitable[Response]]:
    """The records that come with the app, and every prompt that the page itself offers: no words of a person."""
    records = [
        {
            "id": kept.id,
            "experiment": kept.standing.experiment,
            "label": kept.shipped.label,
            "prompt": kept.shipped.prompt,
            "chat": kept.shipped.chat,
        }
        for kept in store.shipped()
        if kept.shipped
    ]
    recorded = [text for kept in store.shipped() if kept.shipped for text in kept.shipped.texts]
    offered = [*OFFERED, *recorded]

    async def endpoint(_: Request) -> Response:
        return JSONResponse({"records": records, "offered": offered}, headers=PASSING)

    return endpoint


def _held(store: Store) -> Callable[[Request], Awaitable[Response]]:
    """Which of the records that a tab remembers are still kept: one question for all, and no 404 in its console."""

    async def endpoint(request: Request) -> Response:
        asked = request.query_params.get("ids", "").split(",")[:_MOST_ASKED]
        return JSONResponse({"held": store.held(asked)}, headers=PASSING)

    return endpoint


async def _views(request: Request) -> Response:
    """Which pictures drawn in Python there are of a kind, as the page lists them."""
    name = request.query_params.get("of", "run")
    kind = next((each.record for each in EXPERIMENTS if each.name == name), None)
    if kind is None:
        return not_found(request, phrase("There is no experiment of that name."))
    found = await run_in_threadpool(views.all_views, kind)
    return JSONResponse([words(each) for each in found], headers=PASSING)


async def _plotly(_: Request) -> Response:
    """The plotly.js of the installed package, which has drawn these charts' descriptions; named by its version."""
    import plotly

    path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return FileResponse(path, media_type="text/javascript", headers={"cache-control": "public, max-age=31536000"})


def _model_state(models: Models) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        name = request.query_params.get("name") or models.names[0]
        if name not in models.names and not models.takes_any:
            return not_found(request, phrase("This host does not offer that model."))
        return JSONResponse({"name": name, **asdict(models.state(name))}, headers=PASSING)

    return endpoint


async def _no_uploads(_: Request) -> Response:
    return PlainTextResponse(phrase("This page accepts no files."), 403)
