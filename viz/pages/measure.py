"""The page "Measure": what a model costs on this machine, timed unrecorded, and a run replayed with less cache."""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from model.errors import BadSetting, Refusal
from model.limits import Limits
from model.records.trace import Trace
from viz.examples import EXAMPLES
from viz.pages import form as forms
from viz.pages.header import header
from viz.pages.look import assets_version
from viz.server.experiments import Experiments, Report
from viz.server.requested import Kind, Wanted

PATH = "measure"
NEW_TOKENS = 24

Found = Callable[[str], Trace | None]
"""The finished run by this id, if it is still kept."""

_STATUS = """<p class="ts-refusal" role="alert"></p>
<p class="ts-run"><span class="ts-run-text" role="status"></span></p>
<progress class="ts-progress" max="1" aria-label="how far it is" hidden></progress>
<p class="ts-model" role="status"><span class="ts-dot"></span>
<span class="ts-model-text">Asking for the model&hellip;</span></p>
<progress class="ts-loading" max="1" aria-label="how far the model is loaded" hidden></progress>"""

_ON_LOAD = """
const base = (globalThis.gradio_config?.root ?? location.origin).replace(/\\/+$/, "").replace(/\\/measure$/, "");
import(`${base}/gradio_api/tokenoscope/assets/js/board/measure.js?v=VERSION`).then(page =>
  page.connect({ element, base: `${base}/gradio_api/tokenoscope`, props, watch, kind: "KIND", version: "VERSION" }));
"""


