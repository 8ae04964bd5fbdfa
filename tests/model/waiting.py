"""Waiting for what an engine works on, a run or a job: until something holds of it, or until it is over."""

import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from tests.patience import PATIENCE_S as PATIENCE

U_co = TypeVar("U_co", covariant=True)
U = TypeVar("U")


class Watched(Protocol[U_co]):
    """A run or a job, which says how it stands."""

    def updates(self, wait_s: float = 0.25) -> Iterator[U_co]: ...


def until(one: Watched[U], holds: Callable[[U], bool]) -> U:
    """The first update of which this holds."""
    last = None
    for last in _patiently(one):
        if holds(last):
            return last
    raise AssertionError(f"it ended first: {last}")


def watched(one: Watched[U]) -> list[U]:
    """All updates, to the end."""
    return list(_patiently(one))


def ended(one: Watched[U]) -> U:
    """The last update."""
    return watched(one)[-1]


def _patiently(one: Watched[U]) -> Iterator[U]:
    deadline = time.monotonic() + PATIENCE
    for update in one.updates(wait_s=0.05):
        yield update
        assert time.monotonic() < deadline, f"still waiting: {update}"
