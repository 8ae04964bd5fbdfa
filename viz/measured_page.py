"""What was measured as one page that needs nothing else: no network, no server, no model; it works from a file."""

from model.measurements import CacheTrials, Measurement
from model.serving import Batching, Speculation
from viz import export, markup, theme
from viz.glossary import explained
from viz.measured import on_machine
from viz.theme import Mode
from viz.view import Load, Pick, View, all_views, as_json

_ORDER = (  # files of viz/views/
    "phases", "cache_race", "roofline", "bill", "smaller_cache",
    "lanes", "blocks", "packed_attention", "ways", "rounds", "acceptance",
)  # fmt: skip

Measured = Measurement | CacheTrials | Batching | Speculation

_START = """
const page = document.documentElement;
const pictures = JSON.parse(document.getElementById("pictures").textContent);
const draw = (isDark) => {
  page.classList.toggle("dark", isDark);
  for (const { name, figure } of pictures[isDark ? "dark" : "light"]) {
    if (figure) Plotly.react(name, figure.data, figure.layout, { displaylogo: false, responsive: true });
  }
};
const dark = window.matchMedia("(prefers-color-scheme: dark)");
draw(dark.matches);
dark.addEventListener("change", (event) => draw(event.matches));
document.getElementById("theme").addEventListener("click", () => draw(!page.classList.contains("dark")));
"""


def measured_page(record: Measured, at: Load | Pick | None = None) -> str:
    """One self-contained HTML page of this record, with all its pictures and tables, in light and dark (about 5 MB).

    `at` is what its bill of memory is reckoned for: by default one user, with as much context as the model was made
    for.
    """
    at = at or _usual(record)
    library, style, script = export.plotly_js(), markup.style(), _START
    scripts = " ".join(map(markup.integrity, (library, script)))
    styles = " ".join(map(markup.integrity, (style, export.FILLED)))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    held = f'{{"light": {pictures(record, at, "light")}, "dark": {pictures(record, at, "dark")}}}'
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_title(record)}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="ts-page ts-root">\n<header><h1>Tokenoscope</h1><span>{_about(record)}</span>'
        '<button type="button" class="ts-theme" id="theme">Dark or light</button></header>\n'
        f'<main><div class="ts-scope"><div class="ts-cards">{_origin(record)}{_cards(record, at)}</div></div></main>\n'
        f'<script type="application/json" id="pictures">{_inert(held)}</script>\n{export.without_maps(library)}\n'
        f"<script>{library}</script>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def pictures(record: Measured, at: Load | Pick, mode: Mode) -> str:
    """Every view of this record as a JSON list of what `as_json` says of each, in the order in which they teach."""
    return "[" + ", ".join(as_json(shown, record, at, mode) for shown in views_of(type(record))) + "]"


def views_of(kind: type) -> list[View]:
    """The views of this kind of record, in the order in which they teach."""
    return sorted(all_views(kind), key=lambda shown: _ORDER.index(shown.draw.__module__.rpartition(".")[2]))


def facts(record: Measured) -> list[str]:
    """What was run, where, and what a person should know of it: sentences of plain text."""
    if isinstance(record, Batching):
        return _served(record)
    told = [f"Prompt, {theme.count(record.n_prompt)} tokens: {record.prompt}"]
    if isinstance(record, Measurement):
        told += [
            f"Written, {theme.count(record.n_new)} tokens: {record.text}",
            f"Machine: {on_machine(record.machine)}",
            f"{len(record.ttft)} runs that count, after {record.warm_up} to warm up, with {record.hooks} hooks on the "
            f"model; {record.taken} UTC",
            *record.notes,
        ]
        return told
    written = record.tokens[record.n_prompt :]
    told.append(f"Written, {theme.count(len(written))} tokens: {''.join(token.text for token in written)}")
    return [*told, f"Machine: {record.machine}", *record.notes] if isinstance(record, Speculation) else told


def _served(record: Batching) -> list[str]:
    """What became of each text, and in what cache."""
    told = [
        f"{name}, {theme.count(each.n_prompt)} tokens: {each.prompt} \u2192 {each.text} ({each.ended})"
        for name, each in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ" * len(record.requests), record.requests, strict=False)
    ]
    cache = f"{record.n_blocks} blocks of {record.block_size} tokens, {theme.size(record.block_bytes)} each"
    return [*told, f"Cache: {cache}", f"Machine: {record.machine}", *record.notes]


def _usual(record: Measured) -> Load | Pick:
    if isinstance(record, Batching):  # the tick that serves most texts at once
        return Pick(tick=max(range(len(record.ticks)), key=lambda i: len(record.ticks[i].shares), default=0))
    if isinstance(record, Speculation):
        return Pick()
    return Load(context=max(record.model.n_ctx, 1))


def _cards(record: Measured, at: Load | Pick) -> str:
    """A card a view: its title, its sentence, and room for its chart, its table, or why there is none."""
    cards: list[str] = []
    for shown in views_of(type(record)):
        missing = shown.missing(record)
        drawn = None if missing else shown.draw(record, at)
        if missing:
            body = f'<p class="ts-empty">{markup.text(missing)}</p>'
        else:
            body = drawn if isinstance(drawn, str) else f'<div class="ts-chart" id="{shown.name}"></div>'
        title, caption = markup.text(shown.title), explained(shown.caption)
        cards.append(f'<section class="ts-card"><h2 class="ts-title">{title}</h2>'
                     f'<p class="ts-sentence">{caption}</p>{body}</section>')  # fmt: skip
    return "".join(cards)


def _origin(record: Measured) -> str:
    items = "".join(f"<li>{markup.text(each)}</li>" for each in facts(record))
    return f'<section class="ts-card"><ul class="ts-measured-notes">{items}</ul></section>'


def _about(record: Measured) -> str:
    name = markup.text(record.model.name)
    if isinstance(record, Measurement):
        return f"{name}, timed without recording. Solid: measured. Dashed or outlined: predicted."
    if isinstance(record, Batching):
        return f"{name} serves {len(record.requests)} texts at once."
    if isinstance(record, Speculation):
        return f"{name} writes with a draft before it."
    return f"A run of {name}, replayed with smaller caches."


def _title(record: Measured) -> str:
    what = {Measurement: "Measured", CacheTrials: "Smaller caches", Batching: "Served", Speculation: "Drafted"}
    prompt = record.requests[0].prompt if isinstance(record, Batching) else record.prompt
    return markup.text(f"{what[type(record)]}: {' '.join(prompt.split())[:60]} \u2013 {record.model.name}")


def _inert(held: str) -> str:
    """JSON that no element around it can end: its strings may say the same with an escape."""
    return held.replace("<", "\\u003c")
