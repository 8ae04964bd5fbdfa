"""The form: what a person may ask of a run, each setting with a line that explains it; and the check of what arrives.

The browser's own bounds are a courtesy: Gradio hands on whatever is posted, so every value is checked here again.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components import Component

from model.errors import BadPrompt, BadSetting, NotAllowed, PromptTooLong
from model.limits import Limits
from model.records.trace import Settings
from viz.examples import EXAMPLES
from viz.server.live import Request

_LABELS = {
    "max_new_tokens": "New tokens",
    "temperature": "Temperature",
    "top_k": "Top-k",
    "top_p": "Top-p",
    "min_p": "Min-p",
    "repetition_penalty": "Repetition penalty",
    "seed": "Seed",
}
NEUTRAL = {name: getattr(Settings(), name) for name in (*_LABELS, "chat")}
"""What a form that has fewer fields asks for."""
_TELL_MODEL = '(name) => { document.dispatchEvent(new CustomEvent("tokenoscope-model", { detail: name })); return []; }'


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form's components: `fields` hold what a person chose, by name; the buttons say what to do with it."""

    prompt: gr.Textbox
    fields: dict[str, Component | BlockContext]
    run: gr.Button
    pause: gr.Button
    resume: gr.Button
    step: gr.Button
    stop: gr.Button


def build_form(limits: Limits, models: tuple[str, ...], status: str) -> Form:
    """Lay the form out where it is called. `status` is the markup below the buttons; the page's script fills it."""
    prompt = gr.Textbox(
        EXAMPLES[0].prompt,
        label="Prompt",
        lines=3,
        max_lines=8,
        elem_id="prompt",
        placeholder="Type the beginning of a text. The model writes on.",
    )
    with gr.Row(elem_id="examples"):
        chips = [gr.Button(each.label, size="sm", elem_classes="chip") for each in EXAMPLES]
    chat = gr.Checkbox(False, label="Chat: the model answers the prompt", elem_id="chat", container=False)
    with gr.Row(elem_id="transport"):
        run = gr.Button("Run", variant="primary", elem_id="run")
        pause = gr.Button("Pause", elem_id="pause", interactive=False)
        resume = gr.Button("Resume", elem_id="resume", interactive=False)
        step = gr.Button("Step", elem_id="step", interactive=False)
        stop = gr.Button("Stop", elem_id="stop", interactive=False)
    gr.HTML(html_template=status, js_on_load=None, apply_default_css=False, elem_id="status")
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        fields = {"prompt": prompt, "chat": chat, **_settings(limits)}
        if len(models) > 1:
            model = gr.Dropdown(
                list(models),
                value=models[0],
                label="Model",
                elem_id="model",
                info="Which model reads the prompt. Another one is loaded first.",
            )
            model.change(None, model, None, js=_TELL_MODEL, queue=False, api_visibility="private")
            fields["model"] = model
    _wire_examples(chips, prompt, chat)
    return Form(prompt=prompt, fields=fields, run=run, pause=pause, resume=resume, step=step, stop=stop)


def remember(page: gr.Blocks, fields: dict[str, Any], memory: str) -> None:
    """Keep what a person chose over reloads, in the browser by the name `memory`; the server keeps nothing of it."""
    names, kept = json.dumps(list(fields)), list(fields.values())
    choices = json.dumps(
        {n: [v for _, v in f.choices] for n, f in fields.items() if isinstance(f, gr.Dropdown | gr.CheckboxGroup)}
    )
    keep = f"""(...values) => {{
        const names = {names};
        const chosen = Object.fromEntries(names.map((n, i) => [n, values[i]]));
        try {{ localStorage.setItem("{memory}", JSON.stringify(chosen)); }}
        catch {{ /* a private window keeps nothing */ }}
        return [];
    }}"""
    untouched = json.dumps([field.value for field in kept])
    restore = f"""(...values) => {{
        const names = {names}, choices = {choices}, untouched = {untouched};
        let kept = {{}};
        try {{ kept = JSON.parse(localStorage.getItem("{memory}")) ?? {{}}; }} catch {{ /* nothing kept */ }}
        const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
        const fits = (n, i) => same(values[i], untouched[i])  // else somebody was quicker than this
            && typeof kept[n] === typeof values[i] && Array.isArray(kept[n]) === Array.isArray(values[i])
            && (!choices[n] || [kept[n]].flat().every(each => choices[n].includes(each)));
        return names.map((n, i) => fits(n, i) ? kept[n] : values[i]);
    }}"""
    page.load(None, kept, kept, js=restore, queue=False, api_visibility="private")
    for field in kept:
        field.change(None, kept, None, js=keep, queue=False, api_visibility="private")


