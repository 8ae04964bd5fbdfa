"""The boards on a plain page, without Gradio: the app's own routes and scripts, a bare form, and fake engines behind.

A press of a button posts what a form would ask for to a route beside those of the app, which answers as Gradio's events
do. What such a page shows is what the app shows, and it is there in a tenth of the time.
"""

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from model.errors import Refusal
from model.limits import Limits
from model.records.trace import Trace
from model.requests.registry import named, of_record
from tests.app.fakes_engine import FakeEngine, FakeModels, whole_trace
from tests.patience import PATIENCE_S
from viz.server import header
from viz.server.routes import PREFIX, build_routes
from viz.server.store import Store
from viz.server.visitors import Visitors
from viz.view import Record
from viz.wire.parts import parts_of
from viz.wire.recorded import Recorded
from viz.wire.standing import Standing

PROMPT = "One two three four five"
TEXTS = [["the capital of France is", 16], ["one two", 8], ["three", 12], ["four five six seven", 16]]
ASKED: Mapping[str, Mapping[str, Any]] = {
    "run": {"prompt": PROMPT, "max_new_tokens": 16, "temperature": 0.8, "top_k": 50},
    "measure": {"prompt": PROMPT},
    "cache": {"prompt": PROMPT},
    "serve": {"texts": TEXTS},
    "speculate": {"prompt": PROMPT, "modes": ["prompt lookup", "early exit"]},
    "fork": {},
    "attribute": {},
    "compare": {},
}
PAGES = {"": ["run"], "measure": ["measure", "cache"], "serve": ["serve", "speculate"]}
BUTTONS = {"run": "run", "measure": "run", "cache": "replay", "serve": "serve", "speculate": "speculate"}

_HTML = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Boards</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">STYLES</head><body class="THEME">
<div id="app" class="ts-root ts-NAME-page">
<div id="header"><header class="ts-header"><h1>Tokenoscope</h1></header></div>
<div id="page" style="display: flex"><div id="side"><div id="form">
PARTS<label id="prompt">Prompt<textarea>PROMPT</textarea></label>
<label id="chat"><input type="checkbox"> Chat</label>
<div id="transport">BUTTONS<button id="pause">Pause</button><button id="resume">Resume</button>
<button id="step">Step</button><button id="run-held" hidden></button><button id="stop">Stop</button></div>
<div id="status"><p class="ts-refusal" role="alert"></p><p class="ts-run"><span class="ts-run-text"></span></p>
<progress class="ts-progress" max="1" aria-label="how far it is" hidden></progress><p class="ts-message"></p>
<p class="ts-keep" hidden></p><p class="ts-model" role="status"><span class="ts-dot"></span>
<span class="ts-model-text"></span></p><progress class="ts-loading" max="1" aria-label="loading" hidden></progress>
<p class="ts-spoken" role="status"></p></div></div>
<div id="runs"><div class="ts-runs-root"></div></div></div>
<div id="main"><div id="boards"><div class="ts-boards"></div></div></div></div></div>
<script type="module">
import { connect } from "./gradio_api/tokenoscope/assets/js/bundles/page.js?v=tests";
const visitor = Math.random().toString(36).slice(2);
const props = { value: FIRST };
let changed = () => {};
const post = (what, body) => fetch(`./press/${what}`, { method: "POST", body: JSON.stringify({ visitor, ...body }) });
window.press = async (experiment, more = {}) => {
  const prompt = document.querySelector("#prompt textarea").value;
  const answer = await post(experiment, { prompt, ...more });
  props.value = await answer.json();
  changed();
};
for (const [experiment, id] of Object.entries(GOES)) {
  document.getElementById(id)?.addEventListener("click", () => window.press(experiment));
}
document.getElementById("run-held").addEventListener("click", () => window.press("run", { held: true }));
for (const id of ["pause", "resume", "step", "stop"]) {
  document.getElementById(id).addEventListener("click", () => post(id, {}));
}
connect({ element: document.getElementById("boards"), props, experiments: KINDS, pages: PAGES,
  watch: (_, fn) => { changed = fn; }, ask: (experiment, values) => window.press(experiment, values) });
