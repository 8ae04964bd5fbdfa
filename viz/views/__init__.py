"""The pictures made in Python, one folder a kind of record; each is found by its `@view`."""

import importlib
import pkgutil

from model.records.trace import Trace
from viz.view import View


def all_views(of: type = Trace) -> tuple[View, ...]:
    """Every view of this kind of record, by file name and then in the order in which each file has them."""
    names = sorted(found.name for found in pkgutil.walk_packages(__path__, f"{__name__}.") if not found.ispkg)
    modules = [importlib.import_module(name) for name in names]
    found = (value for module in modules for value in vars(module).values() if isinstance(value, View))
    return tuple(each for each in found if each.of is of)
