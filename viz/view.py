"""What a view is: a record and a selection in, a picture out; its docstring is the caption on screen.

A view is one function in one file of viz/views/, marked with `@view`; `all_views()` finds them. It is drawn for a light
or a dark page.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NewType, Protocol

from model.errors import NotShown
from model.records import Trace
from viz import markup, theme
from viz.theme import Mode

if TYPE_CHECKING:
    import plotly.graph_objects as go

Html = NewType("Html", str)
"""Markup that is safe to stand in a page: made by `viz.markup`, with every text in it escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is looked at, counted from 0: a step, a layer, a head, and the position of a token."""

    step: int = 0
    layer: int = 0
    head: int = 0
    token: int = 0


Follows = Literal["step", "layer", "token"]


class Draw(Protocol):
    """The function that draws a view."""

    __name__: str

    def __call__(self, trace: Trace, at: Selection, mode: Mode = "light") -> "go.Figure | Html": ...


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture of a run. `needs` are the arrays of the record without which there is nothing to draw; `follows` is
    the part of the selection that changes the picture.
    """

    name: str
    title: str
    caption: str
    needs: tuple[str, ...]
    follows: Follows
    draw: Draw

    def missing(self, trace: Trace) -> str | None:
        """Why this view has nothing to show for this run, or None if it has."""
        for name in self.needs:
            if getattr(trace, name) is None:
                reason = trace.model.reason_against(_CHECKS.get(name, name))
                return f"{self.title} needs the run's {name}: {reason or 'this run did not record them'}."
        return None


def view(title: str, *, follows: Follows, needs: str | tuple[str, ...] = ()) -> Callable[[Draw], View]:
    """Mark a function as a view; its docstring is what the page says about it."""

    def mark(draw: Draw) -> View:
        caption = " ".join((draw.__doc__ or "").split())
        wanted = (needs,) if isinstance(needs, str) else needs
        return View(name=draw.__name__, title=title, caption=caption, needs=wanted, follows=follows, draw=draw)

    return mark


def all_views() -> tuple[View, ...]:
    """Every view of viz/views/, by file name and then in the order in which each file has them."""
    from viz import views

    modules = [importlib.import_module(f"viz.views.{found.name}") for found in pkgutil.iter_modules(views.__path__)]
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, View))


def html(shown: View, trace: Trace, at: Selection) -> Html:
    """A view as a piece of a page that holds plotly.js: title, caption, and the picture or why there is none."""
    missing = shown.missing(trace)
    picture = f'<p class="ts-empty">{markup.text(missing)}</p>' if missing else _picture(shown.draw(trace, at))
    title = f'<h2 class="ts-title">{markup.text(shown.title)}</h2>'
    caption = f'<p class="ts-sentence">{markup.text(shown.caption)}</p>'
    return Html(f'<section class="ts-card">{title}{caption}{picture}</section>')


def page(shown: View, trace: Trace, at: Selection, mode: Mode, *, plotly: str) -> str:
    """A view as a page of its own, for a frame beside its title and caption. `plotly` is the address of plotly.js.

    The page tells whoever frames it how high it is, and nothing else. Raises: NotShown, if there is nothing to draw.
    """
    missing = shown.missing(trace)
    if missing:
        raise NotShown(missing)
    drawn = shown.draw(trace, at, mode)
    script = "" if isinstance(drawn, str) else f'<script src="{markup.text(plotly)}"></script>'
    return _page(script + _picture(drawn), mode)


def refusal_page(sentence: str, mode: Mode) -> str:
    """Why there is no picture, as a page for the same frame."""
    return _page(f"<p>{markup.text(sentence)}</p>", mode)


_CHECKS = {"queries": "attention", "keys": "attention", "resid": "residual", "lens_ids": "lens", "unit_ids": "units",
           "embed_ids": "embeddings"}  # fmt: skip


def _page(body: str, mode: Mode) -> str:
    ground = theme.GROUND[mode]
    style = (
        f"body {{ margin: 0; background: {ground['card']}; color: {ground['ink']}; "
        "font: 400 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif }"
    )
    tell = 'const tell = () => parent.postMessage({ height: document.body.scrollHeight }, "*");'
    tell += " tell(); new ResizeObserver(tell).observe(document.body);"  # a frame out of sight is told nothing new
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="{mode}">'
        f"<title>Picture</title><style>{style}</style></head><body>{body}<script>{tell}</script></body></html>"
    )


def _picture(drawn: "go.Figure | Html") -> str:
    if isinstance(drawn, str):
        return drawn
    return drawn.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
