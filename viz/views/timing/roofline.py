"""Why decode is slow: what each pass does for each byte it moves, beside what this machine can do at most."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import plotly.graph_objects as go

from model.records.timing import Machine, Measurement, Work
from model.texts import phrase
from viz import markup, theme
from viz.measured import Spread, bars, number, prefixed, table, ticks_between
from viz.theme import Mode
from viz.view import Html, Selection, view

_NEAR = 0.25  # of a speed: a pass that uses less of both is held back by something else
_DISTURBED = 1.05  # of a speed of the machine: what is more was not measured on the same machine at rest
_BATCHED = phrase("decode, many texts at once")
_REACH = 4.0  # factor by which the axis goes on beyond the first and the last thing on it


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """One kind of pass: its predicted work, and the seconds that it was measured to take."""

    name: str
    work: Work
    seconds: Spread
    n_tokens: int  # that it reads or writes, of all texts

    @property
    def speed(self) -> Spread:
        """Operations a second."""
        flops, seconds = self.work.flops, self.seconds
        return Spread(median=flops / seconds.median, low=flops / seconds.high, high=flops / seconds.low)


@view("The roofline of the machine", of=Measurement, follows="nothing")
def roofline(record: Measurement, _at: Selection, mode: Mode = "light") -> go.Figure:
    """How near each pass comes to the machine's limits: memory (slope), arithmetic (flat).

    Further right: more operations for each byte moved (arithmetic intensity). Further up: more operations a second.
    No pass can be above the roof. Both speeds were measured on it by a probe (thin lines: its slowest and fastest
    try). Operations and bytes are predicted from the model's shapes; seconds are measured medians. A larger batch
    moves decode to the right, because the weights are read once for all texts. Log scales. Source: Williams, Waterman
    & Patterson 2009, "Roofline: An Insightful Visual Performance Model".
    """
    passes, machine, ground = list(_passes(record)), record.machine, theme.GROUND[mode]
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 480})
    reach = [machine.ridge, *(each.work.intensity for each in passes)]
    first, last = min(reach) / _REACH, max(reach) * _REACH
    x = [first, machine.ridge, last]
    for low, high in zip(machine.bandwidth_span, machine.matrix_span, strict=True):
        figure.add_scatter(
            x=[first, high / low, last],
            y=[first * low, high, high],
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            line={"color": ground["muted"], "width": 1, "dash": "dot"},
        )
    figure.add_scatter(
        x=x,
        y=[min(each * machine.bandwidth, machine.matrix_speed) for each in x],
        mode="lines",
        hoverinfo="skip",
        name=phrase("the roof, measured"),
        line={"color": ground["ink"], "width": 3},
    )
    for name, role, symbol in (
        (phrase("prefill"), "prompt", "diamond"),
        (phrase("decode"), "generated", "circle"),
        (_BATCHED, "generated", "square"),
    ):
        _add_points(figure, name, [each for each in passes if each.name == name], role, symbol, mode)
    figure.add_annotation(
        x=math.log10(first * 1.3),
        y=math.log10(machine.matrix_speed),
        yshift=14,
        xanchor="left",
        text=phrase("at most {speed} a second", speed=prefixed(machine.matrix_speed)),
        showarrow=False,
    )
    ticks = ticks_between(first, last)
    figure.update_xaxes(
        title=phrase("operations for each byte moved"),
        type="log",
        range=_logs(first, last),
        tickvals=ticks,
        ticktext=[f"{each:g}" for each in ticks],
    )
    speeds = [first * machine.bandwidth, *(each.speed.low for each in passes)]
    low, high = min(speeds) / 1.5, machine.matrix_span[1] * 2.2
    ticks = ticks_between(low, high)
    figure.update_yaxes(
        title=phrase("operations a second"),
        type="log",
        range=_logs(low, high),
        tickvals=ticks,
        ticktext=[prefixed(each) for each in ticks],
    )
    return figure


@view("How much of the machine is used", of=Measurement, follows="nothing")
def utilisation(record: Measurement, _at: Selection, _mode: Mode = "light") -> Html:
    """How much of the machine's memory speed and matrix speed the model uses.

    MBU, model bandwidth utilisation: the bytes that a pass must move, for each second that it took, as a share of the
    memory speed measured here. MFU, model FLOPs utilisation: the same for its floating-point operations and the
    matrix speed. Prefill uses the whole TTFT, decode the median ITL. Where both are small, as for a small model on a
    GPU, the pass is bound by neither: it waits for Python, which launches its operations one after the other. Source:
    Chowdhery et al. 2022, "PaLM", for MFU; Databricks 2023, "LLM Inference Performance Engineering", for MBU.
    """
    machine = record.machine
    rows = [
        (
            each.name if each.work.batch == 1 else phrase("decode, {n} texts", n=each.work.batch),
            theme.percent(machine.mbu(each.work, each.seconds.median)),
            theme.percent(machine.mfu(each.work, each.seconds.median)),
            number(each.n_tokens / each.seconds.median),
        )
        for each in _passes(record)
    ]
    below = [
        phrase(
            "{intensity} operations a byte: {bound}.",
            intensity=number(each.work.intensity),
            bound=_bound(machine, each),
        )
        for each in _passes(record)
    ]
    head = (phrase("pass"), "MBU", "MFU", phrase("tokens a second"))
    said = phrase(
        "The machine reads {bandwidth} and does {speed} operations a second: the two take equally long at {ridge} "
        "operations a byte.",
        bandwidth=theme.size(machine.bandwidth),
        speed=prefixed(machine.matrix_speed),
        ridge=number(machine.ridge),
    )
    if any(_reached(machine, each) > _DISTURBED for each in _passes(record)):
        said += " " + phrase(
            "A pass cannot be faster than the machine: something else kept the machine busy while its speeds were "
            "probed, so these shares are too high. Measure again when it is quiet."
        )
    empty = f'<p class="ts-empty">{markup.text(phrase("No pass has been measured yet."))}</p>'
    return Html(f'<p class="ts-sentence">{markup.text(said)}</p>{table(head, rows, below) if rows else empty}')


def _passes(record: Measurement) -> Iterator[_Pass]:
    """Those that have been measured, in the order in which they teach."""
    if len(record.ttft):
        yield _Pass(
            name=phrase("prefill"), work=record.prefill_work, seconds=Spread.of(record.ttft), n_tokens=record.n_prompt
        )
    if record.itl.size:
        yield _Pass(name=phrase("decode"), work=record.decode_work, seconds=Spread.of(record.itl), n_tokens=1)
    for size, seconds, work in zip(record.batch_sizes.tolist(), record.batch_seconds, record.batch_work, strict=True):
        if size > 1 or not record.itl.size:
            yield _Pass(name=_BATCHED, work=work, seconds=Spread.of(seconds), n_tokens=size)


def _reached(machine: Machine, each: _Pass) -> float:
    """How near a pass comes to the nearer of the machine's two speeds."""
    median = each.seconds.median
    return max(machine.mbu(each.work, median), machine.mfu(each.work, median))


