"""How far the distributions of two runs are from each other, step by step."""

import plotly.graph_objects as go

from model.records.comparison import Comparison
from model.texts import phrase
from viz import markup, theme
from viz.theme import Mode
from viz.view import Selection, view

_LEAST = 8  # steps that have room, so that a bar of few is not as wide as the page


@view("How far the next-token distributions differ", of=Comparison, follows="nothing", needs="positions")
def compared_steps(record: Comparison, _at: Selection, mode: Mode = "light") -> go.Figure:
    """Each bar is a step of both runs: 0 is the same distribution.

    1 is nothing in common. Total variation: half the sum of absolute differences over the whole vocabulary. Words are
    the tokens that the first run chose there.
    """
    names = [f"{at}: {markup.plotly_text(markup.short(record.a.tokens[at + 1]))}" for at in record.positions.tolist()]
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 360})
    values = [] if record.variation is None else record.variation.tolist()
    figure.add_bar(x=names, y=values, marker={"color": theme.ROLES["baseline"][mode].fill})
    return figure.update_layout(
        yaxis={"title": phrase("total variation"), "range": [0, 1]},
        xaxis={"title": phrase("token that A chose"), "range": [-0.5, max(len(names), _LEAST) - 0.5]},
    )
