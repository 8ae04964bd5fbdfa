"""How a page is laid out and wired: its header, form, buttons, status lines and board, for a list of experiments.

Gradio has the forms and the buttons alone. A press asks for a job and returns its id at once; the page's script follows
the record by itself. No `cancels=`: Gradio loses the next press with it; a job is stopped by its engine.
"""

import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from model.errors import Refusal
from model.requests.registry import named
from model.texts import phrase
from viz import markup
from viz.pages import addresses, fields
from viz.pages import header as headers
from viz.server.visitors import BROKEN, Visitors

log = logging.getLogger("tokenoscope")

# Static markup, filled by assets/js/board through textContent alone.
_STATUS = f"""<p class="ts-refusal" role="alert"></p>
<p class="ts-run"><span class="ts-run-text"></span></p>
<progress class="ts-progress" max="1" aria-label="{markup.text(phrase("progress"))}" hidden></progress>
<p class="ts-message"></p>
<p class="ts-keep" hidden></p>
<p class="ts-model" role="status"><span class="ts-dot"></span>
<span class="ts-model-text">{markup.text(phrase("Asking for the model…"))}</span></p>
<progress class="ts-loading" max="1" aria-label="{markup.text(phrase("loading progress"))}" hidden></progress>
<p class="ts-spoken" role="status"></p>"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One experiment of a page: the button that asks for it, and its fields by name."""

    experiment: str
    button: gr.Button
    fields: Mapping[str, Any]
    prepare: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: values  # what the page knows beside them
    also: Sequence[Any] = ()  # other events that ask for it


@dataclass(kw_only=True)
class Page:
    """A page under way: its form is laid out inside `laid_out`, which adds the rest around it."""

    experiments: tuple[str, ...]
    asked: list[Asked] = field(default_factory=list)
    presses: dict[str, gr.Button] = field(default_factory=dict)  # pause, resume, step, stop
    board: gr.HTML | None = None


@contextmanager
def laid_out(here: str, *experiments: str, first: str | None = None, rail: bool = False) -> Iterator[Page]:
    """The page around a form that is laid out inside. `first` is the record that it opens on."""
    page = Page(experiments=experiments)
    with gr.Column(elem_id="app", elem_classes=f"ts-root ts-{here}-page"):
        _html(headers.header(here), "header")
        with gr.Row(elem_id="page", equal_height=False):
            with gr.Column(elem_id="side", scale=0, min_width=300):
                with gr.Column(elem_id="form"):
                    yield page
                if rail:
                    _html('<div class="ts-rail-root"></div>', "rail")
            with gr.Column(elem_id="main", scale=1, min_width=320):
                page.board = _board(experiments, first)


def status() -> None:
    """The lines that say how things stand, laid out where this is called."""
    _html(_STATUS, "status")


def wire(blocks: gr.Blocks, page: Page, visitors: Visitors) -> None:
    """Every event of the page."""
    short: dict[str, Any] = {
        "queue": False,
        "show_progress": "hidden",
        "trigger_mode": "multiple",
        "api_visibility": "private",
    }
    presses = itertools.count(time.time_ns() // 1_000_000)  # they grow, also after the program was started again
    for asked in page.asked:
        gr.on(
            [asked.button.click, *asked.also],
            _ask(visitors, asked, presses),
            inputs_kwargs=dict(asked.fields),
            outputs=page.board,
            preprocess=False,
            postprocess=False,
            concurrency_limit=None,
            api_name=asked.experiment,
            **short,
        )
    for name, button in page.presses.items():
        button.click(_press(getattr(visitors, name)), api_name=f"{page.experiments[0]}-{name}", **short)

    def leave(request: gr.Request) -> None:
        visitors.leave(visitor(request))

    blocks.unload(leave)


def visitor(request: gr.Request) -> str:
    """Gradio's own random name of one open page."""
    return str(request.session_hash)


def _ask(visitors: Visitors, asked: Asked, presses: Iterator[int]) -> Callable[..., dict[str, Any]]:
    kind = named(asked.experiment).request

    def ask(request: gr.Request, **values: Any) -> dict[str, Any]:
        told: dict[str, Any] = {"id": None, "experiment": asked.experiment, "refusal": "", "press": next(presses)}
        try:
            wanted = fields.read(kind, asked.prepare(values), visitors.limits)
            return {**told, "id": visitors.ask(visitor(request), wanted)}
        except Refusal as refusal:
            return {**told, "refusal": str(refusal)}
        except Exception:
            log.exception("a request could not be read")
            return {**told, "refusal": BROKEN}

    return ask


def _press(act: Callable[[str], None]) -> Callable[[gr.Request], None]:
    def press(request: gr.Request) -> None:
        act(visitor(request))

    return press


def _board(experiments: tuple[str, ...], first: str | None) -> gr.HTML:
    names = ", ".join(f'"{name}"' for name in experiments)
    pages = json.dumps(headers.addresses())
    then = f"page => page.connect({{ element, props, watch, experiments: [{names}], pages: {pages} }})"
    return gr.HTML(
        {"id": first, "experiment": experiments[0], "refusal": "", "press": 0},
        html_template='<div class="ts-boards"></div>',
        apply_default_css=False,
        js_on_load=addresses.script("board/page.js", then),
        elem_id="boards",
    )


def _html(template: str, elem_id: str) -> None:
    gr.HTML(html_template=template, js_on_load=None, apply_default_css=False, elem_id=elem_id)
