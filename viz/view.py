"""What a view is: a record and a selection in, a picture out; its docstring is the caption on screen: the first
paragraph above the picture, the others behind "more".

A view is one function in one file of viz/views/, marked with `@view`; `all_views()` finds those of one kind of record.
It is drawn for a light or a dark page.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NewType, Protocol

from model import texts
from model.errors import BadSetting, NotShown
from model.records.file import Saved
from model.records.trace import Trace
from model.texts import phrase, translated
from viz import glossary, markup, theme
from viz.theme import Mode

if TYPE_CHECKING:
    import plotly.graph_objects as go

Html = NewType("Html", str)
"""Markup that is safe to stand in a page: made by `viz.markup`, with every text in it escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is looked at. Each kind of record has some of these axes; all but the last three count from 0.

    Raises: BadSetting, naming what was given and what would do. Whoever draws checks that the record has so many.
    """

    step: int = 0  # of a run: one forward pass
    layer: int = 0
    head: int = 0
    token: int = 0  # its position in a run; or which drafted token of a round
    tick: int = 0  # of texts that are served
    request: int = 0
    attempt: int = 0  # of texts that are drafted: one way to draft
    round: int = 0
    context: int = 2048  # tokens of context that memory is computed for, for each user
    users: int = 1
    bits: Literal[4, 8, 16, 32] | None = None  # of each number; None: as many as the model has

    def __post_init__(self) -> None:
        for name in AXES:
            if (given := getattr(self, name)) < 0:
                raise BadSetting(
                    "{name} is {given!r}; it must be a whole number of at least 0.", name=name, given=given
                )
        for name, most in (("context", 10_000_000), ("users", 1_000_000)):
            if not 1 <= (given := getattr(self, name)) <= most:
                raise BadSetting(
                    "{name} is {given!r}; it must be a whole number from 1 to {most:,}.",
                    name=name,
                    given=given,
                    most=most,
                )
        if self.bits not in (None, 4, 8, 16, 32):
            raise BadSetting("bits is {bits!r}; a number can have 4, 8, 16 or 32.", bits=self.bits)


AXES = ("step", "layer", "head", "token", "tick", "request", "attempt", "round")
"""What is counted in a record, from 0."""

Record = Saved
Follows = Literal["step", "layer", "token", "load", "tick", "attempt", "round", "pick", "nothing"]


class Draw(Protocol):
    """The function that draws a view of a record at a selection."""

    __name__: str

    def __call__(self, record: Any, at: Any, mode: Mode = "light", /) -> "go.Figure | Html": ...


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture of one kind of record. `needs` are its arrays without which there is nothing to draw; `follows` is
    the part of the selection that changes the picture. One that is `folded` opens when it is pressed: a table of what
    a chart shows. `glance` marks the one that says what the record comes to, before all others.
    """

    name: str
    title: str
    lead: str  # of the caption: what is seen, in at most 15 words
    more: str  # the rest of it; may be empty
    of: type
    needs: tuple[str, ...]
    follows: Follows
    draw: Draw
    folded: bool = False
    glance: bool = False

    @property
    def caption(self) -> str:
        """What is said of the picture, whole."""
        return f"{self.lead} {self.more}".strip()

    def missing(self, record: Any) -> str | None:
        """Why this view has nothing to show of this record, or None if it has."""
        for name in self.needs:
            held = getattr(record, name)
            if held is None:
                reason = record.model.reason_against(_CHECKS.get(name, name))
                reason = reason or phrase("this run did not record them")
                return phrase("{title} needs the run's {name}: {reason}.", title=self.title, name=name, reason=reason)
            if not len(held):
                return phrase(
                    "{title}: not measured. It is measured late in a run; a run that was stopped before, or asked to "
                    "leave it out, has none.",
                    title=self.title,
                )
        return None


def view(
    title: str,
    *,
    follows: Follows,
    of: type = Trace,
    needs: str | tuple[str, ...] = (),
    folded: bool = False,
    glance: bool = False,
) -> Callable[[Draw], View]:
    """Mark a function as a view of this kind of record; its docstring is what the page says about it."""

    def mark(draw: Draw) -> View:
        lead, _, more = (draw.__doc__ or "").partition("\n\n")
        wanted = (needs,) if isinstance(needs, str) else needs
        return View(
            name=draw.__name__,
            title=translated(title),
            lead=_translated(lead),
            more=_translated(more),
            of=of,
            needs=wanted,
            follows=follows,
            draw=draw,
            folded=folded,
            glance=glance,
        )

    return mark


