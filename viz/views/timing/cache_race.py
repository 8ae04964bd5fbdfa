"""What the KV cache saves: the next token with it and without it, at growing lengths of the text."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from model.records.timing import Measurement, Work
from viz import markup, theme
from viz.measured import Spread, bars, least_seconds, number, prefixed, scientific, table, ticks_between
from viz.theme import Mode
from viz.view import Html, Selection, view

_RACERS = (("with the cache", "generated", "circle"), ("without", "prompt", "diamond"))
_ROUNDING = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # between 1 and the next number
_OFTEN = 256  # roundings that may add up, along the layers, to what still is rounding


@view("The cache race: seconds for one more token", of=Measurement, follows="nothing", needs="race_lengths")
def cache_race(record: Measurement, _at: Selection, mode: Mode = "light") -> go.Figure:
    """The same next token, made with the keys and values of the text kept in the cache, and made by reading the whole
    text again. Solid lines were measured (medians; thin lines from the fastest try to the slowest). Dashed lines are
    predicted: the least that the work of each pass needs at the memory and matrix speeds measured on this machine.
    Both axes grow by factors.
    """
    lengths = record.race_lengths.tolist()
    shown: list[float] = []
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 460})
    for (name, role, symbol), tries, works in zip(_RACERS, _tries(record), _works(record), strict=True):
        spreads, fill, text = _spreads(tries), theme.ROLES[role][mode].fill, theme.ROLES[role][mode].text
        figure.add_scatter(
            x=lengths,
            y=[each.median for each in spreads],
            name=f"{name}, measured",
            mode="lines+markers",
            line={"color": fill, "width": 3},
            error_y={**bars(spreads), "color": text, "thickness": 1.5, "width": 4},
            marker={
                "color": fill,
                "symbol": symbol,
                "size": 10,
                "line": {"color": theme.GROUND[mode]["ink"], "width": 1},
            },
            text=[theme.duration(each.median) for each in spreads],
            hovertemplate=f"{name}, %{{x}} tokens: %{{text}}<extra></extra>",
        )
        least = [least_seconds(work, record.machine) for work in works]
        shown += [*least, *(each.low for each in spreads), *(each.high for each in spreads)]
        figure.add_scatter(
            x=lengths,
            y=least,
            name=f"{name}, predicted",
            mode="lines",
            text=[theme.duration(each) for each in least],
            line={"color": text, "width": 2, "dash": "dash"},
            hovertemplate=f"{name}, %{{x}} tokens: at least %{{text}} (predicted)<extra></extra>",
        )
    figure.update_xaxes(title="tokens in the text", type="log", tickvals=lengths, ticktext=_apart(lengths))
    ticks = ticks_between(min(shown), max(shown))
    figure.update_yaxes(
        title="time for the next token", type="log", tickvals=ticks, ticktext=[_short(each) for each in ticks]
    )
    return figure


@view("The cache race: the whole text", of=Measurement, follows="nothing", needs="race_lengths")
def race_total(record: Measurement, _at: Selection, mode: Mode = "light") -> go.Figure:
    """What it costs to write on, token by token, from the shortest probed length to this one. Only the lengths with a
    mark were measured: between two of them the time of a pass is interpolated, on a straight line.
    """
    lengths = record.race_lengths.tolist()
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 400})
    for (name, role, symbol), tries in zip(_RACERS, _tries(record), strict=True):
        low, median, high = (_written(record.race_lengths, each) for each in _of_each(tries))
        spreads = [Spread(low=a, median=b, high=c) for a, b, c in zip(low, median, high, strict=True)]
        fill, text = theme.ROLES[role][mode].fill, theme.ROLES[role][mode].text
        figure.add_scatter(
            x=lengths,
            y=median,
            name=name,
            mode="lines+markers",
            line={"color": fill, "width": 3},
            error_y={**bars(spreads), "color": text, "thickness": 1.5, "width": 4},
            marker={
                "color": fill,
                "symbol": symbol,
                "size": 10,
                "line": {"color": theme.GROUND[mode]["ink"], "width": 1},
            },
            text=[theme.duration(each) for each in median],
            hovertemplate=f"{name}, from {lengths[0]} to %{{x}} tokens: %{{text}}<extra></extra>",
        )
    figure.update_xaxes(title="tokens in the text", rangemode="tozero")
    figure.update_yaxes(title=f"seconds since {lengths[0]} tokens", rangemode="tozero")
    return figure


@view("The cache race: times and predicted work", of=Measurement, follows="nothing", needs="race_lengths")
def race_work(record: Measurement, _at: Selection, _mode: Mode = "light") -> Html:
    """First the median time of one pass, as measured; then the floating-point operations and the bytes of that pass,
    predicted from the model's shapes alone. With the cache a pass reads one token; without it, all of them.
    """
    on, off = (_spreads(tries) for tries in _tries(record))
    lengths = [theme.count(length) for length in record.race_lengths.tolist()]
    times = table(
        ("tokens", "with the cache", "without", "times as long"),
        [
            (length, theme.duration(a.median), theme.duration(b.median), number(b.median / a.median))
            for length, a, b in zip(lengths, on, off, strict=True)
        ],
    )
    work = table(
        ("tokens", "operations, with", "without", "bytes, with", "without"),
        [
            (length, prefixed(one.flops), prefixed(other.flops), theme.size(one.n_bytes), theme.size(other.n_bytes))
            for length, one, other in zip(lengths, *_works(record), strict=True)
        ],
    )
    titles = [f'<h3 class="ts-subtitle">{each}</h3>' for each in ("Measured: time of a pass", "Predicted: its work")]
    return Html(titles[0] + times + titles[1] + work)


@view("The cache race: the same answer", of=Measurement, follows="nothing", needs="race_lengths")
def race_logits(record: Measurement, _at: Selection, _mode: Mode = "light") -> Html:
    """Whether the cache changes what the model says: the largest difference between the logits of both ways, beside
    the largest logit.
    """
    share = record.race_difference / np.where(record.race_scale > 0, record.race_scale, 1)
    said = f'<p class="ts-sentence">{markup.text(_verdict(record, float(share.max())))}</p>'
    rows = zip(record.race_lengths.tolist(), record.race_difference, record.race_scale, record.race_tokens, strict=True)
    return Html(
        said
        + table(
            ("tokens", "largest difference", "largest logit", "likeliest token"),
            [
                (theme.count(length), scientific(difference), number(scale), "the same" if one == other else "another")
                for length, difference, scale, (one, other) in rows
            ],
        )
    )


def _verdict(record: Measurement, share: float) -> str:
    """One sentence on the difference, and one on the tokens."""
    changed = sum(one != other for one, other in record.race_tokens)
    tokens = (
        "The likeliest token is the same at every length."
        if not changed
        else (f"The likeliest token is another at {changed} of {len(record.race_tokens)} lengths.")
    )
    if share == 0:
        return f"The logits are equal to the last bit. {tokens}"
    step = _ROUNDING.get(record.machine.dtype, 2.0**-23)
    part = f"The logits differ by one part in {number(1 / share)} at most"
    if share > min(_OFTEN * step, 0.1):
        return f"{part}, which is more than the rounding of {record.machine.dtype} explains. {tokens}"
    return (
        f"{part}. It is rounding: {record.machine.dtype} keeps numbers to one part in {number(1 / step)}, and both "
        f"ways add the same products in another order. {tokens}"
    )


def _tries(record: Measurement) -> tuple[np.ndarray, np.ndarray]:
    return record.race_on, record.race_off


def _works(record: Measurement) -> tuple[tuple[Work, ...], tuple[Work, ...]]:
    return record.race_on_work, record.race_off_work


def _spreads(tries: np.ndarray) -> list[Spread]:
    return [Spread.of(row) for row in tries]


def _of_each(tries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fastest, the median and the slowest try at each length."""
    return tries.min(axis=1), np.median(tries, axis=1), tries.max(axis=1)


def _written(lengths: np.ndarray, seconds: np.ndarray) -> list[float]:
    """Seconds of all passes from the first length to each: those between two probed lengths are interpolated."""
    passes = np.arange(lengths[0] + 1, lengths[-1] + 1)
    total = np.concatenate([[0.0], np.cumsum(np.interp(passes, lengths, seconds))])
    return total[lengths - lengths[0]].tolist()


def _apart(lengths: Sequence[int]) -> list[str]:
    """The lengths as labels of a logarithmic axis, without those too close to the one before."""
    kept, last = [], 0.0
    for length in lengths:
        kept.append(theme.count(length) if length >= 1.8 * last else "")
        last = length if kept[-1] else last
    return kept


def _short(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:g} s"
    return f"{seconds * 1e3:g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:g} \u00b5s"
