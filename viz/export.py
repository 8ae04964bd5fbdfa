"""A record of any kind as one page that needs nothing else: no network, no server, no model; it works from a file."""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence

from model import texts
from model.records.trace import Trace
from model.texts import phrase
from viz import markup, pictures, views
from viz.view import Record, Selection, html
from viz.wire import frames, parts, slices

_DEEP_BYTES = 8_000_000  # of vectors and logits, half of it for each, or what the other leaves: as many as fit
_LAYER_BYTES = 16_000_000  # of a long run's rows: as many whole layers as fit travel with the page
_POOLED_WEIGHTS = 400_000_000  # of a longer run, that are rebuilt to be pooled: some five seconds
_POOLED_ROWS = 16  # of each of its layers, the last, beside the pooled maps
FILLED = ""  # the style element that plotly.js adds, empty, and fills rule by rule
_MAP_STYLE = re.compile(r'getElementById\("([0-9a-f]{64})"\)')
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


def page(
    record: Record, at: Selection | None = None, *, charts: Sequence[str] = (), header: bool = True, light: bool = False
) -> str:
    """One self-contained HTML page of this record, with its pictures, its numbers and its keys.

    `at` is what it opens on, where its pictures are drawn in Python: by default what is worth looking at first.
    `charts` are more pictures as HTML, as `charts` below makes them; they stand under the page's own. A `light` page
    leaves out plotly.js and the vectors and logits that some pictures of a run unfold, and says so where they would be.
    """
    packed = base64.b64encode(b"".join(_frames(record, at, light))).decode("ascii")
    library = "" if light or charts else plotly_js()
    style, script = markup.style(), markup.script() + _START
    scripts, styles = ([script, library], [style, FILLED]) if library else ([script], [style])
    style_policy = "'unsafe-inline'" if charts else " ".join(map(markup.integrity, styles))
    script_policy = "'unsafe-inline'" if charts else " ".join(map(markup.integrity, scripts))
    policy = (
        f"default-src 'none'; script-src {script_policy}; style-src {style_policy}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    account = views.account_of(record)
    top = (
        f"<header><h1>Tokenoscope</h1><span>{markup.text(account.summary(record))}</span>"
        '<button type="button" class="ts-theme" id="theme">'
        f"{markup.text(phrase('Dark or light'))}</button></header>"
    )
    more = f'<div class="ts-scope ts-more">{"".join(charts)}</div>' if charts else ""
    return (
        '<!DOCTYPE html>\n<html lang="' + texts.LANGUAGE + '">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{markup.text(account.title(record))}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="ts-page ts-root">\n{top if header else ""}\n<main><div id="scope"></div>{more}</main>\n'
        f'<script type="application/octet-stream" id="frames">{packed}</script>\n{_dormant(library)}'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def charts(trace: Trace) -> list[str]:
    """Every view of viz/views/ at the start of the run, with the plotly.js that draws them (about 5 MB)."""
    at = Selection(layer=trace.model.n_layers // 2, token=trace.n_prompt - 1)
    shown = views.all_views(Trace)
    return [f'<script id="plotly-js">{plotly_js()}</script>', *(html(each, trace, at) for each in shown)]


def notebook_html(record: Record, *, height: int = 900) -> str:
    """The same page in a frame, for a notebook's cell; that of a run is light."""
    shown = page(record, header=False, light=isinstance(record, Trace))
    return markup.frame(shown, title=views.account_of(record).title(record), height=height, downloads=True)


def plotly_js() -> str:
    """The plotly.js of the installed package."""
    from plotly.offline import get_plotlyjs  # half a second, which a light page does not need

    library = get_plotlyjs()
    assert "</script" not in library and "<!--" not in library, "it would end the element that holds it"
    return library


def without_maps(library: str) -> str:
    """Placeholders that keep plotly.js from adding the styles of its maps, which the page's CSP forbids.

    plotly.js adds such a style only where no element has its id; no map is drawn here.
    """
    return "".join(f'<template id="{name}"></template>' for name in sorted(set(_MAP_STYLE.findall(library))))


def _dormant(library: str) -> str:
    """plotly.js as text, which the page makes a script of when a person unfolds the first chart that needs it."""
    return f'<script type="text/plain" id="plotly-js">{library}</script>\n{without_maps(library)}' if library else ""


def _frames(record: Record, at: Selection | None, light: bool) -> list[bytes]:
    """What the page's script reads: a run as the app streams it, another record with its pictures drawn."""
    if not isinstance(record, Trace):
        return pictures.saved(record, at)
    return [*parts.all_parts(record), *_long_layers(record), *(() if light else _deep(record))]


def _deep(trace: Trace) -> list[bytes]:
    """Layers' vectors, evenly spread, and the logits of the first choices, at half their size, as many as fit."""
    n_layers = 0 if trace.queries is None else trace.model.n_layers
    layer_size = len(slices.vectors(trace, 0, small=True)) if n_layers else 0
    logits = _as_many_as_fit(
        (slices.logits(trace, i, small=True) for i in range(trace.n_generated)),
        _DEEP_BYTES - min(layer_size * n_layers, _DEEP_BYTES // 2),
    )
    layers = _spread(n_layers, _DEEP_BYTES - sum(map(len, logits)), layer_size)
    return [*logits, *(slices.vectors(trace, layer, small=True) for layer in layers)]


def _as_many_as_fit(made: Iterable[bytes], most: int) -> list[bytes]:
    kept: list[bytes] = []
    for each in made:
        most -= len(each)
        if most < 0:
            break
        kept.append(each)
    return kept


def _spread(n_layers: int, most: int, size: int) -> list[int]:
    """Layers evenly spread, as many as fit into `most` bytes with `size` each."""
    count = min(n_layers, most // size) if size else 0
    return sorted({round((i + 0.5) * n_layers / count - 0.5) for i in range(count)})


def _long_layers(trace: Trace) -> list[bytes]:
    """Layers of a run too long for its steps to carry every row: evenly spread, whole as many as fit, or pooled."""
    if trace.n_fed <= frames.ROWS_UP_TO or trace.queries is None:
        return []
    size = trace.model.n_heads * trace.n_fed * (trace.n_fed + 1) // 2
    if trace.n_fed <= frames.MAPS_UP_TO:
        chosen = _spread(trace.model.n_layers, max(_LAYER_BYTES, size), size)
        return [slices.layer(trace, layer) for layer in chosen]
    chosen = _spread(trace.model.n_layers, max(_POOLED_WEIGHTS, size), size)
    return [slices.little(trace), *(frame for layer in chosen for frame in _pooled(trace, layer))]


def _pooled(trace: Trace, layer: int) -> Iterator[bytes]:
    """One layer's pooled maps, and the rows of the prompt's last token and of those that were read last."""
    yield from (slices.pooled(trace, layer, head) for head in range(trace.model.n_heads))
    last = {trace.steps[0].stop - 1, *range(trace.n_fed - _POOLED_ROWS, trace.n_fed)}
    yield from (slices.rows(trace, layer, position) for position in sorted(last))
