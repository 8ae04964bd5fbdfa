"""What all tables share: columns, counts with their nouns, medians with their spread; and what a kind declares."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.texts import phrase


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How the command line shows one kind of record."""

    doing: str  # beside the progress bar
    unit: str = ""  # of its progress
    post_run: str = ""  # beside the bar of what is added afterwards, which is done where the record is kept
    table: Callable[[Any], str]
    summary: Callable[[Any], dict[str, Any]]  # the same in plain values, for JSON
    stopped: Callable[[Any, Any], str]  # of the record so far, None before the first, and the request: how far it came
    alone: bool = False  # whether the table is left out where the record is kept in a file, or was stopped


def slots_of(value: Any) -> dict[str, Any]:
    """The fields of a slotted dataclass, by name."""
    return {name: getattr(value, name) for name in type(value).__slots__}


def spread(median: float, span: tuple[float, float], unit: float = 1) -> str:
    """A median and the span of its tries, in this unit, with one decimal: "12.3 (11.9 to 14.0)"."""
    return phrase(
        "{median:,.1f} ({low:,.1f} to {high:,.1f})", median=median / unit, low=span[0] / unit, high=span[1] / unit
    )


def middle(values: np.ndarray) -> str:
    """The median of these values and their span, with one decimal."""
    return spread(float(np.median(values)), (float(values.min()), float(values.max())))


def decimals(values: np.ndarray) -> str:
    """The median of these values and their span, with two decimals."""
    return phrase(
        "{median:,.2f} ({min:,.2f} to {max:,.2f})", median=np.median(values), min=values.min(), max=values.max()
    )


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
