"""A record <-> one file: safetensors with a JSON header, versioned, checked before anything is allocated; never pickle.

The file is a plain safetensors file, so any safetensors reader opens it. The fields of a record that are annotated
`Annotated[np.ndarray, Shape(...)]` are its tensors; all other fields stand as one JSON text in its metadata, under
"record", beside "kind" (the record's class), "version" and "crc32" (the checksum of all that). Reading goes by the
type hints of the class and refuses whatever they do not ask for, so a stranger's file can be opened without trusting
it.
"""

import contextlib
import errno
import json
import math
import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, Self, TypeVar

import numpy as np

from model.errors import BadTrace, NoSpace, Refusal
from model.records.earlier import EARLIER, Format
from model.records.schema import TENSOR_TYPES, ArrayField, Form, Shape, build, decode_fields, encode_fields, form_of
from model.records.strict_json import Wrong, brief, check_marks, parse
from model.texts import phrase, translated

R = TypeVar("R")

MAX_FILE_BYTES = 4_000_000_000
MAX_HEADER_BYTES = 32_000_000
MAX_TENSORS = 512
_NO_SUM = "0" * 8  # stands in the header until the arrays are written

_DAMAGED = "The file is damaged or was not made by Tokenoscope: save the run again, or fetch the file again."
_FAULTY_RECORD = "This is a bug in the program: please report it with this message."


class Saved:
    """What every record shares: its arrays by name, which nobody may write to, and one file that holds all of it."""

    VERSION: ClassVar[int] = 1  # of the file

    def __post_init__(self) -> None:
        for array in self.arrays().values():
            array.setflags(write=False)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays that this record holds, by name."""
        return {name: array for name in form_of(type(self)).arrays if (array := getattr(self, name)) is not None}

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the record to one file, from which `open` reads it back, bit for bit. Returns its size in bytes."""
        return save(self, path, version=self.VERSION)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read a record from its file. Raises: BadTrace, if the file is damaged, cut short or holds something else."""
        return open_record(cls, path, version=cls.VERSION)


def save(record: Any, path: str | os.PathLike[str], *, version: int) -> int:
    """Write a record to one file; the file is there whole or not at all. Returns its size in bytes.

    Same record, same bytes. An existing file is replaced only when the new one is on the disk.

    Raises: NoSpace, if the disk is full; BadTrace, if the file cannot be written there, or if the record holds
    what a file cannot (NaN outside an array, half a character).
    """
    name = _shown(path)
    try:
        header, arrays = _layout(record, version)
        target = os.path.realpath(path)
        if os.path.lexists(target) and not os.path.isfile(target):
            raise Wrong("something other than a file has that name", way_out="Choose another name.")
        return _write_whole(target, header, arrays)
    except Wrong as wrong:
        raise BadTrace(
            "{name} cannot be saved: {wrong}. {way_out}",
            name=name,
            wrong=wrong,
            way_out=wrong.way_out or translated(_FAULTY_RECORD),
        ) from wrong
    except OSError as error:
        raise _save_refusal(name, error) from error
    except ValueError as error:  # a NUL in the path
        raise BadTrace("{name} cannot be saved: {error}. Choose another name.", name=name, error=error) from error


def open_record(kind: type[R], path: str | os.PathLike[str], *, version: int, max_bytes: int = MAX_FILE_BYTES) -> R:
    """Read a record back from its file, bit for bit; its arrays are read-only.

    Everything in the header is checked against the file's size and the type hints of `kind` before the arrays are
    allocated, so a hostile file costs at most the parsing of its header. Nothing in the file is ever executed.

    A file of an earlier version opens if `EARLIER` says what that version calls things.

    Raises: BadTrace, if there is no such file, or it is damaged, cut short, hostile, larger than `max_bytes`, or
    holds another kind or version of record.
    """
    with _refusing(path), _open_regular(path) as file:
        return _read(kind, file, version, max_bytes)


def kind_of(path: str | os.PathLike[str]) -> str:
    """The class of the record in a file, such as "Trace", as its header names it; nothing else of it is checked.

    Raises: BadTrace, if there is no such file or it has no header.
    """
    with _refusing(path), _open_regular(path) as file:
        header, _ = _read_header(file, os.fstat(file.fileno()).st_size)
        metadata = header.get("__metadata__")
        return str(metadata.get("kind", "")) if isinstance(metadata, dict) else ""


@contextlib.contextmanager
def _refusing(path: str | os.PathLike[str]) -> Iterator[None]:
    """What goes wrong while a file is read, as a refusal that names it."""
    name = _shown(path)
    try:
        yield
    except Wrong as wrong:
        raise BadTrace(
            "{name} cannot be opened: {wrong}. {way_out}",
            name=name,
            wrong=wrong,
            way_out=wrong.way_out or translated(_DAMAGED),
        ) from wrong
    except OSError as error:
        raise BadTrace(
            "{name} cannot be opened: {strerror}. Check its name and folder.",
            name=name,
            strerror=error.strerror or error,
        ) from error
    except MemoryError as error:
        raise BadTrace(
            "{name} cannot be opened: it needs more memory than is available. Record a shorter run.", name=name
        ) from error


def _layout(record: Any, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header, and the arrays in the order in which they follow it: widest items first, so that all are aligned."""
    form = form_of(type(record))
    arrays = {name: _checked_array(name, getattr(record, name), field) for name, field in form.arrays.items()}
    present = {name: array for name, array in arrays.items() if array is not None}
    _check_axes({name: array.shape for name, array in present.items()}, form)
    ordered = sorted(present, key=lambda name: -present[name].itemsize)

    text = json.dumps(encode_fields(record, form), allow_nan=False, separators=(",", ":"))
    metadata = {"crc32": _NO_SUM, "kind": type(record).__name__, "version": str(version), "record": text}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in ordered:
        begin, end = end, end + present[name].nbytes
        dtype = TENSOR_TYPES[form.arrays[name].shape.dtype]
        header[name] = {"dtype": dtype, "shape": list(present[name].shape), "data_offsets": [begin, end]}
    return header, {name: present[name] for name in ordered}


