"""Small views of served texts and of drafts, one of each kind of following, for the laws of the page itself."""

from typing import Any

import plotly.graph_objects as go

from model.records.batching import Batching
from model.records.speculation import Speculation
from viz.theme import Mode
from viz.view import Html, Selection, View, view


@view("Who is in which tick", of=Batching, follows="nothing", needs="ticks")
def whole(record: Batching, _at: Selection, _mode: Mode = "light") -> Html:
    """Each tick is a cell that picks it."""
    cells = "".join(
        f'<td data-tick="{i}" data-pick="tick={i}">{each.n_tokens}</td>' for i, each in enumerate(record.ticks)
    )
    return Html(f'<div class="ts-measured"><table><tbody><tr>{cells}</tr></tbody></table></div>')


@view("The cache after a tick", of=Batching, follows="tick", needs="ticks")
def by_tick(record: Batching, at: Selection, _mode: Mode = "light") -> Html:
    """How many blocks are free."""
    return Html(f"<p>{record.ticks[at.tick].n_free_blocks} free after tick {at.tick}</p>")


@view("Attention of a tick", of=Batching, follows="pick", needs="ticks")
def by_pick(record: Batching, at: Selection, _mode: Mode = "light") -> go.Figure:
    """One head of one layer."""
    figure = go.Figure(go.Heatmap(z=record.attention(at.tick, at.layer, at.head)))
    return figure.update_layout(title=f"tick {at.tick}, layer {at.layer}, head {at.head}", font={"size": 14})


@view("A round", of=Speculation, follows="round", needs="attempts")
def by_round(record: Speculation, at: Selection, _mode: Mode = "light") -> Html:
    """What it wrote."""
    one = record.attempts[at.attempt]
    return Html(f"<p>{one.name}, round {at.round}: {len(one.rounds[at.round].written)} written</p>")


VIEWS: dict[Any, list[View]] = {Batching: [whole, by_tick, by_pick], Speculation: [by_round]}
