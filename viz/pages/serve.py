"""The page "Serve": several texts through a batching engine and its paged cache, and one text written with a draft."""

from typing import Any

import gradio as gr

from model.limits import Limits
from model.requests.batching import Serve
from model.requests.speculation import Speculate
from model.texts import phrase
from viz import markup
from viz.examples import DRAFTED, SCENES, Scene
from viz.pages import fields, shell
from viz.server.visitors import Visitors

PATH = "serve"

_PARTS = f"""<div class="ts-parts" role="tablist" aria-label="{markup.text(phrase("parts of this page"))}">
<button type="button" role="tab" id="part-batching" aria-controls="board-serve" aria-selected="true">
{markup.text(phrase("Batching"))}</button>
<button type="button" role="tab" id="part-speculation" aria-controls="board-speculate" aria-selected="false"
tabindex="-1">{markup.text(phrase("Speculation"))}</button></div>"""
_ENGINE = ("rate", "n_blocks", "block_size", "token_budget", "max_requests", "prefix_caching")
_DRAFT = ("n_draft", "max_new_tokens", "temperature", "exit_layer", "seed")


def build_page(demo: gr.Blocks, visitors: Visitors, limits: Limits) -> None:
    """Add the page to the app that `demo` is."""
    first = SCENES[0]
    serving = {"texts": first.texts, **first.engine, **shell.opening(visitors, "serve")}
    speculating = {"prompt": DRAFTED[0].prompt, "max_new_tokens": 32, **shell.opening(visitors, "speculate")}
    batching = fields.Form(request=Serve, limits=limits, models=visitors.models, values=serving)
    drafting = fields.Form(request=Speculate, limits=limits, models=visitors.models, values=speculating)
    with demo.route(phrase("Serve"), PATH, show_in_navbar=False) as blocks:
        with shell.laid_out("serve", "serve", "speculate") as page:
            gr.HTML(html_template=_PARTS, js_on_load=None, apply_default_css=False, elem_id="parts")
            with gr.Column(elem_classes="ts-part ts-part-batching"):
                served = batching.make("texts")
                scenes = gr.Column()
            with gr.Column(elem_classes="ts-part ts-part-speculation"):
                drafted = drafting.make("prompt")
                prompts = gr.Column()
                drafted |= drafting.make("chat", "modes", "draft")
            with prompts:
                values = [(each.prompt, each.chat) for each in DRAFTED]
                labels = [each.label for each in DRAFTED]
                fields.chips(labels, values, [drafted["prompt"], drafted["chat"]], elem_classes="ts-chips")
            with gr.Row(elem_id="transport"):
                serve = gr.Button(
                    phrase("Serve"), variant="primary", elem_id="serve", elem_classes="ts-part-batching ts-go"
                )
                draft = gr.Button(
                    phrase("Speculate"),
                    variant="primary",
                    elem_id="speculate",
                    elem_classes="ts-part-speculation ts-go",
                )
                page.presses["stop"] = gr.Button(phrase("Stop"), elem_id="stop", interactive=False)
            shell.status()
            with gr.Accordion(phrase("Settings"), open=False, elem_id="settings"):
                with gr.Column(elem_classes="ts-part ts-part-batching"):
                    served |= batching.make(*_ENGINE)
                with gr.Column(elem_classes="ts-part ts-part-speculation"):
                    drafted |= drafting.make(*_DRAFT)
                model = batching.make("model")
            with scenes:
                _scenes(batching, served, visitors)
                shell.recorded_fill(visitors, "speculate", drafting, drafted)
        page.asked += [
            shell.Asked(experiment="serve", button=serve, fields=served | model),
            shell.Asked(experiment="speculate", button=draft, fields=drafted | model),
        ]
        fields.remember(blocks, served | model, "tokenoscope-batching")
        fields.remember(blocks, drafted, "tokenoscope-speculation")
        shell.wire(blocks, page, visitors)


def _scenes(batching: fields.Form, served: dict[str, Any], visitors: Visitors) -> None:
    """Buttons that fill the form with a scene, and say what they set beside the texts."""
    names = [scene.label for scene in SCENES]
    asked = ("texts", *_ENGINE)
    values = [
        [_said(scene), *(batching.shown(name, {"texts": scene.texts, **scene.engine}[name]) for name in asked)]
        for scene in SCENES
    ]
    row = gr.Column()
    said = gr.Markdown("", elem_classes="ts-scene-said")
    with row:
        fields.chips(names, values, [said, *(served[name] for name in asked)], elem_classes="ts-chips")
    shell.recorded_fill(visitors, "serve", batching, served, [said])


def _said(scene: Scene) -> str:
    """What an example sets beside the texts, where a person may not see it."""
    engine = scene.engine
    rate = phrase("arrivals {rate:g} texts a second", rate=engine["rate"])
    return phrase(
        "It also sets, under Settings: {arrivals}, {n_blocks} blocks of {block_size} tokens, token budget "
        "{token_budget}, at most {max_requests} texts at once.",
        arrivals=rate if engine["rate"] else phrase("all arrive at the start"),
        n_blocks=engine["n_blocks"],
        block_size=engine["block_size"],
        token_budget=engine["token_budget"],
        max_requests=engine["max_requests"],
    )