def _header_bytes(header: dict[str, Any]) -> bytes:
    raw = json.dumps(header, allow_nan=False, separators=(",", ":")).encode("ascii")
    raw += b" " * (-len(raw) % 8)
    try:
        if len(raw) > MAX_HEADER_BYTES:
            raise Wrong(
                "its description takes {n_bytes:,} bytes; a file holds at most {most:,}",
                n_bytes=len(raw),
                most=MAX_HEADER_BYTES,
            )
        check_marks(header["__metadata__"]["record"])
        check_marks(raw.decode("ascii"))
    except Wrong as wrong:
        wrong.way_out = phrase("Record a shorter run.")
        raise
    return len(raw).to_bytes(8, "little") + raw


def _checked_array(name: str, array: Any, field: ArrayField) -> np.ndarray | None:
    if array is None and field.optional:
        return None
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(field.shape.dtype):
        is_array = isinstance(array, np.ndarray)
        given = phrase("an array of {dtype}", dtype=array.dtype) if is_array else type(array).__name__
        raise Wrong(
            "{name} should be an array of {dtype}, and is {given}", name=name, dtype=field.shape.dtype, given=given
        )
    return array


def _checksum(header: Mapping[str, Any], sums: Mapping[str, int]) -> str:
    """The checksum of a record: of its metadata, its arrays' types and shapes, and the checksums of their bytes."""
    metadata = header["__metadata__"]
    arrays = [[name, header[name]["dtype"], header[name]["shape"], sums[name]] for name in sorted(sums)]
    said = json.dumps([metadata["kind"], metadata["version"], metadata["record"], arrays])
    return f"{zlib.crc32(said.encode()):08x}"


