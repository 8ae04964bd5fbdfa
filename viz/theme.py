"""What the pictures share: the colour of each role, light and dark, and how numbers read. One place for both languages.

The hues are Okabe and Ito's, which people with any colour vision tell apart; hue is never the only mark. The fills
are theirs, darkened or lightened where text in them would be too faint to read. `assets/css/theme.css` is
`css_variables()` written out, and `assets/js/core/format.js` repeats the number formats; tests keep both equal to this.
Source: Okabe & Ito 2008, "Color Universal Design".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from model.texts import phrase

if TYPE_CHECKING:
    import plotly.graph_objects as go

Mode = Literal["light", "dark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One meaning and its colour: `fill` for areas, `text` for words and thin lines, which must be readable."""

    fill: str
    text: str


# A colour says one thing on all pages of a run: blue the prompt and its prefill, orange what was written and its
# decode, green and vermillion the KV cache, grey what is compared against. Served texts, each with a letter, take
# them in turns.
ROLES: dict[str, dict[Mode, Role]] = {
    "query": {"light": Role(fill="#0072b2", text="#00679f"), "dark": Role(fill="#3d9bd4", text="#6bb9ea")},
    "key": {"light": Role(fill="#d55e00", text="#a84a00"), "dark": Role(fill="#e8772a", text="#f39a5c")},
    "value": {"light": Role(fill="#009e73", text="#00704f"), "dark": Role(fill="#1fb78c", text="#43cfa5")},
    "weight": {"light": Role(fill="#3f2f74", text="#584a85"), "dark": Role(fill="#d6caff", text="#bdb0ea")},
    "guess": {"light": Role(fill="#a296dc", text="#584a85"), "dark": Role(fill="#5c4d9e", text="#bdb0ea")},
    "prompt": {"light": Role(fill="#56b4e9", text="#1b6490"), "dark": Role(fill="#3f8fbd", text="#86c8ee")},
    "generated": {"light": Role(fill="#e69f00", text="#855a00"), "dark": Role(fill="#c98a00", text="#f0b83f")},
    "baseline": {"light": Role(fill="#6f7889", text="#535b6a"), "dark": Role(fill="#8b95a8", text="#a8b1c1")},
    "doubt": {"light": Role(fill="#cc79a7", text="#96396d"), "dark": Role(fill="#b0638f", text="#e39ac3")},
}

GROUND: dict[Mode, dict[str, str]] = {
    "light": {
        "page": "#f4f5f8",
        "card": "#ffffff",
        "sunk": "#eef0f4",
        "line": "#cdd3dd",
        "spine": "#6f7889",
        "ink": "#1a1e27",
        "muted": "#535b6a",
    },
    "dark": {
        "page": "#101318",
        "card": "#191d25",
        "sunk": "#222732",
        "line": "#3b4352",
        "spine": "#8b95a8",
        "ink": "#e9ecf2",
        "muted": "#a8b1c1",
    },
}


FONT_FAMILY = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif"
"""What charts and canvases are written in: FONT in assets/js/core/canvas.js says the same."""


def css_variables() -> str:
    """The colours as CSS variables; the dark ones hold under a `.dark` ancestor, which is how Gradio says it."""
    return (
        "/* Written from viz/theme.py by `python -m viz.theme`; a test keeps the two equal. */\n"
        f".ts-root {{\n{_variables('light')}}}\n\n.dark .ts-root {{\n{_variables('dark')}}}\n"
    )


def contrast(one: str, other: str) -> float:
    """How well two colours stand apart, from 1 to 21; text needs 4.5. Source: WCAG 2.2, 1.4.3."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def count(number: int) -> str:
    """A whole number with its thousands apart: 49152 -> 49,152."""
    return f"{number:,}"


def percent(probability: float) -> str:
    """As a percentage with three digits that count: 0.823 -> 82.3%, 0.00421 -> 0.421%; never a rounded 100%."""
    value = probability * 100
    if 99.95 <= value < 100.5:
        return "100%" if probability >= 1 else phrase("over {number}", number="99.9%")
    return f"{_digits(value)}%"


def _digits(number: float) -> str:
    """Below 1,000, with three digits that count: 0.976, 45.4, 1.57e-4."""
    if number == 0:
        return "0"
    if number >= 0.0009995:
        return f"{number:#.3g}".removesuffix(".")
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{mantissa}e\u2212{abs(int(exponent))}"


def size(n_bytes: float) -> str:
    """Bytes in units of a thousand: 782_336 -> 782 kB, 98_362_432 -> 98.4 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            if unit == "bytes":
                return phrase("{n} bytes", n=f"{n_bytes:.0f}")
            return f"{_three_digits(n_bytes)} {unit}"
        n_bytes /= 1000
    return f"{_three_digits(n_bytes)} TB"


def duration(seconds: float) -> str:
    """Three digits and a unit: 0.0823 -> 82.3 ms, 1.24 -> 1.24 s."""
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000)} ms"
    return f"{_three_digits(seconds)} s"


def plotly_template(mode: Mode = "light") -> go.layout.Template:
    """The same ground, ink and roles for plotly charts, with text of at least 14 px, as canvases draw theirs.

    Words at the axes and in the legend above are quiet; lines go across only.
    """
    import plotly.graph_objects as go

    ground = GROUND[mode]
    line, quiet = ground["line"], {"size": 14, "color": ground["muted"]}
    lines = {"gridcolor": line, "linecolor": line, "zerolinecolor": line, "tickcolor": line}
    axis = {**lines, "automargin": True, "tickfont": quiet, "title": {"font": quiet, "standoff": 12}}
    return go.layout.Template(
        layout={
            "font": {"family": FONT_FAMILY, "size": 14, "color": ground["ink"]},
            "paper_bgcolor": ground["card"],
            "plot_bgcolor": ground["card"],
            "colorway": [ROLES[name][mode].fill for name in ("query", "key", "value", "generated", "prompt", "doubt")],
            "xaxis": {**axis, "showgrid": False, "ticks": "outside", "ticklen": 5},
            "yaxis": {**axis, "ticks": "outside", "ticklen": 8, "tickcolor": ground["card"]},  # room beside the words
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": quiet},
            "margin": {"l": 10, "r": 10, "t": 30, "b": 10},
            "hoverlabel": {
                "bgcolor": ground["card"],
                "bordercolor": ground["muted"],
                "font": {"family": FONT_FAMILY, "size": 14, "color": ground["ink"]},
            },
        }
    )


def _three_digits(number: float) -> str:
    if number >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def _variables(mode: Mode) -> str:
    lines = [f"  color-scheme: {mode};"]
    lines += [f"  --ts-{name}: {colour};" for name, colour in GROUND[mode].items()]
    for name, modes in ROLES.items():
        lines += [f"  --ts-{name}: {modes[mode].fill};", f"  --ts-{name}-text: {modes[mode].text};"]
    return "".join(f"{line}\n" for line in lines)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


if __name__ == "__main__":
    sys.stdout.write(css_variables())
