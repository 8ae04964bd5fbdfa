"""The page "Watch a run": a prompt and how tokens are chosen; the browser draws the run that it holds."""

import gradio as gr

from model.limits import Limits
from model.requests.run import Run
from model.texts import phrase
from viz.examples import EXAMPLES
from viz.pages import chat, fields, shell
from viz.server.visitors import Visitors

_SETTINGS = ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "model")
_PRESSES = {  # the replay has a pause of its own
    "pause": phrase("Pause the run"),
    "resume": phrase("Resume the run"),
    "step": phrase("Step"),
    "stop": phrase("Stop"),
}


def build_page(blocks: gr.Blocks, visitors: Visitors, limits: Limits, first: str | None) -> None:
    """Add the page to `blocks`. `first` is the record that it opens on."""
    values = {"prompt": EXAMPLES[0].prompt, "max_new_tokens": 16}
    form = fields.Form(request=Run, limits=limits, models=visitors.models, values=values)
    with shell.laid_out_above("watch", "run", first=first) as page:
        made = form.make("prompt", lines=1)
        with shell.popover(phrase("Examples"), "examples-popover"):
            above = gr.Column()
        with shell.popover(phrase("Settings"), "settings"):
            made |= form.make("chat")
            with gr.Column(elem_id="chat-fields", min_width=0):
                made |= form.make(*chat.ONLY_IN_CHAT, lines=2)
            chat.tell(made["chat"], made["system"])
            recommended = gr.Column(elem_id="recommended-above", min_width=0)
            made |= form.make(*_SETTINGS)
            with recommended:
                chat.recommended(made)
        with above:
            filled = ("prompt", "chat", "system", "turns")
            examples = [[form.shown(name, getattr(each, name)) for name in filled] for each in EXAMPLES]
            labels = [each.label for each in EXAMPLES]
            fields.chips(labels, examples, [made[name] for name in filled], elem_id="examples")
        with gr.Row(elem_id="transport"):
            run = gr.Button(phrase("Run"), variant="primary", elem_id="run")
            for name in _PRESSES:
                page.presses[name] = gr.Button(_PRESSES[name], elem_id=name, interactive=False)
            held = gr.Button("", elem_id="run-held", elem_classes="ts-fill")  # a script presses it: presses.js
        with shell.popover(phrase("Runs"), "runs-popover"):
            shell.runs()
    page.from_pictures = ("run", "fork", "attribute")
    page.beside = {name: each for name, each in made.items() if name == "model"}
    page.asked.append(
        shell.Asked(
            experiment="run",
            button=run,
            fields=made,
            prepare=chat.without_chat,
            also=[made["prompt"].submit],
            held=held,
        )
    )
    fields.remember(blocks, made, "tokenoscope-form")
    shell.wire(blocks, page, visitors)
