"""What happens inside: a model, run and recorded. `from model import load, trace` is all a notebook needs.

Names are loaded when they are first asked for, so that what needs no torch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.api.job import Job
    from model.capture.hooked import HookedModel
    from model.errors import Refusal
    from model.experiments.ablation.ablate import ablate
    from model.experiments.attribution.attribute import attribute
    from model.experiments.batching.batching import serve
    from model.experiments.batching.checks import Ask
    from model.experiments.beams.search import search_beams
    from model.experiments.cache.trials import trials
    from model.experiments.comparison.compare import compare
    from model.experiments.fork.fork import fork
    from model.experiments.generation.generate import trace
    from model.experiments.patching.patch import patch
    from model.experiments.speculation.speculative import speculate
    from model.experiments.steering.directions import direction
    from model.experiments.steering.steer import steer
    from model.experiments.sweep.sweep import sweep
    from model.experiments.timing.timing import measure
    from model.limits import Limits
    from model.loading.load import load
    from model.records.attribution import Attribution
    from model.records.batching import Batching
    from model.records.beams import BeamSearch
    from model.records.cache import CacheTrials
    from model.records.comparison import Comparison
    from model.records.patching import PatchMap
    from model.records.speculation import Speculation
    from model.records.sweep import Sweep
    from model.records.timing import Measurement
    from model.records.trace import Settings, Trace

__version__ = "0.2.0"

__all__ = [
    "Ask",
    "Attribution",
    "Batching",
    "BeamSearch",
    "CacheTrials",
    "Comparison",
    "HookedModel",
    "Job",
    "Limits",
    "Measurement",
    "PatchMap",
    "Refusal",
    "Settings",
    "Speculation",
    "Sweep",
    "Trace",
    "ablate",
    "attribute",
    "compare",
    "direction",
    "fork",
    "load",
    "measure",
    "patch",
    "search_beams",
    "serve",
    "speculate",
    "steer",
    "sweep",
    "trace",
    "trials",
]

_HOMES = {
    "load": "loading.load",
    "HookedModel": "capture.hooked",
    "Limits": "limits",
    "Job": "api.job",
    "Refusal": "errors",
    "ablate": "experiments.ablation.ablate",
    "attribute": "experiments.attribution.attribute",
    "Attribution": "records.attribution",
    "compare": "experiments.comparison.compare",
    "Comparison": "records.comparison",
    "fork": "experiments.fork.fork",
    "direction": "experiments.steering.directions",
    "steer": "experiments.steering.steer",
    "sweep": "experiments.sweep.sweep",
    "Sweep": "records.sweep",
    "trace": "experiments.generation.generate",
    "Trace": "records.trace",
    "Settings": "records.trace",
    "measure": "experiments.timing.timing",
    "Measurement": "records.timing",
    "patch": "experiments.patching.patch",
    "PatchMap": "records.patching",
    "trials": "experiments.cache.trials",
    "CacheTrials": "records.cache",
    "Ask": "experiments.batching.checks",
    "serve": "experiments.batching.batching",
    "Batching": "records.batching",
    "search_beams": "experiments.beams.search",
    "BeamSearch": "records.beams",
    "speculate": "experiments.speculation.speculative",
    "Speculation": "records.speculation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
