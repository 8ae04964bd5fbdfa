"""A run as one page that needs nothing else: no network, no server, no model; it works from a file."""

import base64
from collections.abc import Sequence

from model.records import Trace
from viz import frames, markup, slices
from viz.view import Selection, all_views, html

_LAYER_BYTES = 16_000_000  # of a long run's rows: as many whole layers as fit travel with the page
_START = """
const page = document.documentElement;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const choose = (isDark) => page.classList.toggle("dark", isDark);
choose(dark.matches);
dark.addEventListener("change", (event) => choose(event.matches));
const toggle = document.getElementById("theme");
if (toggle) toggle.addEventListener("click", () => choose(!page.classList.contains("dark")));
const packed = atob(document.getElementById("frames").textContent);
const bytes = new Uint8Array(packed.length);
for (let i = 0; i < packed.length; i += 1) bytes[i] = packed.charCodeAt(i);
tokenoscopePage({ element: document.getElementById("scope"), frames: bytes });
"""


def page(trace: Trace, *, charts: Sequence[str] = (), header: bool = True) -> str:
    """One self-contained HTML page of this run, with its pictures, its numbers and its keys.

    `charts` are more pictures as HTML, as `charts` below makes them; they stand under the page's own.
    """
    packed = base64.b64encode(b"".join([*frames.all_frames(trace), *_long_layers(trace)])).decode("ascii")
    style, script = markup.style(), markup.script() + _START
    style_policy = "'unsafe-inline'" if charts else markup.integrity(style)
    script_policy = "'unsafe-inline'" if charts else markup.integrity(script)
    policy = (
        f"default-src 'none'; script-src {script_policy}; style-src {style_policy}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    title = markup.text(f"{' '.join(trace.prompt.split())[:60]} – {trace.model.name}")
    top = (
        f"<header><h1>Tokenoscope</h1><span>A recorded run of {markup.text(trace.model.name)}; every number is one "
        "that the model computed.</span>"
        '<button type="button" class="ts-theme" id="theme">Dark or light</button></header>'
    )
    more = f'<div class="ts-scope ts-more">{"".join(charts)}</div>' if charts else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="ts-page ts-root">\n{top if header else ""}\n<main><div id="scope"></div>{more}</main>\n'
        f'<script type="application/octet-stream" id="frames">{packed}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def charts(trace: Trace) -> list[str]:
    """Every view of viz/views/ at the start of the run, with the plotly.js that draws them (about 5 MB)."""
    from plotly.offline import get_plotlyjs

    at = Selection(layer=trace.model.n_layers // 2, token=trace.n_prompt - 1)
    return [f"<script>{get_plotlyjs()}</script>", *(html(shown, trace, at) for shown in all_views())]


def notebook_html(trace: Trace, *, height: int = 900) -> str:
    """The same page in a frame, for a notebook's cell."""
    return markup.frame(page(trace, header=False), title=f"A run of {trace.model.name}", height=height)


def _long_layers(trace: Trace) -> list[bytes]:
    """Whole layers for a run too long for its steps to carry every row: evenly spread, as many as fit."""
    if trace.n_fed <= frames.ROWS_UP_TO or trace.queries is None:
        return []
    size = trace.model.n_heads * trace.n_fed * (trace.n_fed + 1) // 2
    count = min(trace.model.n_layers, max(1, _LAYER_BYTES // size))
    chosen = sorted({round((i + 0.5) * trace.model.n_layers / count - 0.5) for i in range(count)})
    return [slices.layer(trace, layer) for layer in chosen]
