"""A record <-> plain JSON values, by the type hints of its class. Strict both ways: anything else is refused.

Pydantic's strict mode was tried here (2.14): it encodes and decodes about four times as fast, and is weaker. It takes
repeated keys, entries left out of a nested value, integers of any size, 7.0 for the literal 7, keys such as "+0" and
"1_0" for integers, and saves half a character as a key. It collects every error of a hostile file: 2.0 s and 590 MB
where this takes 0.2 s and 72 MB. tests/model/test_hostile_files.py holds these files.
"""

import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from model.errors import Refusal
from model.records.earlier import EARLIER, Format, Names
from model.records.fields import ADDED
from model.records.strict_json import Wrong, brief
from model.texts import translated

R = TypeVar("R")

TENSOR_TYPES = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint8": "U8"}
_AXIS = re.compile(r"([A-Za-z_]\w*)(?:\+(\d{1,3}))?")
_NOW = Names(fields={}, values={})


@dataclass(frozen=True, slots=True)
class Shape:
    """What an array in a record looks like, as in `Annotated[np.ndarray | None, Shape("float32", "L H S D")]`.

    dtype: float32, float64, int32, int64 or uint8. axes: a name for each axis, separated by spaces. A name stands
    for one length in the whole record, `L+1` for one more than L.
    """

    dtype: str
    axes: str

    def __post_init__(self) -> None:
        if self.dtype not in TENSOR_TYPES:
            raise ValueError(f"an array of {self.dtype!r} cannot be stored; use one of {', '.join(TENSOR_TYPES)}")
        for axis in self.axes.split():
            if not _AXIS.fullmatch(axis):
                raise ValueError(f"{axis!r} in {self.axes!r} is not an axis; write a name, or a name+number")


