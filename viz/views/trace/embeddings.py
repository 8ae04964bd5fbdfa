"""What each token is to the model before any layer has worked on it."""

import numpy as np
import plotly.graph_objects as go

from model.errors import NotShown
from model.records.trace import Token, Trace
from model.texts import phrase
from viz import markup, theme
from viz.theme import Mode
from viz.view import Selection, view

_LABELS = 40  # as many as can stand side by side


@view("Embedding map", needs="embed_ids", follows="token")
def embedding_map(trace: Trace, at: Selection, mode: Mode = "light") -> go.Figure:
    """Each point is one token's embedding, projected to two dimensions.

    The projection is PCA. Drawn are the tokens of this run, and the tokens of the vocabulary with the most similar
    embeddings (cosine). Point at one to read it; lines lead from the selected token to its nearest neighbours. Each
    axis says which share of the variance it shows.
    """
    ids, points, shares, near = _map(trace)
    own = {token.id: token.generated for token in reversed(trace.tokens)}  # a token counts where it stands first
    texts = [markup.plotly_text(markup.short(each)) for each in _tokens(trace, ids)]
    chosen = ids.index(trace.tokens[at.token].id) if at.token < len(trace.tokens) else None
    lines = [] if chosen is None else [[chosen, int(each)] for each in near[chosen]]
    labelled = _apart(points, [end for line in lines for end in line], len(own))
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 520})
    ink, muted = theme.GROUND[mode]["ink"], theme.GROUND[mode]["muted"]
    for ends in lines:
        figure.add_scatter(
            x=points[ends, 0],
            y=points[ends, 1],
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            line={"color": muted, "width": 1},
        )
    for role, name, symbol, is_kind in (
        ("", phrase("neighbours"), "circle-open", None),
        ("prompt", phrase("prompt"), "circle", False),
        ("generated", phrase("generated"), "diamond", True),
    ):
        kind = [i for i, each in enumerate(ids) if own.get(each) is is_kind]
        figure.add_scatter(
            x=points[kind, 0],
            y=points[kind, 1],
            name=name,
            mode="markers+text",
            textposition="top center",
            text=[texts[i] if i in labelled else "" for i in kind],
            customdata=[phrase("token {id}: {text}", id=ids[i], text=texts[i]) for i in kind],
            hovertemplate="%{customdata}<extra></extra>",
            marker={
                "color": muted if is_kind is None else theme.ROLES[role][mode].fill,
                "symbol": symbol,
                "size": 7 if is_kind is None else 12,
                "line": {"width": [3 if i == chosen else 1 for i in kind], "color": muted if is_kind is None else ink},
            },
        )
    first, second = map(theme.percent, shares)
    return figure.update_layout(
        xaxis={"title": phrase("first component: {share} of the variance", share=first)},
        yaxis={"title": phrase("second component: {share} of the variance", share=second)},
    )


def _map(trace: Trace) -> tuple[list[int], np.ndarray, list[float], np.ndarray]:
    ids, points, shares, near = trace.embed_ids, trace.embed_xy, trace.embed_shares, trace.embed_near
    if ids is None or points is None or shares is None or near is None:
        raise NotShown("this run has no embedding map.")
    return ids.tolist(), points, shares.tolist(), near


def _tokens(trace: Trace, ids: list[int]) -> list[Token]:
    """The tokens by these ids: the run's own, and others, of which the record holds the text alone."""
    own = {token.id: token for token in trace.tokens}
    return [
        own.get(each) or Token(id=each, text=trace.texts[each], data=b"", span=(0, 0), special=False, generated=False)
        for each in ids
    ]


def _apart(points: np.ndarray, first: list[int], n_own: int) -> set[int]:
    """The points that can be labelled without labels touching: these first, then the run's own."""
    spread = np.ptp(points, axis=0)
    placed = points / np.where(spread > 0, spread, 1)
    kept: list[int] = []
    for i in dict.fromkeys((*first, *range(n_own))):
        clear = all(abs(placed[i, 0] - placed[k, 0]) > 0.14 or abs(placed[i, 1] - placed[k, 1]) > 0.06 for k in kept)
        if clear and len(kept) < _LABELS:
            kept.append(i)
    return set(kept)
