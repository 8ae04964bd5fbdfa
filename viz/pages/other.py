"""A page for each kind whose form stands on no other page: made from its fields, with one button."""

from typing import Any

import gradio as gr

from model.limits import Limits
from model.requests.registry import EXPERIMENTS, Experiment
from model.texts import phrase
from viz.pages import fields, shell
from viz.server.header import has_own_page
from viz.server.visitors import Visitors


def build_pages(demo: gr.Blocks, visitors: Visitors, limits: Limits) -> None:
    """Add the pages to the app that `demo` is."""
    for kind in EXPERIMENTS:
        if has_own_page(kind):
            _build_page(demo, kind, visitors, limits)


def _build_page(demo: gr.Blocks, kind: Experiment[Any, Any], visitors: Visitors, limits: Limits) -> None:
    opening = shell.opening(visitors, kind.name)
    form = fields.Form(request=kind.request, limits=limits, models=visitors.models, values=opening)
    with demo.route(kind.label, kind.name, show_in_navbar=False) as blocks:
        with shell.laid_out(kind.name, kind.name) as page:
            made = form.make(*kind.request.fields())
            with gr.Row(elem_id="transport"):
                run = gr.Button(kind.label, variant="primary", elem_id="run")
                page.presses["stop"] = gr.Button(phrase("Stop"), elem_id="stop", interactive=False)
            shell.status()
            shell.recorded_fill(visitors, kind.name, form, made)
        page.asked.append(shell.Asked(experiment=kind.name, button=run, fields=made))
        fields.remember(blocks, made, f"tokenoscope-{kind.name}")
        shell.wire(blocks, page, visitors)