def _bound(machine: Machine, each: _Pass) -> str:
    """Which of the machine's two speeds holds the pass back, or that neither does."""
    if _reached(machine, each) < _NEAR:
        return phrase("near neither bound; most of its time goes elsewhere")
    return phrase("memory-bound") if each.work.intensity < machine.ridge else phrase("compute-bound")


def _add_points(figure: go.Figure, name: str, passes: list[_Pass], role: str, symbol: str, mode: Mode) -> None:
    if not passes:
        return
    ink = theme.GROUND[mode]["ink"]
    is_batch = name == _BATCHED
    figure.add_scatter(
        x=[each.work.intensity for each in passes],
        y=[each.speed.median for each in passes],
        name=name,
        mode="lines+markers+text" if is_batch else "markers",
        textposition="bottom right",
        text=[str(each.work.batch) if is_batch else "" for each in passes],
        error_y={**bars([each.speed for each in passes]), "color": ink, "thickness": 1.5, "width": 4},
        line={"color": theme.ROLES[role][mode].fill, "width": 1},
        marker={
            "color": theme.ROLES[role][mode].fill,
            "symbol": symbol,
            "size": 9 if is_batch else 14,
            "line": {"color": ink, "width": 1},
        },
        customdata=[_said(each) for each in passes],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _said(each: _Pass) -> str:
    return phrase(
        "{name}: {intensity} operations a byte,<br>{speed} operations a second, in {duration}",
        name=phrase("decode, {n} texts", n=each.work.batch) if each.work.batch > 1 else each.name,
        intensity=number(each.work.intensity),
        speed=prefixed(each.speed.median),
        duration=theme.duration(each.seconds.median),
    )


def _logs(low: float, high: float) -> list[float]:
    return [math.log10(low), math.log10(high)]
