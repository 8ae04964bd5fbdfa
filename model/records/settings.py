"""What a person asks of a run, checked when it is asked."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.errors import BadSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a person asks of a run. Neutral values (0, 0, 1, 0, 1) switch a processor off; temperature 0 is greedy.

    Raises: BadSetting, naming the setting, what was given and what would do.
    """

    max_new_tokens: int = 32
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    chat: bool = False

    def __post_init__(self) -> None:
        for name, (holds, wanted) in _RANGES.items():
            if not holds(given := getattr(self, name)):
                raise BadSetting(f"{name} is {given!r}; it must be {wanted}.")

    @property
    def greedy(self) -> bool:
        """Whether every step takes the likeliest token instead of drawing one."""
        return self.temperature == 0


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_new_tokens": (lambda n: _is_whole(n) and n >= 1, "a whole number of at least 1"),
    "temperature": (
        lambda t: _is_finite(t) and t >= 0,
        "a finite number of at least 0; 0 always takes the likeliest token",
    ),
    "top_k": (lambda k: _is_whole(k) and k >= 0, "a whole number of at least 0; 0 is off"),
    "top_p": (lambda p: _is_finite(p) and 0 < p <= 1, "above 0 and at most 1; 1 is off"),
    "min_p": (lambda p: _is_finite(p) and 0 <= p <= 1, "from 0 to 1; 0 is off"),
    "repetition_penalty": (lambda r: _is_finite(r) and r > 0, "a finite number above 0; 1 is off"),
    "seed": (lambda s: _is_whole(s) and 0 <= s < 2**63, "a whole number from 0 to 2^63 - 1"),
    "chat": (lambda on: isinstance(on, bool), "true or false"),
}
