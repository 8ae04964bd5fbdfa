"""What was measured as one page that needs nothing else: no network, no server, no model; it works from a file."""

import json
from collections import Counter

from model.records.batching import Batching
from model.records.cache import CacheTrials
from model.records.speculation import Speculation
from model.records.timing import Measurement
from viz import export, markup, steps, theme
from viz.glossary import explained
from viz.measured import number, on_machine
from viz.served import letter
from viz.theme import Mode
from viz.view import Load, Pick, View, as_json
from viz.views import all_views

_ORDER = (  # files of viz/views/
    "phases",
    "cache_race",
    "roofline",
    "bill",
    "smaller_cache",
    "lanes",
    "blocks",
    "packed_attention",
    "schedulers",
    "rounds",
    "acceptance",
)

Measured = Measurement | CacheTrials | Batching | Speculation

_HELD_FIXED = (
    "A kept page holds this picture for one tick, layer and head. The page Serve draws every other, and so does the "
    "Python library from the kept file."
)
_BEGINNING, _END = 300, 100  # ticks or rounds of a long run that its kept page holds
_NOT_HELD = '<p class="ts-empty">This page does not hold this picture.</p>'


def measured_page(record: Measured, at: Load | Pick | None = None) -> str:
    """One self-contained HTML page of this record, with all its pictures and tables, in light and dark (about 5 MB).

    `at` is what its bill of memory is reckoned for: by default one user, with as much context as the model was made
    for. Of served texts it is the tick, of a draft the round that is shown first; the page holds all of them, of a
    long run 400.
    """
    at = at or _usual(record)
    library, style = export.plotly_js(), markup.style()
    script = f"{markup.script('board/saved_page.js')}tokenoscopePage(document);\n"
    scripts = " ".join(map(markup.integrity, (library, script)))
    styles = " ".join(map(markup.integrity, (style, export.FILLED)))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    held = f'{{"light": {_charts(record, at, "light")}, "dark": {_charts(record, at, "dark")}}}'
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_title(record)}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="ts-page ts-root">\n<header><h1>Tokenoscope</h1><span>{_about(record)}</span>'
        '<button type="button" class="ts-theme" id="theme">Dark or light</button></header>\n'
        f'<main><div class="ts-scope"><div class="ts-cards">{_origin(record)}{_cards(record, at)}</div></div></main>\n'
        f'<script type="application/json" id="pictures">{_inert(held)}</script>\n{_steps(record, at)}'
        f"{export.without_maps(library)}\n"
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
    told = [f"Prompt, {theme.several(record.n_prompt, 'token')}: {record.prompt}"]
    if isinstance(record, Measurement):
        told += [
            f"Written, {theme.several(record.n_new, 'token')}: {record.text}",
            f"Machine: {on_machine(record.machine)}",
            f"{len(record.ttft)} runs that count, after {record.warm_up} to warm up, with {record.hooks} hooks on the "
            f"model; {record.taken} UTC",
            *record.notes,
        ]
        return told
    written = record.tokens[record.n_prompt :]
    text = "".join(token.text for token in written)
    if not isinstance(record, Speculation):
        return [*told, f"Written, {theme.several(len(written), 'token')}: {text}"]
    told.append(f"Written by plain decoding, without a draft, {theme.several(len(written), 'token')}: {text}")
    return [*told, f"Settings: {_drafting(record)}", f"Machine: {record.machine}", *record.notes]


_ENDED = {
    "length": "as long as was asked",
    "end of sequence": "the model ended it",
    "running": "not done",
    "waiting": "not begun",
    "stopped": "stopped",
    "no block left": "no block was left",
}


def _served(record: Batching) -> list[str]:
    """What became of each text, and in what cache."""
    told = [
        f"{letter(i)}, {theme.several(each.n_prompt, 'token')}: {each.prompt} \u2192 {each.text} ({_ENDED[each.ended]})"
        for i, each in enumerate(record.requests)
    ]
    cache = f"{record.n_blocks} blocks of {record.block_size} tokens, {theme.size(record.block_bytes)} each"
    sharing = "on" if record.sharing else "off"
    engine = (
        f"a tick reads at most {theme.count(record.token_budget)} tokens (token budget) of at most "
        f"{theme.count(record.max_requests)} texts; sharing of blocks by prompts that begin alike: {sharing}"
    )
    most = [f"{letter(i)} {theme.count(each.max_new_tokens)}" for i, each in enumerate(record.requests)]
    settings = (
        f"temperature {record.settings.temperature:g}; tokens to write at most: {', '.join(most)}; {_form(record)}"
    )
    return [
        *told,
        f"Asked for: {_arrivals(record)}",
        f"Engine: {engine}",
        f"Cache: {cache}",
        f"Settings: {settings}",
        f"Machine: {record.machine}",
        *record.notes,
    ]


def _arrivals(record: Batching) -> str:
    """When the texts came, and how many a second that is."""
    last = max(each.arrives_s for each in record.requests)
    if last == 0:
        return "all at the start"
    times = [
        f"after {theme.duration(each.arrives_s)}" if each.arrives_s else "at the start" for each in record.requests
    ]
    each_at = [f"{letter(i)} {when}" for i, when in enumerate(times)]
    if len(each_at) == 1:
        return each_at[0]
    return f"{', '.join(each_at)}: {number((len(each_at) - 1) / last)} a second on average"


