"""A form made from a request's fields: a component for each kind, what is posted read back, and the browser's memory.

The browser's own bounds are a courtesy: Gradio hands on whatever is posted, so every value is checked here again.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components import Component

from model.api.engine import Models
from model.errors import BadSetting, Refusal
from model.limits import Limits
from model.records.fields import Field, fields_of, positions
from model.requests.batching import Text
from model.requests.request import Request
from model.texts import phrase, translated
from viz.pages import chat, texts

Input = Component | BlockContext
R = TypeVar("R", bound=Request)

_LONGEST_SLIDER = 10_000  # steps; beyond, a number is typed
_TELL_MODEL = '(name) => { document.dispatchEvent(new CustomEvent("tokenoscope-model", { detail: name })); return []; }'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """Makes the components of one kind of request, where each is called for.

    `values` are those that the page opens with, where they are not the defaults.
    """

    request: type[Request]
    limits: Limits
    models: Models
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def make(self, *names: str, lines: int = 3) -> dict[str, Any]:
        """A component for each of these fields, laid out where this is called; none for a choice of one model.

        `lines`: how high a field for text is before it grows.
        """
        fields = self.request.fields()
        return {name: self._component(name, fields[name], lines) for name in names if self._is_offered(name)}

    def _is_offered(self, name: str) -> bool:
        is_choice = len(self.models.names) > 1 or (self.models.takes_any and name == "model")
        return is_choice or self.request.fields()[name].kind != "model"

    def shown(self, name: str, value: Any) -> Any:
        """A value of the request as the field's component holds it."""
        field = self.request.fields()[name]
        match field.kind:
            case "whole" | "number":
                ends = self._ends(field)
                return value if ends is None else min(max(ends[0] if value is None else value, ends[0]), ends[1])
            case "choices":
                return [each for each in value if self._is_possible(each)]
            case "rows":
                return texts.value(value, self.limits)
            case "turns" | "options":
                return chat.value(field.kind, value)
            case "positions":
                return ", ".join(map(str, value))
            case _:
                return value

    def _component(self, name: str, field: Field, lines: int) -> Input:
        value = self.shown(name, self.values.get(name, self._default(name)))
        label, said = translated(field.label), translated(field.help)
        if field.unit:
            label = phrase("{label}, {unit}", label=label, unit=translated(field.unit))
        hint = translated(field.placeholder)
        match field.kind:
            case "whole" | "number":
                return self._number(name, field, label, value)
            case "switch":
                said = f"{said[:1].lower()}{said[1:].removesuffix('.')}"
                label = phrase("{label}: {meaning}", label=label, meaning=said)
                return gr.Checkbox(value, label=label, elem_id=name, container=False)
            case "choice" | "choices":
                choices = [(translated(text), given) for given, text in field.choices if self._is_possible(given)]
                kind = gr.CheckboxGroup if field.kind == "choices" else gr.Dropdown
                return kind(choices, value=value, label=label, elem_id=name)
            case "model":
                return self._model(name, field)
            case "rows":
                return texts.editor(value, self.limits, elem_id=name)
            case "turns" | "options":
                return chat.editor(field.kind, value, elem_id=name)
            case "record":
                return gr.Textbox("", visible="hidden")
            case "positions":
                return gr.Textbox(value, label=label, info=said, placeholder=hint, elem_id=name)
            case _:
                return gr.Textbox(value, label=label, lines=lines, max_lines=8, elem_id=name, placeholder=hint or None)

    def _number(self, name: str, field: Field, label: str, value: Any) -> Input:
        """A slider where it has ends that a hand can tell apart; one that may be left out begins at 0 for that."""
        info, ends = translated(field.help), self._ends(field)
        if ends is None:
            precision = 0 if field.kind == "whole" else None
            return gr.Number(value, precision=precision, label=label, info=info, elem_id=name)
        return gr.Slider(*ends, value=value, step=field.step, label=label, info=info, elem_id=name)

    def _ends(self, field: Field) -> tuple[float, float] | None:
        """Of its slider; None where a number is typed."""
        low, high = field.bounds(self.limits)
        first, last = field.slider or (low, high)
        last = min(last, high)
        is_typed = not math.isfinite(last - first) or (last - first) / field.step > _LONGEST_SLIDER
        return None if is_typed else (first, last)

    def _model(self, name: str, field: Field) -> Input:
        names, label, info = self.models.names, translated(field.label), translated(field.help)
        if name != "model":
            other = next(each for each in names[1:])
            return gr.Dropdown(list(names), value=other, label=label, info=info, elem_id=name)
        info = phrase("The model that runs this. If it is not in memory, it is loaded first.")
        if self.models.takes_any:
            own = phrase("Your own: type the path of its folder, or its id on the Hugging Face Hub.")
            info = f"{info} {own}"
        made = gr.Dropdown(
            list(names),
            value=names[0],
            label=label,
            info=info,
            elem_id=name,
            allow_custom_value=self.models.takes_any,
        )
        made.change(None, made, None, js=_TELL_MODEL, queue=False, api_visibility="private")
        return made

    def _is_possible(self, choice: str) -> bool:
        """A choice that needs another model is offered where there is one."""
        return choice != "draft model" or len(self.models.names) > 1

    def _default(self, name: str) -> Any:
        default = next(each.default for each in dataclasses.fields(self.request) if each.name == name)
        empty = None if self.request.fields()[name].kind in ("whole", "number") else ""
        return empty if default is dataclasses.MISSING else default


