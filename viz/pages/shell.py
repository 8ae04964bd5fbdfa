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

from model.errors import BadSetting, Refusal
from model.records.fields import shown
from model.requests.registry import named
from model.texts import phrase
from viz import markup
from viz.pages import fields
from viz.server import addresses
from viz.server import header as headers
from viz.server.visitors import BROKEN, Visitors

log = logging.getLogger("tokenoscope")

# Static markup, filled by assets/js/board through textContent alone.
_STATUS = f"""<p class="ts-refusal" role="alert"></p>
<p class="ts-run"><span class="ts-run-text"></span></p>
<progress class="ts-progress" max="1" aria-label="{markup.text(phrase("progress"))}" hidden></progress>
<p class="ts-message"></p>
<p class="ts-keep" hidden></p>
<p class="ts-continue" hidden></p>
<p class="ts-chat" hidden></p>
<p class="ts-model" role="status"><span class="ts-dot"></span>
<span class="ts-model-text">{markup.text(phrase("Asking for the model…"))}</span></p>
<progress class="ts-loading" max="1" aria-label="{markup.text(phrase("loading progress"))}" hidden></progress>
<p class="ts-spoken" role="status"></p>"""

# On a narrow screen the form is one line until it is asked for, before the result: assets/js/board/popovers.js.
_FOLD = f"""<button type="button" class="ts-form-fold" aria-expanded="false" aria-controls="form">
{markup.text(phrase("Prompt and settings"))}</button>"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One experiment of a page: the button that asks for it, and its fields by name."""

    experiment: str
    button: gr.Button
    fields: Mapping[str, Any]
    prepare: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: values  # what the page knows beside them
    also: Sequence[Any] = ()  # other events that ask for it
    held: gr.Button | None = None  # asks for one that makes one value and is held


@dataclass(kw_only=True)
class Page:
    """A page under way: its form is laid out inside `laid_out`, which adds the rest around it."""

    experiments: tuple[str, ...]
    from_pictures: tuple[str, ...] = ()  # kinds that its pictures ask for, with their values
    beside: dict[str, Any] = field(default_factory=dict)  # fields of the form that go with those
    asked: list[Asked] = field(default_factory=list)
    presses: dict[str, gr.Button] = field(default_factory=dict)  # pause, resume, step, stop
    board: gr.HTML | None = None


@contextmanager
def laid_out(here: str, *experiments: str, first: str | None = None) -> Iterator[Page]:
    """The page around a form that is laid out inside, beside the board. `first` is the record that it opens on."""
    page = Page(experiments=experiments)
    with gr.Column(elem_id="app", elem_classes=f"ts-root ts-{here}-page"):
        _html(headers.header(here), "header")
        with gr.Row(elem_id="page", equal_height=False):
            with gr.Column(elem_id="side", scale=0, min_width=300):
                with gr.Column(elem_id="form"):
                    _html(_FOLD, "form-fold")
                    yield page
            with gr.Column(elem_id="main", scale=1, min_width=320):
                page.board = _board(experiments, first)


@contextmanager
def laid_out_above(here: str, *experiments: str, first: str | None = None) -> Iterator[Page]:
    """The same with the form in the header, in one line, so that the board has the whole width."""
    page = Page(experiments=experiments)
    with gr.Column(elem_id="app", elem_classes=f"ts-root ts-{here}-page ts-form-above"):
        with gr.Row(elem_id="top", equal_height=False):
            _html("<h1>Tokenoscope</h1>", "brand")
            with gr.Row(elem_id="form", equal_height=False):
                yield page
            _html(headers.navigation(here), "pages")
        status()
        with gr.Column(elem_id="main"):
            page.board = _board(experiments, first)


@contextmanager
def popover(name: str, elem_id: str) -> Iterator[None]:
    """A part of such a form that is folded up, and lies over the page when it is open: assets/js/board/popovers.js.

    No accordion: what is folded up in one is not on the page, and scripts could not fill it.
    """
    with gr.Column(elem_id=elem_id, elem_classes="ts-popover", min_width=0):
        _html(f'<button type="button" aria-expanded="false">{markup.text(name)}</button>', f"{elem_id}-button")
        with gr.Column(elem_classes="ts-popover-body", min_width=0):
            yield


def runs() -> None:
    """Where the recorded runs and the visitor's own are listed."""
    _html(
        '<div class="ts-root ts-scope"><div class="ts-shipped-root"></div><div class="ts-runs-root"></div></div>',
        "runs",
    )


def recorded(visitors: Visitors, experiment: str) -> dict[str, Mapping[str, Any]]:
    """Of each record of this kind that comes with the app, by its id: the values that a form asks with for the same."""
    kept = (each for each in visitors.store.shipped() if each.standing.experiment == experiment)
    return {each.id: each.shipped.asked for each in kept if each.shipped}


