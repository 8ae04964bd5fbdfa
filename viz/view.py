"""What a view is: a record and a selection in, a picture out; its docstring is the caption on screen.

A view is one function in one file of viz/views/, marked with `@view`; `all_views()` finds them.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from model.records import Trace
from viz import markup

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


Draw = Callable[[Trace, Selection], "go.Figure | Html"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture of a run. `needs` are the arrays of the record without which there is nothing to draw."""

    name: str
    title: str
    caption: str
    needs: tuple[str, ...]
    draw: Draw

    def missing(self, trace: Trace) -> str | None:
        """Why this view has nothing to show for this run, or None if it has."""
        for name in self.needs:
            if getattr(trace, name) is None:
                reason = trace.model.reason_against(_CHECKS.get(name, name))
                return f"{self.title} needs the run's {name}: {reason or 'this run did not record them'}."
        return None


def view(title: str, *, needs: str | tuple[str, ...] = ()) -> Callable[[Draw], View]:
    """Mark a function as a view; its docstring is what the page says about it."""

    def mark(draw: Draw) -> View:
        caption = " ".join((draw.__doc__ or "").split())
        wanted = (needs,) if isinstance(needs, str) else needs
        return View(name=draw.__name__, title=title, caption=caption, needs=wanted, draw=draw)

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


_CHECKS = {"queries": "attention", "keys": "attention", "resid": "residual", "lens_ids": "lens", "unit_ids": "units"}


def _picture(drawn: "go.Figure | Html") -> str:
    if isinstance(drawn, str):
        return drawn
    return drawn.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
