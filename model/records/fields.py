"""How one setting is described, once: what it is called, what may be given, and what helps a person to choose.

A form field, a check on the server, a flag of the command line and an API's schema are all made from it.
"""

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from model.errors import BadSetting
from model.limits import Limits
from model.texts import phrase

if TYPE_CHECKING:
    from model.records.trace import ModelCard

Kind = Literal[
    "text",
    "whole",
    "number",
    "switch",
    "choice",  # one of them
    "choices",  # any of them
    "rows",
    "turns",
    "options",
    "positions",
    "record",
    "model",
]
Bound = float | Callable[[Limits, "ModelCard | None"], float]
"""A number, or a function of the host's limits and the loaded model, which is None while it is not known."""

KEY = "field"
ADDED = "added"  # of a field that files of records may lack
_MOST_POSITIONS = 10_000  # in one range


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One setting. `low` and `high` are refused beyond; `slider` is how far a form's slider goes in between."""

    kind: Kind
    label: str
    help: str = ""
    unit: str = ""
    low: Bound | None = None
    high: Bound | None = None
    above: bool = False  # whether `low` itself is refused too
    off: float | None = None  # the number that switches it off
    slider: tuple[float, float] | None = None
    step: float = 1
    choices: tuple[tuple[str, str], ...] = ()  # value and label
    placeholder: str = ""
    variable: str = ""  # the environment variable that moves `high`, where the host sets it
    row: type | None = None  # of "rows": the class of one row, whose fields are described too
    flag: str | None = ""  # on the command line: empty for the field's own name, None for an argument without a flag
    metavar: str = ""

    def bounds(self, limits: Limits, card: "ModelCard | None" = None) -> tuple[float, float]:
        """The lowest and the highest number that are taken here; infinite where there is no bound."""
        low, high = (_resolved(bound, limits, card) for bound in (self.low, self.high))
        return (-math.inf if low is None else low, math.inf if high is None else high)

    def check(self, name: str, given: Any, limits: Limits, card: "ModelCard | None" = None) -> None:
        """Check a value against the kind and the bounds.

        Raises: BadSetting, with the name, what was given and what would do.
        """
        if self.kind == "switch" and not isinstance(given, bool):
            raise BadSetting("{name} is {given}; it must be true or false.", name=name, given=shown(given))
        if self.kind == "choice":
            check_choice(name, given, [value for value, _ in self.choices])
        if self.kind in ("whole", "number"):
            self._check_number(name, given, *self.bounds(limits, card))

    def _check_number(self, name: str, given: Any, low: float, high: float) -> None:
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        is_number = is_number and -sys.float_info.max <= given <= sys.float_info.max
        if self.kind == "whole" and not isinstance(given, int):
            is_number = False
        if is_number and self.variable and given > high:
            raise BadSetting(
                "{name} is {given}; this host allows at most {high:,g} ({variable}). Ask for fewer.",
                name=name,
                given=shown(given),
                high=high,
                variable=self.variable,
            )
        if not is_number or not low <= given <= high or (self.above and given == low):
            raise BadSetting(
                "{name} is {given}; it must be {wanted}.", name=name, given=shown(given), wanted=self.wanted(low, high)
            )

    def wanted(self, low: float, high: float) -> str:
        """What would do, in words: "a whole number from 1 to 256"."""
        number = phrase("a whole number") if self.kind == "whole" else phrase("a finite number")
        most = (
            f"2^{high.bit_length()} - 1"
            if isinstance(high, int) and high > 10**9 and high & high + 1 == 0
            else f"{high:,g}"
        )
        if low == -math.inf:
            wanted = number if high == math.inf else phrase("{number} of at most {most}", number=number, most=most)
        elif high == math.inf:
            wanted = (
                phrase("{number} above {low:g}", number=number, low=low)
                if self.above
                else phrase("{number} of at least {low:g}", number=number, low=low)
            )
        else:
            wanted = (
                phrase("{number} above {low:g} and at most {most}", number=number, low=low, most=most)
                if self.above
                else phrase("{number} from {low:g} to {most}", number=number, low=low, most=most)
            )
        return wanted if self.off is None else phrase("{wanted}; {off:g} is off", wanted=wanted, off=self.off)


def setting(default: Any = dataclasses.MISSING, *, added: bool = False, **described: Any) -> Any:
    """A dataclass field with its description, for a setting of a request; `described` are the parts of a Field.

    `added` says that records have not always had it, as `added` of model/records/schema.py does.
    """
    metadata = {KEY: Field(**described), **({ADDED: True} if added else {})}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def same_as(kind: type, name: str, default: Any = dataclasses.MISSING, **changed: Any) -> Any:
    """The setting of another class, so that it is described there alone; `changed` says what differs here."""
    original = next(each for each in dataclasses.fields(kind) if each.name == name)
    described = dataclasses.replace(original.metadata[KEY], **changed)
    value = original.default if default is dataclasses.MISSING else default
    return dataclasses.field(default=value, metadata={KEY: described})


def fields_of(kind: type) -> Mapping[str, Field]:
    """The described settings of a class, by name, in order."""
    return {each.name: each.metadata[KEY] for each in dataclasses.fields(kind) if KEY in each.metadata}


def positions(name: str, text: str) -> tuple[int, ...]:
    """Positions as a person writes them: "3, 5, 8-11" -> 3, 5, 8, 9, 10, 11. Raises: BadSetting, for anything else."""
    found: set[int] = set()
    for part in filter(None, re.split(r"[,\s]+", text.strip())):
        ends = re.fullmatch(r"(\d{1,6})(?:[-–](\d{1,6}))?", part, re.ASCII)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if last < first or last - first > _MOST_POSITIONS:
            raise BadSetting(
                "{name} has {part}; write positions and ranges, such as 3, 5, 8-11.", name=name, part=shown(part[:20])
            )
        found |= set(range(first, last + 1))
    return tuple(sorted(found))


def check_choice(name: str, given: object, choices: Sequence[str]) -> None:
    """Check that a word is one of these. Raises: BadSetting."""
    if given not in choices:
        raise BadSetting(
            "{name} is {given}; it can be {choices}.", name=name, given=shown(given), choices=", ".join(choices)
        )


def shown(given: object) -> str:
    """What was given, shortened and in ASCII, so that it can be repeated whatever it holds."""
    return ascii(given)[:60]


def _resolved(bound: Bound | None, limits: Limits, card: "ModelCard | None") -> float | None:
    return bound(limits, card) if callable(bound) else bound
