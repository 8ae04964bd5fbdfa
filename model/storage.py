"""A record <-> one file: safetensors with a JSON header, versioned, checked before anything is allocated; never pickle.

The file is a plain safetensors file, so any safetensors reader opens it. The fields of a record that are annotated
`Annotated[np.ndarray, Shape(...)]` are its tensors; all other fields stand as one JSON text in its metadata, under
"record", beside "kind" (the record's class) and "version". Reading goes by the type hints of the class and refuses
whatever they do not ask for, so a stranger's file can be opened without trusting it.
"""

import contextlib
import errno
import json
import math
import os
import re
import reprlib
import secrets
import stat
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from model.errors import BadTrace, NoSpace, Refusal

R = TypeVar("R")

MAX_FILE_BYTES = 4_000_000_000
MAX_HEADER_BYTES = 32_000_000
MAX_MARKS = {"[": 300_000, "{": 300_000, ",": 1_000_000, '"': 2_000_000}  # in one JSON text: what parsing it can cost
MAX_DEPTH = 16
MAX_TENSORS = 512

_TENSOR_TYPES = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint8": "U8"}
_AXIS = re.compile(r"([A-Za-z_]\w*)(?:\+(\d{1,3}))?")
_DAMAGED = "The file is damaged or was not made by Tokenoscope: save the run again, or fetch the file again."
_FAULTY_RECORD = "This is a fault of the program, not of the disk: please report it with this message."


@dataclass(frozen=True, slots=True)
class Shape:
    """What an array in a record looks like, as in `Annotated[np.ndarray | None, Shape("float32", "L H S D")]`.

    dtype: float32, float64, int32, int64 or uint8. axes: a name for each axis, separated by spaces. A name stands
    for one length in the whole record, `L+1` for one more than L.
    """

    dtype: str
    axes: str

    def __post_init__(self) -> None:
        if self.dtype not in _TENSOR_TYPES:
            raise ValueError(f"an array of {self.dtype!r} cannot be stored; use one of {', '.join(_TENSOR_TYPES)}")
        for axis in self.axes.split():
            if not _AXIS.fullmatch(axis):
                raise ValueError(f"{axis!r} in {self.axes!r} is not an axis; write a name, or a name+number")


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
            raise _Wrong("there is something else than a file by that name", "Choose another name.")
        return _write_whole(target, header, arrays)
    except _Wrong as wrong:
        raise BadTrace(f"{name} cannot be saved: {wrong}. {wrong.way_out or _FAULTY_RECORD}") from wrong
    except OSError as error:
        raise _save_refusal(name, error) from error
    except ValueError as error:  # a NUL in the path
        raise BadTrace(f"{name} cannot be saved: {error}. Choose another name.") from error


def open_record(kind: type[R], path: str | os.PathLike[str], *, version: int, max_bytes: int = MAX_FILE_BYTES) -> R:
    """Read a record back from its file, bit for bit; its arrays are read-only.

    Everything in the header is checked against the file's size and the type hints of `kind` before the arrays are
    allocated, so a hostile file costs at most the parsing of its header. Nothing in the file is ever executed.

    Raises: BadTrace, if there is no such file, or it is damaged, cut short, hostile, larger than `max_bytes`, or
    holds another kind or version of record.
    """
    name = _shown(path)
    try:
        with _open_regular(path) as file:
            return _read(kind, file, version, max_bytes)
    except _Wrong as wrong:
        raise BadTrace(f"{name} cannot be opened: {wrong}. {wrong.way_out or _DAMAGED}") from wrong
    except OSError as error:
        raise BadTrace(f"{name} cannot be opened: {error.strerror or error}. Check its name and place.") from error
    except MemoryError as error:
        raise BadTrace(f"{name} cannot be opened: it needs more memory than there is. Record a shorter run.") from error


