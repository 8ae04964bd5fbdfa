"""What each attention head mostly does in a run, measured on its own weights: shares of six kinds of look, and a word.

Each weight of a measured row counts to one kind, the first of these that fits: on the first token; on the token
itself; on the one before it; on an earlier token that is the same; on a token that follows an earlier same one
(what an induction head looks at); on any other.
"""

from dataclasses import dataclass

import numpy as np

from model.errors import NotShown
from model.records.trace import Trace

CLASSES = ("first", "previous", "itself", "same", "after", "other")
WORDS = (
    "first token",
    "previous token",
    "itself",
    "same token before",
    "after the same token",
    "learned sink",
    "spread",
)
BEFORE = 2  # rows that are not measured: their tokens hardly have a choice where to look
ROWS = 256  # at most this many are measured, evenly spread
_RESTS = 0.9  # of a head's weight on the first token: it does nothing else
_HALF = 0.5  # of what does not rest there names the head
_ENOUGH = 0.1  # of all weight: less is too little to be what it does
_WHERE_POSSIBLE = 0.4  # mean weight, over the rows that have such a token
_ROWS_NEEDED = 3  # of those: one or two are no habit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roles:
    """What the heads of one run did. Rows are positions from 2 on, each as much as any other.

    Shapes: shares f32 [L, H, 6], the mean weight on each of CLASSES: their sum is 1, or less where a head has a learned
    sink; possible f32 [L, H, 2], the mean weight on `same` and on `after` over the rows where there is such a
    token; word u8 [L, H], an index into WORDS.
    """

    shares: np.ndarray
    possible: np.ndarray
    word: np.ndarray
    rows: int
    rows_same: int
    rows_after: int


def measure(trace: Trace) -> Roles:
    """Measure every head of a run. Raises: NotShown, without attention or with fewer than 3 tokens read.

    The first rule that holds gives a head its word; the remainder is the weight that is not on the first token:
    1. "first token": 0.9 of the weight is there.
    2. "previous token": half of the remainder is there, and at least a tenth of all weight.
    3. "itself": the same, on the token itself.
    4. "after the same token", then "same token before": 0.4 of the weight, on average over the rows that have such a
       token, which must be at least 3.
    5. "first token": half of the weight is there.
    6. "spread": none of these.
    Where heads have learned sinks, a sink's weight counts with the first token's, and in rules 1 and 5 the larger of
    the two gives the word: "learned sink" or "first token".
    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022, induction
    heads; Xiao et al. 2023, attention sinks.
    """
    positions = _rows(trace.n_fed)
    if trace.queries is not None and not len(positions):
        raise NotShown(
            "this run has read {n_fed} tokens; head roles are measured from the third token on.", n_fed=trace.n_fed
        )
    same, after = _repeats(np.array([token.id for token in trace.tokens[: trace.n_fed]]), positions)
    measured = [_layer(trace, layer, positions, same, after) for layer in range(trace.model.n_layers)]
    shares = np.stack([each[0] for each in measured])
    has = np.stack([same.any(axis=1), after.any(axis=1)])
    counts = has.sum(axis=1)
    possible = np.stack([each[1] for each in measured]) / np.maximum(counts, 1)
    return Roles(
        shares=shares.astype(np.float32),
        possible=possible.astype(np.float32),
        word=_words(shares, possible, counts, learned_sinks=trace.sinks is not None),
        rows=len(positions),
        rows_same=int(counts[0]),
        rows_after=int(counts[1]),
    )


def _rows(n_fed: int) -> np.ndarray:
    count = max(min(n_fed - BEFORE, ROWS), 0)
    return np.unique(np.linspace(BEFORE, n_fed - 1, count).round().astype(int))


def _repeats(ids: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of these positions finds a token like its own, and where one that follows such a token: bool
    [row, key]. Neither counts the first token, the one before, or the token itself.
    """
    keys = np.arange(len(ids))
    between = (keys > 0) & (keys < positions[:, None] - 1)
    same = ids[None, :] == ids[positions, None]
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    return same & between, after & between & ~same


def _layer(
    trace: Trace, layer: int, positions: np.ndarray, same: np.ndarray, after: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of each head of one layer [H, 6], and its summed weight on `same` and `after` [H, 2]."""
    weights = trace.pattern_at(positions, layer=layer)
    rows = np.arange(len(positions))
    direct = [weights[:, rows, at].sum(axis=1, dtype=np.float64) for at in (0 * positions, positions - 1, positions)]
    repeats = [_summed(weights, where) for where in (same, after)]
    whole = weights.sum(axis=(1, 2), dtype=np.float64)
    named = np.stack([*direct, *repeats], axis=-1)
    other = np.maximum(whole - named.sum(axis=-1), 0)
    return np.concatenate([named, other[:, None]], axis=-1) / len(positions), np.stack(repeats, axis=-1)


def _summed(weights: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Each head's weight at these places [H]; they are few."""
    row, key = np.nonzero(where[:, : weights.shape[-1]])
    return weights[:, row, key].sum(axis=1, dtype=np.float64)


def _words(shares: np.ndarray, possible: np.ndarray, counts: np.ndarray, *, learned_sinks: bool) -> np.ndarray:
    first = shares[..., 0]
    sink = np.maximum(1 - shares.sum(axis=-1), 0) if learned_sinks else np.zeros_like(first)
    rest = np.maximum(1 - first - sink, np.finfo(np.float64).tiny)
    found = np.full(first.shape, "spread", dtype=object)
    conditions = (  # the last that holds names the head
        ("learned sink", first + sink >= _HALF),
        ("first token", (first >= _HALF) | ((first + sink >= _HALF) & (first >= sink))),
        ("same token before", (possible[..., 0] >= _WHERE_POSSIBLE) & (counts[0] >= _ROWS_NEEDED)),
        ("after the same token", (possible[..., 1] >= _WHERE_POSSIBLE) & (counts[1] >= _ROWS_NEEDED)),
        ("itself", shares[..., 2] >= np.maximum(_HALF * rest, _ENOUGH)),
        ("previous token", shares[..., 1] >= np.maximum(_HALF * rest, _ENOUGH)),
        ("learned sink", first + sink >= _RESTS),
        ("first token", (first >= _RESTS) | ((first + sink >= _RESTS) & (first >= sink))),
    )
    for word, holds in conditions:
        found[holds] = word
    return np.vectorize(WORDS.index, otypes=[np.uint8])(found)