class Codec(NamedTuple):
    """How the values of one type stand in JSON; both ways refuse what is not of the type."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class ArrayField(NamedTuple):
    """A field that is an array: its dtype and axes, and whether it may be None."""

    shape: Shape
    optional: bool


class Form(NamedTuple):
    """A dataclass as read from its type hints: the fields that are tensors, and those that stand in JSON."""

    arrays: dict[str, ArrayField]
    plain: dict[str, Codec]
    added: dict[str, Any]  # of the plain ones: what those hold that a file may lack
    in_file: dict[str, str]  # of the plain ones: name in the file -> name of the field
    needed: frozenset[str]  # names that every file has


def added(default: Any) -> Any:
    """A field that a record has not always had: a file without it opens, and the field then holds this default.

    It is written only where it holds something else, so that a record that makes no use of it is the file it was.
    """
    return field(default=default, metadata={ADDED: True})


@cache
def form_of(kind: type, earlier: Format | None = None) -> Form:
    """How this class stands in a file; `earlier` is the file's format if it is not today's."""
    if not is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is not a dataclass, and so no record")
    hints = get_type_hints(kind, include_extras=True)
    arrays = {f.name: array for f in fields(kind) if (array := _array_field(hints[f.name])) is not None}
    plain = [f for f in fields(kind) if f.name not in arrays]
    names = EARLIER[earlier] if earlier else _NOW
    before = {now: name for name, now in names.fields.get(kind.__name__, {}).items()}
    codecs = {f.name: _codec(hints[f.name], earlier) for f in plain}
    for (of, name), values in names.values.items():
        if of == kind.__name__:
            codecs[name] = _renamed(get_args(hints[name]), values)
    defaults = {f.name: _default(f) for f in plain if ADDED in f.metadata}
    in_file = {before.get(f.name, f.name): f.name for f in plain}
    needed = frozenset(name for name, of in in_file.items() if of not in defaults)
    return Form(arrays=arrays, plain=codecs, added=defaults, in_file=in_file, needed=needed)


def _default(of: Field[Any]) -> Any:
    if of.default is MISSING:
        raise TypeError(f"{of.name} was added to a record and has no default")
    return of.default


def _array_field(hint: Any) -> ArrayField | None:
    inner, optional = _without_none(hint)
    if get_origin(inner) is not Annotated:
        return None
    shape = next((note for note in get_args(inner)[1:] if isinstance(note, Shape)), None)
    return shape and ArrayField(shape, optional or _without_none(get_args(inner)[0])[1])


def _without_none(hint: Any) -> tuple[Any, bool]:
    """X and True for `X | None`; the hint itself and False for all others."""
    if get_origin(hint) not in (Union, types.UnionType) or type(None) not in get_args(hint):
        return hint, False
    rest = tuple(option for option in get_args(hint) if option is not type(None))
    return Union[rest], True  # noqa: UP007  (a union of a tuple has no other spelling)


@cache
def _codec(hint: Any, earlier: Format | None) -> Codec:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    inner, optional = _without_none(hint)
    if optional:
        return _optional(_codec(inner, earlier))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated and _array_field(hint) is None:
        return _codec(arguments[0], earlier)
    if origin is Literal:
        return _literal(arguments)
    if origin is tuple:
        items = [_codec(each, earlier) for each in arguments if each is not ...]
        return _sequence(items[0]) if arguments[1:] == (...,) else _fixed(items)
    if origin is dict and arguments[0] in (int, str):
        return _mapping(arguments[0], _codec(arguments[1], earlier))
    if isinstance(hint, type) and is_dataclass(hint) and not form_of(hint, earlier).arrays:
        return _nested(hint, earlier)
    raise TypeError(f"{hint} cannot be stored: arrays stand at the top of a record, other values are of simple types")


def _check_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Wrong("should be true or false, and is {given}", given=brief(value))
    return value


def _check_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**64:
        raise Wrong("should be a whole number of 64 bits, and is {given}", given=brief(value))
    return int(value)


def _check_float(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise Wrong("should be a finite number, and is {given}", given=brief(value))
    return float(value)


def _check_str(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong("should be text, and is {given}", given=brief(value))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Wrong("holds half a character (a lone surrogate): {given}", given=brief(value)) from error
    return value


def _to_hex(value: Any) -> str:
    if not isinstance(value, bytes):
        raise Wrong("should be bytes, and is {given}", given=brief(value))
    return value.hex()


def _from_hex(value: Any) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"(?:[0-9a-f]{2})*", value):
        raise Wrong("should be bytes in hex, and is {given}", given=brief(value))
    return bytes.fromhex(value)


_SIMPLE: dict[Any, Codec] = {
    bool: Codec(_check_bool, _check_bool),
    int: Codec(_check_int, _check_int),
    float: Codec(_check_float, _check_float),
    str: Codec(_check_str, _check_str),
    bytes: Codec(_to_hex, _from_hex),
}


def _optional(inner: Codec) -> Codec:
    return Codec(
        lambda value: None if value is None else inner.encode(value),
        lambda value: None if value is None else inner.decode(value),
    )


def _literal(options: tuple[Any, ...]) -> Codec:
    allowed = {(type(option), option) for option in options}

    def check(value: Any) -> Any:
        if isinstance(value, list | dict) or (type(value), value) not in allowed:
            raise Wrong(
                "should be one of {choices}, and is {given}", choices=", ".join(map(repr, options)), given=brief(value)
            )
        return value

    return Codec(check, check)


def _renamed(options: tuple[Any, ...], values: Mapping[str, str]) -> Codec:
    """A literal some of whose values an earlier format calls otherwise: earlier value -> value."""
    before = {now: value for value, now in values.items()}
    written = _literal(tuple(before.get(option, option) for option in options))

    def decode(value: Any) -> Any:
        read = written.decode(value)
        return values.get(read, read)

    return Codec(_literal(options).encode, decode)


def _sequence(item: Codec) -> Codec:
    def encode(values: Any) -> list[Any]:
        return [within(f"[{i}]", item.encode, value) for i, value in enumerate(require(tuple, values))]

    def decode(values: Any) -> tuple[Any, ...]:
        return tuple([within(f"[{i}]", item.decode, value) for i, value in enumerate(require(list, values))])

    return Codec(encode, decode)


def _fixed(items: list[Codec]) -> Codec:
    def pairs(values: Any) -> Iterator[tuple[int, tuple[Codec, Any]]]:
        if len(values) != len(items):
            raise Wrong("should have {n_items} values, and has {n_values}", n_items=len(items), n_values=len(values))
        return enumerate(zip(items, values, strict=True))

    def encode(values: Any) -> list[Any]:
        return [within(f"[{i}]", item.encode, value) for i, (item, value) in pairs(require(tuple, values))]

    def decode(values: Any) -> tuple[Any, ...]:
        return tuple([within(f"[{i}]", item.decode, value) for i, (item, value) in pairs(require(list, values))])

    return Codec(encode, decode)


def _mapping(key_type: type, item: Codec) -> Codec:
    key = _SIMPLE[key_type]

    def encode(values: Any) -> dict[str, Any]:
        named = [(str(key.encode(name)), value) for name, value in require(dict, values).items()]
        return {name: within(f"[{brief(name)}]", item.encode, value) for name, value in named}

    def decode(values: Any) -> dict[Any, Any]:
        named = [(key.decode(_key(key_type, name)), value) for name, value in require(dict, values).items()]
        return {name: within(f"[{brief(name)}]", item.decode, value) for name, value in named}

    return Codec(encode, decode)


def _key(key_type: type, name: str) -> Any:
    """A key as its type has it: JSON's keys are text only."""
    if key_type is not int:
        return name
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,19}", name):
        raise Wrong("has the key {given}, which should be a whole number", given=brief(name))
    return int(name)


