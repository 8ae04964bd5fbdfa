"""A run replayed with a compressed cache: what each trial saves, and what it does to the next token."""

import numpy as np
import plotly.graph_objects as go

from model.records.cache import CacheTrials
from model.records.trace import Token
from model.texts import phrase
from viz import markup, theme
from viz.measured import number, power_of_ten, scientific, table
from viz.theme import Mode
from viz.view import Html, Selection, view

_KINDS = {
    "exact": ("generated", "star"),
    "int8": ("query", "circle"),
    "int4": ("query", "cross"),
    "window": ("key", "square"),
    "sink + window": ("value", "diamond"),
    "dropped": ("doubt", "triangle-up"),
}
_ROW = 84  # pixels of one trial
_LEAST_KL = 1e-8  # nats: below it, float32 probabilities tell nothing apart


@view("Cache compression: bytes saved against damage", of=CacheTrials, follows="nothing", needs="trials")
def cache_saved(record: CacheTrials, _at: Selection, mode: Mode = "light") -> go.Figure:
    """Each mark is the same run with a compressed cache; bottom right is best.

    Further right: more bytes saved. Further up: the next token's distribution differs more from that of the exact
    cache (KL divergence over the full vocabulary in nats, the mean over all generated tokens; log scale). The numbers
    are those of the table below.
    """
    compressed = [i for i, each in enumerate(record.trials) if each.kind != "exact"]
    means = [float(row.mean()) if row.size else 0.0 for row in record.kl]
    floor = _floor(np.array([means[i] for i in compressed]))
    saved = [_saved(record, i) * 100 for i in range(len(means))]
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 460})
    for i in compressed:
        role, symbol = _KINDS[record.trials[i].kind]
        figure.add_scatter(
            x=[saved[i]],
            y=[max(means[i], floor)],
            name=_name(record, i),
            mode="markers+text",
            text=[str(i)],
            textposition="middle right",
            customdata=[_point(record, i, means[i])],
            hovertemplate="%{customdata}<extra></extra>",
            marker={
                "color": theme.ROLES[role][mode].fill,
                "symbol": symbol,
                "size": 14,
                "line": {"color": theme.GROUND[mode]["ink"], "width": 1},
            },
        )
    top = max([floor * 100, *(means[i] for i in compressed)])
    figure.update_xaxes(title=phrase("bytes of the cache saved, %"), range=[min(0, *saved) - 4, 104])
    figure.update_layout(yaxis={"title": phrase("mean KL divergence, nats"), **_kl_axis(floor, top * 6, most=4)})
    return figure


@view("Cache compression: token by token", of=CacheTrials, follows="nothing", needs="trials")
def cache_divergence(record: CacheTrials, _at: Selection, mode: Mode = "light") -> go.Figure:
    """How far each token's distribution moves from that of the exact cache.

    KL divergence in nats, one strip a trial, all on the same log scale; equal distributions lie on the lowest line. A
    large star marks the first token that this cache changes. Every pass reads the tokens of the run, so all strips
    compare the same text.
    """
    compressed = [i for i, each in enumerate(record.trials) if each.kind != "exact"]
    floor, ink = _floor(record.kl[compressed]), theme.GROUND[mode]["ink"]
    top = max(floor * 100, float(record.kl[compressed].max(initial=0))) * 4
    numbers = list(range(record.kl.shape[1]))
    said = [markup.plotly_text(markup.short(token)) for token in record.tokens[record.n_prompt :]]
    height = 90 + _ROW * max(len(compressed), 1)
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": height, "showlegend": False})
    for place, i in enumerate(compressed):
        trial, axis = record.trials[i], f"y{place + 1 if place else ''}"
        role, symbol = _KINDS[trial.kind]
        fill = theme.ROLES[role][mode].fill
        figure.add_scatter(
            x=numbers,
            y=np.maximum(record.kl[i], floor).tolist(),
            yaxis=axis,
            mode="lines+markers",
            line={"color": fill, "width": 2},
            marker={"color": fill, "symbol": symbol, "size": 6},
            customdata=[f"{name}: {_nats(kl)}" for name, kl in zip(said, record.kl[i].tolist(), strict=True)],
            hovertemplate=phrase("generated token {number}, {kl}", number="%{x}", kl="%{customdata}")
            + "<extra></extra>",
        )
        if trial.first_changed is not None:
            figure.add_scatter(
                x=[trial.first_changed],
                y=[max(float(record.kl[i, trial.first_changed]), floor)],
                yaxis=axis,
                mode="markers",
                marker={"symbol": "star", "size": 16, "color": ink},
                hoverinfo="skip",
            )
        bottom, top_of = 1 - (place + 1) / len(compressed), 1 - place / len(compressed)
        ticks = {**_kl_axis(floor, top, most=2), "domain": [bottom, top_of - 0.34 / len(compressed)], "nticks": 3}
        figure.update_layout({f"yaxis{axis[1:]}": ticks})
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            xshift=-40,
            y=top_of - 0.3 / len(compressed),
            yref="paper",
            yanchor="bottom",
            text=f"{_name(record, i)}: {_changed(record, i)}",
            showarrow=False,
        )
    anchor = f"y{len(compressed) if len(compressed) > 1 else ''}"
    figure.update_xaxes(
        title=phrase("generated token, counted from 0"), anchor=anchor, range=[-0.5, len(numbers) - 0.5], tickformat="d"
    )
    figure.update_layout(margin={"t": 6})
    return figure