def build_page(demo: gr.Blocks, experiments: Experiments, limits: Limits, found: Found) -> None:
    """Add the page to the app that `demo` is."""
    names = experiments.models.names
    with demo.route("Measure", PATH, show_in_navbar=False) as page:
        with gr.Column(elem_id="app", elem_classes="ts-root ts-measure-page"):
            gr.HTML(html_template=header("measure"), js_on_load=None, apply_default_css=False, elem_id="header")
            with gr.Row(elem_id="page", equal_height=False):
                with gr.Column(elem_id="side", scale=0, min_width=300), gr.Column(elem_id="form"):
                    fields, measure, replay, stop = _form(limits, names)
                with gr.Column(elem_id="main", scale=1, min_width=320):
                    measured, replayed = _board("measurement"), _board("trials")
        fill = [fields[name] for name in ("prompt", "chat", "max_new_tokens", "run", "aim")]
        page.load(_fill(found), None, fill, queue=False, show_progress="hidden", api_visibility="private")
        asked: tuple[tuple[gr.Button, Kind, gr.HTML], ...] = (
            (measure, "measurement", measured),
            (replay, "trials", replayed),
        )
        for button, kind, board in asked:
            button.click(
                _ask(experiments, limits, found, kind),
                inputs_kwargs=fields,
                outputs=board,
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


def _form(limits: Limits, models: tuple[str, ...]) -> tuple[dict[str, Any], gr.Button, gr.Button, gr.Button]:
    most = limits.new_tokens
    prompt = gr.Textbox(
        EXAMPLES[0].prompt,
        label="Prompt",
        lines=3,
        max_lines=8,
        elem_id="prompt",
        placeholder="Type the text to measure with.",
    )
    fields: dict[str, Any] = {
        "prompt": prompt,
        "chat": gr.Checkbox(False, label="Chat: the model answers the prompt", elem_id="chat", container=False),
        "n_prompt": gr.Slider(
            0,
            min(512, limits.prompt_tokens),
            value=0,
            step=1,
            label="Prompt length, tokens",
            info="The prompt is cut or repeated to this many tokens. 0 takes it as it is.",
        ),
        "max_new_tokens": gr.Slider(
            2,
            most,
            value=min(NEW_TOKENS, most),
            step=1,
            label="New tokens",
            info="How many tokens each timed run writes.",
        ),
    }
    if len(models) > 1:
        fields["model"] = gr.Dropdown(list(models), value=models[0], label="Model", elem_id="model")
    with gr.Row(elem_id="transport"):
        measure = gr.Button("Measure", variant="primary", elem_id="run")
        stop = gr.Button("Stop", elem_id="stop", interactive=False)
    gr.HTML(html_template=_STATUS, js_on_load=None, apply_default_css=False, elem_id="status")
    with gr.Accordion("Smaller caches", open=True, elem_id="settings"):
        fields["aim"] = gr.Markdown(_aim(None), elem_id="aim")
        fields["window"] = gr.Slider(
            1, 256, value=16, step=1, label="Window, tokens", info="Only so many latest tokens stay in the cache."
        )
        fields["sink"] = gr.Slider(
            1, 16, value=4, step=1, label="Sink, tokens", info="So many first tokens stay beside the window."
        )
        fields["dropped"] = gr.Textbox(
            "",
            label="Drop positions of the prompt",
            placeholder="such as 3, 5, 8-11",
            info="Counted from 0; left empty, none are dropped. Try 0 alone.",
            elem_id="dropped",
        )
        replay = gr.Button("Try smaller caches", elem_id="replay")
    fields["run"] = gr.Textbox("", visible="hidden")
    return fields, measure, replay, stop


def _board(kind: Kind) -> gr.HTML:
    script = _ON_LOAD.replace("VERSION", assets_version()).replace("KIND", kind)
    return gr.HTML(
        asdict(Report(kind=kind)),
        html_template='<div class="ts-board ts-scope"></div>',
        apply_default_css=False,
        js_on_load=script,
        elem_id=kind,
    )


def _fill(found: Found) -> Callable[[gr.Request], tuple[Any, ...]]:
    """The form as the run asks for that the address names, so that what was watched can be measured."""

    def fill(request: gr.Request) -> tuple[Any, ...]:
        name = str(request.query_params.get("run", ""))
        if (run := found(name)) is None:
            return gr.skip(), gr.skip(), gr.skip(), "", _aim(None)
        asked = run.settings
        return run.prompt, asked.chat, max(2, asked.max_new_tokens), name, _aim(run)

    return fill


def _aim(run: Trace | None) -> str:
    if run is None:
        return "The prompt above is run once with the exact cache, then replayed with smaller ones."
    return (
        f"The run that you watched ({run.n_prompt} + {run.n_generated} tokens) is replayed, token for token; another "
        "prompt is run first."
    )


def _ask(experiments: Experiments, limits: Limits, found: Found, kind: Kind) -> Callable[..., Iterator[dict[str, Any]]]:
    def ask(request: gr.Request, **values: Any) -> Iterator[dict[str, Any]]:
        try:
            wanted = _wanted(kind, values, limits, experiments.models.names, found)
        except Refusal as error:
            yield asdict(experiments.refuse(_visitor(request), kind, str(error)))
            return
        for report in experiments.ask(_visitor(request), wanted):
            yield asdict(report)

    return ask


def _wanted(kind: Kind, values: dict[str, Any], limits: Limits, models: tuple[str, ...], found: Found) -> Wanted:
    """What was posted, as an experiment that may be done. Raises: Refusal, naming the field as the page labels it."""
    asked = forms.read({**forms.NEUTRAL, **values}, limits, models)
    run = found(str(values.get("run", ""))) if kind == "trials" else None
    if run is not None and run.prompt != asked.prompt:
        run = None  # another prompt was typed since
    return Wanted(
        kind=kind,
        model=asked.model,
        prompt=asked.prompt,
        settings=asked.settings,
        run=run,
        n_prompt=_whole("Prompt length", values.get("n_prompt"), 0, limits.prompt_tokens) or None,
        window=_whole("Window", values.get("window"), 1, 100_000),
        sink=_whole("Sink", values.get("sink"), 1, 100_000),
        dropped=positions(str(values.get("dropped") or "")),
    )


def positions(text: str) -> tuple[int, ...]:
    """Positions as a person writes them: "3, 5, 8-11" -> 3, 5, 8, 9, 10, 11. Raises: BadSetting, for anything else."""
    found: set[int] = set()
    for part in filter(None, re.split(r"[,\s]+", text.strip())):
        ends = re.fullmatch(r"(\d{1,6})(?:[-–](\d{1,6}))?", part, re.ASCII)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if last < first or last - first > 10_000:
            raise BadSetting(f"Drop positions has {part[:20]!r}; write positions and ranges, such as 3, 5, 8-11.")
        found |= set(range(first, last + 1))
    return tuple(sorted(found))


def _whole(label: str, given: object, least: int, most: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int | float) or given != given or not least <= given <= most:
        raise BadSetting(f"{label} is {ascii(given)[:60]}; it must be a whole number from {least} to {most:,}.")
    return int(given)


def _visitor(request: gr.Request) -> str:
    """Gradio's own random name of one open page."""
    return str(request.session_hash)
