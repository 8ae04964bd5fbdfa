"""Attention in a tick that serves several texts: each text attends only to its own tokens."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from model.errors import NotShown
from model.records.batching import Batching, Tick
from model.texts import counted, phrase
from viz import markup, served, theme
from viz.measured import scientific
from viz.served import letter
from viz.theme import Mode
from viz.view import Html, Selection, view

_PLOT = (160, 520)  # pixels of height, at least and at most
_ROW = 18  # pixels of a token's row, where there is room
_STOPS = (0.0, 0.01, 0.04, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81, 1.0)  # squares: small weights are visible too
_IN_LEGEND = (0, 0.05, 0.25, 1)  # weights
_GAP = 0.01  # pixels; without one plotly stretches an image over the cells, which a kept page's policy blurs
_ELSEWHERE: dict[Mode, str] = {"light": "#dcd7c9", "dark": "#554d38"}  # a warm grey: the scale of weights is a cool one
_DIGITS = 3  # of a weight


@view("Attention in the batch: no text attends to another", of=Batching, follows="pick", needs="ticks")
def packed_attention(record: Batching, at: Selection, mode: Mode = "light") -> go.Figure | Html:
    """All texts share one pass; the mask keeps each to its own tokens.

    The tokens are packed one after the other. Each row is a token that the tick read, each column a token in the
    cache, grouped by text; the colour is the attention weight, as it ran. Each text's own square is framed, thicker
    for the selected text. Everything outside the squares is cross-request attention: one flat colour where the weight
    is exactly 0, as the mask requires, and the colour of its weight if it were not.
    """
    tick = served.tick_of(record, at)
    _check(record, at)
    weights = record.attention(at.tick, at.layer, at.head)
    if weights is None:
        told = " ".join((_not_kept(record, at), *_cross_request(record, tick)))
        return Html(f'<p class="ts-empty">{markup.text(told)}</p>')
    rows, columns = _places(tick)
    own = np.zeros(weights.shape, bool)
    for request, (first, count) in rows.items():
        start, width = columns[request]
        own[first : first + count, start : start + width] = True
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": _height(len(weights)) + 190})
    tokens: dict[str, Any] = {
        "x": _names(record, {request: (0, width) for request, (_, width) in columns.items()}),
        "y": _names(record, {chunk.request: (chunk.first, chunk.n_tokens) for chunk in tick.scheduled}),
        "hoverongaps": False,
        "zmin": 0,
        "zmax": 1,
        "xgap": _GAP,
        "ygap": _GAP,
    }
    shown = own | (weights != 0)
    figure.add_heatmap(
        z=_short(np.where(shown, weights, np.nan)),
        **tokens,
        colorscale=_colours(mode),
        showscale=False,
        hovertemplate=phrase("{query} attends to {key}: {weight}", query="%{y}", key="%{x}", weight="%{z:.3g}")
        + "<extra></extra>",
    )
    grey = _ELSEWHERE[mode]
    figure.add_heatmap(
        z=_short(np.where(shown, np.nan, 0.0)),
        **tokens,
        colorscale=[[0, grey], [1, grey]],
        showscale=False,
        hovertemplate=phrase("{query} and {key}: another text, exactly 0", query="%{y}", key="%{x}")
        + "<extra></extra>",
    )
    _legend(figure, grey, mode)
    for request, (first, count) in rows.items():
        start, width = columns[request]
        figure.add_shape(
            type="rect",
            x0=start - 0.5,
            x1=start + width - 0.5,
            y0=first - 0.5,
            y1=first + count - 0.5,
            line={"color": served.colour(request, mode), "width": 5 if request == at.request else 2},
        )
    figure.update_xaxes(**_letters(columns, weights.shape[1]), showgrid=False)
    figure.update_yaxes(**_letters(rows, len(weights)), autorange="reversed", showgrid=False)
    figure.add_annotation(
        text=_told(record, tick, at),
        x=0,
        xref="paper",
        xanchor="left",
        y=1,
        yref="paper",
        yanchor="bottom",
        yshift=8,
        align="left",
        showarrow=False,
    )
    figure.update_layout(
        margin={"t": 100, "b": 70}, legend={"yref": "container", "y": 0, "yanchor": "bottom", "itemclick": False}
    )
    return figure


def _check(record: Batching, at: Selection) -> None:
    card = record.model
    for name, given, count in (
        (phrase("layer"), at.layer, card.n_layers),
        (phrase("head"), at.head, card.n_heads),
        (phrase("text"), at.request, len(record.requests)),
    ):
        if given >= count:
            raise NotShown(
                "there is no {name} {given}; there are {count}, counted from 0.", name=name, given=given, count=count
            )


def _places(tick: Tick) -> tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]:
    """The first row and column of each text in the pass, and their counts."""
    rows: dict[int, tuple[int, int]] = {}
    columns: dict[int, tuple[int, int]] = {}
    upto = 0
    for chunk in tick.scheduled:
        rows[chunk.request] = (upto, chunk.n_tokens)
        upto += chunk.n_tokens
    upto = 0
    for request, count in tick.key_lengths:
        columns[request] = (upto, count)
        upto += count
    return rows, columns


def _names(record: Batching, spans: dict[int, tuple[int, int]]) -> list[str]:
    """Each token by its text's letter, its position and its text, which together are unique."""
    names: list[str] = []
    for request, (first, count) in spans.items():
        for position in range(first, first + count):
            token = served.token_at(record, request, position)
            read = markup.plotly_text(markup.short(token, 16)) if token else ""
            names.append(f"{letter(request)} {position} {read}")
    return names


