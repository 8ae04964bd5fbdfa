"""The forms of the page "Serve", and the check of what arrives from them."""

import json
from dataclasses import dataclass
from typing import Any, get_args

import gradio as gr

from model.errors import BadPrompt, BadSetting, PromptTooLong
from model.limits import Limits
from model.records.batching import letter
from viz.examples import EXAMPLES, Example
from viz.pages import form as forms
from viz.server.requested import Mode, Serving, Speculating, Text

TEXTS = (
    Text(prompt="The capital of France is Paris. The capital of Italy is", max_new_tokens=8),
    Text(prompt="The capital of France is Paris. The capital of Spain is", max_new_tokens=16),
    Text(prompt="Once upon a time, a small robot found a door in the forest. Behind it", max_new_tokens=32),
    Text(prompt="def is_even(n):\n    return", max_new_tokens=12),
)
"""What the page begins with: two that begin alike, and lengths that differ."""


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """Texts that show something, with an engine that shows it."""

    texts: tuple[Text, ...]
    n_blocks: int = 48
    block_size: int = 8
    token_budget: int = 24
    max_requests: int = 8
    rate: float = 0


_GUIDE = "Here are some things that every child should know about animals and where they live. "
_SCENES = {
    "Four texts": _Scene(texts=TEXTS),
    "They begin alike": _Scene(
        rate=2,
        texts=tuple(
            Text(prompt=f"{_GUIDE}{begun}", max_new_tokens=20)
            for begun in ("A penguin lives", "A camel lives", "A whale lives")
        ),
    ),
    "Two at a time": _Scene(
        max_requests=2,
        texts=tuple(
            Text(prompt=prompt, max_new_tokens=new)
            for prompt, new in (
                ("The best thing about winter is", 24),
                ("1, 2, 3, 4,", 8),
                ("She opened the old book and", 12),
                ("In the middle of the city there is", 16),
                ("A whale lives", 8),
            )
        ),
    ),
    "One long, five short": _Scene(
        texts=(
            Text(prompt=TEXTS[2].prompt, max_new_tokens=48),
            *(
                Text(prompt=prompt, max_new_tokens=6)
                for prompt in (
                    "Hot is to cold as big is to",
                    "A young dog is called a",
                    "One, two, three, four,",
                    "The opposite of early is",
                    "Monday, Tuesday, Wednesday,",
                )
            ),
        )
    ),
    "Too few blocks": _Scene(n_blocks=14, texts=tuple(Text(prompt=each.prompt, max_new_tokens=32) for each in TEXTS)),
}
MODES: dict[Mode, str] = {
    "prompt lookup": "Prompt lookup: copy from the text",
    "early exit": "Early exit: the first layers of the same model",
    "own draft": "Own draft: a few layers trained for this model",
    "draft model": "Draft model: a smaller one of this host",
}
_RATE = 20.0  # texts a second: more are there at the start as good as at once
_DRAWN = 128  # blocks that a picture can show one by one
_ON_LOAD = """
const base = (globalThis.gradio_config?.root ?? location.origin).replace(/\\/+$/, "").replace(/\\/serve$/, "");
import(`${base}/gradio_api/tokenoscope/assets/js/board/texts.js?v=VERSION`).then(texts =>
  texts.connect({ element, props, watch, most: MOST, newTokens: NEW }));
"""


def batching_texts(limits: Limits, version: str) -> tuple[dict[str, Any], list[gr.Button]]:
    """The texts to be served, with buttons that fill the form, laid out where this is called."""
    script = _ON_LOAD.replace("VERSION", version)
    script = script.replace("MOST", str(limits.requests)).replace("NEW", str(limits.new_tokens))
    texts = gr.HTML(
        _as_value(TEXTS, limits),
        html_template='<div class="ts-texts-root"></div>',
        js_on_load=script,
        apply_default_css=False,
        elem_id="texts",
    )
    with gr.Row(elem_classes="ts-chips"):
        chips = [gr.Button(name, size="sm", elem_classes="chip") for name in _SCENES]
    said = gr.Markdown("", elem_classes="ts-scene-said")
    for chip, scene in zip(chips, _SCENES.values(), strict=True):
        chip.click(None, None, said, js=f"() => {json.dumps(_sets(scene))}", queue=False, api_visibility="private")
    return {"texts": texts}, chips


def _sets(scene: _Scene) -> str:
    """What an example sets beside the texts, where a person may not see it."""
    arrive = f"arrivals {scene.rate:g} texts a second" if scene.rate else "all there at the start"
    return (
        f"It also sets, under Settings: {arrive}, {scene.n_blocks} blocks of {scene.block_size} tokens, token budget "
        f"{scene.token_budget}, at most {scene.max_requests} texts at once."
    )


