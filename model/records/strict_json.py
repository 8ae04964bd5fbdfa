"""Parses JSON from untrusted files: stricter than `json.loads`, and its cost is bounded before it is parsed."""

import json
import math
import re
import reprlib
from typing import Any, LiteralString

from model.texts import phrase

MAX_MARKS = {"[": 300_000, "{": 300_000, ",": 1_000_000, '"': 2_000_000}  # in one JSON text: what parsing it can cost
MAX_DEPTH = 16


class Wrong(Exception):
    """What is wrong with a file or a record, and where in it; `save` and `open_record` make the sentence."""

    def __init__(self, template: LiteralString, /, *, way_out: LiteralString = "", **values: object) -> None:
        self.what = phrase(template, **values)
        super().__init__(self.what)
        self.way_out, self.place = phrase(way_out, **values) if way_out else "", ""

    def inside(self, place: str) -> "Wrong":
        """The same, found inside `place`, such as ".tokens" or "[3]"."""
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
                raise ValueError(phrase("more than {most} tensors", most=most_objects))
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError(phrase("a repeated key"))
        return found

    check_marks(text)
    try:
        return json.loads(
            text, object_pairs_hook=table, parse_int=_parse_int, parse_float=_parse_float, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise Wrong("its header cannot be read ({error})", error=error) from error


def check_marks(text: str) -> None:
    """Check what parsing the text can allocate and how deep it nests, before it is parsed. Raises: Wrong."""
    for mark, most in MAX_MARKS.items():
        if (count := text.count(mark)) > most:
            raise Wrong(
                "its description has {count:,} of {mark}; at most {most:,} are read", count=count, mark=mark, most=most
            )
    brackets = _STRING.sub("", text).encode("ascii").translate(_AS_SQUARE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # one level a turn: the innermost
    if brackets:
        raise Wrong("its description nests deeper than {most} levels, or is cut short", most=MAX_DEPTH)


_STRING = re.compile(r'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"?')  # closed or not: one that could fail would take n^2 steps
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _parse_int(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:  # a seed may use all 64 bits, with or without a sign
        raise ValueError(phrase("a number of {n_digits:,} digits, more than 64 bits hold", n_digits=len(digits)))
    return int(digits)


def _parse_float(digits: str) -> float:
    value = float(digits) if len(digits) <= 40 else math.inf
    if not math.isfinite(value):
        raise ValueError(phrase("a number of {n_digits:,} digits, more than a float holds", n_digits=len(digits)))
    return value


def _no_constant(word: str) -> None:
    raise ValueError(phrase("{word}, which is not a number", word=word))


def brief(value: Any) -> str:
    """The value for a message, shortened."""
    return reprlib.repr(value)