class _Wrong(Exception):
    """What is wrong with a file or a record, and where in it; `save` and `open_record` make the sentence."""

    def __init__(self, what: str, way_out: str = "") -> None:
        super().__init__(what)
        self.what, self.way_out, self.place = what, way_out, ""

    def inside(self, place: str) -> "_Wrong":
        self.place = place + self.place
        return self

    def __str__(self) -> str:
        return f"{self.place.lstrip('.')} {self.what}".lstrip()


# ------------------------------------------------------------ writing


def _layout(record: Any, version: int) -> tuple[bytes, list[np.ndarray]]:
    """The header, and the arrays in the order in which they follow it: widest items first, so that all are aligned."""
    form = _form(type(record))
    arrays = {name: _checked_array(name, getattr(record, name), field) for name, field in form.arrays.items()}
    present = {name: array for name, array in arrays.items() if array is not None}
    _check_axes({name: array.shape for name, array in present.items()}, form)
    ordered = sorted(present, key=lambda name: -present[name].itemsize)

    text = json.dumps(_encode_fields(record, form), allow_nan=False, separators=(",", ":"))
    metadata = {"kind": type(record).__name__, "version": str(version), "record": text}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in ordered:
        begin, end = end, end + present[name].nbytes
        dtype = _TENSOR_TYPES[form.arrays[name].shape.dtype]
        header[name] = {"dtype": dtype, "shape": list(present[name].shape), "data_offsets": [begin, end]}
    return _header_bytes(header, text), [present[name] for name in ordered]


def _header_bytes(header: dict[str, Any], text: str) -> bytes:
    raw = json.dumps(header, allow_nan=False, separators=(",", ":")).encode("ascii")
    raw += b" " * (-len(raw) % 8)
    try:
        if len(raw) > MAX_HEADER_BYTES:
            raise _Wrong(f"its description takes {len(raw):,} bytes; a file holds at most {MAX_HEADER_BYTES:,}")
        _check_marks(text)
        _check_marks(raw.decode("ascii"))
    except _Wrong as wrong:
        raise _Wrong(wrong.what, "Record a shorter run.") from wrong
    return len(raw).to_bytes(8, "little") + raw


def _checked_array(name: str, array: Any, field: "_ArrayField") -> np.ndarray | None:
    if array is None and field.optional:
        return None
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(field.shape.dtype):
        given = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise _Wrong(f"{name} should be an array of {field.shape.dtype}, and is {given}")
    return array


