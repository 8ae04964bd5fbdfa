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
import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self, TypeVar

import numpy as np

from model.errors import BadTrace, NoSpace, Refusal
from model.records.earlier import EARLIER, Format
from model.records.schema import TENSOR_TYPES, ArrayField, build, decode_fields, encode_fields, form_of
from model.records.schema import Shape as Shape  # a record is written with it and `Saved`
from model.records.strict_json import Wrong, brief, check_marks, parse
from model.records.tensors import MAX_HEADER_BYTES, check_axes, check_sum, check_tensors, checksum, data_of, read_array
from model.texts import phrase, translated

R = TypeVar("R")

MAX_FILE_BYTES = 4_000_000_000
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
    check_axes({name: array.shape for name, array in present.items()}, form)
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
                data = data_of(array)
                sums[name] = zlib.crc32(data)
                size += file.write(data)
            file.seek(raw.index(_NO_SUM.encode()))
            file.write(checksum(header, sums).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    return size


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
    tensors = check_tensors({name: header[name] for name in header if name != "__metadata__"}, form, size - data_start)
    values = decode_fields(parse(text), form)
    for name in form.arrays:
        values[name] = read_array(file, data_start, tensors[name]) if name in tensors else None
    check_sum(header, {name: values[name] for name in tensors})
    return build(kind, values)


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
