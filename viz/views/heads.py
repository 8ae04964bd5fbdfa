"""All heads of one layer as lines between tokens: bertviz's head view, in a frame that reaches nothing."""

import warnings
from functools import cache

import numpy as np

from model.records import Trace
from viz import markup, theme
from viz.theme import Mode
from viz.view import Html, Selection, view

_SCRIPT = '<script type="text/javascript">'
_TOKENS = 64  # more lines than this draws take seconds to appear


@view("Head view (bertviz)", needs="queries", follows="layer")
def head_view(trace: Trace, at: Selection, mode: Mode = "light") -> Html:
    """Lines lead from each token (left) to the tokens it looks back at (right), one colour a head of the selected
    layer; point at a token to see its lines alone. It shows the first 64 tokens at most.
    """
    from bertviz import head_view as drawn
    from bertviz import util

    count = min(trace.n_fed, _TOKENS)
    weights = np.round(trace.pattern_rows(0, count, layer=at.layer).astype(np.float64), 3)
    layer = util.torch.from_numpy(weights)[None]  # bertviz takes tensors, and brings torch with it
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves its script's file open
        made = drawn(
            [layer] * trace.model.n_layers,
            [markup.short(token, 16) for token in trace.tokens[:count]],
            include_layers=[at.layer],
            prettify_tokens=False,
            html_action="return",
        )
    assert made is not None, "it returns what it was told to return"
    body = str(made.data)
    before, script = body.split(_SCRIPT, 1)
    before = before.split("</script>", 1)[1]  # its first script would load require.js from a CDN
    script = script[: script.rindex("</script>")].replace("</", "<\\/").replace("<!--", "<\\!--")  # tokens could end it
    ground = theme.GROUND[mode]
    style = (
        f"body {{ color: {ground['ink']}; background: {ground['card']} }} text {{ fill: {ground['ink']} }} "
        f".background {{ fill: {ground['line']} }} select {{ font: inherit; color: inherit; background: inherit }}"
    )
    page = f"{_libraries()}{before}<script>{script}</script>"
    return Html(markup.foreign(page, title="bertviz head view", height=84 + 23 * count, style=style))


@cache
def _libraries() -> str:
    """d3 and jquery, and what stands in for the loader that bertviz expects."""
    vendor = markup.ASSETS / "vendor"
    jquery, d3 = ((vendor / name).read_text(encoding="utf-8") for name in ("jquery-2.2.4.min.js", "d3-5.7.0.min.js"))
    loader = "window.require = { config() {} }; window.requirejs = (names, run) => run(jQuery, d3);"
    return f"<script>{jquery}</script><script>{d3}</script><script>{loader}</script>"
