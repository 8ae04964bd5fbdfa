"""A run as the binary frames that the browser reads: append-only, each one final once it is made. numpy only.

    frame := u32 LE length of the rest | u32 LE length of the JSON | JSON, UTF-8, padded with spaces | blobs

JSON and blobs are padded to 4 bytes, so a browser reads typed arrays in place. `json["blobs"]` lists name, dtype and
shape of each blob in order. Kinds: head, step (one a pass), end, lens (both after the run, in the order they become
known); layer and row are asked for one by one. Attention travels as one byte a weight, the square root of the weight
in 255 steps: decoded as (byte / 255)^2 it errs by at most 0.004, and the page says so.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from model import attention
from model.errors import NotShown
from model.records import Choice, Step, Token, Trace

ROWS_UP_TO = 256  # tokens; a longer run sends summaries with each step, and one layer's rows when asked
_SUMMARY_ROWS = 64  # of a long prefill's rows, evenly spread: all of 2,048 would take seconds and gigabytes
_DTYPES = {"u1": "u8", "f4": "f32", "i4": "i32", "u4": "u32"}
_ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}

Blobs = Iterable[tuple[str, np.ndarray]]


def all_frames(trace: Trace) -> list[bytes]:
    """Every frame of the run so far, in an order to which later frames are only appended."""
    frames = [head(trace), *(step(trace, i) for i in range(len(trace.steps)))]
    if trace.ended != "running":
        frames.append(end(trace))
    if trace.lens_ids is not None:
        frames.append(lens(trace))
    return frames


def head(trace: Trace) -> bytes:
    """What is known once the prompt is read: the model, the settings and the prompt's tokens."""
    card = trace.model
    return _frame({
        "kind": "head",
        "model": asdict(card),
        "settings": asdict(trace.settings),
        "prompt": trace.prompt,
        "n_prompt": trace.n_prompt,
        "tokens": [_token(token) for token in trace.tokens[: trace.n_prompt]],
        "notes": list(trace.notes),
        "rules": [asdict(rule) for rule in trace.rules],
        "learned_sinks": trace.sinks is not None,
        "shows": {
            "attention": _reason(trace, trace.queries, "attention"),
            "residual": _reason(trace, trace.resid, "residual"),
            "lens": card.reason_against("lens"),
        },
        "rows_up_to": ROWS_UP_TO,
        "kv_shape": _kv_shape(trace),
    })  # fmt: skip


def step(trace: Trace, i: int) -> bytes:
    """One pass: what it read, what it chose and how, and where each of its tokens looked.

    Blobs: ids i32 [K] and numbers f32 [K, 3] hold, choice after choice, the raw candidates (score, probability, 0),
    each stage's candidates (the same), and the runners (probability, wait, time). attention u8 [L, H, packed]: the
    rows of positions first to first+n-1, each as long as its position + 1. Long runs: summary f32 [L, H, 4] in place
    of it, means over `summary_rows` rows: entropy in nats, weight on the first token, on the one before, on itself.
    norms f32 [L+1, n]: lengths of the residual stream's vectors.
    """
    this = trace.steps[i]
    stop = this.first + this.n_tokens
    chosen = trace.n_prompt + sum(len(each.choices) for each in trace.steps[:i])
    blobs = [("ids", _ids(this.choices)), ("numbers", _numbers(this.choices))]
    summary_rows = 0
    if trace.queries is not None and stop <= ROWS_UP_TO:
        rows = [_packed_rows(trace, each, this.first, stop) for each in range(trace.model.n_layers)]
        blobs.append(("attention", np.stack(rows)))
    elif trace.queries is not None:
        positions = _summarised_positions(this)
        summary_rows = len(positions)
        rows = [_summary(trace, each, positions) for each in range(trace.model.n_layers)]
        blobs.append(("summary", np.stack(rows)))
    if trace.resid is not None:
        blobs.append(("norms", np.stack([_lengths(level[this.first : stop]) for level in trace.resid])))
    return _frame({
        "kind": "step",
        "index": i,
        "pass": this.kind,
        "first": this.first,
        "n_tokens": this.n_tokens,
        "kv_bytes": this.kv_bytes,
        "seconds": _finite(this.seconds),
        "tokens": [_token(token) for token in trace.tokens[chosen : chosen + len(this.choices)]],
        "choices": [_choice(choice) for choice in this.choices],
        "texts": _texts(trace, _ids(this.choices)),
        "summary_rows": summary_rows,
    }, blobs)  # fmt: skip


