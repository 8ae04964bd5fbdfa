"""A head's attention map of a long run, in fewer cells than it has weights, and exact parts of it.

A map grows with the square of the run's tokens. Here its rows are rebuilt a few at a time, so that what is in memory at
once grows with the number of tokens alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.records.trace import Trace

AT_ONCE = 1_000_000  # weights rebuilt at once: 4 MB, and a few times that while they are computed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledMap:
    """One head's map, each cell the largest weight of `size` rows by `size` columns.

    The first token often draws most of a head's weight, so it is kept apart: `largest` leaves its column out, and the
    first column of cells with it is `np.maximum(largest[:, 0], first)`.

    Shapes: largest f32 [C, C], rows of cells by columns of cells; first f32 [C], the largest weight on the first token.
    """

    size: int
    largest: np.ndarray
    first: np.ndarray


def cell_size(n_fed: int, most_cells: int) -> int:
    """Tokens a side of a cell, so that a map of so many tokens has at most so many cells a side."""
    return max(1, -(-n_fed // most_cells))


def pooled_map(trace: Trace, layer: int, head: int, size: int, *, at_once: int = AT_ONCE) -> PooledMap:
    """One head's map in cells of `size` by `size` tokens. `at_once` bounds the weights that are in memory together.

    Raises: NotShown, if this model's attention cannot be rebuilt; BadSetting, for a layer or head it does not have.
    """
    n_cells = -(-trace.n_fed // size)
    largest, first = np.zeros((n_cells, n_cells), np.float32), np.zeros(n_cells, np.float32)
    for rows, weights in _rows(trace, layer, head, (0, trace.n_fed), at_once):
        lines, starts = np.unique(rows // size, return_index=True)
        first[lines] = np.maximum(first[lines], np.maximum.reduceat(weights[:, 0], starts))
        weights[:, 0] = 0
        across = np.maximum.reduceat(weights, np.arange(0, weights.shape[1], size), axis=1)
        there = lines[:, None], np.arange(across.shape[1])
        largest[there] = np.maximum(largest[there], np.maximum.reduceat(across, starts, axis=0))
    return PooledMap(size=size, largest=largest, first=first)


def part_of_map(
    trace: Trace, layer: int, head: int, rows: tuple[int, int], keys: tuple[int, int], *, at_once: int = AT_ONCE
) -> np.ndarray:
    """The weights of these rows on these keys, first to last plus one: f32 [row, key]; 0 where a row does not look.

    Raises: as `pooled_map` does.
    """
    found = np.zeros((rows[1] - rows[0], keys[1] - keys[0]), np.float32)
    for positions, weights in _rows(trace, layer, head, rows, at_once):
        there = weights[:, keys[0] : keys[1]]
        found[positions[0] - rows[0] : positions[-1] + 1 - rows[0], : there.shape[1]] = there
    return found


def sampled_maps(trace: Trace, layer: int, lines: int) -> tuple[np.ndarray, np.ndarray]:
    """Every head of a layer in little: so many rows of its map, evenly spread, each in as many cells.

    A cell is the largest weight of its one row on the tokens that fall into it, the first token left out. Pooling all
    rows of all heads takes half a minute for 4,000 tokens of the default model, and four times that for twice as many.

    Shapes: f32 [H, lines, lines], and f32 [H, lines], each row's weight on the first token. Raises: NotShown or
    BadSetting, as `pooled_map` does.
    """
    weights = trace.pattern_at(sampled_rows(trace.n_fed, lines), layer=layer)
    whole = np.zeros((*weights.shape[:-1], trace.n_fed), np.float32)
    whole[..., 1 : weights.shape[-1]] = weights[..., 1:]
    first = weights[..., 0].copy()  # a view would keep all of the rows in memory
    return np.maximum.reduceat(whole, np.arange(lines) * trace.n_fed // lines, axis=-1), first


def sampled_rows(n_fed: int, lines: int) -> np.ndarray:
    """The positions in the middle of so many equal parts of the run."""
    return ((np.arange(lines) + 0.5) * n_fed / lines).astype(int)


def _rows(
    trace: Trace, layer: int, head: int, rows: tuple[int, int], at_once: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """These rows of one head, a few at a time: their positions, and their weights [row, key] on all keys so far."""
    n_rows = max(1, at_once // max(rows[1], 1))
    for start in range(*rows, n_rows):
        positions = np.arange(start, min(start + n_rows, rows[1]))
        yield positions, trace.pattern_at(positions, layer=layer, head=head)
