"""The same texts timed under three schedulers: continuous batching, static batching, sequential."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from model.records.batching import Batching, TimedScheduler
from model.texts import counted, listed, phrase
from viz import markup, served, theme
from viz.glossary import explained
from viz.measured import n_tokens, number, table
from viz.theme import Mode
from viz.view import Html, Selection, view

_LANE = 22  # pixels of a text
_GAP = 0.01  # of the total time: equal passes with a smaller gap between them are one bar
_EQUAL = 1.005  # a ratio of rates below this shows no difference in three digits
_AS_SOON = 1.05  # a ratio of TTFTs below this counts as equal: each is of one run
_SAID = {
    "continuous": phrase("Each pass works on every text that is ready; a text that finishes makes room at once."),
    "static": phrase(
        "A batch runs until its longest text is finished: shorter texts are padded, and texts outside the batch wait. "
        "Its cache is contiguous, not paged, so it cannot run out of blocks."
    ),
    "sequential": phrase("Each text waits until the texts before it are finished."),
}


@view("Three schedulers, the same texts", of=Batching, follows="nothing", needs="schedulers")
def schedulers(record: Batching, _at: Selection, mode: Mode = "light") -> go.Figure:
    """The same texts under three schedulers, on one time axis.

    Each scheduler ran by itself, without recording. A row per text, filled while passes work on it. Hatched: padding,
    places of the batch that hold no text but are computed all the same. A triangle marks the arrival of the text, a
    line its first token; point at the line to see the time between the two.
    """
    n, ends = len(record.requests), max(_end(scheduler) for scheduler in record.schedulers)
    height = 120 + sum(_LANE * n + 34 for _ in record.schedulers)
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": height, "barmode": "overlay"})
    ground = theme.GROUND[mode]
    values: list[float] = []
    names: list[str] = []
    for place, scheduler in enumerate(record.schedulers):
        top = place * (n + 1.6)
        values += [top + request for request in range(n)]
        names += [served.letter(request) for request in range(n)]
        seconds = theme.duration(scheduler.total_s)
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=top - 0.6,
            yanchor="bottom",
            showarrow=False,
            text=counted(
                len(scheduler.passes),
                "{scheduler}: {seconds} in {n} pass",
                "{scheduler}: {seconds} in {n} passes",
                scheduler=scheduler.label,
                seconds=seconds,
            ),
        )
        for request in range(n):
            _lane(figure, _pieces(scheduler, request, ends * _GAP), top + request, served.colour(request, mode), mode)
        asked = [each.arrives_s for each in record.requests]
        firsts = [a + b for a, b in zip(asked, scheduler.ttft, strict=True)]
        waited = [phrase("(TTFT {duration})", duration=theme.duration(each)) for each in scheduler.ttft]
        for name, at, told, symbol, size in (
            (phrase("arrival"), asked, [""] * n, "triangle-right", 9),
            (phrase("first token"), firsts, waited, "line-ns", 15),
        ):
            figure.add_scatter(
                x=at,
                y=[top + request for request in range(n)],
                mode="markers",
                name=name,
                showlegend=place == 0,
                legendgroup=name,
                customdata=told,
                hovertemplate=f"{name}: %{{x:.3f}} s %{{customdata}}<extra></extra>",
                marker={
                    "symbol": symbol,
                    "size": size,
                    "color": ground["ink"],
                    "line": {"width": 3 if symbol == "line-ns" else 0, "color": ground["ink"]},
                },
            )
    if any(scheduler.n_padding for scheduler in record.schedulers):
        figure.add_bar(x=[None], y=[None], name=phrase("padding"), marker=_padding(mode))
    figure.update_yaxes(
        tickvals=values, ticktext=names, range=[values[-1] + 0.8, -1.6], showgrid=False, ticks="", zeroline=False
    )
    figure.update_xaxes(
        title=phrase("seconds from the start"), showgrid=True, range=[-0.01 * ends, ends * 1.01], zeroline=False
    )
    return figure


@view("Schedulers, in numbers", of=Batching, follows="nothing", needs="schedulers", folded=True)
def schedulers_table(record: Batching, _at: Selection, _mode: Mode = "light") -> Html:
    """How long all texts and each text took, under each scheduler.

    Total: from the start to the last token of all texts. TTFT: from a text's arrival to its first token; latency: to
    its last token. Padding: the share of the computed places that held no text. Same tokens: how many texts equal
    what plain `generate` writes. All numbers of a scheduler are of one run, the one of median length (of an even
    number, the shorter of the two in the middle).
    """
    first = phrase(
        "{texts}, {runs}, without recording. {verdict} {soonest}",
        texts=counted(len(record.requests), "1 text", "{n:,} texts"),
        runs=_runs(record),
        verdict=_verdict(record),
        soonest=_soonest(record),
    )
    return Html(
        f'<p class="ts-told">{markup.text(first)}</p>'
        + table(
            (
                "",
                phrase("total"),
                phrase("tokens/s"),
                phrase("TTFT median"),
                phrase("worst"),
                phrase("latency median"),
                phrase("worst"),
                phrase("padding"),
                phrase("same tokens"),
            ),
            [_numbers(scheduler) for scheduler in record.schedulers],
            below=[f"{_SAID[scheduler.name]} {_spread(scheduler)}".rstrip() for scheduler in record.schedulers],
        )
    )


@view("Each text, in numbers", of=Batching, follows="nothing", needs="schedulers", folded=True)
def texts_table(record: Batching, _at: Selection, _mode: Mode = "light") -> Html:
    """What each text's user sees under each scheduler.

    TTFT: from the arrival to the first token; latency: from the arrival to the last token; both of the run of median
    length, without recording. Tokens: read from the prompt, and written after it.
    """
    over = "".join(
        f'<th scope="colgroup" colspan="2">{markup.text(scheduler.label)}</th>' for scheduler in record.schedulers
    )
    named = "".join(f'<th scope="col">{explained(each)}</th>' for each in (phrase("read"), phrase("written")))
    times = "".join(
        f'<th scope="col">{explained(each)}</th>'
        for _ in record.schedulers
        for each in (phrase("TTFT"), phrase("latency"))
    )
    rows = "".join(_text_row(record, request) for request in range(len(record.requests)))
    return Html(
        '<div class="ts-measured ts-texts"><table><thead><tr>'
        f'<th scope="col">{markup.text(phrase("text"))}</th>'
        f'<th scope="colgroup" colspan="2">{markup.text(phrase("tokens"))}</th>{over}</tr>'
        f"<tr><th></th>{named}{times}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _text_row(record: Batching, request: int) -> str:
    """One text: its tokens, and its times under each scheduler."""
    asked = record.requests[request]
    times = [
        theme.duration(each)
        for scheduler in record.schedulers
        for each in (scheduler.ttft[request], scheduler.latency[request])
    ]
    told = (theme.count(asked.n_prompt), theme.count(len(asked.tokens) - asked.n_prompt), *times)
    name = f'<strong class="ts-letter {served.css_class(request)}">{served.letter(request)}</strong>'
    values = "".join(f"<td>{markup.text(each)}</td>" for each in told)
    return f'<tr data-request="{request}"><th scope="row">{name}</th>{values}</tr>'


@dataclass(slots=True)
class _Piece:
    """Consecutive passes that do the same for one text."""

    start: float
    end: float
    padding: float  # share of padding among the tokens computed for it
    passes: int
    worked: float  # seconds of the passes, without the gaps between them
    read: int
    filled: int  # padding, in tokens


def _pieces(scheduler: TimedScheduler, request: int, gap: float) -> list[_Piece]:
    pieces: list[_Piece] = []
    for each in scheduler.passes:
        mine = next((row for row in each.rows if row[0] == request), None)
        if mine is None or mine[1] + mine[2] == 0:
            continue
        share = mine[2] / (mine[1] + mine[2])
        last = pieces[-1] if pieces else None
        if last and last.padding == share and each.at_s - last.end < gap:
            last.end, last.passes = each.at_s + each.seconds, last.passes + 1
            last.worked += each.seconds
            last.read, last.filled = last.read + mine[1], last.filled + mine[2]
        else:
            pieces.append(
                _Piece(
                    start=each.at_s,
                    end=each.at_s + each.seconds,
                    padding=share,
                    passes=1,
                    worked=each.seconds,
                    read=mine[1],
                    filled=mine[2],
                )
            )
    return pieces


def _lane(figure: go.Figure, pieces: list[_Piece], y: float, fill: str, mode: Mode) -> None:
    """The bars of one text; padding takes its share of the height."""
    for padded in (False, True):
        shown = [each for each in pieces if (each.padding > 0 if padded else each.padding < 1)]
        if not shown:
            continue
        shares = [each.padding if padded else 1 - each.padding for each in shown]
        middle = [y + 0.4 * (1 - share if padded else share - 1) for share in shares]
        marker = _padding(mode) if padded else {"color": fill, "line": {"width": 0}}
        figure.add_bar(
            orientation="h",
            base=[each.start for each in shown],
            x=[each.end - each.start for each in shown],
            y=middle,
            width=[0.8 * share for share in shares],
            marker=marker,
            name=phrase("padding") if padded else phrase("text"),
            showlegend=False,
            hovertemplate="%{customdata}<extra></extra>",
            customdata=[_hover(each) for each in shown],
        )


def _padding(mode: Mode) -> dict[str, Any]:
    card, muted = theme.GROUND[mode]["card"], theme.GROUND[mode]["muted"]
    return {
        "color": card,
        "line": {"color": muted, "width": 1},
        "pattern": {"shape": "/", "fgcolor": muted, "size": 6, "solidity": 0.35},
    }


def _hover(piece: _Piece) -> str:
    return counted(
        piece.passes,
        "1 pass, {duration}: {tokens}, {padding} of padding",
        "{n} passes, {duration} of work: {tokens}, {padding} of padding",
        duration=theme.duration(piece.worked),
        tokens=n_tokens(piece.read),
        padding=piece.filled,
    )


def _end(scheduler: TimedScheduler) -> float:
    return max((each.at_s + each.seconds for each in scheduler.passes), default=0.0)


def _numbers(scheduler: TimedScheduler) -> tuple[str, ...]:
    same = sum(scheduler.same_tokens)
    times = [
        theme.duration(float(of(values)))
        for values in (scheduler.ttft, scheduler.latency)
        for of in (np.median, np.max)
    ]
    padding = theme.percent(scheduler.n_padding / scheduler.n_read) if scheduler.n_read else "0%"
    n = len(scheduler.same_tokens)
    told = phrase("all") if same == n else phrase("{same} of {n}", same=same, n=n)
    return (scheduler.label, theme.duration(scheduler.total_s), number(scheduler.rate), *times, padding, told)


def _runs(record: Batching) -> str:
    """How often each scheduler ran: less often than the others if it was stopped or had too few blocks."""
    counts = [len(scheduler.seconds) for scheduler in record.schedulers]
    if len(set(counts)) == 1:
        return phrase("{runs} of each scheduler", runs=_times(counts[0]))
    return ", ".join(
        phrase("{runs} of {scheduler}", runs=_times(count), scheduler=scheduler.label)
        for count, scheduler in zip(counts, record.schedulers, strict=True)
    )


def _times(count: int) -> str:
    return counted(count, "1 run", "{n} runs")


def _spread(scheduler: TimedScheduler) -> str:
    low, high = min(scheduler.seconds), max(scheduler.seconds)
    if len(scheduler.seconds) == 1:
        return ""
    return phrase("Its runs took {low} to {high}.", low=theme.duration(low), high=theme.duration(high))


def _verdict(record: Batching) -> str:
    """Which scheduler was fastest, and whether it was so in every turn."""
    ordered = sorted(record.schedulers, key=lambda scheduler: scheduler.rate)
    slow, fast = ordered[0], ordered[-1]
    if len(ordered) < 2:
        return phrase("Only one scheduler was timed ({name}), so there is no comparison.", name=slow.label)
    times = fast.rate / slow.rate
    if times < _EQUAL:
        return phrase("All schedulers wrote equally many tokens a second.")
    said = phrase(
        "Highest throughput: {fast}, {times} times that of {slow}, the lowest",
        fast=fast.label,
        times=number(times),
        slow=slow.label,
    )
    if len({len(scheduler.seconds) for scheduler in ordered}) > 1 or len(fast.seconds) == 1:
        return f"{said}."
    if all(served.is_always_faster(fast, scheduler) for scheduler in ordered[:-1]):
        return phrase("{said}. It was the highest in every turn.", said=said)
    if served.is_always_faster(fast, slow):
        return phrase(
            "{said}. That held in every turn, but its lead over {other} did not.",
            said=said,
            other=ordered[-2].label,
        )
    return phrase("{said}. It was not so in every turn, so the difference is not clear.", said=said)


def _soonest(record: Batching) -> str:
    """Which scheduler has the lowest median TTFT."""
    if len(record.requests) < 2 or len(record.schedulers) < 2:
        return ""
    waits = sorted((float(np.median(scheduler.ttft)), scheduler.label) for scheduler in record.schedulers)
    least = waits[0][0]
    first = [name for wait, name in waits if wait < least * _AS_SOON]
    late = max(each.arrives_s for each in record.requests)
    told = phrase(
        "Lowest median TTFT: {schedulers}, {duration}.",
        schedulers=listed(first),
        duration=theme.duration(least),
    )
    if not late:
        return told
    last = phrase(
        "The last text arrived after {duration}: no scheduler can finish sooner.", duration=theme.duration(late)
    )
    return f"{told} {last}"
