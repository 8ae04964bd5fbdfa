"""JSON from a file that nobody vouches for: stricter than `json.loads`, and bounded before anything is parsed."""

import json
import math
import re
import reprlib
from typing import Any

MAX_MARKS = {"[": 300_000, "{": 300_000, ",": 1_000_000, '"': 2_000_000}  # in one JSON text: what parsing it can cost
MAX_DEPTH = 16


class Wrong(Exception):
    """What is wrong with a file or a record, and where in it; `save` and `open_record` make the sentence."""

    def __init__(self, what: str, way_out: str = "") -> None:
        super().__init__(what)
        self.what, self.way_out, self.place = what, way_out, ""

    def inside(self, place: str) -> "Wrong":
        self.place = place + self.place
        return self

    def __str__(self) -> str:
        return f"{self.place.lstrip('.')} {self.what}".lstrip()


def parse(text: str, most_objects: int | None = None) -> Any:
    """JSON, stricter than `json.loads`: no repeated keys, NaN, numbers of more than 64 bits, or deep nesting.

    Raises: Wrong.
    """
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

    check_marks(text)
    try:
        return json.loads(
            text, object_pairs_hook=table, parse_int=_parse_int, parse_float=_parse_float, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise Wrong(f"its header cannot be read ({error})") from error


def check_marks(text: str) -> None:
    """Bound what parsing the text can allocate, and how deep it nests, before it is parsed."""
    for mark, most in MAX_MARKS.items():
        if (count := text.count(mark)) > most:
            raise Wrong(f"its description has {count:,} of {mark}; at most {most:,} are read")
    brackets = _STRING.sub("", text).encode("ascii").translate(_AS_SQUARE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # one level a turn: the innermost
    if brackets:
        raise Wrong(f"its description nests deeper than {MAX_DEPTH} levels, or breaks off")


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


def brief(value: Any) -> str:
    return reprlib.repr(value)
