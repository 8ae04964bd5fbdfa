"""The editor of several texts: a row each, with the tokens to write for it; what it posts is JSON."""

import json
from collections.abc import Iterable
from typing import Any

import gradio as gr

from model.errors import BadSetting
from model.limits import Limits
from model.records.batching import letter
from model.records.fields import shown
from model.requests.batching import Text
from viz.server import addresses


def editor(value: str, limits: Limits, *, elem_id: str) -> gr.HTML:
    """The editor of a `value`, laid out where this is called; assets/js/board/texts.js fills it."""
    bounds = f"most: {limits.requests}, newTokens: {limits.new_tokens}"
    script = addresses.script("texts.js", f"texts => texts.connect({{ element, props, watch, {bounds} }})")
    return gr.HTML(
        value,
        html_template='<div class="ts-texts-root"></div>',
        js_on_load=script,
        apply_default_css=False,
        elem_id=elem_id,
    )


def value(texts: Iterable[Text], limits: Limits) -> str:
    """Texts as the editor holds them, within the host's bounds."""
    kept = list(texts)[: limits.requests]
    return json.dumps([[each.prompt, min(each.max_new_tokens, limits.new_tokens)] for each in kept])


def rows(given: Any) -> Any:
    """What the editor posts, as rows of [prompt, new tokens]. Raises: BadSetting, for no number and for no rows."""
    try:
        found = json.loads(given) if isinstance(given, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise BadSetting("texts is {given}; it must be a list of texts with their new tokens.", given=shown(given))
    for at, row in enumerate(found):
        if isinstance(row, list) and row[1:] == [None]:
            raise BadSetting("max_new_tokens of text {letter} is empty; type a number.", letter=letter(at))
    return found
