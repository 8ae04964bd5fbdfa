"""Pooled maps hold the largest weights of the exact ones, however few rows are rebuilt at once."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from model import trace
from model.errors import BadSetting, NotShown
from model.records import attention, pooling
from model.records.trace import Trace
from tests.tiny import shared

FAMILIES = ["llama", "gemma2", "gpt_oss"]  # plain; window and soft cap; learned sinks
N_PROMPT, NEW = 90, 11


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest) -> Trace:
    """A hundred tokens: more than several cells, and no multiple of a cell's size."""
    rng = np.random.default_rng(3)
    made = trace(shared(request.param), rng.integers(2, 190, N_PROMPT).tolist(), max_new_tokens=NEW, additions=False)
    assert made.n_fed == N_PROMPT + NEW - 1
    return made


def pooled_by_hand(weights: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest weight of each cell, one at a time, and of each line's first tokens."""
    n = -(-len(weights) // size)
    down = [slice(i * size, (i + 1) * size) for i in range(n)]
    across = [slice(max(1, i * size), (i + 1) * size) for i in range(n)]
    largest = np.array([[weights[rows, keys].max(initial=0) for keys in across] for rows in down])
    return largest, np.array([weights[rows, 0].max() for rows in down])


@pytest.mark.parametrize(("size", "at_once"), [(1, 10**6), (7, 10**6), (7, 300), (16, 1000), (16, 1), (200, 10**6)])
def test_each_cell_is_the_largest_weight_that_it_covers(run: Trace, size: int, at_once: int):
    for layer, head in ((0, 0), (1, 3), (2, 2)):
        found = pooling.pooled_map(run, layer, head, size, at_once=at_once)
        largest, first = pooled_by_hand(run.pattern(layer, head), size)
        np.testing.assert_allclose(found.largest, largest, atol=1e-6)
        np.testing.assert_allclose(found.first, first, atol=1e-6)
        assert found.size == size


@pytest.mark.parametrize("at_once", [1, 450, 10**6])
def test_a_part_of_a_map_is_that_part(run: Trace, at_once: int):
    for rows, keys in (((0, 30), (0, 30)), ((60, 100), (20, 52)), ((10, 20), (50, 60)), ((99, 100), (98, 100))):
        found = pooling.part_of_map(run, 1, 2, rows, keys, at_once=at_once)
        np.testing.assert_allclose(found, run.pattern(1, 2)[slice(*rows), slice(*keys)], atol=1e-6)


def test_a_map_in_little_has_some_of_the_rows(run: Trace):
    lines, head = 12, 3
    maps, first = pooling.sampled_maps(run, 2, lines)
    assert maps.shape == (4, lines, lines)
    pattern = run.pattern(2, head)
    for line, row in enumerate(pooling.sampled_rows(run.n_fed, lines)):
        assert line * run.n_fed / lines <= row < (line + 1) * run.n_fed / lines
        edges = [max(1, i * run.n_fed // lines) for i in range(lines + 1)]
        expected = [pattern[row, a:b].max() for a, b in pairwise(edges)]
        np.testing.assert_allclose(maps[head, line], expected, atol=1e-6)
        assert first[head, line] == pytest.approx(pattern[row, 0], abs=1e-6)


def test_a_map_in_little_keeps_nothing_of_the_rows_it_was_made_of(run: Trace):
    for made in pooling.sampled_maps(run, 0, 22):
        assert made.base is None or made.base.nbytes == made.nbytes


@pytest.mark.parametrize("at_once", [2000, 20_000])
def test_no_more_weights_are_rebuilt_at_once_than_allowed(run: Trace, at_once: int, monkeypatch: pytest.MonkeyPatch):
    made: list[int] = []
    rebuilt = attention.pattern

    def counted(*given, **named) -> np.ndarray:
        weights = rebuilt(*given, **named)
        made.append(weights.size)
        return weights

    monkeypatch.setattr(attention, "pattern", counted)
    pooling.pooled_map(run, 1, 1, 8, at_once=at_once)
    assert max(made) <= at_once
    assert sum(made) < run.n_fed**2 + at_once  # and none twice
    made.clear()
    pooling.part_of_map(run, 1, 1, (40, 100), (0, 50), at_once=at_once)
    assert max(made) <= at_once


def test_what_is_not_there_is_refused(run: Trace):
    with pytest.raises(BadSetting, match="layers 0 to 2"):
        pooling.pooled_map(run, 3, 0, 8)
    with pytest.raises(BadSetting, match="heads 0 to 3"):
        pooling.part_of_map(run, 0, 4, (0, 2), (0, 2))
    bare = replace(run, queries=None, keys=None, values=None, rules=(), sinks=None, masks=None)
    with pytest.raises(NotShown):
        pooling.pooled_map(bare, 0, 0, 8)


def test_so_many_tokens_a_cell_that_the_map_has_at_most_so_many_cells():
    for n, cells, size in ((512, 256, 2), (513, 256, 3), (8192, 256, 32), (4096, 256, 16), (5, 256, 1)):
        assert pooling.cell_size(n, cells) == size
        assert -(-n // size) <= cells