def read(values: dict[str, Any], limits: Limits, models: tuple[str, ...]) -> Request:
    """What was posted, as a request that may be run.

    Raises: BadPrompt, PromptTooLong, BadSetting or NotAllowed, naming the field as the page labels it.
    """
    prompt = _prompt(values.get("prompt"), limits)
    chat, model = values.get("chat"), values.get("model", models[0])
    if not isinstance(chat, bool):
        raise BadSetting(f"Chat is {short(chat)}; it must be on or off.")
    if model not in models:
        raise NotAllowed(f"The model {short(model)} is not one that this host offers. Choose one of the list.")
    try:
        settings = Settings(
            max_new_tokens=_whole("max_new_tokens", values),
            temperature=_number("temperature", values),
            top_k=_whole("top_k", values),
            top_p=_number("top_p", values),
            min_p=_number("min_p", values),
            repetition_penalty=_number("repetition_penalty", values),
            seed=_whole("seed", values),
            chat=chat,
        )
        limits.check_new_tokens(settings.max_new_tokens)
    except BadSetting as error:
        raise BadSetting(_as_labelled(str(error))) from error
    return Request(prompt=prompt, settings=settings, model=model)


def _settings(limits: Limits) -> dict[str, Component | BlockContext]:
    neutral = Settings()
    most = limits.new_tokens
    return {
        "max_new_tokens": gr.Slider(
            1,
            most,
            value=min(16, most),
            step=1,
            label=_LABELS["max_new_tokens"],
            info="How many tokens to write at most; each is one pass through the model.",
        ),
        "temperature": gr.Slider(
            0,
            2,
            value=neutral.temperature,
            step=0.05,
            label=_LABELS["temperature"],
            info="0 always takes the likeliest token; higher values gamble more. "
            "At 0, top-k, top-p, min-p and the seed change nothing.",
        ),
        "top_k": gr.Slider(
            0,
            200,
            value=neutral.top_k,
            step=1,
            label=_LABELS["top_k"],
            info="Above temperature 0: draw only among the k likeliest tokens. 0 is off.",
        ),
        "top_p": gr.Slider(
            0.01,
            1,
            value=neutral.top_p,
            step=0.01,
            label=_LABELS["top_p"],
            info="Above temperature 0: draw only among the likeliest tokens that together reach this probability. "
            "1 is off.",
        ),
        "min_p": gr.Slider(
            0,
            1,
            value=neutral.min_p,
            step=0.01,
            label=_LABELS["min_p"],
            info="Above temperature 0: drop tokens less likely than this share of the likeliest one. 0 is off.",
        ),
        "repetition_penalty": gr.Slider(
            0.5,
            2,
            value=neutral.repetition_penalty,
            step=0.05,
            label=_LABELS["repetition_penalty"],
            info="Above 1, tokens that are there already become less likely.",
        ),
        "seed": gr.Number(
            neutral.seed,
            precision=0,
            label=_LABELS["seed"],
            info="Above temperature 0: the same seed draws the same tokens again.",
        ),
    }


def _wire_examples(chips: list[gr.Button], prompt: Component, chat: Component) -> None:
    for chip, example in zip(chips, EXAMPLES, strict=True):
        values = json.dumps([example.prompt, example.chat])
        chip.click(None, None, [prompt, chat], js=f"() => {values}", queue=False, api_visibility="private")


def _prompt(given: object, limits: Limits) -> str:
    """The text as it came. It may hold halves of characters, which the model's side replaces: never send it back."""
    if not isinstance(given, str):
        raise BadPrompt("The prompt is not text. Type a few words for the model to go on from.")
    n_bytes = len(given.encode("utf-8", "surrogatepass"))
    if n_bytes > limits.prompt_bytes:
        raise PromptTooLong(
            f"The prompt has {n_bytes:,} bytes; this page reads at most {limits.prompt_bytes:,}. Shorten it."
        )
    return given


def _number(name: str, values: dict[str, Any]) -> float:
    given, label = values.get(name), _LABELS[name]
    if given is None or given == "":
        raise BadSetting(f"{label} is empty; type a number.")
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise BadSetting(f"{label} is {short(given)}, which is not a number.")
    if not math.isfinite(given):
        raise BadSetting(f"{label} is {given}; it must be a finite number.")
    return given


def _whole(name: str, values: dict[str, Any]) -> int:
    given = _number(name, values)
    if given != int(given):
        raise BadSetting(f"{_LABELS[name]} is {given:g}; it must be a whole number.")
    return int(given)


def _as_labelled(sentence: str) -> str:
    """The sentence with the page's name of the field in place of the program's."""
    name, _, rest = sentence.partition(" ")
    return f"{_LABELS.get(name, name)} {rest}"


def short(given: object) -> str:
    """What was posted, shortened and in ASCII, so that it can be sent back whatever it holds."""
    return ascii(given)[:60]
