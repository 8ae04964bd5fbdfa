"""What is asked for one by one of a run, as frames: a layer's rows or vectors, one row's numbers, one choice's logits,
columns of the logit lens.

numpy only. `small` halves the size, for runs that are kept as files: the frame says its `bits`.
"""

from collections.abc import Sequence

import numpy as np

from model.errors import BadSetting, NotShown
from model.records import attention
from model.records.lens import missing_columns
from model.records.trace import Trace
from viz.wire import frames
from viz.wire.packing import pack, packed_rows

_HALF_MOST = float(np.finfo(np.float16).max)
_STEPS = 65_535


def layer(trace: Trace, layer: int) -> bytes:
    """One layer's attention rows of the whole run so far. Blob: attention u8 [H, packed], from position 0.

    Raises: NotShown, if this model's attention cannot be rebuilt; BadSetting, for a layer it does not have.
    """
    return pack(
        "layer",
        {"layer": layer, "n_fed": trace.n_fed},
        [("attention", packed_rows(trace.pattern_rows(0, trace.n_fed, layer=layer), 0))],
    )


def row(trace: Trace, layer: int, head: int, position: int) -> bytes:
    """The exact numbers of one row. Blobs: weights and scores (scaled, before the softmax), f32 [position + 1].

    Raises: NotShown, if this model's attention cannot be rebuilt; BadSetting, for a place it does not have.
    """
    weights = trace.pattern_rows(position, position + 1, layer=layer, head=head)[0]
    queries, keys, _ = _attended(trace, layer)
    group = queries.shape[1] // keys.shape[1]
    scores = attention.scores(
        queries[layer, head, position : position + 1], keys[layer, head // group, : position + 1], trace.rules[layer]
    )[0]
    return pack(
        "row",
        {"layer": layer, "head": head, "position": position},
        [("weights", weights), ("scores", scores)],
    )


def vectors(trace: Trace, layer: int, *, small: bool = False) -> bytes:
    """One layer's queries [H, S, D], keys [G, S, D] and values [G, S, E] of the run so far: f32, or f16 if `small`.

    Queries and keys are as they met, after the model's own rotation and norms. Raises: NotShown, if this model's
    attention cannot be rebuilt; BadSetting, for a layer it does not have.
    """
    queries, keys, values = _attended(trace, layer)
    exact = [("queries", queries[layer]), ("keys", keys[layer]), ("values", values[layer])]
    fits = small and all(np.abs(array).max() <= _HALF_MOST for _, array in exact)
    about = {"layer": layer, "n_fed": trace.n_fed, "bits": 16 if fits else 32}
    return pack("vectors", about, [(name, array.astype(np.float16)) for name, array in exact] if fits else exact)


def logits(trace: Trace, index: int, *, small: bool = False) -> bytes:
    """What one choice was made from: the raw scores of the whole vocabulary, f32 [V].

    `small`: u16 instead, from `low` to `high` in 65,535 equal steps; float32 where a
    score is infinite. Raises: BadSetting, for a choice that this run did not make.
    """
    if not 0 <= index < len(trace.logits):
        raise BadSetting(
            "there is no choice {given}: this run has choices 0 to {last}.", given=index, last=len(trace.logits) - 1
        )
    scores = trace.logits[index]
    about = {"index": index, "bits": 32, "low": None, "high": None}
    if not small or not np.isfinite(scores).all():
        return pack("logits", about, [("logits", scores)])
    low, high = float(scores.min()), float(scores.max())
    steps = np.rint((scores.astype(np.float64) - low) / ((high - low) / _STEPS or 1)).astype(np.uint16)
    return pack("logits", {**about, "bits": 16, "low": low, "high": high}, [("logits", steps)])


def lens(trace: Trace, positions: Sequence[int]) -> bytes:
    """Some columns of the logit lens. Blobs: ids i32 and probabilities f32, both [L+1, n, K], as `positions` has them.

    Raises: NotShown, for a column that is not there.
    """
    if missing_columns(trace, positions):
        raise NotShown("the logit lens of these tokens is not computed yet.")
    return frames.lens_columns(trace, list(positions), kind="lens_slice")


def _attended(trace: Trace, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, keys and values of all layers, where this run shows them and has this layer."""
    trace.pattern_rows(0, 1, layer=layer)  # refuses, with the reason, what cannot be shown
    assert trace.queries is not None, "pattern_rows refuses a run without queries"
    assert trace.keys is not None, "queries come with keys"
    assert trace.values is not None, "and with values"
    return trace.queries, trace.keys, trace.values