def _letters(spans: dict[int, tuple[int, int]], total: int) -> dict[str, Any]:
    """A letter in the middle of each text's tokens, as labels of an axis."""
    return {
        "tickvals": [first + (count - 1) / 2 for first, count in spans.values()],
        "ticktext": [letter(request) for request in spans],
        "range": [-0.5, total - 0.5],
        "tickangle": 0,
    }


def _short(weights: np.ndarray) -> list[list[float]]:
    """Rounded to the digits that are shown: the figure is sent to the browser."""
    return [[float(f"{each:.{_DIGITS}g}") for each in row] for row in weights.tolist()]


def _legend(figure: go.Figure, grey: str, mode: Mode) -> None:
    """A legend of some colours; plotly's own colour bar needs a style that a saved page's policy forbids."""
    low, high = theme.GROUND[mode]["card"], theme.ROLES["weight"][mode].fill
    for weight in _IN_LEGEND:
        colour = _between(low, high, weight**0.5)
        figure.add_scatter(x=[None], y=[None], name=f"{weight:g}", mode="markers", marker=_mark(colour, mode))
    figure.add_scatter(
        x=[None], y=[None], name=phrase("another text, exactly 0"), mode="markers", marker=_mark(grey, mode)
    )


def _mark(colour: str, mode: Mode) -> dict[str, Any]:
    return {"color": colour, "symbol": "square", "size": 14, "line": {"color": theme.GROUND[mode]["muted"], "width": 1}}


def _colours(mode: Mode) -> list[list[float | str]]:
    """A scale from the card's colour to the colour of weights, by the square root of the weight."""
    low, high = theme.GROUND[mode]["card"], theme.ROLES["weight"][mode].fill
    return [[stop, _between(low, high, stop**0.5)] for stop in _STOPS]


def _between(low: str, high: str, share: float) -> str:
    pairs = [(int(low[i : i + 2], 16), int(high[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(one + (other - one) * share):02x}" for one, other in pairs)


def _height(n_rows: int) -> int:
    return min(max(n_rows * _ROW, _PLOT[0]), _PLOT[1])


def _told(record: Batching, tick: Tick, at: Selection) -> str:
    """A summary in short lines, which fit a phone."""
    lines = [phrase("Tick {tick}, layer {layer}, head {head}", tick=at.tick, layer=at.layer, head=at.head)]
    chunk = served.chunk_of(tick, at.request)
    lines.append(
        counted(
            chunk.n_tokens,
            "{text}: 1 query, {n_keys} keys",
            "{text}: {n} queries, {n_keys} keys",
            text=letter(at.request),
            n_keys=chunk.first + chunk.n_tokens,
        )
        if chunk
        else phrase("{text} is not scheduled in this tick", text=letter(at.request))
    )
    lines += _cross_request(record, tick)
    return "<br>".join(lines)


def _not_kept(record: Batching, at: Selection) -> str:
    """Why the weights of this tick were not kept, and which ticks have theirs."""
    kept = [number for number, tick in enumerate(record.ticks) if tick.weights_at is not None]
    if not kept and record.ticks[at.tick].cross_request_weight is None:
        return phrase("This run kept no attention: it was not requested.")
    if not kept:
        return phrase("This run kept no attention: that of its first tick is already larger than the limit.")
    return counted(
        len(kept),
        "The attention of tick {tick} was not kept, because of its size: only that of tick {first} was.",
        "The attention of tick {tick} was not kept, because of its size: only that of ticks {first} to {last} was.",
        tick=at.tick,
        first=kept[0],
        last=kept[-1],
    )


def _cross_request(record: Batching, tick: Tick) -> list[str]:
    """The largest cross-request weight, in short lines; also says if it is 0, or was not measured."""
    if tick.cross_request_weight is None:
        return [phrase("Cross-request attention was not measured.")]
    zero = phrase("exactly 0")
    found = (
        zero
        if tick.cross_request_weight == 0
        else phrase("{weight}, which should be 0", weight=scientific(tick.cross_request_weight))
    )
    most = phrase("Largest cross-request weight in all {n} layers: {weight}", n=record.model.n_layers, weight=found)
    return [most, phrase("(only one text is in this tick)")] if len(tick.scheduled) == 1 else [most]
