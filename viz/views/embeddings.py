"""What each token is to the model before any layer has worked on it."""

import numpy as np
import plotly.graph_objects as go

from model.records import Trace
from viz import markup, theme
from viz.theme import Mode
from viz.view import Selection, view

_LABELS = 40  # as many as can stand side by side


@view("Embedding map", needs="resid", follows="token")
def embedding_map(trace: Trace, at: Selection, mode: Mode = "light") -> go.Figure:
    """Each point is the vector of one token of this run as it enters layer 0, the first, flattened to two dimensions:
    near points begin alike for the model. The axes say how much of all differences each of them shows.
    """
    points, explained = principal(trace.resid_pre[0])
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 520})
    labelled = _apart(points, first=at.token)
    tokens = trace.tokens[: len(points)]
    for name, generated, symbol in (("prompt", False, "circle"), ("generated", True, "diamond")):
        chosen = [i for i, token in enumerate(tokens) if token.generated == generated]
        texts = [markup.plotly_text(markup.short(tokens[i])) for i in chosen]
        figure.add_scatter(
            x=points[chosen, 0], y=points[chosen, 1], name=name, mode="markers+text", textposition="top center",
            text=[text if i in labelled else "" for i, text in zip(chosen, texts, strict=True)],
            customdata=[f"token {i}: {text}" for i, text in zip(chosen, texts, strict=True)],
            hovertemplate="%{customdata}<extra></extra>",
            marker={"color": theme.ROLES[name][mode].fill, "symbol": symbol, "size": 12,
                    "line": {"width": [3 if i == at.token else 1 for i in chosen],
                             "color": theme.GROUND[mode]["ink"]}},
        )  # fmt: skip
    for axis, share in zip(("xaxis", "yaxis"), explained, strict=True):
        number = "first" if axis == "xaxis" else "second"
        figure.update_layout({axis: {"title": f"{number} component: {theme.percent(float(share))} of the variance"}})
    return figure


def principal(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two directions in which these vectors differ most: points [S, 2] and each one's share of the variance [2].

    Source: Pearson 1901, principal components, by singular values.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2))
    shares = np.zeros(2)
    kept = min(2, len(values))
    points[:, :kept] = left[:, :kept] * values[:kept]
    total = (values**2).sum()
    if total > 0:
        shares[:kept] = values[:kept] ** 2 / total
    return points, shares


def _apart(points: np.ndarray, first: int) -> set[int]:
    """The points that can be labelled without labels touching, the selected one before all others."""
    spread = np.ptp(points, axis=0)
    placed = points / np.where(spread > 0, spread, 1)
    order = sorted(range(len(points)), key=lambda i: i != first)
    kept: list[int] = []
    for i in order:
        clear = all(abs(placed[i, 0] - placed[k, 0]) > 0.14 or abs(placed[i, 1] - placed[k, 1]) > 0.06 for k in kept)
        if clear and len(kept) < _LABELS:
            kept.append(i)
    return set(kept)