def end(trace: Trace) -> bytes:
    """How the run ended, and its totals."""
    return _frame({
        "kind": "end",
        "ended": trace.ended,
        "text": trace.text,
        "n_generated": trace.n_generated,
        "n_fed": trace.n_fed,
        "kv_bytes": trace.steps[-1].kv_bytes if trace.steps else 0,
        "seconds": _finite(sum(each.seconds for each in trace.steps)),
        "record_bytes": sum(array.nbytes for array in trace.arrays().values()),
        "notes": list(trace.notes),
    })  # fmt: skip


def lens(trace: Trace) -> bytes:
    """What the model would have said at each layer. Blobs: ids i32 and probabilities f32, both [L+1, S, K].

    Raises: NotShown, if the lens is not there (yet).
    """
    if trace.lens_ids is None or trace.lens_probs is None:
        reason = trace.model.reason_against("lens")
        raise NotShown(reason or "The logit lens is added after the run, and is not there yet.")
    return _frame(
        {"kind": "lens", "texts": _texts(trace, np.unique(trace.lens_ids))},
        [("ids", trace.lens_ids), ("probabilities", trace.lens_probs)],
    )


def layer(trace: Trace, layer: int) -> bytes:
    """One layer's attention rows of the whole run so far. Blob: attention u8 [H, packed], from position 0.

    Raises: NotShown, if this model's attention cannot be rebuilt; BadSetting, for a layer it does not have.
    """
    return _frame(
        {"kind": "layer", "layer": layer, "n_fed": trace.n_fed},
        [("attention", _packed_rows(trace, layer, 0, trace.n_fed))],
    )