def batching_engine(limits: Limits) -> dict[str, Any]:
    """How they arrive and what the engine may do for them, laid out where this is called."""
    most = min(_DRAWN, limits.cache_tokens // 4)
    return {
        "rate": gr.Slider(
            0,
            5,
            value=0,
            step=0.5,
            label="Arrivals, texts a second",
            info="At random, so many on average. 0: all are there at the start.",
        ),
        "n_blocks": gr.Slider(
            4,
            most,
            value=min(48, most),
            step=1,
            label="Blocks of the cache",
            info="With few of them, texts must wait or make room.",
        ),
        "block_size": gr.Slider(4, 32, value=8, step=4, label="Tokens a block", info="All of one text."),
        "token_budget": gr.Slider(
            4,
            256,
            value=24,
            step=1,
            label="Token budget",
            info="The most tokens that one tick reads; a longer prompt is read in chunks.",
        ),
        "max_requests": gr.Slider(
            1,
            limits.requests,
            value=min(8, limits.requests),
            step=1,
            label="Texts at once",
            info="The most that share a tick; the others wait.",
        ),
        "sharing": gr.Checkbox(True, label="Prompts that begin alike share blocks", container=False),
    }


def wire_scenes(chips: list[gr.Button], fields: dict[str, Any], limits: Limits) -> None:
    """Let each button fill the form with its scene."""
    names = ("texts", "n_blocks", "block_size", "token_budget", "max_requests", "rate", "sharing")
    filled = [fields[name] for name in names]
    most = min(_DRAWN, limits.cache_tokens // 4)
    for chip, scene in zip(chips, _SCENES.values(), strict=True):
        values = [
            _as_value(scene.texts, limits),
            min(scene.n_blocks, most),
            scene.block_size,
            scene.token_budget,
            min(scene.max_requests, limits.requests),
            scene.rate,
            True,
        ]
        chip.click(None, None, filled, js=f"() => {json.dumps(values)}", queue=False, api_visibility="private")


def speculation_prompt(models: tuple[str, ...]) -> dict[str, Any]:
    """The text to be written with a draft, and who drafts, laid out where this is called."""
    modes: list[Mode] = [mode for mode in MODES if mode != "draft model" or len(models) > 1]
    prompt = gr.Textbox(
        EXAMPLES[1].prompt,
        label="Prompt",
        lines=3,
        max_lines=8,
        elem_id="prompt",
        placeholder="Type the beginning of a text. The model writes on.",
    )
    with gr.Row(elem_classes="ts-chips"):
        chips = [gr.Button(each.label, size="sm", elem_classes="chip") for each in _PROMPTS]
    chat = gr.Checkbox(False, label="Chat: the model answers the prompt", container=False)
    for chip, example in zip(chips, _PROMPTS, strict=True):
        values = json.dumps([example.prompt, example.chat])
        chip.click(None, None, [prompt, chat], js=f"() => {values}", queue=False, api_visibility="private")
    fields: dict[str, Any] = {"prompt": prompt, "chat": chat}
    fields["modes"] = gr.CheckboxGroup(
        [(MODES[mode], mode) for mode in modes], value=list(modes[:3]), label="Who drafts", elem_id="modes"
    )
    if len(models) > 1:
        fields["draft"] = gr.Dropdown(
            list(models), value=models[1], label="Draft model", info="It must read text in the same tokens."
        )
    return fields


def speculation_settings(limits: Limits) -> dict[str, Any]:
    """How the draft is made and judged, laid out where this is called."""
    most = limits.new_tokens
    return {
        "n_draft": gr.Slider(
            1, 10, value=2, step=1, label="Drafted tokens a round", info="So many are guessed before the model looks."
        ),
        "max_new_tokens": gr.Slider(2, most, value=min(32, most), step=1, label="New tokens"),
        "temperature": gr.Slider(
            0,
            2,
            value=0,
            step=0.05,
            label="Temperature",
            info="At 0 the text is the very one that is written without a draft.",
        ),
        "exit_layer": gr.Slider(
            0,
            64,
            value=0,
            step=1,
            label="Early exit after layer",
            info="Counted from 1. 0: in the middle of the model.",
        ),
        "seed": gr.Number(0, precision=0, label="Seed", info="Above temperature 0: what is drawn."),
    }


_PROMPTS = (
    EXAMPLES[1],
    EXAMPLES[0],
    Example(
        label="A list that repeats",
        prompt="Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, Monday, Tuesday, Wednesday, Thursday,",
    ),
    Example(label="Code", prompt="def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return"),
)


def read_serving(values: dict[str, Any], limits: Limits, models: tuple[str, ...]) -> Serving:
    """What was posted of several texts. Raises: Refusal, naming the field as the page labels it."""
    texts = _texts(values.get("texts"), limits)
    asked = {**forms.NEUTRAL, "prompt": texts[0].prompt, "model": values.get("model", models[0])}
    first = forms.read({**asked, "max_new_tokens": max(each.max_new_tokens for each in texts)}, limits, models)
    block_size = whole("Tokens a block", values.get("block_size"), 1, limits.cache_tokens)
    n_blocks = whole("Blocks of the cache", values.get("n_blocks"), 1, limits.cache_tokens)
    if n_blocks * block_size > limits.cache_tokens:
        raise BadSetting(
            f"{n_blocks:,} blocks of {block_size} tokens hold {n_blocks * block_size:,} tokens; this host allows "
            f"{limits.cache_tokens:,} (TOKENOSCOPE_CACHE_TOKENS). Ask for fewer or smaller blocks."
        )
    sharing = values.get("sharing")
    if not isinstance(sharing, bool):
        raise BadSetting(f"Sharing is {forms.short(sharing)}; it must be on or off.")
    return Serving(
        model=first.model,
        settings=first.settings,
        texts=texts,
        block_size=block_size,
        n_blocks=n_blocks,
        rate=_number("Arrivals", values.get("rate"), 0, _RATE),
        token_budget=whole("Token budget", values.get("token_budget"), 1, limits.prompt_tokens),
        sharing=sharing,
        max_requests=whole("Texts at once", values.get("max_requests"), 1, limits.requests),
    )


def read_speculating(values: dict[str, Any], limits: Limits, models: tuple[str, ...]) -> Speculating:
    """What was posted of one text with a draft. Raises: Refusal, naming the field as the page labels it."""
    asked = forms.read({**forms.NEUTRAL, **values}, limits, models)
    modes = values.get("modes")
    if not isinstance(modes, list) or not modes:
        raise BadSetting("Who drafts is empty; choose at least one.")
    for mode in modes:
        if mode not in get_args(Mode):
            raise BadSetting(f"Who drafts has {forms.short(mode)}; it can be {', '.join(get_args(Mode))}.")
    draft = values.get("draft") if "draft model" in modes else None
    if "draft model" in modes and (draft not in models or draft == asked.model):
        raise BadSetting(f"Draft model is {forms.short(draft)}; choose another one of this host than the model itself.")
    return Speculating(
        model=asked.model,
        prompt=asked.prompt,
        settings=asked.settings,
        draft=draft,
        modes=tuple(mode for mode in MODES if mode in modes),
        n_draft=whole("Drafted tokens a round", values.get("n_draft"), 1, 16),
        exit_layer=whole("Early exit after layer", values.get("exit_layer"), 0, 10_000) or None,
    )


def whole(label: str, given: object, least: int, most: int) -> int:
    """A whole number that was posted. Raises: BadSetting, if it is none or lies outside."""
    number = _number(label, given, least, most)
    if number != int(number):
        raise BadSetting(f"{label} is {forms.short(given)}; it must be a whole number from {least} to {most:,}.")
    return int(number)


def _number(label: str, given: object, least: float, most: float) -> float:
    if given is None:
        raise BadSetting(f"{label} is empty; type a number.")
    if isinstance(given, bool) or not isinstance(given, int | float) or given != given or not least <= given <= most:
        raise BadSetting(f"{label} is {forms.short(given)}; it must be a number from {least:g} to {most:,g}.")
    return given


def _texts(given: object, limits: Limits) -> tuple[Text, ...]:
    """The texts as the page's editor writes them down: a JSON list of [prompt, new tokens]."""
    try:
        rows = json.loads(given) if isinstance(given, str) else None
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list) or any(not isinstance(row, list) or len(row) != 2 for row in rows):
        raise BadSetting(f"The texts are {forms.short(given)}; they must be a list of texts with their new tokens.")
    if len(rows) > limits.requests:
        raise BadSetting(
            f"{len(rows)} texts were asked for; this host serves at most {limits.requests} at once "
            "(TOKENOSCOPE_REQUESTS). Take some away."
        )
    if not rows:
        raise BadPrompt("There is no text to serve. Add one, and type a few words for the model to go on from.")
    texts = tuple(
        Text(
            prompt=_prompt(at, prompt),
            max_new_tokens=whole(f"New tokens of text {letter(at)}", n, 1, limits.new_tokens),
        )
        for at, (prompt, n) in enumerate(rows)
    )
    if (n_bytes := sum(len(each.prompt.encode("utf-8", "surrogatepass")) for each in texts)) > limits.prompt_bytes:
        raise PromptTooLong(
            f"The texts have {n_bytes:,} bytes together; this page reads at most {limits.prompt_bytes:,}. Shorten them."
        )
    return texts


def _prompt(at: int, given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise BadPrompt(f"Text {letter(at)} is empty. Type a few words for the model to go on from, or take it away.")
    return given


def _as_value(texts: "tuple[Text, ...] | list[Text]", limits: Limits) -> str:
    """The texts for the page's editor, within the host's bounds."""
    kept = texts[: limits.requests]
    return json.dumps([[each.prompt, min(each.max_new_tokens, limits.new_tokens)] for each in kept])
