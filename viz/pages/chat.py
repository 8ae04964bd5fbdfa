"""A chat's own fields: its earlier turns, the variables of the model's template, and what the model recommends.

Editors of the page's script stand in for components; what they post is JSON. assets/js/board/chat_fields.js fills them.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import gradio as gr

from model.errors import BadSetting
from model.records.fields import shown
from viz.server import addresses

ONLY_IN_CHAT = ("system", "turns", "template_options")
RECOMMENDED = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")

_TELL = """(chat, system) => {
    document.dispatchEvent(new CustomEvent("tokenoscope-said", { detail: { chat, system: system ?? "" } }));
    return [];
}"""


def editor(kind: Literal["turns", "options"], value: str, *, elem_id: str) -> gr.HTML:
    """The editor of earlier turns, or of the chosen model's template options, laid out where this is called."""
    return _editor("connectTurns" if kind == "turns" else "connectOptions", value, elem_id)


def value(kind: Literal["turns", "options"], given: Iterable[Any]) -> str:
    """Turns or options of a request as their editor holds them."""
    if kind == "turns":
        return json.dumps([[each.role, each.content] for each in given])
    return json.dumps({each.name: each.value for each in given})


def posted(name: str, given: Any) -> Any:
    """What an editor posts, or a picture of the page as it is. Raises: BadSetting, for text that is no JSON."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise BadSetting("{name} is {given}; it must be a list.", name=name, given=shown(given)) from error


def without_chat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a form whose chat is off: what belongs to a chat stays on the page and is not sent."""
    return {name: value for name, value in values.items() if values.get("chat") or name not in ONLY_IN_CHAT}


def tell(chat: gr.Checkbox, system: gr.Textbox) -> None:
    """Tell the page's script what stands in these two, whoever changes it: the line beside the form says it."""
    for each in (chat, system):
        each.change(None, [chat, system], None, js=_TELL, queue=False, api_visibility="private")


def recommended(filled: Mapping[str, Any]) -> None:
    """What the chosen model recommends, with a press that fills it in and one that takes it back, in the browser alone.

    `filled` are the fields of `RECOMMENDED` by name.
    """
    _editor("connectRecommended", "", "recommended")
    names, fields = [name for name in RECOMMENDED if name in filled], [filled[name] for name in RECOMMENDED]
    use = f"""(...values) => {{
        const wanted = JSON.parse(document.body.dataset.offers ?? "null")?.recommended ?? {{}};
        document.getElementById("recommended").dataset.before = JSON.stringify(values);
        return {json.dumps(names)}.map((name, i) => wanted[name] ?? values[i]);
    }}"""
    undo = '(...values) => JSON.parse(document.getElementById("recommended").dataset.before ?? "null") ?? values'
    for elem_id, js in (("recommended-use", use), ("recommended-undo", undo)):
        button = gr.Button("", elem_id=elem_id, elem_classes="ts-fill")
        button.click(None, fields, fields, js=js, queue=False, api_visibility="private")


def _editor(connect: str, value: str, elem_id: str) -> gr.HTML:
    script = addresses.script("chat_fields.js", f"fields => fields.{connect}({{ element, props, watch }})")
    return gr.HTML(
        value,
        html_template='<div class="ts-chat-root"></div>',
        js_on_load=script,
        apply_default_css=False,
        elem_id=elem_id,
    )