@view("Cache compression, in numbers", of=CacheTrials, follows="nothing", needs="trials", folded=True)
def cache_table(record: CacheTrials, _at: Selection, _mode: Mode = "light") -> Html:
    """Bytes saved, and what they cost, for each kind of compression.

    Bytes: of the cache's tensors after the last pass, scales included. KL(exact || compressed), in nats: 0 where the
    two agree. Below each: the first token that differs under the run's own settings and seed. int8 and int4 quantise
    groups of 16 tokens and keep the latest tokens in full precision, which matters in a short run. The first token
    matters most, because heads that find nothing relevant attend to it (attention sink): evict position 0 alone to
    see it. Source: Xiao et al. 2023, "StreamingLLM", for sink + window; Liu et al. 2024, "KIVI", for a quantised
    cache.
    """
    trials = list(enumerate(zip(record.trials, record.kl, strict=True)))
    return table(
        (phrase("cache"), phrase("bytes"), phrase("saved"), phrase("mean KL"), phrase("largest KL")),
        [
            (
                f"{i} {trial.name}" if i else trial.name,
                theme.size(trial.n_bytes),
                _percent(_saved(record, i)),
                _nats(float(kl.mean()) if kl.size else 0.0),
                _nats(float(kl.max(initial=0))),
            )
            for i, (trial, kl) in trials
        ],
        below=[_other(record, i) for i, _ in trials],
    )


def _saved(record: CacheTrials, i: int) -> float:
    """The share of the exact cache's bytes that this trial saves."""
    return 1 - record.trials[i].n_bytes / max(record.trials[0].n_bytes, 1)


def _floor(kl: np.ndarray) -> float:
    """The lowest line of a logarithmic axis: one power of ten below the smallest divergence, which stands for 0."""
    positive = kl[kl > _LEAST_KL]
    return float(10.0 ** (np.floor(np.log10(positive.min())) - 1)) if positive.size else _LEAST_KL


def _kl_axis(floor: float, top: float, *, most: int) -> dict[str, object]:
    """Powers of ten from the floor, which reads 0, to the top: so `most` labels."""
    low, high = round(np.log10(floor)), np.log10(top)
    step = max(1, int(np.ceil((high - low) / (most + 1))))
    powers = range(low + step, int(np.floor(high)) + 1, step)
    return {
        "type": "log",
        "range": [low - 0.25, float(high)],
        "tickvals": [floor, *(10.0**power for power in powers)],
        "ticktext": ["0", *(_power(power) for power in powers)],
    }


def _power(power: int) -> str:
    return f"{10.0**power:g}" if abs(power) <= 3 else power_of_ten(power)


def _name(record: CacheTrials, i: int) -> str:
    """The trial by its number, as in the table, and its name."""
    return markup.plotly_text(f"{i} {record.trials[i].name}")


def _is_unused(record: CacheTrials, i: int) -> bool:
    """Whether the last pass alone made this cache smaller: every token was predicted from exact keys and values."""
    smaller = record.kv_bytes[i] < record.kv_bytes[0]
    return bool(smaller[-1:].any()) and not smaller[:-1].any() and float(record.kl[i].max()) <= _LEAST_KL


def _changed(record: CacheTrials, i: int) -> str:
    trial = record.trials[i]
    if _is_unused(record, i):
        return phrase("compressed after the last pass only, so no token was predicted from it")
    if trial.first_changed is None:
        return phrase("no token changed")
    return phrase("changed at generated token {number}", number=trial.first_changed)


def _point(record: CacheTrials, i: int, mean: float) -> str:
    trial = record.trials[i]
    return phrase(
        "{name}: {size} instead of {exact}<br>mean KL {nats}; {changed}",
        name=_name(record, i),
        size=theme.size(trial.n_bytes),
        exact=theme.size(record.trials[0].n_bytes),
        nats=_nats(mean),
        changed=_changed(record, i),
    )


def _other(record: CacheTrials, i: int) -> str:
    """The first changed token, and the token that it replaces."""
    first = record.trials[i].first_changed
    if first is None and record.trials[i].n_bytes == record.trials[0].n_bytes:
        return (
            "" if i == 0 else phrase("No token changed: the run is no longer than the window, so every token is kept.")
        )
    if _is_unused(record, i):
        return phrase(
            "It was compressed after the last pass only, so no token was predicted from it. Try a longer text."
        )
    if first is None:
        return phrase("No token changed.")
    own, other = (_token(record, int(record.chosen[row, first])) for row in (0, i))
    return phrase(
        "The first changed token is generated token {number}: {other} instead of {own}.",
        number=first,
        other=other,
        own=own,
    )


def _percent(share: float) -> str:
    """A share that may be negative: for few tokens, the scales take more bytes than quantization saves."""
    return theme.percent(share) if share >= 0 else f"\u2212{theme.percent(-share)}"


def _token(record: CacheTrials, token_id: int) -> str:
    known = {token.id: token for token in record.tokens}
    text = record.texts.get(token_id, "")
    return markup.short(
        known.get(token_id) or Token(id=token_id, text=text, data=b"", span=(0, 0), special=False, generated=True)
    )


def _nats(kl: float) -> str:
    if kl <= _LEAST_KL:
        return "0"
    return number(kl) if kl >= 0.001 else scientific(kl)
