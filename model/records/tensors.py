"""The tensors in a record's file: checked before anything is allocated, read, and covered by one checksum."""

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from model.records.schema import TENSOR_TYPES, Form, Shape
from model.records.strict_json import Wrong, brief
from model.texts import phrase

MAX_HEADER_BYTES = 32_000_000


class Tensor(NamedTuple):
    """Where an array stands in the file: bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check_tensors(header: dict[str, Any], form: Form, data_bytes: int) -> dict[str, Tensor]:
    """The tensors of the header, once each is one that the record has and together they fill the file exactly."""
    unknown = header.keys() - form.arrays.keys()
    missing = [name for name, field in form.arrays.items() if not field.optional and name not in header]
    if unknown or missing:
        raise Wrong(
            "it has the unknown tensors {given}, and lacks {missing}",
            given=brief(sorted(unknown)),
            missing=brief(missing),
        )
    tensors = {name: _tensor(name, entry, form.arrays[name].shape, data_bytes) for name, entry in header.items()}
    check_axes({name: tensor.shape for name, tensor in tensors.items()}, form)
    reached = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != reached:
            raise Wrong(
                "{name} begins at byte {begin:,}; byte {reached:,} is next",
                name=name,
                begin=tensor.begin,
                reached=reached,
            )
        reached = tensor.end
    if reached != data_bytes:
        raise Wrong(
            "its arrays take {reached:,} bytes, but the file has {data_bytes:,}", reached=reached, data_bytes=data_bytes
        )
    return tensors


def _tensor(name: str, entry: Any, shape: Shape, data_bytes: int) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Wrong("{name} is not described as safetensors describes a tensor", name=name)
    if entry["dtype"] != TENSOR_TYPES[shape.dtype]:
        raise Wrong(
            "{name} should hold {dtype}, and holds {given}",
            name=name,
            dtype=TENSOR_TYPES[shape.dtype],
            given=brief(entry["dtype"]),
        )
    lengths, offsets = entry["shape"], entry["data_offsets"]
    if not _counts(lengths) or len(lengths) != len(shape.axes.split()):
        raise Wrong(
            "{name} should have the axes [{axes}], and has the shape {given}",
            name=name,
            axes=shape.axes,
            given=brief(lengths),
        )
    if not _counts(offsets) or len(offsets) != 2:
        raise Wrong("{name} is at {given}, which is no place in the file", name=name, given=brief(offsets))
    # An empty array takes no byte, whatever its other axes claim: bound them as if none were empty.
    if math.prod(max(length, 1) for length in lengths) > max(data_bytes, MAX_HEADER_BYTES):
        raise Wrong(
            "{name} claims the shape {given}, which no file of this size holds", name=name, given=brief(lengths)
        )
    if math.prod(lengths) * np.dtype(shape.dtype).itemsize != offsets[1] - offsets[0]:
        raise Wrong(
            "{name} of shape {given} does not fill the bytes {offsets}",
            name=name,
            given=brief(lengths),
            offsets=brief(offsets),
        )
    return Tensor(shape.dtype, tuple(lengths), *offsets)


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def check_axes(shapes: dict[str, tuple[int, ...]], form: Form) -> None:
    """One letter, one length, in the whole record."""
    known: dict[str, int] = {}
    for name, lengths in shapes.items():
        axes = form.arrays[name].shape.axes.split()
        if len(axes) != len(lengths):
            raise Wrong(
                "{name} should have the axes [{axes}], and has the shape {given}",
                name=name,
                axes=" ".join(axes),
                given=brief(lengths),
            )
        for axis, length in zip(axes, lengths, strict=True):
            letter, _, extra = axis.partition("+")
            base = length - int(extra or 0)
            if base < 0 or known.setdefault(letter, base) != base:
                raise Wrong(
                    "{name} has {axis} = {length}, where {letter} is {expected}",
                    name=name,
                    axis=axis,
                    length=length,
                    letter=letter,
                    expected=known.get(letter, phrase("at least 0")),
                )


def read_array(file: BinaryIO, data_start: int, tensor: Tensor) -> np.ndarray:
    file.seek(data_start + tensor.begin)
    count = math.prod(tensor.shape)
    array = np.fromfile(file, dtype=np.dtype(tensor.dtype).newbyteorder("<"), count=count)
    if array.size != count:
        raise Wrong("it was cut short while it was read")
    array = array.reshape(tensor.shape).astype(tensor.dtype, copy=False)
    array.setflags(write=False)
    return array


def data_of(array: np.ndarray) -> memoryview:
    """An array's bytes as they stand in a file; a copy only where it is not contiguous."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C").reshape(-1).view(np.uint8).data


def checksum(header: Mapping[str, Any], sums: Mapping[str, int]) -> str:
    """The checksum of a record: of its metadata, its arrays' types and shapes, and the checksums of their bytes."""
    metadata = header["__metadata__"]
    arrays = [[name, header[name]["dtype"], header[name]["shape"], sums[name]] for name in sorted(sums)]
    said = json.dumps([metadata["kind"], metadata["version"], metadata["record"], arrays])
    return f"{zlib.crc32(said.encode()):08x}"


def check_sum(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Check that a record is what was saved; files of earlier versions have no checksum."""
    saved = header["__metadata__"].get("crc32")
    if saved is None:
        return
    found = checksum(header, {name: zlib.crc32(data_of(array)) for name, array in arrays.items()})
    if found != saved:
        raise Wrong(
            "its content has the checksum {found}, and {saved} was saved with it: a part of it has changed since",
            found=found,
            saved=brief(saved),
        )