def opening(visitors: Visitors, experiment: str) -> Mapping[str, Any]:
    """Those of the record that the page opens on; none where none comes with the app."""
    return next(iter(recorded(visitors, experiment).values()), {})


def recorded_fill(
    visitors: Visitors, experiment: str, form: fields.Form, made: Mapping[str, Any], emptied: Sequence[Any] = ()
) -> None:
    """A way to put into the form what each such record was asked with; what is `emptied` told of an example."""
    for record_id, asked in recorded(visitors, experiment).items():
        names = [name for name in asked if name in made]
        values = [*(form.shown(name, asked[name]) for name in names), *("" for _ in emptied)]
        fields.fill_from(record_id, values, [*(made[name] for name in names), *emptied])


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
        held = [(True, f"{asked.experiment}-held", [asked.held.click])] if asked.held else []
        for is_held, api_name, events in [(False, asked.experiment, [asked.button.click, *asked.also]), *held]:
            gr.on(
                events,
                _ask(visitors, asked, presses, held=is_held),
                inputs_kwargs=dict(asked.fields),
                outputs=page.board,
                preprocess=False,
                postprocess=False,
                concurrency_limit=None,
                api_name=api_name,
                **short,
            )
    if page.from_pictures:
        assert page.board is not None, "the page is laid out"
        page.board.submit(
            _ask_from_pictures(visitors, page.from_pictures, presses),
            **({"inputs_kwargs": page.beside} if page.beside else {"inputs": []}),
            outputs=page.board,
            preprocess=False,
            postprocess=False,
            concurrency_limit=None,
            api_name=f"{page.experiments[0]}-pictures",
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


def _ask(visitors: Visitors, asked: Asked, presses: Iterator[int], *, held: bool) -> Callable[..., dict[str, Any]]:
    def ask(request: gr.Request, **values: Any) -> dict[str, Any]:
        return _told(visitors, request, asked.experiment, lambda: asked.prepare(values), next(presses), held=held)

    return ask


def _ask_from_pictures(
    visitors: Visitors, offered: tuple[str, ...], presses: Iterator[int]
) -> Callable[..., dict[str, Any]]:
    """A picture says which kind it asks for and its values; what the form has beside them is added here."""

    def ask(request: gr.Request, event: gr.EventData, **beside: Any) -> dict[str, Any]:
        try:
            experiment, values = event.experiment, event.values
        except (AttributeError, TypeError):
            experiment, values = None, None
        known = experiment if experiment in offered else offered[0]

        def asked() -> Mapping[str, Any]:
            if experiment != known or not isinstance(values, dict):
                raise BadSetting(
                    "this page has no experiment {experiment} with such values. Reload the page.",
                    experiment=shown(experiment),
                )
            return {**values, **beside}

        return _told(visitors, request, known, asked, next(presses))

    return ask


def _told(
    visitors: Visitors,
    request: gr.Request,
    experiment: str,
    values: Callable[[], Mapping[str, Any]],
    press: int,
    *,
    held: bool = False,
) -> dict[str, Any]:
    """What a press came to, as the page's script is told: the id of its job, or why there is none."""
    told: dict[str, Any] = {"id": None, "experiment": experiment, "refusal": "", "press": press}
    try:
        wanted = fields.read(named(experiment).request, values(), visitors.limits)
        return {**told, "id": visitors.ask(visitor(request), wanted, held=held)}
    except Refusal as refusal:
        return {**told, "refusal": str(refusal)}
    except Exception:
        log.exception("a request could not be read")
        return {**told, "refusal": BROKEN}


def _press(act: Callable[[str], None]) -> Callable[[gr.Request], None]:
    def press(request: gr.Request) -> None:
        act(visitor(request))

    return press


def _board(experiments: tuple[str, ...], first: str | None) -> gr.HTML:
    names = ", ".join(f'"{name}"' for name in experiments)
    pages = json.dumps(headers.addresses())
    ask = '(experiment, values) => trigger("submit", { experiment, values })'
    then = f"page => page.connect({{ element, props, watch, experiments: [{names}], pages: {pages}, ask: {ask} }})"
    return gr.HTML(
        {"id": first, "experiment": experiments[0], "refusal": "", "press": 0},
        html_template='<div class="ts-boards"></div>',
        apply_default_css=False,
        js_on_load=addresses.script("page.js", then),
        elem_id="boards",
    )


def _html(template: str, elem_id: str) -> None:
    gr.HTML(html_template=template, js_on_load=None, apply_default_css=False, elem_id=elem_id)
