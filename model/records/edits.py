"""What was changed inside a model while a run was computed, said by the run itself. numpy only."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, LiteralString, get_args

from model.errors import BadSetting, BadTrace
from model.records.fields import shown
from model.texts import phrase

What = Literal["head", "mlp", "layer", "edge", "stream"]
Mode = Literal["zero", "mean", "resample"]  # what an ablation puts in place of an output
When = Literal["prefill", "decode", "all"]
MODES: tuple[Mode, ...] = get_args(Mode)
WHENS: tuple[When, ...] = get_args(When)

_NEEDS: dict[tuple[str, str], tuple[str, ...]] = {  # what an edit of a kind and mode says
    **{("head", mode): ("layer", "head") for mode in MODES},
    **{(what, mode): ("layer",) for what in ("mlp", "layer") for mode in MODES},
    ("edge", "zero"): ("query", "key"),
    ("stream", "add"): ("layer", "vector", "strength", "norm", "stream_norm"),
    ("stream", "put"): ("layer", "vector", "position"),
}
_EDGE = re.compile(r"(\d{1,6})>(\d{1,6})(?:@(\d{1,4})(?:\.(\d{1,4}))?)?", re.ASCII)
_HEAD = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change to what a model computes.

    "head", "mlp" and "layer": what it gives is set to zero, to its mean over the positions of the unedited run, or to
    what it gave at the same position of a reference run. A layer's is what its parts add to the residual stream.
    "edge": the token at `query` does not look at the token at `key`; its other weights still sum to 1.
    "stream": a vector is added to the residual stream ("add"), or stands in its place ("put"), at the entrance of
    `layer`; at the layer after the last, before the final norm.
    """

    what: What
    mode: Literal["zero", "mean", "resample", "add", "put"] = "zero"
    when: When = "all"  # of the prompt's positions, of those that are written, or of both
    layer: int | None = None  # None: of an edge, in every layer
    head: int | None = None  # None: of an edge, in every head
    query: int | None = None  # this and the next: positions, of an edge
    key: int | None = None
    position: int | None = None  # the only one that is changed; None: all that `when` says
    vector: int | None = None  # which of the run's `edit_vectors` is added or put
    label: str = ""  # what the vector or the reference run was called
    strength: float | None = None  # the vector was multiplied by it
    norm: float | None = None  # the length of what is added at each position
    stream_norm: float | None = None  # the median length of the unedited run's stream there, beside it

    def __post_init__(self) -> None:
        needs = _NEEDS.get((self.what, self.mode))
        if needs is None or any(getattr(self, name) is None for name in needs):
            raise BadTrace("an edit of a {what} ({mode}) does not say what it changes.", what=self.what, mode=self.mode)

    @property
    def said(self) -> str:
        """The change in words."""
        if self.what == "edge":
            return _edge_said(self)
        if self.what == "stream":
            return _stream_said(self)
        part = _part_said(self)
        when = _when_said(self.when)
        if self.mode == "mean":
            return phrase("{part} set to its mean over the unedited run, {when}", part=part, when=when)
        if self.mode == "resample":
            label = self.label or phrase("the reference run")
            return phrase("{part} set to what it gave in {reference}, {when}", part=part, reference=label, when=when)
        return phrase("{part} set to zero, {when}", part=part, when=when)


def all_said(edits: Sequence[Edit]) -> str:
    """Several changes in one line."""
    return "; ".join(edit.said for edit in edits)


def heads_of(name: str, text: str) -> tuple[tuple[int, int], ...]:
    """Heads as a person writes them: "9.3, 10.4" -> layer 9, head 3, and layer 10, head 4. Raises: BadSetting."""
    found = _read(name, text, _HEAD, "{name} has {part}; write LAYER.HEAD, such as 9.3, 10.4.")
    return tuple((int(each[1]), int(each[2])) for each in found)


def edges_of(name: str, text: str) -> tuple[tuple[int, ...], ...]:
    """Pairs of positions as a person writes them: "5>0" in every layer, "5>0@9" in one, "5>0@9.3" in one head.

    Each becomes (query, key), (query, key, layer) or (query, key, layer, head). Raises: BadSetting.
    """
    form: LiteralString = "{name} has {part}; write QUERY>KEY, such as 5>0, and for one layer or head 5>0@9 or 5>0@9.3."
    found = _read(name, text, _EDGE, form)
    return tuple(tuple(int(number) for number in each.groups() if number is not None) for each in found)


def _read(name: str, text: str, form: re.Pattern[str], template: LiteralString) -> list[re.Match[str]]:
    parts = [each for each in re.split(r"[,;\s]+", text.strip()) if each]
    matches = [(each, form.fullmatch(each)) for each in parts]
    for part, match in matches:
        if match is None:
            raise BadSetting(template, name=name, part=shown(part[:30]))
    return [match for _, match in matches if match is not None]


def _when_said(when: When) -> str:
    said: dict[When, Callable[[], str]] = {
        "prefill": lambda: phrase("for the prompt's tokens"),
        "decode": lambda: phrase("for the written tokens"),
        "all": lambda: phrase("for every token"),
    }
    return said[when]()


def _part_said(edit: Edit) -> str:
    if edit.what == "head":
        return phrase("head {head} of layer {layer}", head=edit.head, layer=edit.layer)
    if edit.what == "mlp":
        return phrase("the MLP of layer {layer}", layer=edit.layer)
    return phrase("layer {layer}", layer=edit.layer)


def _edge_said(edit: Edit) -> str:
    pair = phrase("the token at {query} does not look at the token at {key}", query=edit.query, key=edit.key)
    if edit.layer is None:
        return phrase("{pair}, in every layer", pair=pair)
    if edit.head is None:
        return phrase("{pair}, in layer {layer}", pair=pair, layer=edit.layer)
    return phrase("{pair}, in head {head} of layer {layer}", pair=pair, head=edit.head, layer=edit.layer)


def _stream_said(edit: Edit) -> str:
    label = edit.label or phrase("a vector")
    if edit.mode == "put":
        return phrase(
            "{label} put in place of the residual stream at the entrance of layer {layer}, position {position}",
            label=label,
            layer=edit.layer,
            position=edit.position,
        )
    return phrase(
        "{strength:g} times {label} added to the residual stream at the entrance of layer {layer}, {when}: length "
        "{norm:.3g}, beside the stream's own {stream_norm:.3g}",
        strength=edit.strength,
        label=label,
        layer=edit.layer,
        when=_when_said(edit.when),
        norm=edit.norm,
        stream_norm=edit.stream_norm,
    )
