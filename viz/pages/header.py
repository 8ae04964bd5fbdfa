"""The line at the top of every page: the name, what the page is for, and the way to the other pages."""

from typing import Literal

from viz import markup

Here = Literal["watch", "measure", "serve"]

_PAGES: dict[Here, tuple[str, str, str]] = {
    "watch": ("./", "Watch a run", "Watch a real language model read your text and write on, one token at a time."),
    "measure": ("measure", "Measure", "See what a real language model costs on this machine: time, work and memory."),
    "serve": ("serve", "Serve", "See a real language model serve several texts at once, and write with a draft."),
}


def header(here: Here) -> str:
    """Markup for the page `here`."""
    links = "".join(_link(name, here) for name in _PAGES)
    return (
        f'<header class="ts-header"><h1>Tokenoscope</h1><p>{markup.text(_PAGES[here][2])}</p>'
        f'<nav class="ts-nav" aria-label="pages">{links}</nav></header>'
    )


def _link(name: Here, here: Here) -> str:
    address, label, _ = _PAGES[name]
    current = ' aria-current="page"' if name == here else ""
    return f'<a href="{address}" data-page="{name}"{current}>{markup.text(label)}</a>'
