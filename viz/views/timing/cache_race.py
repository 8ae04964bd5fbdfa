"""What the KV cache saves: the next token with it and without it, at growing lengths of the text."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from model.records.timing import Measurement, Work
from model.texts import phrase
from viz import markup, theme
from viz.measured import Spread, bars, least_seconds, number, prefixed, scientific, table, ticks_between
from viz.theme import Mode
from viz.view import Html, Selection, view

_RACERS = ((phrase("with the cache"), "value", "circle"), (phrase("without"), "baseline", "diamond"))
_ROUNDING = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # between 1 and the next number
_END = "<extra></extra>"  # what else plotly would say of a trace
_OFTEN = 256  # roundings that may add up, along the layers, to what still is rounding


@view("KV cache: time for one more token", of=Measurement, follows="nothing", needs="race_lengths")
def cache_race(record: Measurement, _at: Selection, mode: Mode = "light") -> go.Figure:
    """The same next token, with the KV cache and without it.

    With the cache, the keys and values of the text are read; without it, the whole text is read again. Solid lines:
    measured (medians; thin lines from the fastest try to the slowest). Dashed lines: predicted, the least time that
    the work of each pass takes at the memory and matrix speeds measured on the same machine. Log scales.
    """
    lengths = record.race_lengths.tolist()
    shown: list[float] = []
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 460})
    for (name, role, symbol), tries, works in zip(_RACERS, _tries(record), _works(record), strict=True):
        spreads, fill, text = _spreads(tries), theme.ROLES[role][mode].fill, theme.ROLES[role][mode].text
        figure.add_scatter(
            x=lengths,
            y=[each.median for each in spreads],
            name=phrase("{name}, measured", name=name),
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
            hovertemplate=phrase("{name}, {n} tokens: {duration}", name=name, n="%{x}", duration="%{text}") + _END,
        )
        least = [least_seconds(work, record.machine) for work in works]
        shown += [*least, *(each.low for each in spreads), *(each.high for each in spreads)]
        figure.add_scatter(
            x=lengths,
            y=least,
            name=phrase("{name}, predicted", name=name),
            mode="lines",
            text=[theme.duration(each) for each in least],
            line={"color": text, "width": 2, "dash": "dash"},
            hovertemplate=phrase(
                "{name}, {n} tokens: at least {duration} (predicted)", name=name, n="%{x}", duration="%{text}"
            )
            + _END,
        )
    figure.update_xaxes(title=phrase("tokens in the text"), type="log", tickvals=lengths, ticktext=_apart(lengths))
    ticks = ticks_between(min(shown), max(shown))
    figure.update_yaxes(
        title=phrase("time for the next token"), type="log", tickvals=ticks, ticktext=[_short(each) for each in ticks]
    )
    return figure


@view("KV cache: the whole text", of=Measurement, follows="nothing", needs="race_lengths")
def race_total(record: Measurement, _at: Selection, mode: Mode = "light") -> go.Figure:
    """What the cache saves over a whole text, generated token by token.

    From the shortest measured length up to each length. Only the lengths with a mark were measured; between two of
    them the time of a pass is interpolated linearly.
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
            hovertemplate=phrase(
                "{name}, from {first} to {last} tokens: {duration}",
                name=name,
                first=lengths[0],
                last="%{x}",
                duration="%{text}",
            )
            + _END,
        )
    figure.update_xaxes(title=phrase("tokens in the text"), rangemode="tozero")
    figure.update_yaxes(title=phrase("seconds from {n} tokens on", n=lengths[0]), rangemode="tozero")
    return figure


@view("KV cache: times and predicted work", of=Measurement, follows="nothing", needs="race_lengths", folded=True)
def race_work(record: Measurement, _at: Selection, _mode: Mode = "light") -> Html:
    """The time of one pass, and the work that it takes.

    Above: the median time of one pass, as measured. Below: the floating-point operations and the bytes of that pass,
    predicted from the model's shapes. With the cache a pass reads one token; without it, all of them.
    """
    on, off = (_spreads(tries) for tries in _tries(record))
    lengths = [theme.count(length) for length in record.race_lengths.tolist()]
    times = table(
        (phrase("tokens"), phrase("with the cache"), phrase("without"), phrase("ratio")),
        [
            (length, theme.duration(a.median), theme.duration(b.median), number(b.median / a.median))
            for length, a, b in zip(lengths, on, off, strict=True)
        ],
    )
    work = table(
        (
            phrase("tokens"),
            phrase("operations, with"),
            phrase("without"),
            phrase("bytes, with"),
            phrase("without"),
        ),
        [
            (length, prefixed(one.flops), prefixed(other.flops), theme.size(one.n_bytes), theme.size(other.n_bytes))
            for length, one, other in zip(lengths, *_works(record), strict=True)
        ],
    )
    named = (phrase("Measured: time of a pass"), phrase("Predicted: work of a pass"))
    titles = [f'<h3 class="ts-subtitle">{markup.text(each)}</h3>' for each in named]
    return Html(titles[0] + times + titles[1] + work)


@view("KV cache: the same logits", of=Measurement, follows="nothing", needs="race_lengths", folded=True)
def race_logits(record: Measurement, _at: Selection, _mode: Mode = "light") -> Html:
    """The cache changes the time, not the output.

    The largest difference between the logits with and without the cache, beside the largest logit.
    """
    share = record.race_difference / np.where(record.race_scale > 0, record.race_scale, 1)
    said = f'<p class="ts-sentence">{markup.text(_verdict(record, float(share.max())))}</p>'
    same, another = phrase("same"), phrase("different")
    rows = zip(record.race_lengths.tolist(), record.race_difference, record.race_scale, record.race_tokens, strict=True)
    return Html(
        said
        + table(
            (phrase("tokens"), phrase("largest difference"), phrase("largest logit"), phrase("most likely token")),
            [
                (theme.count(length), scientific(difference), number(scale), same if one == other else another)
                for length, difference, scale, (one, other) in rows
            ],
        )
    )


def _verdict(record: Measurement, share: float) -> str:
    """One sentence on the difference, and one on the tokens."""
    changed = sum(one != other for one, other in record.race_tokens)
    tokens = phrase("The most likely token is the same at every length.")
    if changed:
        tokens = phrase(
            "The most likely token differs at {changed} of {n} lengths.", changed=changed, n=len(record.race_tokens)
        )
    if share == 0:
        return phrase("The logits are equal bit for bit. {tokens}", tokens=tokens)
    step = _ROUNDING.get(record.machine.dtype, 2.0**-23)
    part = phrase("The logits differ by at most one part in {n}", n=number(1 / share))
    if share > min(_OFTEN * step, 0.1):
        return phrase(
            "{part}, more than the rounding of {dtype} explains. {tokens}",
            part=part,
            dtype=record.machine.dtype,
            tokens=tokens,
        )
    return phrase(
        "{part}. That is rounding: {dtype} has a precision of one part in {n}, and the two passes add the same "
        "products in a different order. {tokens}",
        part=part,
        dtype=record.machine.dtype,
        n=number(1 / step),
        tokens=tokens,
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