def row(trace: Trace, layer: int, head: int, position: int) -> bytes:
    """The exact numbers of one row. Blobs: weights and scores (scaled, before the softmax), f32 [position + 1].

    Raises: NotShown, if this model's attention cannot be rebuilt; BadSetting, for a place it does not have.
    """
    weights = trace.pattern_rows(position, position + 1, layer=layer, head=head)[0]
    queries, keys = trace.queries, trace.keys
    assert queries is not None, "pattern_rows refuses a run without queries"
    assert keys is not None, "queries come with keys"
    group = queries.shape[1] // keys.shape[1]
    scores = attention.scores(
        queries[layer, head, position : position + 1], keys[layer, head // group, : position + 1], trace.rules[layer]
    )[0]
    return _frame(
        {"kind": "row", "layer": layer, "head": head, "position": position},
        [("weights", weights), ("scores", scores)],
    )


def to_bytes(weights: np.ndarray) -> np.ndarray:
    """Attention weights as one byte each: u8 of the square root, so that small weights keep their detail."""
    return np.rint(np.sqrt(weights) * 255).astype(np.uint8)


def decode(frame: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one frame back: its JSON, and its blobs by name. The browser's parser does the same."""
    length, json_length = struct.unpack_from("<II", frame)
    if length + 4 != len(frame):
        raise ValueError(f"the frame says it has {length + 4} bytes; it has {len(frame)}")
    about = json.loads(frame[8 : 8 + json_length].decode("utf-8"))
    at, blobs = 8 + json_length, {}
    names = {ours: numpy for numpy, ours in _DTYPES.items()}
    for blob in about["blobs"]:
        count = math.prod(blob["shape"])
        array = np.frombuffer(frame, "<" + names[blob["dtype"]], count, at)
        blobs[blob["name"]] = array.reshape(blob["shape"])
        at += array.nbytes + -array.nbytes % 4
    return about, blobs


def _frame(about: Mapping[str, object], blobs: Blobs = ()) -> bytes:
    arrays = [(name, np.ascontiguousarray(array)) for name, array in blobs]
    listed = [{"name": n, "dtype": _DTYPES[a.dtype.str[1:]], "shape": list(a.shape)} for n, a in arrays]
    text = json.dumps({**about, "blobs": listed}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    encoded = text.encode("utf-8", "replace")
    encoded += b" " * (-len(encoded) % 4)
    parts = [struct.pack("<I", len(encoded)), encoded]
    for _, array in arrays:
        parts += [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(), bytes(-array.nbytes % 4)]
    body = b"".join(parts)
    return struct.pack("<I", len(body)) + body


def _token(token: Token) -> dict[str, object]:
    return {"id": token.id, "text": token.text, "hex": token.data.hex(), "span": list(token.span),
            "special": token.special, "generated": token.generated}  # fmt: skip


def _choice(choice: Choice) -> dict[str, object]:
    return {
        "id": choice.id,
        "probability": _finite(choice.probability),
        "logit": _finite(choice.logit),
        "rank": choice.rank,
        "entropy": _finite(choice.entropy),
        "n_candidates": len(choice.candidates),
        "stages": [
            {"name": stage.name, "setting": stage.setting, "alive": stage.alive,
             "removed_mass": _finite(stage.removed_mass), "entropy": _finite(stage.entropy),
             "n_candidates": len(stage.candidates)}
            for stage in choice.stages
        ],
        "n_runners": len(choice.draw),
    }  # fmt: skip


def _ids(choices: Iterable[Choice]) -> np.ndarray:
    named: list[int] = []
    for choice in choices:
        named += [each.id for each in choice.candidates]
        named += [each.id for stage in choice.stages for each in stage.candidates]
        named += [each.id for each in choice.draw]
    return np.array(named, dtype=np.int32)


def _numbers(choices: Iterable[Choice]) -> np.ndarray:
    rows: list[tuple[float, float, float]] = []
    for choice in choices:
        rows += [(each.score, each.probability, 0.0) for each in choice.candidates]
        rows += [(each.score, each.probability, 0.0) for stage in choice.stages for each in stage.candidates]
        rows += [(each.probability, each.wait, each.time) for each in choice.draw]
    with np.errstate(over="ignore"):  # a time of wait / (nearly 0) becomes infinite, which is how it arrives
        return np.array(rows, dtype=np.float64).reshape(-1, 3).astype(np.float32)


def _texts(trace: Trace, ids: np.ndarray) -> dict[str, str]:
    return {str(i): trace.texts[i] for i in dict.fromkeys(ids.tolist())}


def _packed_rows(trace: Trace, layer: int, first: int, stop: int) -> np.ndarray:
    """Rows first to stop-1 of one layer without the future: u8 [H, packed]."""
    weights = trace.pattern_rows(first, stop, layer=layer)
    past = np.arange(stop)[None, :] <= np.arange(first, stop)[:, None]
    return to_bytes(weights[:, past])


def _summarised_positions(step: Step) -> np.ndarray:
    count = min(step.n_tokens, _SUMMARY_ROWS)
    return np.unique(np.linspace(step.first, step.first + step.n_tokens - 1, count).round().astype(int))


def _summary(trace: Trace, layer: int, positions: np.ndarray) -> np.ndarray:
    """Means over these rows of one layer: f32 [H, 4] of entropy, weight on the first, the previous, the same token."""
    weights = trace.pattern_at(positions, layer=layer)
    rows = np.arange(len(positions))
    before = np.maximum(positions - 1, 0)
    looked_at = np.stack([weights[:, rows, each] for each in (np.zeros_like(rows), before, positions)], axis=-1)
    logs = np.log(np.maximum(weights, np.finfo(np.float32).tiny))  # a weight of 0 adds nothing: 0 times a finite log
    entropy = -np.einsum("hqk,hqk->h", weights, logs) / len(positions)
    return np.concatenate([entropy[:, None], looked_at.mean(axis=1)], axis=-1)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Level by level, so that no copy of a long prefill's whole stream is made in float64."""
    return np.linalg.norm(vectors.astype(np.float64), axis=-1).astype(np.float32)


def _reason(trace: Trace, array: np.ndarray | None, check: str) -> str | None:
    """Why this is not shown, or None if it is."""
    if array is not None:
        return None
    return trace.model.reason_against(check) or "this run did not record it"


def _kv_shape(trace: Trace) -> dict[str, int] | None:
    """What one position of one layer's cache is made of, to set beside the bytes that were measured."""
    if trace.keys is None or trace.values is None or trace.model.dtype not in _ITEM_BYTES:
        return None
    return {"heads": trace.keys.shape[1], "key": trace.keys.shape[3], "value": trace.values.shape[3],
            "item_bytes": _ITEM_BYTES[trace.model.dtype]}  # fmt: skip


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
