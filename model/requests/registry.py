"""Every kind of experiment, one line each: what is asked, what is recorded, and who does it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from model.errors import BadTrace
from model.records.attribution import Attribution
from model.records.batching import Batching
from model.records.beams import BeamSearch
from model.records.cache import CacheTrials
from model.records.comparison import Comparison
from model.records.file import Saved, kind_of
from model.records.patching import PatchMap
from model.records.speculation import Speculation
from model.records.sweep import Sweep
from model.records.timing import Measurement
from model.records.trace import Trace
from model.requests.ablation import Ablate
from model.requests.attribution import Attribute
from model.requests.batching import Serve
from model.requests.beams import SearchBeams
from model.requests.cache import TryCaches
from model.requests.comparison import Compare
from model.requests.fork import Fork
from model.requests.patching import Patch
from model.requests.request import Request
from model.requests.run import Run
from model.requests.speculation import Speculate
from model.requests.steering import Steer
from model.requests.sweep import SweepHeads
from model.requests.timing import Measure
from model.texts import translated

if TYPE_CHECKING:
    from model.records.trace import ModelCard

_PACKAGE = __name__.rpartition(".requests.")[0]  # whatever name it was installed under

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Saved)


def always(_: "ModelCard") -> str | None:
    """Fits every model; what a model lacks is refused when the work starts."""
    return None


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[Q, R]):
    """One kind of thing that a person can ask for.

    `run` names a function, "module:function" inside model/, imported when it is used: run(inputs, request, job) checks
    what only the model can tell, raises Refusal at once, and returns an iterator. Each value is the record so far, or
    None: nothing new, but others may have the model here.
    """

    name: str  # sub-command, address, heading
    request: type[Q]
    record: type[R]
    run: str
    suffix: str  # of its files
    page: str = ""  # whose form asks for it; empty: a page of its own, made from its fields
    fits: Callable[["ModelCard"], str | None] = always  # why this kind can't be had of that model
    brief: bool = False  # ends soon: others wait for its end. One that is not makes room between its values

    @property
    def label(self) -> str:
        """What it is called on a page."""
        return translated(self.name.replace("_", " ").capitalize())

    @property
    def about(self) -> str:
        """What it does, in one sentence: the first line of its request's docstring."""
        return translated((self.request.__doc__ or "").strip().partition("\n")[0])

    def function(self) -> Callable[..., Any]:
        """The function that does it; torch is imported now."""
        module, _, name = self.run.partition(":")
        return getattr(import_module(f"{_PACKAGE}.{module}"), name)


EXPERIMENTS: tuple[Experiment[Any, Any], ...] = (
    Experiment(
        name="run",
        request=Run,
        record=Trace,
        run="experiments.generation.run:run",
        suffix=".trace",
        page="watch",
        brief=True,
    ),
    Experiment(
        name="measure",
        request=Measure,
        record=Measurement,
        run="experiments.timing.run:run",
        suffix=".measurement",
        page="measure",
    ),
    Experiment(
        name="cache",
        request=TryCaches,
        record=CacheTrials,
        run="experiments.cache.run:run",
        suffix=".trials",
        page="measure",
    ),
    Experiment(
        name="serve",
        request=Serve,
        record=Batching,
        run="experiments.batching.run:run",
        suffix=".batching",
        page="serve",
    ),
    Experiment(
        name="speculate",
        request=Speculate,
        record=Speculation,
        run="experiments.speculation.run:run",
        suffix=".speculation",
        page="serve",
    ),
    Experiment(
        name="fork",
        request=Fork,
        record=Trace,
        run="experiments.fork.run:run",
        suffix=".trace",
        page="watch",
        brief=True,
    ),
    Experiment(
        name="beams",
        request=SearchBeams,
        record=BeamSearch,
        run="experiments.beams.run:run",
        suffix=".beams",
    ),
    Experiment(
        name="ablate",
        request=Ablate,
        record=Trace,
        run="experiments.ablation.run:run",
        suffix=".trace",
        page="watch",
        brief=True,
    ),
    Experiment(
        name="steer",
        request=Steer,
        record=Trace,
        run="experiments.steering.run:run",
        suffix=".trace",
        page="watch",
        brief=True,
    ),
    Experiment(name="sweep", request=SweepHeads, record=Sweep, run="experiments.sweep.run:run", suffix=".sweep"),
    Experiment(name="patch", request=Patch, record=PatchMap, run="experiments.patching.run:run", suffix=".patch"),
    Experiment(
        name="attribute",
        request=Attribute,
        record=Attribution,
        run="experiments.attribution.run:run",
        suffix=".attribution",
        page="watch",
        brief=True,
    ),
    Experiment(
        name="compare",
        request=Compare,
        record=Comparison,
        run="experiments.comparison.run:run",
        suffix=".comparison",
        page="watch",
        brief=True,
    ),
)


def named(name: str) -> Experiment[Any, Any]:
    """The kind by this name. Raises: KeyError."""
    return next(each for each in EXPERIMENTS if each.name == name)


def of_request(request: Request) -> Experiment[Any, Any]:
    """The kind that a request asks for."""
    return next(each for each in EXPERIMENTS if each.request is type(request))


def of_record(record: type[Saved]) -> Experiment[Any, Any]:
    """The first kind whose record is of this class: of a Trace, `run`, though a fork makes one too."""
    return next(each for each in EXPERIMENTS if each.record is record)


def open_record(path: str | os.PathLike[str]) -> Saved:
    """The record in a file, of whatever kind. Raises: BadTrace, if it holds none that this version reads."""
    held = kind_of(path)
    experiment = next((each for each in EXPERIMENTS if each.record.__name__ == held), None)
    if experiment is None:
        raise BadTrace(
            "{path!r} cannot be opened: it holds a {held}. Choose a file saved by Tokenoscope.",
            path=os.fspath(path),
            held=ascii(held)[:40],
        )
    return experiment.record.open(path)
