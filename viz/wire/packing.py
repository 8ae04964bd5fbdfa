"""How a frame of a run is laid out in bytes. numpy only.

    frame := u32 LE length of the rest | u32 LE length of the JSON | JSON, UTF-8, padded with spaces | blobs

JSON and blobs are padded to 4 bytes, so a browser reads typed arrays in place. `json["blobs"]` lists name, dtype and
shape of each blob in order. assets/js/data/store.js reads the same.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

DTYPES = {"u1": "u8", "u2": "u16", "u4": "u32", "i4": "i32", "f2": "f16", "f4": "f32"}  # numpy's name: the frames'

Blobs = Iterable[tuple[str, np.ndarray]]


def pack(about: Mapping[str, object], blobs: Blobs = ()) -> bytes:
    """One frame: what it says of itself, and its arrays by name."""
    arrays = [(name, np.ascontiguousarray(array)) for name, array in blobs]
    listed = [{"name": n, "dtype": DTYPES[a.dtype.str[1:]], "shape": list(a.shape)} for n, a in arrays]
    text = json.dumps({**about, "blobs": listed}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    encoded = text.encode("utf-8", "replace")
    encoded += b" " * (-len(encoded) % 4)
    parts = [struct.pack("<I", len(encoded)), encoded]
    for _, array in arrays:
        parts += [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(), bytes(-array.nbytes % 4)]
    body = b"".join(parts)
    return struct.pack("<I", len(body)) + body


def unpack(frame: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one frame back: its JSON, and its blobs by name."""
    length, json_length = struct.unpack_from("<II", frame)
    if length + 4 != len(frame):
        raise ValueError(f"the frame says it has {length + 4} bytes; it has {len(frame)}")
    about = json.loads(frame[8 : 8 + json_length].decode("utf-8"))
    at, blobs = 8 + json_length, {}
    names = {ours: numpy for numpy, ours in DTYPES.items()}
    for blob in about["blobs"]:
        count = math.prod(blob["shape"])
        array = np.frombuffer(frame, "<" + names[blob["dtype"]], count, at)
        blobs[blob["name"]] = array.reshape(blob["shape"])
        at += array.nbytes + -array.nbytes % 4
    return about, blobs


def split(body: bytes) -> list[bytes]:
    """The frames that stand one after the other in these bytes."""
    found, at = [], 0
    while at < len(body):
        stop = at + 4 + int.from_bytes(body[at : at + 4], "little")
        found.append(body[at:stop])
        at = stop
    return found


def to_bytes(weights: np.ndarray) -> np.ndarray:
    """Attention weights as one byte each: u8 of the square root, so that small weights keep their detail."""
    return np.rint(np.sqrt(weights) * 255).astype(np.uint8)


def packed_rows(weights: np.ndarray, first: int) -> np.ndarray:
    """Attention rows of positions `first` and on, [..., query, key], without the future: u8 [..., packed]."""
    stop = weights.shape[-1]
    past = np.arange(stop)[None, :] <= np.arange(first, stop)[:, None]
    return to_bytes(weights[..., past])