def _drafting(record: Speculation) -> str:
    """How tokens were chosen, how many were guessed at once, and how the prompt was given."""
    asked = record.settings
    limits = {
        "top-k": (asked.top_k, 0),
        "top-p": (asked.top_p, 1),
        "min-p": (asked.min_p, 0),
        "repetition penalty": (asked.repetition_penalty, 1),
    }
    chosen = [f"temperature {asked.temperature:g}"]
    chosen += [f"{name} {value:g}" for name, (value, off) in limits.items() if value != off]
    chosen.append(f"seed {asked.seed}" + " (nothing is drawn)" * asked.greedy)
    most = sorted({each.n_draft for each in record.attempts})
    guess = "guess" if most == [1] else "guesses"
    guesses = [f"at most {' or '.join(map(theme.count, most))} {guess} a round"] if most else []
    new = f"at most {theme.count(asked.max_new_tokens)} tokens to write"
    return "; ".join([", ".join(chosen), *guesses, new, _form(record)])


def _form(record: Batching | Speculation) -> str:
    return "prompts in the model's chat template" if record.settings.chat else "prompts as typed, no chat template"


def _charts(record: Measured, at: Load | Pick, mode: Mode) -> str:
    """What board/saved_page.js draws: the figure of every view by its name; null where it has none, or is in a card."""
    held: list[str] = []
    for shown in views_of(type(record)):
        drawn = "" if shown.missing(record) else shown.draw(record, at, mode)
        figure = "null" if isinstance(drawn, str) else str(drawn.to_json())
        held.append(f'{{"name": {json.dumps(shown.name)}, "figure": {figure}}}')
    return f"[{', '.join(held)}]"


def _usual(record: Measured) -> Load | Pick:
    if isinstance(record, Batching | Speculation):
        return steps.first_seen(record)
    return Load(context=max(record.model.n_ctx, 1))


def _cards(record: Measured, at: Load | Pick) -> str:
    """A card a view: its title, its sentence, and room for its chart, its table, or why there is none."""
    cards: list[str] = []
    for shown in views_of(type(record)):
        title, caption = markup.text(shown.title), explained(shown.caption)
        cards.append(
            f'<section class="ts-card"><h2 class="ts-title">{title}</h2>'
            f'<p class="ts-sentence">{caption}</p>{_body(shown, record, at)}</section>'
        )
    return "".join(cards)


def _body(shown: View, record: Measured, at: Load | Pick) -> str:
    """What a card holds: why it is empty, room for a chart, a table, or one for every step, one of them in sight."""
    missing = shown.missing(record)
    if missing:
        return f'<p class="ts-empty">{markup.text(missing)}</p>'
    if isinstance(record, Batching | Speculation) and shown.follows in ("tick", "attempt", "round"):
        return _of_steps(shown, record, shown.follows, at)
    drawn = shown.draw(record, at)
    fixed = f'<p class="ts-aside-line">{markup.text(_HELD_FIXED)}</p>' if shown.follows == "pick" else ""
    return drawn if isinstance(drawn, str) else f'<div class="ts-chart" id="{shown.name}"></div>{fixed}'


def _of_steps(shown: View, record: Batching | Speculation, follows: str, at: Load | Pick) -> str:
    """A picture for every tick or round; of a long run for its beginning, its end and what is seen first, and in place
    of the others a sentence.
    """
    name, each = steps.name_of(record), _each(record, follows)
    counts = Counter(pick.attempt for _, pick in each)
    left_out = [pick for _, pick in each if _BEGINNING <= getattr(pick, name) < counts[pick.attempt] - _END]
    seen = next((pick for pick in left_out if isinstance(at, Pick) and _where(pick, name) == _where(at, name)), None)
    drawn: list[str] = []
    if left_out:
        one = "" if seen is None else f", and of {name} {getattr(seen, name) + 1}, which it shows first"
        said = (
            f"This page holds the picture of the first {_BEGINNING} and of the last {_END} {name}s of a run as long as "
            f"this{one}. The page Serve draws every other, and so does the Python library from the kept file."
        )
        drawn.append(f'<p class="ts-aside-line">{markup.text(said)}</p>')
    not_held = set(left_out) - {seen}
    for address, pick in each:
        body = _NOT_HELD if pick in not_held else shown.draw(record, pick)
        drawn.append(f'<div data-shown-at="{markup.text(address)}" hidden>{body}</div>')
    return "".join(drawn)


def _where(at: Pick, name: str) -> tuple[int, int]:
    return at.attempt, getattr(at, name)


def _each(record: Batching | Speculation, follows: str) -> list[tuple[str, Pick]]:
    """Everything that a picture can follow, with the address that assets/js/board/saved_page.js compares."""
    if isinstance(record, Batching):
        return [(f"tick={pick.tick}", pick) for pick in steps.picks(record)]
    attempts = range(len(record.attempts))
    if follows == "attempt":
        return [(f"attempt={i}", Pick(attempt=i)) for i in attempts]
    return [(f"attempt={i}&round={pick.round}", pick) for i in attempts for pick in steps.picks(record, i)]


def _steps(record: Measured, at: Load | Pick) -> str:
    """What the bar over the ticks or rounds needs; nothing where there are none."""
    if not isinstance(record, Batching | Speculation) or not isinstance(at, Pick):
        return ""
    attempts = [each.name for each in record.attempts] if isinstance(record, Speculation) else []
    told = [[steps.words(record, pick) for pick in steps.picks(record, i)] for i in range(len(attempts) or 1)]
    if not any(told):
        return ""
    name = steps.name_of(record)
    starts = [steps.first_round(each) for each in record.attempts] if isinstance(record, Speculation) else [at.tick]
    held = json.dumps(
        {
            "name": name,
            "attempts": attempts,
            "at": {"attempt": at.attempt, name: getattr(at, name)},
            "starts": starts,
            "words": told,
        }
    )
    return f'<script type="application/json" id="steps">{_inert(held)}</script>\n'


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
