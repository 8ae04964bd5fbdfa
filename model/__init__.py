"""What happens inside: a model, run and recorded. `from model import load, trace` is all a notebook needs.

Names are loaded when they are first asked for, so that what needs no torch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.batching import serve
    from model.generate import trace
    from model.loading import HookedModel, load
    from model.measurements import CacheTrials, Measurement
    from model.records import Settings, Trace
    from model.serving import Batching, Speculation
    from model.smaller_cache import trials
    from model.speculative import speculate
    from model.timing import measure

__all__ = [
    "Batching",
    "CacheTrials",
    "HookedModel",
    "Measurement",
    "Settings",
    "Speculation",
    "Trace",
    "load",
    "measure",
    "serve",
    "speculate",
    "trace",
    "trials",
]

_HOMES = {
    "load": "model.loading",
    "HookedModel": "model.loading",
    "trace": "model.generate",
    "Trace": "model.records",
    "Settings": "model.records",
    "measure": "model.timing",
    "Measurement": "model.measurements",
    "trials": "model.smaller_cache",
    "CacheTrials": "model.measurements",
    "serve": "model.batching",
    "Batching": "model.serving",
    "speculate": "model.speculative",
    "Speculation": "model.serving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