def _translated(paragraph: str) -> str:
    text = " ".join(paragraph.split())
    return translated(text) if text else ""


def words(shown: View) -> dict[str, str | bool]:
    """What a script says of the view: `lead` and `more` are markup, with the terms that they use."""
    return {
        "name": shown.name,
        "title": shown.title,
        "lead": glossary.explained(shown.lead),
        "more": glossary.explained(shown.more),
        "follows": shown.follows,
        "folded": shown.folded,
        "glance": shown.glance,
    }


def html(shown: View, record: Record, at: Selection) -> Html:
    """A view as a piece of a page that holds plotly.js: title, caption, and the picture or why there is none."""
    missing = shown.missing(record)
    picture = f'<p class="ts-empty">{markup.text(missing)}</p>' if missing else _picture(shown.draw(record, at))
    title = f'<h2 class="ts-title">{markup.text(shown.title)}</h2>'
    caption = f'<p class="ts-sentence">{markup.text(shown.lead)}</p>'
    if shown.more:
        more = f"<summary>{markup.text(phrase('more'))}</summary><p>{markup.text(shown.more)}</p>"
        caption += f'<details class="ts-tell">{more}</details>'
    return Html(f'<section class="ts-card">{title}{caption}{picture}</section>')


def as_json(shown: View, record: Record, at: Selection, mode: Mode) -> str:
    """A view for a script that draws it: its words, and the one of `figure` (plotly's), `html` and `missing`
    (a sentence, plain text) that there is; the other two are null.
    """
    parts = {name: json.dumps(value) for name, value in words(shown).items()}
    missing = shown.missing(record)
    drawn = None if missing else shown.draw(record, at, mode)
    html_part, figure = (drawn, None) if isinstance(drawn, str) else (None, drawn)
    parts["figure"] = "null" if figure is None else str(figure.to_json())
    parts |= {"html": json.dumps(html_part), "missing": json.dumps(missing)}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in parts.items()) + "}"


def page(shown: View, record: Record, at: Selection, mode: Mode, *, plotly: str) -> str:
    """A view as a page of its own, for a frame beside its title and caption. `plotly` is the address of plotly.js.

    The page tells whoever frames it how high it is, and nothing else. Raises: NotShown, if there is nothing to draw.
    """
    missing = shown.missing(record)
    if missing:
        raise NotShown("{reason}", reason=missing)
    return page_of(shown.draw(record, at, mode), mode, plotly=plotly)


def page_of(drawn: "go.Figure | Html", mode: Mode, *, plotly: str = "") -> str:
    """What a view has drawn as such a page."""
    script = "" if isinstance(drawn, str) else f'<script src="{markup.text(plotly)}"></script>'
    return _page(script + _picture(drawn), mode)


def refusal_page(sentence: str, mode: Mode) -> str:
    """Why there is no picture, as a page for the same frame."""
    return _page(f"<p>{markup.text(sentence)}</p>", mode)


_CHECKS = {
    "queries": "attention",
    "keys": "attention",
    "resid": "residual",
    "lens_ids": "lens",
    "unit_ids": "units",
    "embed_ids": "embeddings",
}


def _page(body: str, mode: Mode) -> str:
    ground = theme.GROUND[mode]
    style = (
        f"body {{ margin: 0; background: {ground['card']}; color: {ground['ink']}; "
        "font: 400 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif }"
    )
    tell = 'const tell = () => parent.postMessage({ height: document.body.scrollHeight }, "*");'
    title = markup.text(phrase("Picture"))
    tell += " tell(); new ResizeObserver(tell).observe(document.body);"  # a frame out of sight is told nothing new
    return (
        f'<!DOCTYPE html><html lang="{texts.LANGUAGE}"><head><meta charset="utf-8">'
        f'<meta name="color-scheme" content="{mode}">'
        f"<title>{title}</title><style>{style}</style></head><body>{body}<script>{tell}</script></body></html>"
    )


def _picture(drawn: "go.Figure | Html") -> str:
    if isinstance(drawn, str):
        return drawn
    return drawn.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
