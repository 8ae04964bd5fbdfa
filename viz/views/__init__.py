"""The pictures made in Python, one folder a kind of record: each is found by its `@view`, its words by an Account."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import TypeVar

from model.records.trace import Trace
from viz.account import Account
from viz.view import Record, View

_T = TypeVar("_T")


def all_views(of: type = Trace) -> tuple[View, ...]:
    """Every view of this kind of record in the order in which they teach; those of one file as they stand there."""
    return tuple(sorted((each for each in _all(View) if each.of is of), key=_place))


def account_of(record: Record) -> Account:
    """How this record is told in words."""
    return next(each for each in _all(Account) if each.of is type(record))


def _all(kind: type[_T]) -> list[_T]:
    """Every value of this kind that stands in a module of this package, by file name."""
    return [value for module in _modules() for value in vars(module).values() if isinstance(value, kind)]


@cache
def _modules() -> tuple[ModuleType, ...]:
    names = sorted(found.name for found in pkgutil.walk_packages(__path__, f"{__name__}.") if not found.ispkg)
    return tuple(importlib.import_module(name) for name in names)


def _place(shown: View) -> int:
    """Where it stands among the others: a file that is not named comes after those that are."""
    file = shown.draw.__module__.rpartition(".")[2]
    return _ORDER.index(file) if file in _ORDER else len(_ORDER)


_ORDER = (  # files, in teaching order
    "glance",
    "phases",
    "cache_race",
    "roofline",
    "bill",
    "cache_compression",
    "lanes",
    "blocks",
    "packed_attention",
    "schedulers",
    "rounds",
    "acceptance",
)
