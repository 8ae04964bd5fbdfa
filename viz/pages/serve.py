"""The page "Serve": several texts through a batching engine and its paged cache, and one text written with a draft."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from model.errors import Refusal
from model.limits import Limits
from viz.pages import serving_form
from viz.pages.form import remember
from viz.pages.header import header
from viz.pages.look import assets_version
from viz.server.experiments import Experiments, Report
from viz.server.requested import Asked, Kind

PATH = "serve"

_PARTS = """<div class="ts-parts" role="tablist" aria-label="parts of this page">
<button type="button" role="tab" id="part-batching" aria-controls="batching" aria-selected="true">Batching</button>
<button type="button" role="tab" id="part-speculation" aria-controls="speculation" aria-selected="false" tabindex="-1">
Speculation</button></div>"""
_STATUS = """<p class="ts-refusal" role="alert"></p>
<p class="ts-run"><span class="ts-run-text" role="status"></span></p>
<progress class="ts-progress" max="1" aria-label="how far it is" hidden></progress>
<p class="ts-model" role="status"><span class="ts-dot"></span>
<span class="ts-model-text">Asking for the model&hellip;</span></p>
<progress class="ts-loading" max="1" aria-label="how far the model is loaded" hidden></progress>"""
_ON_LOAD = """
const base = (globalThis.gradio_config?.root ?? location.origin).replace(/\\/+$/, "").replace(/\\/serve$/, "");
import(`${base}/gradio_api/tokenoscope/assets/js/board/serve.js?v=VERSION`).then(page =>
  page.connect({ element, base: `${base}/gradio_api/tokenoscope`, props, watch, kind: "KIND" }));
"""


def build_page(demo: gr.Blocks, experiments: Experiments, limits: Limits) -> None:
    """Add the page to the app that `demo` is."""
    names = experiments.models.names
    with demo.route("Serve", PATH, show_in_navbar=False) as page:
        with gr.Column(elem_id="app", elem_classes="ts-root ts-serve-page"):
            gr.HTML(html_template=header("serve"), js_on_load=None, apply_default_css=False, elem_id="header")
            with gr.Row(elem_id="page", equal_height=False):
                with gr.Column(elem_id="side", scale=0, min_width=300), gr.Column(elem_id="form"):
                    asked, stop = _form(limits, names)
                with gr.Column(elem_id="main", scale=1, min_width=320):
                    boards = {kind: _board(kind) for kind in asked}
        for kind, (button, fields) in asked.items():
            remember(page, fields, f"tokenoscope-{kind}")
            button.click(
                _ask(experiments, limits, kind),
                inputs_kwargs=fields,
                outputs=boards[kind],
                preprocess=False,
                postprocess=False,
                show_progress="hidden",
                trigger_mode="multiple",
                concurrency_limit=None,
                api_name=kind,
                api_visibility="private",
            )

        def leave(request: gr.Request) -> None:
            experiments.stop(_visitor(request))

        stop.click(leave, queue=False, show_progress="hidden", trigger_mode="multiple", api_visibility="private")
        page.unload(leave)


def _form(limits: Limits, models: tuple[str, ...]) -> tuple[dict[Kind, tuple[gr.Button, dict[str, Any]]], gr.Button]:
    """The two forms, of which the page's script shows one, and what they share below."""
    gr.HTML(html_template=_PARTS, js_on_load=None, apply_default_css=False, elem_id="parts")
    with gr.Column(elem_classes="ts-part ts-part-batching"):
        batching, scenes = serving_form.batching_texts(limits, assets_version())
    with gr.Column(elem_classes="ts-part ts-part-speculation"):
        speculation = serving_form.speculation_prompt(models)
    with gr.Row(elem_id="transport"):
        serve = gr.Button("Serve", variant="primary", elem_id="serve", elem_classes="ts-part-batching ts-go")
        draft = gr.Button("Speculate", variant="primary", elem_id="speculate", elem_classes="ts-part-speculation ts-go")
        stop = gr.Button("Stop", elem_id="stop", interactive=False)
    gr.HTML(html_template=_STATUS, js_on_load=None, apply_default_css=False, elem_id="status")
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        with gr.Column(elem_classes="ts-part ts-part-batching"):
            batching |= serving_form.batching_engine(limits)
        with gr.Column(elem_classes="ts-part ts-part-speculation"):
            speculation |= serving_form.speculation_settings(limits)
        if len(models) > 1:
            batching["model"] = speculation["model"] = gr.Dropdown(
                list(models), value=models[0], label="Model", elem_id="model"
            )
    serving_form.wire_scenes(scenes, batching, limits)
    return {"batching": (serve, batching), "speculation": (draft, speculation)}, stop


def _board(kind: Kind) -> gr.HTML:
    script = _ON_LOAD.replace("VERSION", assets_version()).replace("KIND", kind)
    return gr.HTML(
        asdict(Report(kind=kind)),
        html_template='<div class="ts-board ts-scope"></div>',
        apply_default_css=False,
        js_on_load=script,
        elem_id=kind,
        elem_classes=f"ts-part-{kind}",
    )


def _ask(experiments: Experiments, limits: Limits, kind: Kind) -> Callable[..., Iterator[dict[str, Any]]]:
    read = serving_form.read_serving if kind == "batching" else serving_form.read_speculating

    def ask(request: gr.Request, **values: Any) -> Iterator[dict[str, Any]]:
        try:
            wanted: Asked = read(values, limits, experiments.models.names)
        except Refusal as error:
            yield asdict(experiments.refuse(_visitor(request), kind, str(error)))
            return
        for report in experiments.ask(_visitor(request), wanted):
            yield asdict(report)

    return ask


def _visitor(request: gr.Request) -> str:
    """Gradio's own random name of one open page."""
    return str(request.session_hash)
