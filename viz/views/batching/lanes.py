"""What each tick of the engine schedules: prefill, decode and waiting of each text, and the tokens of each tick."""

from model.records.batching import Batching, Tick
from model.texts import counted, phrase
from viz import markup, served
from viz.measured import n_tokens
from viz.served import Doing, css_class, letter
from viz.theme import Mode
from viz.view import Html, Selection, view

_UNITS = 24  # steps of a bar's height; the number below it is exact
_KEY = (
    ("prefill", "6", phrase("prefill: this many tokens of the text are read at once")),
    ("decode", "", phrase("decode: one token is read, the next one is written")),
    ("decode", "\u2713", phrase("the last token of the text")),
    ("waiting", "\u00b7\u00b7\u00b7", phrase("waiting; point at it to see the reason")),
    ("idle", "\u2016", phrase("not scheduled in this tick")),
    ("preempted", "\u21a9", phrase("preempted: its blocks were freed, and it will be recomputed from the start")),
)


@view("Lanes: what each tick schedules", of=Batching, follows="nothing", needs="ticks")
def lanes(record: Batching, _at: Selection, _mode: Mode = "light") -> Html:
    """Each row is a text, each column a tick: one pass for several texts.

    When a text finishes, the next one takes its place at once; no text waits for the longest (continuous batching).
    The bars above show the tokens that a tick reads; the dashed line is its token budget. Press a column to look at
    that tick.
    """
    head = "".join(_tick(record, number, tick) for number, tick in enumerate(record.ticks))
    budget = markup.text(phrase("tokens, of at most {budget:,}", budget=record.token_budget))
    named = f'<th scope="row">{budget}</th>'
    rows = "".join(_lane(record, request) for request in range(len(record.requests)))
    key = "".join(
        f'<li><span class="ts-lane-{kind} ts-r0">{sign}</span> {markup.text(said)}</li>' for kind, sign, said in _KEY
    )
    return Html(
        '<div class="ts-measured ts-lanes"><div><table><thead><tr>'
        f"{named}{head}</tr></thead><tbody>{rows}</tbody></table></div></div>"
        f'<ul class="ts-lanes-key">{key}</ul><p class="ts-sentence">{markup.text(_told(record))}</p>'
    )


def _tick(record: Batching, number: int, tick: Tick) -> str:
    """The head of a column: a bar of the scheduled tokens by text, their count, and the tick's number. One button."""
    height = max(round(tick.n_tokens / record.token_budget * _UNITS), int(tick.n_tokens > 0))
    chunks = [chunk for chunk in tick.scheduled if chunk.n_tokens]
    if height >= len(chunks):
        steps = _steps_of([chunk.n_tokens for chunk in chunks], height)
        pieces = "".join(
            f'<span class="{css_class(chunk.request)} ts-h{step}"></span>'
            for chunk, step in reversed(list(zip(chunks, steps, strict=True)))
        )
    else:  # too low to lie one above the other
        pieces = "".join(f'<span class="{css_class(chunk.request)}"></span>' for chunk in chunks)
        pieces = f'<span class="ts-beside ts-h{height}">{pieces}</span>'
    title = markup.text(phrase("tick {tick}", tick=number))
    return (
        f'<td><div data-tick="{number}" data-pick="tick={number}" title="{title}">'
        f'<span class="ts-stack">{pieces}</span>{tick.n_tokens}<span class="ts-number">{number}</span></div></td>'
    )


def _steps_of(counts: list[int], height: int) -> list[int]:
    """Whole steps for each count, at least one, that sum to this height: by the largest remainder (Hamilton)."""
    spare = height - len(counts)
    exact = [max(height * count / sum(counts) - 1, 0) for count in counts]
    exact = [spare * each / (sum(exact) or 1) for each in exact]
    steps = [int(each) for each in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: steps[i] - exact[i])
    for i in by_remainder[: spare - sum(steps)]:
        steps[i] += 1
    return [1 + each for each in steps]


