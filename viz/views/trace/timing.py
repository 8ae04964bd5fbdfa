"""When each pass of a run was computed, on one measured axis."""

import plotly.graph_objects as go

from model.records.trace import Trace
from model.texts import phrase
from viz import theme
from viz.measured import n_tokens
from viz.theme import Mode
from viz.view import Selection, view

_KINDS = {
    "prefill": phrase("prefill"),
    "chunk": phrase("chunk"),
    "decode": phrase("decode"),
    "verify": phrase("verify"),
    "reread": phrase("reread"),
}


@view("Passes on a measured axis", follows="step")
def passes(trace: Trace, at: Selection, mode: Mode = "light") -> go.Figure:
    """Each bar is one pass of the model, as long as it took.

    The prefill reads the whole prompt at once, each decode pass one token. The seconds include the recording, which
    makes a run slower.
    """
    starts = [sum(step.seconds for step in trace.steps[:i]) for i in range(len(trace.steps))]
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 260, "barmode": "overlay"})
    for name, decode, role, pattern in (
        (_KINDS["prefill"], False, "prompt", "/"),
        (_KINDS["decode"], True, "generated", ""),
    ):
        chosen = [i for i, step in enumerate(trace.steps) if (step.kind == "decode") == decode]
        figure.add_bar(
            orientation="h",
            name=name,
            base=[starts[i] for i in chosen],
            x=[trace.steps[i].seconds for i in chosen],
            y=[_KINDS[trace.steps[i].kind] for i in chosen],
            hovertemplate="%{text}<extra></extra>",
            textposition="none",
            text=[
                phrase(
                    "step {number}: {tokens} in {duration}",
                    number=i,
                    tokens=n_tokens(trace.steps[i].n_tokens),
                    duration=theme.duration(trace.steps[i].seconds),
                )
                for i in chosen
            ],
            marker={
                "color": theme.ROLES[role][mode].fill,
                "pattern": {"shape": pattern},
                "line": {
                    "width": [3 if i == at.step else 1 for i in chosen],
                    "color": [theme.GROUND[mode]["ink" if i == at.step else "card"] for i in chosen],
                },
            },
        )
    figure.update_xaxes(title=phrase("seconds since the start of the run"))
    figure.update_yaxes(title=phrase("kind of pass"), autorange="reversed")
    return figure
