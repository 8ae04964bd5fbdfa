"""How long the two phases of a run take, to scale, on this machine's own clock."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from model.records.timing import Measurement
from model.texts import phrase
from viz import theme
from viz.glossary import LATENCY
from viz.measured import Spread, bars, number, table
from viz.theme import Mode
from viz.view import Html, Selection, view

_APART = 80  # more tokens than this stand too close for an edge between them


@view("Prefill and decode on one measured axis", of=Measurement, follows="nothing", needs="ttft")
def phases(record: Measurement, _at: Selection, mode: Mode = "light") -> go.Figure:
    """A run to scale: first the prefill, then one decode pass a token.

    Above: the time to first token (TTFT), in which the prefill reads the whole prompt at once, then token after token
    (ITL). Below: the latency of each token. Marks are medians of the runs; thin lines reach from the fastest run to
    the slowest.
    """
    ttft = Spread.of(record.ttft)
    waits = [Spread.of(column) for column in record.itl.T]
    ends = ttft.median + np.cumsum([0.0, *(each.median for each in waits)])
    prompt, written = theme.ROLES["prompt"][mode].fill, theme.ROLES["generated"][mode].fill
    ground = theme.GROUND[mode]
    edge = {"color": ground["card"], "width": 1 if len(waits) <= _APART else 0}
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 420, "barmode": "overlay"})
    figure.add_bar(
        orientation="h",
        x=[ttft.median],
        y=[phrase("run")],
        yaxis="y2",
        name=phrase("until the first token (TTFT)"),
        marker={
            "color": prompt,
            "line": edge,
            "pattern": {"shape": "/", "fgcolor": ground["card"], "fillmode": "overlay", "solidity": 0.25},
        },
        hovertemplate=f"{_said(phrase('generated token 0'), ttft)}<extra></extra>",
    )
    figure.add_bar(
        orientation="h",
        x=[each.median for each in waits],
        base=ends[:-1].tolist(),
        y=[phrase("run")] * len(waits),
        yaxis="y2",
        name=phrase("each token after it (ITL)"),
        marker={"color": written, "line": edge},
        textposition="none",
        text=[_said(phrase("generated token {number}", number=i + 1), each) for i, each in enumerate(waits)],
        hovertemplate="%{text}<extra></extra>",
    )
    for spreads, place, colour, symbol, texts in (
        ([ttft], ends[:1], prompt, "diamond", [phrase("generated token 0")]),
        (
            waits,
            ends[1:],
            written,
            "circle",
            [phrase("generated token {number}", number=i + 1) for i in range(len(waits))],
        ),
    ):
        figure.add_scatter(
            x=place.tolist(),
            y=[each.median * 1000 for each in spreads],
            mode="markers",
            showlegend=False,
            marker={"color": colour, "symbol": symbol, "size": 9, "line": {"color": ground["ink"], "width": 1}},
            error_y={**bars([_in_ms(each) for each in spreads]), "color": ground["ink"], "thickness": 1.5, "width": 3},
            text=[_said(text, each) for text, each in zip(texts, spreads, strict=True)],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_xaxes(title=phrase("seconds since the call"), rangemode="tozero")
    figure.update_layout(
        yaxis={"title": phrase("latency of the token, ms"), "domain": [0, 0.68], "rangemode": "tozero"},
        yaxis2={"domain": [0.8, 1], "showticklabels": False, "ticks": "", "anchor": "x"},
    )
    return figure


@view("Latency, in numbers", of=Measurement, follows="nothing", needs="ttft", folded=True)
def terms(record: Measurement, _at: Selection, _mode: Mode = "light") -> Html:
    """The terms for latency, each with its definition.

    Median, slowest and fastest are of the repeated runs; for ITL, of every token in them.
    """
    rows = [(f"{term.name} ({term.short})", *said) for term, said in zip(LATENCY, _rows(record), strict=True)]
    return table(
        ("", phrase("median"), phrase("slowest"), phrase("fastest")), rows, below=[term.means for term in LATENCY]
    )


def _rows(record: Measurement) -> tuple[Sequence[str], ...]:
    """Median, slowest and fastest of each term. A run of one token has no interval, and so no ITL and no TPOT."""
    none = (phrase("none: one token"),) + ("",) * 2
    has_decode = record.itl.size > 0
    return (
        _times(record.ttft),
        _times(record.itl) if has_decode else none,
        _times(record.tpot) if has_decode else none,
        _times(record.end_to_end),
        _rates(record.n_prompt / record.ttft),
        _rates(1 / record.tpot) if has_decode else none,
    )


def _times(seconds: np.ndarray) -> Sequence[str]:
    spread = Spread.of(seconds)
    return [theme.duration(each) for each in (spread.median, spread.high, spread.low)]


def _rates(per_second: np.ndarray) -> Sequence[str]:
    spread = Spread.of(per_second)
    return [f"{number(each)} /s" for each in (spread.median, spread.low, spread.high)]


def _in_ms(spread: Spread) -> Spread:
    return Spread(median=spread.median * 1000, low=spread.low * 1000, high=spread.high * 1000)


def _said(what: str, spread: Spread) -> str:
    low, high = theme.duration(spread.low), theme.duration(spread.high)
    return phrase(
        "{what}: {duration}, from {low} to {high}",
        what=what,
        duration=theme.duration(spread.median),
        low=low,
        high=high,
    )