def read(kind: type[R], posted: Mapping[str, Any], limits: Limits) -> R:
    """What was posted, as a request whose values may be asked for.

    Raises: Refusal, naming the field as the page labels it.
    """
    fields = kind.fields()
    try:
        values = {name: _value(name, fields[name], posted[name], kind, limits) for name in posted if name in fields}
        request = kind.read(values)
        request.check(limits)
    except Refusal as error:
        in_rows = fields_of(Text) if any(each.kind == "rows" for each in fields.values()) else {}
        raise type(error)("{sentence}", sentence=labelled(str(error), {**in_rows, **fields})) from error
    return request


def labelled(sentence: str, fields: Mapping[str, Field]) -> str:
    """The sentence with the page's name of the field in place of the program's."""
    name, _, rest = sentence.partition(" ")
    return f"{translated(fields[name].label)} {rest}" if name in fields else sentence


def _value(name: str, field: Field, given: Any, kind: type[Request], limits: Limits) -> Any:
    """A posted value as the request wants it: numbers left out, texts and positions as they are typed."""
    if field.kind in ("whole", "number") and (given is None or given == "" or given == 0):
        optional = next(each.default for each in dataclasses.fields(kind) if each.name == name) is None
        if optional and (given != 0 or field.bounds(limits)[0] > 0) and not isinstance(given, bool):
            return None
        if given is None or given == "":
            raise BadSetting("{name} is empty; type a number.", name=name)
    if field.kind == "positions":
        return positions(name, "" if given is None else str(given))
    if field.kind in ("turns", "options"):
        return chat.posted(name, given)
    return texts.rows(given) if field.kind == "rows" else given


def chips(labels: Sequence[str], values: Sequence[Sequence[Any]], filled: Sequence[Any], **look: Any) -> None:
    """Buttons that fill fields with examples, in the browser alone."""
    with gr.Row(**look):
        made = [gr.Button(label, size="sm", elem_classes="chip") for label in labels]
    for chip, example in zip(made, values, strict=True):
        _fill(chip, example, filled)


def fill_from(record_id: str, values: Sequence[Any], filled: Sequence[Any]) -> None:
    """A button out of sight that puts these values into the form, in the browser alone: a page's script presses it
    when a record that comes with the app is chosen (assets/js/board/shipped_records.js).
    """
    button = gr.Button("", elem_id=f"fill-{record_id}", elem_classes="ts-fill")
    _fill(button, values, filled)


def _fill(button: gr.Button, values: Sequence[Any], filled: Sequence[Any]) -> None:
    js = f"() => {json.dumps(values[0] if len(filled) == 1 else list(values))}"
    button.click(None, None, list(filled), js=js, queue=False, api_visibility="private")


def remember(page: gr.Blocks, fields: Mapping[str, Any], memory: str) -> None:
    """Keep what a person chose over reloads, in the browser by the name `memory`; the server keeps nothing of it."""
    names, kept = json.dumps(list(fields)), list(fields.values())
    bound = {n: f for n, f in fields.items() if isinstance(f, gr.Dropdown | gr.CheckboxGroup) and not _takes_any(f)}
    choices = json.dumps({n: [v for _, v in f.choices] for n, f in bound.items()})
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


def _takes_any(made: Any) -> bool:
    return getattr(made, "allow_custom_value", False)