def _lane(record: Batching, request: int) -> str:
    states = zip(record.ticks, served.doing(record, request), strict=True)
    cells = "".join(_cell(record, tick, request, state) for tick, state in states)
    own = css_class(request)
    name = f'<strong class="ts-letter {own}">{letter(request)}</strong> {markup.text(served.start(record, request))}'
    return (
        f'<tr class="{own}"><th scope="row"><span data-request="{request}" data-pick="request={request}">{name}</span>'
        f"</th>{cells}</tr>"
    )


def _cell(record: Batching, tick: Tick, request: int, state: Doing) -> str:
    if state in ("done", "not here"):
        return "<td></td>"
    chunk = served.chunk_of(tick, request)
    over = "\u2713" if request in tick.freed else ""
    signs = {"waiting": "\u00b7\u00b7\u00b7", "idle": "\u2016", "preempted": "\u21a9", "decode": over}
    sign = f"{chunk.n_tokens}{over}" if chunk and state == "prefill" else signs[state]
    said = _said(chunk.n_tokens if chunk else 0, state, ends=bool(over))
    if state in ("waiting", "idle"):
        said = f"{said}: {served.why_not(record, tick, request)}"
    return f'<td class="ts-lane-{state.replace(" ", "-")}" title="{markup.text(said)}"><span>{sign}</span></td>'


def _said(n_read: int, state: Doing, *, ends: bool) -> str:
    """What a text does in a tick, in words."""
    if state == "prefill":
        return phrase("reads {n}, writes its last token", n=n_read) if ends else phrase("reads {n}", n=n_read)
    if state == "decode":
        return phrase("writes its last token") if ends else phrase("writes 1 token")
    return served.said_of(state)


def _merged(record: Batching) -> list[tuple[int, ...]]:
    """Texts that share blocks which each of them computed itself: the engine merged the equal blocks afterwards."""
    found: dict[int, int] = {}
    groups: set[tuple[int, ...]] = set()
    for tick in record.ticks:
        found.update(tick.n_cached_tokens)
        shared = {block for block, _ in tick.shared_blocks}
        readers: dict[int, list[int]] = {}
        for table in tick.block_tables:
            n_found = found.get(table.request, 0) // record.block_size
            for block in table.blocks[n_found:] if shared else ():
                if block in shared:
                    readers.setdefault(block, []).append(table.request)
        groups.update(tuple(each) for each in readers.values() if len(each) > 1)
    return sorted(groups)


def _told(record: Batching) -> str:
    """The whole run in numbers."""
    read = sum(tick.n_tokens for tick in record.ticks)
    fullest = max(tick.n_tokens for tick in record.ticks)
    most = max(len(tick.scheduled) for tick in record.ticks)
    cached = [(request, count) for tick in record.ticks for request, count in tick.n_cached_tokens]
    preempted = [request for tick in record.ticks for request in tick.preempted]
    told = [
        phrase(
            "{ticks} read {tokens}; the fullest read {fullest} of at most {budget:,}. The largest batch held {texts}; "
            "the engine allows {max_requests}.",
            ticks=counted(len(record.ticks), "1 tick", "{n:,} ticks"),
            tokens=n_tokens(read),
            fullest=fullest,
            budget=record.token_budget,
            texts=counted(most, "1 text", "{n:,} texts"),
            max_requests=record.max_requests,
        )
    ]
    told += [
        phrase("{text} found its first {n} tokens in the cache and did not recompute them.", text=letter(request), n=n)
        for request, n in cached
    ]
    told += [
        phrase(
            "{texts} have the same prefix, but each read it itself, because it was not cached yet; afterwards equal "
            "blocks were kept once.",
            texts=served.letters(list(readers)),
        )
        for readers in _merged(record)
    ]
    told += [
        counted(
            preempted.count(request),
            "{text} was preempted, because no block was free.",
            "{text} was preempted {n} times, because no block was free.",
            text=letter(request),
        )
        for request in sorted(set(preempted))
    ]
    return " ".join(told)
