"""Attention as lines between tokens: bertviz's head view and model view, each in a frame that reaches nothing."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from model.records.trace import Token, Trace
from model.texts import phrase
from viz import markup, theme
from viz.theme import Mode
from viz.view import Html, Selection, view

_SCRIPT = '<script type="text/javascript">'
_TOKENS = 64  # more lines than this draws take seconds to appear
_MODEL_TOKENS = 16
_MODEL_LINES = 70_000  # as the default model's 270 heads and 16 tokens make them, drawn in about two seconds
_MODEL_HEIGHT = 760  # of its frame, in which one scrolls


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Where the tokens of a run look: from its record, or from what is sent of one (viz/wire/recorded.py)."""

    tokens: tuple[Token, ...]  # those that were read
    n_layers: int
    n_heads: int
    rows: Callable[[int, int], np.ndarray]  # of a layer and of the first n tokens: weights [H, n, n]

    def without_first(self) -> "Looks":
        """The same without the lines to the first token, which hide the others where heads rest on it."""

        def rows(layer: int, count: int) -> np.ndarray:
            weights = self.rows(layer, count).copy()
            weights[:, 1:, 0] = 0
            return weights

        return replace(self, rows=rows)


def looks_of(trace: Trace) -> Looks:
    """Exactly, from the queries and keys of the record."""
    return Looks(
        tokens=trace.tokens[: trace.n_fed],
        n_layers=trace.model.n_layers,
        n_heads=trace.model.n_heads,
        rows=lambda layer, count: trace.pattern_rows(0, count, layer=layer),
    )


@view("The heads of one layer (bertviz, head view)", needs="queries", follows="layer")
def head_view(trace: Trace, at: Selection, mode: Mode = "light") -> Html:
    """Lines lead from each token (left) to the tokens that it attends to (right).

    One colour for each head of the selected layer; point at a token to see only its lines. At most the first 64
    tokens are shown.
    """
    return draw_heads(looks_of(trace), at, mode)


def draw_heads(looks: Looks, at: Selection, mode: Mode = "light") -> Html:
    """The head view of one layer."""
    from bertviz import head_view as drawn

    count = min(len(looks.tokens), _TOKENS)
    layer = _tensor(looks, at.layer, count, decimals=3)
    made = _made(drawn, looks, count, [layer] * looks.n_layers, include_layers=[at.layer])
    return _framed(made, mode, title=phrase("bertviz head view"), height=84 + 23 * count)


@view("All heads of the model (bertviz, model view)", needs="queries", follows="layer")
def model_view(trace: Trace, at: Selection, mode: Mode = "light") -> Html:
    """All heads of the model as thumbnails; click one to enlarge it.

    Layers from top to bottom, heads from left to right, lines as in the head view. It opens at the selected layer;
    scroll to see the others. At most the first 16 tokens are shown, fewer where a model has more than 273 heads.
    """
    return draw_model(looks_of(trace), at, mode)


def draw_model(looks: Looks, at: Selection, mode: Mode = "light") -> Html:
    """The model view, opened at one layer."""
    from bertviz import model_view as drawn

    n_layers, n_heads = looks.n_layers, looks.n_heads
    count = min(len(looks.tokens), _MODEL_TOKENS, max(2, math.isqrt(_MODEL_LINES // (n_layers * n_heads))))
    layers = [_tensor(looks, layer, count, decimals=2) for layer in range(n_layers)]
    made = _made(drawn, looks, count, layers, display_mode=mode)
    layer_height = 84 * count / n_heads + 10  # as its script reckons it
    opens = f"<script>scrollTo(0, {at.layer * layer_height:.0f})</script>"
    height = min(_MODEL_HEIGHT, math.ceil(max(n_layers * layer_height, 18 * count + 55) + 80))
    return _framed(made, mode, title=phrase("bertviz model view"), height=height, last=opens)


BY_LOOKS = {"head_view": draw_heads, "model_view": draw_model}
"""What draws these views from other looks than a record's own."""


def _tensor(looks: Looks, layer: int, count: int, *, decimals: int) -> Any:
    """One layer's weights as bertviz takes them: a tensor [1, H, S, S]. It brings torch with it."""
    from bertviz import util

    return util.torch.from_numpy(np.round(looks.rows(layer, count).astype(np.float64), decimals))[None]


def _made(drawn: Callable[..., Any], looks: Looks, count: int, layers: list[Any], **options: Any) -> str:
    """The markup and the script that bertviz makes of these layers."""
    tokens = [markup.short(token, 16) for token in looks.tokens[:count]]
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves its script's file open
        return str(drawn(layers, tokens, prettify_tokens=False, html_action="return", **options).data)


def _framed(made: str, mode: Mode, *, title: str, height: int, last: str = "") -> Html:
    """What bertviz made, without what it would load from elsewhere, in the page's colours."""
    before, script = made.split(_SCRIPT, 1)
    before = before.split("</script>", 1)[1]  # its first script would load require.js from a CDN
    script = script[: script.rindex("</script>")].replace("</", "<\\/").replace("<!--", "<\\!--")  # tokens could end it
    ground = theme.GROUND[mode]
    style = (
        f"body {{ color: {ground['ink']}; background: {ground['card']} }} text {{ fill: {ground['ink']} }} "
        f".background, .highlight {{ fill: {ground['line']} }} "
        f".attn_background, rect.detail {{ fill: {ground['card']} }} "
        "select { font: inherit; color: inherit; background: inherit }"
    )
    page = f"{_libraries()}{before}<script>{script}</script>{last}"
    return Html(markup.foreign(page, title=title, height=height, style=style))


@cache
def _libraries() -> str:
    """d3 and jquery, and what stands in for the loader that bertviz expects."""
    vendor = markup.ASSETS / "vendor"
    jquery, d3 = ((vendor / name).read_text(encoding="utf-8") for name in ("jquery-2.2.4.min.js", "d3-5.7.0.min.js"))
    loader = """window.require = { config() {} };
        window.requirejs = (names, run) => run(...names.map((name) => (name === "d3" ? d3 : jQuery)));"""
    return f"<script>{jquery}</script><script>{d3}</script><script>{loader}</script>"