</script></body></html>"""
_SHEETS = ("theme.css", "page.css", "bundles/pictures.css")
_PARTS = """<div class="ts-parts" role="tablist" aria-label="parts of this page">
<button type="button" role="tab" id="part-batching" aria-selected="true">Batching</button>
<button type="button" role="tab" id="part-speculation" aria-selected="false" tabindex="-1">Speculation</button></div>"""


@dataclass(kw_only=True)
class Plain:
    """A plain page's server, and what stands behind it."""

    url: str
    engine: FakeEngine
    models: FakeModels
    store: Store
    visitors: Visitors

    def keep(self, record: Record, *, beside: bool = True) -> str:
        """Put a finished record into the store, as if it had just been made; returns its id.

        `beside`: with what is added to a run after its passes, such as its embeddings.
        """
        name = of_record(type(record)).name
        standing = Standing(id=secrets.token_urlsafe(9), experiment=name, state="done", version=1, complete=True)
        if isinstance(record, Trace):
            standing = replace(standing, done=record.n_generated, total=record.settings.max_new_tokens)
        kept = self.store.open(standing)
        growing = parts_of(name)
        made = [*growing.newer(record, 1), *(growing.beside(record) if beside else ())]
        self.store.add(kept, record, made, replaces=1 if growing.replaces else None)
        return kept.id

    def use(self, engine: FakeEngine) -> FakeEngine:
        """Put another engine behind it."""
        self.engine = engine
        self.models.use(engine)
        return engine


def finished(prompt: str = PROMPT, n_new: int = 16) -> Trace:
    """A made-up run of this prompt, whole."""
    return whole_trace(prompt, n_new)


@contextlib.contextmanager
def plain(shipped: Mapping[str, Recorded] | None = None) -> Iterator[Plain]:
    """Serves it on a free port."""
    limits, engine = Limits(), FakeEngine()
    store = Store(limits.store_bytes, limits.disk_bytes, shipped)
    models = FakeModels(engine)
    models.keep_in(store)
    visitors = Visitors(models, store, limits)
    first = next(iter(shipped or {}), None)
    presses = _Presses(visitors)
    routes = [
        *build_routes(store, models),
        Route("/press/{what}", presses.answer, methods=["POST"]),
        Route("/", _page("", first)),
        Route("/measure", _page("measure", None)),
        Route("/serve", _page("serve", None)),
    ]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + PATIENCE_S
    while not server.started:
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.01)
    made = Plain(url=f"http://127.0.0.1:{port}", engine=engine, models=models, store=store, visitors=visitors)
    yield made
    made.engine.close()
    server.should_exit = True
    thread.join()


class _Presses:
    """What Gradio's events do."""

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors
        self._n = 0
        self._lock = threading.Lock()

    async def answer(self, request: Request) -> Response:
        given = json.loads(await request.body())
        return JSONResponse(await run_in_threadpool(self._press, request.path_params["what"], given))

    def _press(self, what: str, given: dict[str, Any]) -> dict[str, Any]:
        visitor, held = given.pop("visitor"), given.pop("held", False)
        acts: dict[str, Callable[[str], None]] = {
            name: getattr(self._visitors, name) for name in ("pause", "resume", "step", "stop")
        }
        if what in acts:
            acts[what](visitor)
            return {}
        with self._lock:
            self._n += 1
            number = self._n
        try:
            made = named(what).request.read({**ASKED[what], **_only(what, given)})
            return {
                "id": self._visitors.ask(visitor, made, held=held),
                "experiment": what,
                "refusal": "",
                "press": number,
            }
        except Refusal as error:
            return {"id": None, "experiment": what, "refusal": str(error), "press": number}


def _only(what: str, given: dict[str, Any]) -> dict[str, Any]:
    """What this kind of request has of what was posted."""
    return {name: value for name, value in given.items() if name in named(what).request.fields()}


def _page(name: str, first: str | None) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        kinds = PAGES[name]
        value = {"id": first, "experiment": kinds[0], "refusal": "", "press": 0}
        sheets = "".join(f'<link rel="stylesheet" href=".{PREFIX}/assets/css/{each}">' for each in _SHEETS)
        buttons = "".join(f'<button id="{BUTTONS[kind]}">{kind.capitalize()}</button>' for kind in kinds)
        filled = {
            "STYLES": sheets,
            "THEME": "dark" if request.query_params.get("__theme") == "dark" else "light",
            "PARTS": _PARTS if name == "serve" else "",
            "PROMPT": PROMPT,
            "BUTTONS": buttons,
            "NAME": name or "watch",
            "FIRST": json.dumps(value),
            "GOES": json.dumps({kind: BUTTONS[kind] for kind in kinds}),
            "KINDS": json.dumps(kinds),
            "PAGES": json.dumps(header.addresses()),
        }
        page = _HTML
        for mark, text in filled.items():
            page = page.replace(mark, text)
        return HTMLResponse(page)

    return endpoint
