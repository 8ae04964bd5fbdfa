"""What the pictures of measured records share: a median and its spread, least seconds, and tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.records.timing import Machine, Work
from model.texts import counted, phrase
from viz import markup, theme
from viz.glossary import explained
from viz.view import Html

_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Several tries of one thing: the one in the middle, the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Spread":
        """The spread of a non-empty array."""
        return cls(median=float(np.median(values)), low=float(values.min()), high=float(values.max()))


def bars(spreads: Sequence[Spread]) -> dict[str, Any]:
    """Error bars of plotly's that reach from the smallest to the largest."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [each.high - each.median for each in spreads],
        "arrayminus": [each.median - each.low for each in spreads],
    }


def least_seconds(work: Work, machine: Machine) -> float:
    """What the pass would take if it moved its bytes, or did its operations, at the full speed measured here.

    It is the longer of the two, as both can happen at once. Source: Williams, Waterman & Patterson 2009, "Roofline".
    """
    return max(work.n_bytes / machine.bandwidth, work.flops / machine.matrix_speed)


def prefixed(count: float) -> str:
    """A large count with three digits: 85e9 -> 85 billion."""
    if count >= 1e15:
        return phrase("{n:.3g} quadrillion", n=count / 1e15)
    if count >= 1e12:
        return phrase("{n:.3g} trillion", n=count / 1e12)
    if count >= 1e9:
        return phrase("{n:.3g} billion", n=count / 1e9)
    return phrase("{n:.3g} million", n=count / 1e6) if count >= 1e6 else f"{count:,.0f}"


def number(value: float) -> str:
    """Three digits, with thousands apart: 17.52 -> 17.5, 17 -> 17.0, 1234.5 -> 1,234."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def n_tokens(n: int) -> str:
    """Such as "1 token" or "1,234 tokens"."""
    return counted(n, "1 token", "{n:,} tokens")


def scientific(value: float) -> str:
    """A small number with two digits and its power of ten: 3.4e-06 -> 3.4\u00d710\u207b\u2076."""
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}\u00d7{power_of_ten(int(power))}"


def power_of_ten(power: int) -> str:
    """Such as 10\u207b\u2075, in characters: a tag for it would need a style that a page's policy forbids."""
    return "10" + str(power).translate(_RAISED)


def ticks_between(low: float, high: float) -> list[float]:
    """Round numbers of a logarithmic axis: 1, 2 and 5 of each power of ten, or less of them where these are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    span = math.log10(high / low)
    factors = (1, 2, 5) if span <= 3 else (1, 3) if span <= 4 else (1,)
    ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [each for each in ticks if low <= each <= high]


def on_machine(machine: Machine) -> str:
    """Which machine measured, in one line of plain text."""
    return phrase(
        "{processor}, {device}, {threads} of {cores} cores, {system}, torch {torch}, {dtype}: reads {bandwidth} a "
        "second, does {speed} operations a second (probed {probed} UTC)",
        processor=machine.processor,
        device=machine.device,
        threads=machine.threads,
        cores=machine.cores,
        system=machine.system,
        torch=machine.torch,
        dtype=machine.dtype,
        bandwidth=theme.size(machine.bandwidth),
        speed=prefixed(machine.matrix_speed),
        probed=machine.probed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """A large number, and what it means. `is_late`: it is measured late in a run, and there is none (yet)."""

    value: str
    means: str
    is_late: bool = False


def glance(large: Sequence[Large], answer: str, below: str) -> Html:
    """A record at a glance: large numbers, one answer in words, and where it was measured. All are plain texts."""
    said = f'<p class="ts-glance-answer">{markup.text(answer)}</p>' if answer else ""
    return Html(
        f'<div class="ts-glance">{"".join(map(_large, large))}</div>{said}<p class="ts-note">{markup.text(below)}</p>'
    )


def _large(each: Large) -> str:
    means = f"<span>{markup.text(each.means)}</span>"
    return f"<div><strong>{markup.text(each.value)}</strong>{means}{_LATE if each.is_late else ''}</div>"


# The page says instead whether it is coming or was stopped, which no record knows: assets/js/board/late.js.
_LATE = f' <span class="ts-late">{markup.text(phrase("not measured"))}</span>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], below: Sequence[str] | None = None) -> Html:
    """A table of plain texts, each made inert; the first of a row names it. `below` are sentences under the rows, one
    for each, empty where there is none.
    """
    top = "".join(f'<th scope="col">{explained(each)}</th>' for each in head)
    sentences = [""] * len(rows) if below is None else below
    body = "".join(
        f"<tr>{_named(row)}</tr>{_sentence(said, len(head))}" for row, said in zip(rows, sentences, strict=True)
    )
    return Html(f'<div class="ts-measured"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')


def _sentence(said: str, width: int) -> str:
    """A row for a sentence, as wide as the table; none for none."""
    return f'<tr class="ts-means"><td colspan="{width}"><span>{markup.text(said)}</span></td></tr>' if said else ""


def _named(row: Sequence[str]) -> str:
    first, *rest = map(markup.text, row)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{each}</td>" for each in rest)
