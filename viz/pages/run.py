"""The page: a form at the side, and the scope, in which the browser draws the run that it holds."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from model.errors import Refusal
from model.limits import Limits
from viz.pages import form as forms
from viz.pages.header import header
from viz.pages.look import assets_version
from viz.server.live import Live, Notice

TITLE = "Tokenoscope"

# Static markup, filled by assets/js/board/page.js through textContent alone.
_STATUS = """<p class="ts-refusal" role="alert"></p>
<p class="ts-run"><span class="ts-run-text"></span></p>
<progress class="ts-progress" max="1" aria-label="how far the run is" hidden></progress>
<p class="ts-message"></p>
<p class="ts-keep" hidden>Keep it as a <a class="ts-keep-page" download>web page</a> or a
<a class="ts-keep-trace" download>trace file</a>.</p>
<p class="ts-model" role="status"><span class="ts-dot"></span>
<span class="ts-model-text">Asking for the model&hellip;</span></p>
<progress class="ts-loading" max="1" aria-label="how far the model is loaded" hidden></progress>
<p class="ts-spoken" role="status"></p>"""

_ON_LOAD = """
const base = (globalThis.gradio_config?.root ?? location.origin).replace(/\\/+$/, "") + "/gradio_api/tokenoscope";
import(`${base}/assets/js/board/page.js?v=VERSION`).then(page =>
  page.connect({ element, base, props, watch, trigger, version: "VERSION" }));
"""


def build_page(live: Live, limits: Limits, first: Notice) -> gr.Blocks:
    """The whole page. `first` says what the scope shows before anything was asked for."""
    models = live.models.names
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as demo:
        with gr.Column(elem_id="app", elem_classes="ts-root"):
            gr.HTML(html_template=header("watch"), js_on_load=None, apply_default_css=False, elem_id="header")
            with gr.Row(elem_id="page", equal_height=False):
                with gr.Column(elem_id="side", scale=0, min_width=300):
                    with gr.Column(elem_id="form"):
                        form = forms.build_form(limits, models, _STATUS)
                    gr.HTML(
                        html_template='<div class="ts-rail-root"></div>',
                        js_on_load=None,
                        apply_default_css=False,
                        elem_id="rail",
                    )
                with gr.Column(elem_id="main", scale=1, min_width=320):
                    scope = gr.HTML(
                        asdict(first),
                        html_template='<div class="ts-scope-root"></div>',
                        apply_default_css=False,
                        js_on_load=_ON_LOAD.replace("VERSION", assets_version()),
                        elem_id="scope",
                    )
        forms.remember(demo, form.fields, "tokenoscope-form")
        _wire(demo, live, limits, form, scope)
    return demo


def _wire(demo: gr.Blocks, live: Live, limits: Limits, form: forms.Form, scope: gr.HTML) -> None:
    """Every event of the page. No `cancels=`: Gradio loses the next run with it; a run is stopped by its engine."""

    def leave(request: gr.Request) -> None:
        live.leave(_visitor(request))

    gr.on(
        [form.run.click, form.prompt.submit],
        _ask(live, limits),
        inputs_kwargs=form.fields,
        outputs=scope,
        preprocess=False,
        postprocess=False,
        show_progress="hidden",
        trigger_mode="multiple",
        concurrency_limit=None,
        api_name="run",
        api_visibility="private",
    )
    presses: dict[str, tuple[gr.Button, Callable[[str], None]]] = {
        "pause": (form.pause, live.pause),
        "resume": (form.resume, live.resume),
        "step": (form.step, live.step),
        "stop": (form.stop, live.stop),
    }
    for name, (button, act) in presses.items():
        button.click(
            _press(act),
            queue=False,
            show_progress="hidden",
            trigger_mode="multiple",
            api_name=name,
            api_visibility="private",
        )
    demo.unload(leave)


def _ask(live: Live, limits: Limits) -> Callable[..., Iterator[dict[str, Any]]]:
    def ask(request: gr.Request, **values: Any) -> Iterator[dict[str, Any]]:
        visitor = _visitor(request)
        try:
            wanted = forms.read(values, limits, live.models.names)
        except Refusal as error:
            yield asdict(live.refuse(visitor, str(error)))
            return
        for notice in live.ask(visitor, wanted):
            yield asdict(notice)

    return ask


def _press(act: Callable[[str], None]) -> Callable[[gr.Request], None]:
    def press(request: gr.Request) -> None:
        act(_visitor(request))

    return press


def _visitor(request: gr.Request) -> str:
    """Gradio's own random name of one open page."""
    return str(request.session_hash)