def _nested(kind: type, earlier: Format | None) -> Codec:
    def encode(value: Any) -> dict[str, Any]:
        if type(value) is not kind:
            raise Wrong("should be a {kind}, and is {given}", kind=kind.__name__, given=brief(value))
        return encode_fields(value, form_of(kind))

    return Codec(encode, lambda value: build(kind, decode_fields(value, form_of(kind, earlier))))


def encode_fields(value: Any, form: Form) -> dict[str, Any]:
    """The plain fields of a dataclass as JSON values, by name. Raises: Wrong, for a value of another type."""
    held = {name: getattr(value, name) for name in form.plain}
    written = {name: each for name, each in held.items() if name not in form.added or each != form.added[name]}
    return {name: within(f".{name}", form.plain[name].encode, each) for name, each in written.items()}


def decode_fields(value: Any, form: Form) -> dict[str, Any]:
    """The plain fields of a dataclass from JSON values, with defaults for what older files lack. Raises: Wrong."""
    given = require(dict, value).keys()
    unknown, missing = sorted(given - form.in_file.keys()), sorted(form.needed - given)
    if unknown or missing:
        raise Wrong("has the unknown entries {given}, lacks {missing}", given=brief(unknown), missing=brief(missing))
    names = form.in_file.items()
    read = {of: within(f".{name}", form.plain[of].decode, value[name]) for name, of in names if name in given}
    return {**form.added, **read}


def build(kind: type[R], values: dict[str, Any]) -> R:
    """Make the record from its fields. Raises: Wrong, where the record's own checks refuse them."""
    try:
        return kind(**values)
    except (Refusal, ValueError, ArithmeticError, LookupError) as error:
        raise Wrong("is not a valid {kind}: {error}", kind=kind.__name__, error=str(error).rstrip(".")) from error


def require(kind: type[R], value: Any) -> R:
    """The value, once it is known to be a dict, a list or a tuple. Raises: Wrong."""
    if not isinstance(value, kind):
        word = translated({"dict": "a table", "list": "a list", "tuple": "a tuple"}[kind.__name__])
        raise Wrong("should be {kind}, and is {given}", kind=word, given=brief(value))
    return value


def within(place: str, convert: Callable[[Any], Any], value: Any) -> Any:
    """Convert a value. Raises: Wrong, with `place` before where it was found."""
    try:
        return convert(value)
    except Wrong as wrong:
        raise wrong.inside(place) from None
