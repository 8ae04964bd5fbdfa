"""The line at the top of every page: the name, what the page is for, and the way to the other pages."""

import dataclasses
from typing import Any, NamedTuple

from model.requests.registry import EXPERIMENTS, Experiment
from model.texts import phrase
from viz import markup


class _Page(NamedTuple):
    address: str
    label: str
    sentence: str  # what it is for


_PAGES = {
    "watch": _Page(
        "./",
        phrase("Watch"),
        phrase("Watch a real language model read your text and continue it, one token at a time."),
    ),
    "measure": _Page(
        "measure",
        phrase("Measure"),
        phrase("See what a real language model costs: time, work and memory."),
    ),
    "serve": _Page(
        "serve",
        phrase("Serve"),
        phrase("See a real language model serve several texts at once, and decode speculatively."),
    ),
}


def header(here: str) -> str:
    """Markup for the page `here`."""
    return (
        f'<header class="ts-header"><h1>Tokenoscope</h1><p>{markup.text(_pages()[here].sentence)}</p>'
        f"{navigation(here)}</header>"
    )


def navigation(here: str) -> str:
    """The links to all pages."""
    links = "".join(_link(name, page, name == here) for name, page in _pages().items())
    return f'<nav class="ts-nav" aria-label="{markup.text(phrase("pages"))}">{links}</nav>'


def _pages() -> dict[str, _Page]:
    return _PAGES | {each.name: _own(each) for each in EXPERIMENTS if has_own_page(each)}


def has_own_page(kind: Experiment[Any, Any]) -> bool:
    """Whether its form is made from its fields: it stands on no other page, and no record is needed to begin."""
    described = kind.request.fields()
    needed = [each.name for each in dataclasses.fields(kind.request) if each.default is dataclasses.MISSING]
    return not kind.page and all(described[name].kind != "record" for name in needed)


def addresses() -> dict[str, str]:
    """Where each kind is shown, relative to the app."""
    shared = {each.name: _PAGES[each.page].address for each in EXPERIMENTS if each.page}
    return shared | {each.name: each.name for each in EXPERIMENTS if has_own_page(each)}


def _own(kind: Experiment[Any, Any]) -> _Page:
    return _Page(kind.name, kind.label, kind.about)


def _link(name: str, page: _Page, is_here: bool) -> str:
    current = ' aria-current="page"' if is_here else ""
    return f'<a href="{page.address}" data-page="{name}"{current}>{markup.text(page.label)}</a>'
