"""How a frame is laid out in bytes: a length, then a safetensors file of so many bytes. numpy only.

    frame := u32 LE length of the rest | u64 LE length of the header | header, JSON in UTF-8 | arrays

The header's `__metadata__` has `kind`, and `about`: what the frame says of itself, as JSON text. The arrays begin at a
multiple of 8 of the frame and stand widest items first, so a browser reads typed arrays in place.
assets/js/data/store.js reads the same. Source: https://github.com/huggingface/safetensors (format).
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

DTYPES = {"u1": "U8", "u2": "U16", "u4": "U32", "i4": "I32", "f2": "F16", "f4": "F32"}  # numpy's name: the format's
_NUMPY = {theirs: ours for ours, theirs in DTYPES.items()}
START = 12  # bytes before the header

Blobs = Iterable[tuple[str, np.ndarray]]


def pack(kind: str, about: Mapping[str, object], blobs: Blobs = ()) -> bytes:
    """One frame: what it says of itself, and its arrays by name."""
    arrays = sorted(blobs, key=lambda each: -each[1].itemsize)
    header: dict[str, Any] = {"__metadata__": {"kind": kind, "about": _json(about)}}
    end = 0
    for name, array in arrays:
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": DTYPES[array.dtype.str[1:]],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = _json(header).encode("utf-8", "replace")  # half a character is no UTF-8
    text += b" " * (-(START + len(text)) % 8)
    parts = [struct.pack("<IQ", 8 + len(text) + end, len(text)), text]
    for _, array in arrays:
        parts.append(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return b"".join(parts)


def unpack(frame: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one frame back: its kind and what it says of itself in one table, and its arrays by name.

    Raises: ValueError, if its length is not what it says.
    """
    length, header_length = struct.unpack_from("<IQ", frame)
    if length + 4 != len(frame):
        raise ValueError(f"the frame says it has {length + 4} bytes; it has {len(frame)}")
    about, header = _about(frame[START : START + header_length])
    return about, {name: _array(frame, START + header_length, entry) for name, entry in header.items()}


def says(frame: bytes) -> dict[str, Any]:
    """What a frame says of itself; the frame may be cut after its header."""
    return _about(frame[START : START + header_bytes(frame)])[0]


def frame_bytes(start: bytes) -> int:
    """How long the whole frame is, from its first bytes."""
    return 4 + int.from_bytes(start[:4], "little")


def header_bytes(start: bytes) -> int:
    """How long its header is, from its first bytes."""
    return int.from_bytes(start[4:START], "little")


def split(body: bytes) -> list[bytes]:
    """The frames that stand one after the other in these bytes."""
    return [body[at : at + length] for at, length in _places(body)]


def to_bytes(weights: np.ndarray) -> np.ndarray:
    """Attention weights as one byte each: u8 of the square root, so that small weights keep their detail."""
    return np.rint(np.sqrt(weights) * 255).astype(np.uint8)


def packed_rows(weights: np.ndarray, first: int) -> np.ndarray:
    """Attention rows of positions `first` and on, [..., query, key], without the future: u8 [..., packed]."""
    stop = weights.shape[-1]
    past = np.arange(stop)[None, :] <= np.arange(first, stop)[:, None]
    return to_bytes(weights[..., past])


def unpacked_rows(rows: np.ndarray, first: int) -> np.ndarray:
    """The weights of `packed_rows` again, each off by at most 0.004: u8 [..., packed] to float32 [..., query, key]."""
    n_rows = 0
    while (n_rows * (2 * first + n_rows + 1)) // 2 < rows.shape[-1]:
        n_rows += 1
    stop = first + n_rows
    past = np.arange(stop)[None, :] <= np.arange(first, stop)[:, None]
    weights = np.zeros((*rows.shape[:-1], n_rows, stop), np.float32)
    weights[..., past] = (rows.astype(np.float32) / 255) ** 2
    return weights


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _about(header_text: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    header = json.loads(header_text)
    metadata = header.pop("__metadata__")
    return {"kind": metadata["kind"], **json.loads(metadata["about"])}, header


def _array(frame: bytes, start: int, entry: dict[str, Any]) -> np.ndarray:
    count = math.prod(entry["shape"])
    array = np.frombuffer(frame, "<" + _NUMPY[entry["dtype"]], count, start + entry["data_offsets"][0])
    return array.reshape(entry["shape"])


def _places(body: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(body):
        length = frame_bytes(body[at : at + 4])
        yield at, length
        at += length