def _write_whole(target: str, header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> int:
    """Write beside the target, then put it in its place: whoever stops in between, the old file is still there.

    The checksum comes last, over the bytes as they went out: a run that goes on may write into its arrays meanwhile.
    """
    raw, sums = _header_bytes(header), dict[str, int]()
    beside = Path(target).parent / f".{secrets.token_hex(8)}.part"
    try:
        with open(beside, "xb") as file:  # not tempfile: its 0600 would hide the file from others
            size = file.write(raw)
            for name, array in arrays.items():  # one at a time: some must be copied
                data = _data(array)
                sums[name] = zlib.crc32(data)
                size += file.write(data)
            file.seek(raw.index(_NO_SUM.encode()))
            file.write(_checksum(header, sums).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    return size


def _data(array: np.ndarray) -> memoryview:
    """An array's bytes as they stand in a file; a copy only where it is not contiguous."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C").reshape(-1).view(np.uint8).data


def _save_refusal(name: str, error: OSError) -> Refusal:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(
            "{name} was not saved: {strerror}. Free some space, or save it to another disk.",
            name=name,
            strerror=error.strerror,
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return BadTrace(
            "{name} cannot be saved: its folder does not exist. Make the folder first, or choose another.", name=name
        )
    return BadTrace(
        "{name} cannot be saved: {strerror}. Choose another name or folder.",
        name=name,
        strerror=error.strerror or error,
    )


def _shown(path: str | os.PathLike[str]) -> str:
    return repr(os.fspath(path))  # repr: a name may hold line breaks, or bytes that are not text


@contextlib.contextmanager
def _open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that is one: a directory, a device or a pipe is refused, and opening a pipe does not wait."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL in the path
        raise Wrong("{error}", way_out="Check its name.", error=error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Wrong("it is not a file but a folder, a device or a pipe", way_out="Choose a file saved by Tokenoscope.")
    with open(descriptor, "rb", buffering=0) as file:
        yield file


def _read(kind: type[R], file: BinaryIO, version: int, max_bytes: int) -> R:
    size = os.fstat(file.fileno()).st_size
    if size > max_bytes:
        raise Wrong(
            "it has {size:,} bytes; at most {max_bytes:,} are read",
            way_out="Record a shorter run.",
            size=size,
            max_bytes=max_bytes,
        )
    header, data_start = _read_header(file, size)
    text, earlier = _record_text(header.get("__metadata__"), kind, version)
    form = form_of(kind, earlier)
    tensors = _check_tensors({name: header[name] for name in header if name != "__metadata__"}, form, size - data_start)
    values = decode_fields(parse(text), form)
    for name in form.arrays:
        values[name] = _read_array(file, data_start, tensors[name]) if name in tensors else None
    _check_sum(header, {name: values[name] for name in tensors})
    return build(kind, values)


def _check_sum(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Check that a record is what was saved; files of earlier versions have no checksum."""
    saved = header["__metadata__"].get("crc32")
    if saved is None:
        return
    found = _checksum(header, {name: zlib.crc32(_data(array)) for name, array in arrays.items()})
    if found != saved:
        raise Wrong(
            "its content has the checksum {found}, and {saved} was saved with it: a part of it has changed since",
            found=found,
            saved=brief(saved),
        )


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The header as parsed, and where the arrays begin."""
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{" or length > MAX_HEADER_BYTES:
        raise Wrong("it is not a record (a record is a safetensors file, and this is none)")
    if length > size - 8:
        raise Wrong(
            "it is cut short: its header has {length:,} bytes, and the whole file {size:,}", length=length, size=size
        )
    rest = file.read(length - 1)
    header = parse(_ascii(start[8:] + rest), most_objects=MAX_TENSORS)
    if not isinstance(header, dict):
        raise Wrong("its header is not a table of tensors")
    return header, 8 + length


def _ascii(raw: bytes) -> str:
    """Text of one byte a character: `save` escapes the rest, and so the text takes no more memory than the file."""
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise Wrong("its header holds bytes that are not ASCII") from error


def _record_text(metadata: Any, kind: type, version: int) -> tuple[str, Format | None]:
    """The record's JSON text, once the file is known to hold this kind of record, and its format, if an earlier one."""
    if not isinstance(metadata, dict) or not {"kind", "version", "record"} <= metadata.keys():
        raise Wrong("it is a safetensors file without a record in it", way_out="Choose a file saved by Tokenoscope.")
    held, of_kind, text = metadata["version"], metadata["kind"], metadata["record"]
    if not isinstance(held, str) or not re.fullmatch(r"[0-9]{1,9}", held):
        raise Wrong("its version is {given}, which is not a number", given=brief(held))
    if of_kind != kind.__name__:
        raise Wrong(
            "it holds a {given}, not a {kind}",
            way_out="Choose a saved {kind}.",
            given=brief(of_kind),
            kind=kind.__name__,
        )
    if int(held) > version:
        raise Wrong(
            "it was made by a newer Tokenoscope (format {held}; this one reads {version})",
            way_out="Update Tokenoscope.",
            held=held,
            version=version,
        )
    earlier = (kind.__name__, int(held)) if int(held) < version else None
    if earlier and earlier not in EARLIER:
        raise Wrong(
            "it was made by an older Tokenoscope (format {held}; this one reads {version})",
            way_out="Record the run again.",
            held=held,
            version=version,
        )
    if not isinstance(text, str) or not text.isascii() or metadata.keys() - {"crc32"} != {"kind", "version", "record"}:
        raise Wrong("its metadata was not written by Tokenoscope")
    return text, earlier


class _Tensor(NamedTuple):
    """Where an array stands in the file: bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _check_tensors(header: dict[str, Any], form: Form, data_bytes: int) -> dict[str, _Tensor]:
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
    _check_axes({name: tensor.shape for name, tensor in tensors.items()}, form)
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


def _tensor(name: str, entry: Any, shape: Shape, data_bytes: int) -> _Tensor:
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
    return _Tensor(shape.dtype, tuple(lengths), *offsets)


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_axes(shapes: dict[str, tuple[int, ...]], form: Form) -> None:
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


def _read_array(file: BinaryIO, data_start: int, tensor: _Tensor) -> np.ndarray:
    file.seek(data_start + tensor.begin)
    count = math.prod(tensor.shape)
    array = np.fromfile(file, dtype=np.dtype(tensor.dtype).newbyteorder("<"), count=count)
    if array.size != count:
        raise Wrong("it was cut short while it was read")
    array = array.reshape(tensor.shape).astype(tensor.dtype, copy=False)
    array.setflags(write=False)
    return array
