"""What is asked for one by one of a run, as frames: a layer's rows or vectors, one row's numbers, one choice's logits,
columns of the logit lens; of a long run pooled maps, parts of them, and the rows of one token.

numpy only. `small` halves the size, for runs that are kept as files: the frame says its `bits`.
"""

from collections.abc import Sequence

import numpy as np

from model.errors import BadSetting, NotShown
from model.records import attention, pooling
from model.records.lens import missing_columns
from model.records.trace import Trace
from viz.wire import frames
from viz.wire.packing import pack, packed_rows, to_bytes

CELLS = 256  # a side of a pooled map, at most
PART = 256  # tokens a side of an exact part of a map, at most
LINES = 22  # a side of a map in little: assets/js/views/attention/thumbnails.js draws as many
_HALF_MOST = float(np.finfo(np.float16).max)
_STEPS = 65_535


def layer(trace: Trace, layer: int) -> bytes:
    """One layer's attention rows of the whole run so far. Blob: attention u8 [H, packed], from position 0.

    Raises: NotShown, if this model's attention cannot be rebuilt, or the run is so long that they would be hundreds of
    megabytes; BadSetting, for a layer it does not have.
    """
    if trace.n_fed > frames.MAPS_UP_TO:
        raise NotShown(
            "this run has read {n_fed} tokens; all attention rows of a layer are sent of at most {most}. Longer runs "
            "have pooled maps, exact parts of them, and single rows.",
            n_fed=trace.n_fed,
            most=frames.MAPS_UP_TO,
        )
    return pack(
        "layer",
        {"layer": layer, "n_fed": trace.n_fed},
        [("attention", packed_rows(trace.pattern_rows(0, trace.n_fed, layer=layer), 0))],
    )


def pooled(trace: Trace, layer: int, head: int, *, cells: int = CELLS) -> bytes:
    """One head's map, each cell the largest weight of `size` by `size` tokens: at most `cells` a side, C.

    Blobs: map u8 [packed], rows of cells as long as their number + 1, the first token's weights left out; first u8 [C],
    the largest weight of each row of cells on the first token. Raises: as `layer` does, but for no length.
    """
    found = pooling.pooled_map(trace, layer, head, pooling.cell_size(trace.n_fed, cells))
    return pack(
        "map",
        {"layer": layer, "head": head, "n_fed": trace.n_fed, "size": found.size},
        [("map", packed_rows(found.largest, 0)), ("first", to_bytes(found.first))],
    )


def part(trace: Trace, layer: int, head: int, row: int, key: int) -> bytes:
    """An exact part of one head's map, from this row and this key on: f32 [n, m], at most 256 of each.

    Raises: as `pooled` does, and BadSetting, for a row or key that this run has not read.
    """
    for position in (row, key):
        check_position(trace, position)
    rows, keys = (row, min(row + PART, trace.n_fed)), (key, min(key + PART, trace.n_fed))
    weights = pooling.part_of_map(trace, layer, head, rows, keys)
    return pack("part", {"layer": layer, "head": head, "row": row, "key": key}, [("weights", weights)])


def rows(trace: Trace, layer: int, position: int) -> bytes:
    """Where one token looks, in every head of a layer. Blob: attention u8 [H, position + 1]. Raises: as `part` does."""
    check_position(trace, position)
    weights = trace.pattern_rows(position, position + 1, layer=layer)[:, 0]
    return pack("rows", {"layer": layer, "position": position}, [("attention", to_bytes(weights))])


def little(trace: Trace) -> bytes:
    """Every head's map in little: some rows of it, evenly spread, each cell the largest weight of one row.

    Blobs: maps u8 [L, H, 22, 22], without the first token's weights, and first u8 [L, H, 22], which are those. Raises:
    NotShown, if this model's attention cannot be rebuilt.
    """
    made = [pooling.sampled_maps(trace, each, LINES) for each in range(trace.model.n_layers)]
    maps, first = (np.stack([to_bytes(each[i]) for each in made]) for i in (0, 1))
    return pack("little", {"n_fed": trace.n_fed}, [("maps", maps), ("first", first)])


def check_position(trace: Trace, position: int) -> None:
    """Raises: BadSetting, for a position that this run has not read."""
    if position >= trace.n_fed:
        raise BadSetting(
            "position {position} does not exist: this run has read {n_fed} tokens.",
            position=position,
            n_fed=trace.n_fed,
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
