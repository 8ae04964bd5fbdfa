"""The page "Measure": what a model costs on this machine, timed unrecorded, and a run replayed with less cache."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from model.limits import Limits
from model.records.trace import Trace
from model.requests.cache import TryCaches
from model.requests.timing import Measure
from model.texts import phrase
from viz.examples import EXAMPLES
from viz.pages import fields, shell
from viz.pages.chat import ONLY_IN_CHAT
from viz.server.store import Store
from viz.server.visitors import Visitors

PATH = "measure"
_FILLED = ("prompt", "chat", "max_new_tokens", "run")


def build_page(demo: gr.Blocks, visitors: Visitors, limits: Limits) -> None:
    """Add the page to the app that `demo` is."""
    values = {"prompt": EXAMPLES[0].prompt, "max_new_tokens": 24, **shell.opening(visitors, "measure")}
    form = fields.Form(request=Measure, limits=limits, models=visitors.models, values=values)
    smaller = fields.Form(
        request=TryCaches, limits=limits, models=visitors.models, values=shell.opening(visitors, "cache")
    )
    with demo.route(phrase("Measure"), PATH, show_in_navbar=False) as blocks:
        with shell.laid_out("measure", "measure", "cache") as page:
            shared = form.make("prompt", "chat")
            own = form.make("n_prompt")
            shared |= form.make("max_new_tokens", "model")
            with gr.Row(elem_id="transport"):
                measure = gr.Button(phrase("Measure"), variant="primary", elem_id="run")
                page.presses["stop"] = gr.Button(phrase("Stop"), elem_id="stop", interactive=False)
            shell.status()
            with gr.Accordion(phrase("Cache compression"), open=True, elem_id="settings"):
                aim = gr.Markdown(_aim(None), elem_id="aim")
                caches = smaller.make("window", "sink", "dropped", "run")
                replay = gr.Button(phrase("Compress the cache"), elem_id="replay")
            shell.recorded_fill(visitors, "measure", form, shared | own)
            shell.recorded_fill(visitors, "cache", smaller, shared | caches)
        trials, find = shared | caches, _finder(visitors.store)
        page.asked += [
            shell.Asked(
                experiment="measure",
                button=measure,
                fields=shared | own | {"run": caches["run"]},
                prepare=_with_chat_of(find),
            ),
            shell.Asked(experiment="cache", button=replay, fields=trials, prepare=_prepare(find)),
        ]
        kept = {name: each for name, each in (shared | own | caches).items() if name != "run"}
        fields.remember(blocks, kept, "tokenoscope-measure")
        filled = [*(trials[name] for name in _FILLED), aim]
        blocks.load(_fill(find), None, filled, queue=False, show_progress="hidden", api_visibility="private")
        shell.wire(blocks, page, visitors)


def _finder(store: Store) -> Callable[[str], Trace | None]:
    def find(record_id: str) -> Trace | None:
        """The finished run by this id, if it is still kept with its arrays."""
        kept = store.get(record_id)
        if kept is None or not kept.standing.usable:
            return None
        record = store.record(kept)
        return record if isinstance(record, Trace) else None

    return find


def _fill(find: Callable[[str], Trace | None]) -> Callable[[gr.Request], tuple[Any, ...]]:
    """The form as the run asks for that the address names, so that what was watched can be measured."""

    def fill(request: gr.Request) -> tuple[Any, ...]:
        name = str(request.query_params.get("run", ""))
        if (run := find(name)) is None:
            return gr.skip(), gr.skip(), gr.skip(), "", _aim(None)
        asked = run.settings
        return run.prompt, asked.chat, max(2, asked.max_new_tokens), name, _aim(run)

    return fill


def _aim(run: Trace | None) -> str:
    if run is None:
        return phrase("The prompt above is run once with the exact cache, then replayed with a compressed cache.")
    return phrase(
        "The run that you watched ({n_prompt} + {n_new} tokens) is replayed, token for token. A changed prompt is run "
        "first.",
        n_prompt=run.n_prompt,
        n_new=run.n_generated,
    )


def _with_chat_of(find: Callable[[str], Trace | None]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Of the run that was watched, its system prompt, turns and template options go before the prompt here too."""

    def prepare(values: dict[str, Any]) -> dict[str, Any]:
        run = find(str(values.pop("run", None) or ""))
        same = run is not None and values.get("chat") is True and run.prompt == values.get("prompt")
        chat = {name: getattr(run.settings, name) for name in ONLY_IN_CHAT} if run and same else {}
        return {**values, **chat}

    return prepare


def _prepare(find: Callable[[str], Trace | None]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Of a prompt that was typed since, or a run that has left, the prompt is run first."""

    def prepare(values: dict[str, Any]) -> dict[str, Any]:
        run = find(str(values.get("run") or ""))
        same = run is not None and run.prompt == values.get("prompt")
        return {**values, "run": values["run"] if same else None}

    return prepare