def _write_whole(target: str, header: bytes, arrays: Iterable[np.ndarray]) -> int:
    """Write beside the target, then put it in its place: whoever stops in between, the old file is still there."""
    beside = Path(target).parent / f".{secrets.token_hex(8)}.part"
    try:
        with open(beside, "xb") as file:  # not tempfile: its 0600 would hide the file from others
            size = file.write(header)
            for array in arrays:  # one at a time: a copy is made only of an array that is not contiguous
                size += file.write(np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C").data)
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
        return NoSpace(f"{name} was not saved: {error.strerror}. Free some space, or save it to another disk.")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return BadTrace(f"{name} cannot be saved: its folder does not exist. Make the folder first, or choose another.")
    return BadTrace(f"{name} cannot be saved: {error.strerror or error}. Choose another name or folder.")


# ------------------------------------------------------------ reading


def _shown(path: str | os.PathLike[str]) -> str:
    return repr(os.fspath(path))  # repr: a name may hold line breaks, or bytes that are not text


@contextlib.contextmanager
def _open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that is one: a directory, a device or a pipe is refused, and opening a pipe does not wait."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL in the path
        raise _Wrong(str(error), "Check its name.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _Wrong("it is not a file but a folder, a device or a pipe", "Choose a file saved by Tokenoscope.")
    with open(descriptor, "rb", buffering=0) as file:
        yield file


def _read(kind: type[R], file: BinaryIO, version: int, max_bytes: int) -> R:
    size = os.fstat(file.fileno()).st_size
    if size > max_bytes:
        raise _Wrong(f"it has {size:,} bytes; at most {max_bytes:,} are read", "Record a shorter run.")
    form = _form(kind)
    header, data_start = _read_header(file, size)
    text = _record_text(header.pop("__metadata__", None), kind, version)
    tensors = _check_tensors(header, form, size - data_start)
    values = _decode_fields(_parse(text), form)
    for name in form.arrays:
        values[name] = _read_array(file, data_start, tensors[name]) if name in tensors else None
    return _build(kind, values)


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The header as parsed, and where the arrays begin."""
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{" or length > MAX_HEADER_BYTES:
        raise _Wrong("it is not a trace (a trace is a safetensors file, and this begins otherwise)")
    if length > size - 8:
        raise _Wrong(f"it is cut short: its header has {length:,} bytes, and the whole file {size:,}")
    rest = file.read(length - 1)
    header = _parse(_ascii(start[8:] + rest), most_objects=MAX_TENSORS)
    if not isinstance(header, dict):
        raise _Wrong("its header is not a table of tensors")
    return header, 8 + length


def _ascii(raw: bytes) -> str:
    """Text of one byte a character: `save` escapes the rest, and so the text takes no more memory than the file."""
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise _Wrong("its header holds bytes that are not ASCII") from error


def _record_text(metadata: Any, kind: type, version: int) -> str:
    """The record's JSON text, once the file is known to hold this kind and version of record."""
    if not isinstance(metadata, dict) or not {"kind", "version", "record"} <= metadata.keys():
        raise _Wrong("it is a safetensors file without a record in it", "Choose a file saved by Tokenoscope.")
    held, of_kind, text = metadata["version"], metadata["kind"], metadata["record"]
    if not isinstance(held, str) or not re.fullmatch(r"[0-9]{1,9}", held):
        raise _Wrong(f"its version is {_brief(held)}, which is not a number")
    if of_kind != kind.__name__:
        raise _Wrong(f"it holds a {_brief(of_kind)}, not a {kind.__name__}", f"Choose a saved {kind.__name__}.")
    if int(held) > version:
        way_out = "Update Tokenoscope."
        raise _Wrong(f"it was made by a newer Tokenoscope (format {held}; this one reads {version})", way_out)
    if int(held) < version:
        way_out = "Record the run again."
        raise _Wrong(f"it was made by an older Tokenoscope (format {held}; this one reads {version})", way_out)
    if not isinstance(text, str) or not text.isascii() or len(metadata) != 3:
        raise _Wrong("its metadata is not as Tokenoscope writes it")
    return text


class _Tensor(NamedTuple):
    """Where an array stands in the file: bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _check_tensors(header: dict[str, Any], form: "_Form", data_bytes: int) -> dict[str, _Tensor]:
    """The tensors of the header, once each is one that the record has and together they fill the file exactly."""
    unknown = header.keys() - form.arrays.keys()
    missing = [name for name, field in form.arrays.items() if not field.optional and name not in header]
    if unknown or missing:
        raise _Wrong(f"it has the tensors {_brief(sorted(unknown))} too many, and lacks {_brief(missing)}")
    tensors = {name: _tensor(name, entry, form.arrays[name].shape, data_bytes) for name, entry in header.items()}
    _check_axes({name: tensor.shape for name, tensor in tensors.items()}, form)
    reached = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != reached:
            raise _Wrong(f"{name} begins at byte {tensor.begin:,} where byte {reached:,} is next")
        reached = tensor.end
    if reached != data_bytes:
        raise _Wrong(f"its arrays take {reached:,} bytes, and {data_bytes:,} are there")
    return tensors


def _tensor(name: str, entry: Any, shape: Shape, data_bytes: int) -> _Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _Wrong(f"{name} is not described as safetensors describes a tensor")
    if entry["dtype"] != _TENSOR_TYPES[shape.dtype]:
        raise _Wrong(f"{name} should hold {_TENSOR_TYPES[shape.dtype]}, and holds {_brief(entry['dtype'])}")
    lengths, offsets = entry["shape"], entry["data_offsets"]
    if not _counts(lengths) or len(lengths) != len(shape.axes.split()):
        raise _Wrong(f"{name} should have the axes [{shape.axes}], and has the shape {_brief(lengths)}")
    if not _counts(offsets) or len(offsets) != 2:
        raise _Wrong(f"{name} stands at {_brief(offsets)}, which is no place in the file")
    # An empty array takes no byte, whatever its other axes claim: bound them as if none were empty.
    if math.prod(max(length, 1) for length in lengths) > max(data_bytes, MAX_HEADER_BYTES):
        raise _Wrong(f"{name} claims the shape {_brief(lengths)}, which no file of this size holds")
    if math.prod(lengths) * np.dtype(shape.dtype).itemsize != offsets[1] - offsets[0]:
        raise _Wrong(f"{name} of shape {_brief(lengths)} does not fill the bytes {_brief(offsets)}")
    return _Tensor(shape.dtype, tuple(lengths), *offsets)


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_axes(shapes: dict[str, tuple[int, ...]], form: "_Form") -> None:
    """One letter, one length, in the whole record."""
    known: dict[str, int] = {}
    for name, lengths in shapes.items():
        axes = form.arrays[name].shape.axes.split()
        if len(axes) != len(lengths):
            raise _Wrong(f"{name} should have the axes [{' '.join(axes)}], and has the shape {_brief(lengths)}")
        for axis, length in zip(axes, lengths, strict=True):
            letter, _, extra = axis.partition("+")
            base = length - int(extra or 0)
            if base < 0 or known.setdefault(letter, base) != base:
                raise _Wrong(f"{name} has {axis} = {length}, where {letter} is {known.get(letter, 'at least 0')}")


def _read_array(file: BinaryIO, data_start: int, tensor: _Tensor) -> np.ndarray:
    file.seek(data_start + tensor.begin)
    count = math.prod(tensor.shape)
    array = np.fromfile(file, dtype=np.dtype(tensor.dtype).newbyteorder("<"), count=count)
    if array.size != count:
        raise _Wrong("it became shorter while it was read")
    array = array.reshape(tensor.shape).astype(tensor.dtype, copy=False)
    array.setflags(write=False)
    return array


# ------------------------------------------------------------ JSON


def _parse(text: str, most_objects: int | None = None) -> Any:
    """JSON, with all that Python's parser is too kind to refuse: repeated keys, NaN, endless numbers, deep nesting."""
    left = most_objects

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                raise ValueError(f"more than {most_objects} tensors")
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key that stands there twice")
        return found

    _check_marks(text)
    try:
        return json.loads(
            text, object_pairs_hook=table, parse_int=_parse_int, parse_float=_parse_float, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"its header cannot be read ({error})") from error


def _check_marks(text: str) -> None:
    """Bound what parsing the text can allocate, and how deep it nests, before it is parsed."""
    for mark, most in MAX_MARKS.items():
        if (count := text.count(mark)) > most:
            raise _Wrong(f"its description has {count:,} of {mark}; at most {most:,} are read")
    brackets = _STRING.sub("", text).encode("ascii").translate(_AS_SQUARE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # one level a turn: the innermost
    if brackets:
        raise _Wrong(f"its description nests deeper than {MAX_DEPTH} levels, or breaks off")


_STRING = re.compile(r'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"?')  # closed or not: one that could fail would take n^2 steps
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _parse_int(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:  # a seed may use all 64 bits, with or without a sign
        raise ValueError(f"a number of {len(digits):,} digits, more than 64 bits hold")
    return int(digits)


def _parse_float(digits: str) -> float:
    value = float(digits) if len(digits) <= 40 else math.inf
    if not math.isfinite(value):
        raise ValueError(f"a number of {len(digits):,} digits, more than a float holds")
    return value


def _no_constant(word: str) -> None:
    raise ValueError(f"{word}, which is no number")


def _brief(value: Any) -> str:
    return reprlib.repr(value)


# ------------------------------------------------------------ types


class _Codec(NamedTuple):
    """How the values of one type stand in JSON; both ways refuse what is not of the type."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class _ArrayField(NamedTuple):
    shape: Shape
    optional: bool


class _Form(NamedTuple):
    """A dataclass as read from its type hints: the fields that are tensors, and those that stand in JSON."""

    arrays: dict[str, _ArrayField]
    plain: dict[str, _Codec]


@cache
def _form(kind: type) -> _Form:
    if not is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is not a dataclass, and so no record")
    hints = get_type_hints(kind, include_extras=True)
    arrays = {f.name: array for f in fields(kind) if (array := _array_field(hints[f.name])) is not None}
    return _Form(arrays, {f.name: _codec(hints[f.name]) for f in fields(kind) if f.name not in arrays})


def _array_field(hint: Any) -> _ArrayField | None:
    inner, optional = _without_none(hint)
    if get_origin(inner) is not Annotated:
        return None
    shape = next((note for note in get_args(inner)[1:] if isinstance(note, Shape)), None)
    return shape and _ArrayField(shape, optional or _without_none(get_args(inner)[0])[1])


def _without_none(hint: Any) -> tuple[Any, bool]:
    """X and True for `X | None`; the hint itself and False for all others."""
    if get_origin(hint) not in (Union, types.UnionType) or type(None) not in get_args(hint):
        return hint, False
    rest = tuple(option for option in get_args(hint) if option is not type(None))
    return Union[rest], True  # noqa: UP007  (a union of a tuple has no other spelling)


@cache
def _codec(hint: Any) -> _Codec:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    inner, optional = _without_none(hint)
    if optional:
        return _optional(_codec(inner))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated and _array_field(hint) is None:
        return _codec(arguments[0])
    if origin is Literal:
        return _literal(arguments)
    if origin is tuple:
        return _sequence(_codec(arguments[0])) if arguments[1:] == (...,) else _fixed([_codec(a) for a in arguments])
    if origin is dict and arguments[0] in (int, str):
        return _mapping(arguments[0], _codec(arguments[1]))
    if isinstance(hint, type) and is_dataclass(hint) and not _form(hint).arrays:
        return _nested(hint)
    raise TypeError(f"{hint} cannot be stored: arrays stand at the top of a record, other values are of simple types")


def _check_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _Wrong(f"should be true or false, and is {_brief(value)}")
    return value


def _check_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**64:
        raise _Wrong(f"should be a whole number of 64 bits, and is {_brief(value)}")
    return int(value)


def _check_float(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise _Wrong(f"should be a finite number, and is {_brief(value)}")
    return float(value)


def _check_str(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"should be text, and is {_brief(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Wrong(f"holds half a character (a lone surrogate): {_brief(value)}") from error
    return value


def _to_hex(value: Any) -> str:
    if not isinstance(value, bytes):
        raise _Wrong(f"should be bytes, and is {_brief(value)}")
    return value.hex()


def _from_hex(value: Any) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"(?:[0-9a-f]{2})*", value):
        raise _Wrong(f"should be bytes in hex, and is {_brief(value)}")
    return bytes.fromhex(value)


_SIMPLE: dict[Any, _Codec] = {
    bool: _Codec(_check_bool, _check_bool),
    int: _Codec(_check_int, _check_int),
    float: _Codec(_check_float, _check_float),
    str: _Codec(_check_str, _check_str),
    bytes: _Codec(_to_hex, _from_hex),
}


def _optional(inner: _Codec) -> _Codec:
    return _Codec(
        lambda value: None if value is None else inner.encode(value),
        lambda value: None if value is None else inner.decode(value),
    )


def _literal(options: tuple[Any, ...]) -> _Codec:
    allowed = {(type(option), option) for option in options}

    def check(value: Any) -> Any:
        if isinstance(value, list | dict) or (type(value), value) not in allowed:
            raise _Wrong(f"should be one of {', '.join(map(repr, options))}, and is {_brief(value)}")
        return value

    return _Codec(check, check)


def _sequence(item: _Codec) -> _Codec:
    def encode(values: Any) -> list[Any]:
        return [_within(f"[{i}]", item.encode, value) for i, value in enumerate(_a(tuple, values))]

    def decode(values: Any) -> tuple[Any, ...]:
        return tuple([_within(f"[{i}]", item.decode, value) for i, value in enumerate(_a(list, values))])

    return _Codec(encode, decode)


def _fixed(items: list[_Codec]) -> _Codec:
    def pairs(values: Any) -> Iterator[tuple[int, tuple[_Codec, Any]]]:
        if len(values) != len(items):
            raise _Wrong(f"should have {len(items)} values, and has {len(values)}")
        return enumerate(zip(items, values, strict=True))

    def encode(values: Any) -> list[Any]:
        return [_within(f"[{i}]", item.encode, value) for i, (item, value) in pairs(_a(tuple, values))]

    def decode(values: Any) -> tuple[Any, ...]:
        return tuple([_within(f"[{i}]", item.decode, value) for i, (item, value) in pairs(_a(list, values))])

    return _Codec(encode, decode)


def _mapping(key_type: type, item: _Codec) -> _Codec:
    key = _SIMPLE[key_type]

    def encode(values: Any) -> dict[str, Any]:
        named = [(str(key.encode(name)), value) for name, value in _a(dict, values).items()]
        return {name: _within(f"[{_brief(name)}]", item.encode, value) for name, value in named}

    def decode(values: Any) -> dict[Any, Any]:
        named = [(key.decode(_key(key_type, name)), value) for name, value in _a(dict, values).items()]
        return {name: _within(f"[{_brief(name)}]", item.decode, value) for name, value in named}

    return _Codec(encode, decode)


def _key(key_type: type, name: str) -> Any:
    """A key as its type has it: JSON's keys are text only."""
    if key_type is not int:
        return name
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,19}", name):
        raise _Wrong(f"has the key {_brief(name)}, which should be a whole number")
    return int(name)


def _nested(kind: type) -> _Codec:
    def encode(value: Any) -> dict[str, Any]:
        if type(value) is not kind:
            raise _Wrong(f"should be a {kind.__name__}, and is {_brief(value)}")
        return _encode_fields(value, _form(kind))

    return _Codec(encode, lambda value: _build(kind, _decode_fields(value, _form(kind))))


def _encode_fields(value: Any, form: _Form) -> dict[str, Any]:
    return {name: _within(f".{name}", codec.encode, getattr(value, name)) for name, codec in form.plain.items()}


def _decode_fields(value: Any, form: _Form) -> dict[str, Any]:
    if _a(dict, value).keys() != form.plain.keys():
        unknown, missing = sorted(value.keys() - form.plain.keys()), sorted(form.plain.keys() - value.keys())
        raise _Wrong(f"has the entries {_brief(unknown)} too many, and lacks {_brief(missing)}")
    return {name: _within(f".{name}", codec.decode, value[name]) for name, codec in form.plain.items()}


def _build(kind: type[R], values: dict[str, Any]) -> R:
    """Make the record; what its own checks find wrong is wrong with the file."""
    try:
        return kind(**values)
    except (Refusal, ValueError, ArithmeticError, LookupError) as error:
        raise _Wrong(f"is not a whole {kind.__name__}: {error}".rstrip(".")) from error


def _a(kind: type[R], value: Any) -> R:
    if not isinstance(value, kind):
        word = {"dict": "a table", "list": "a list", "tuple": "a tuple"}[kind.__name__]
        raise _Wrong(f"should be {word}, and is {_brief(value)}")
    return value


def _within(place: str, convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except _Wrong as wrong:
        raise wrong.inside(place) from None
