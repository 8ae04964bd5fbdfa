"""Protocols of an engine and of a host's models, for pages, the command line and other back ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from model.api.job import Job
from model.records.chat import TemplateVariable
from model.records.file import Saved
from model.records.trace import ModelCard, Trace
from model.requests.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How busy a model is: jobs by state."""

    waiting: int
    running: int
    paused: int
    finished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a loaded model has for a form: a chat template with variables, and the settings that it recommends."""

    chat: bool  # whether it has a chat template
    variables: tuple[TemplateVariable, ...]  # of the template, that a person can set
    recommended: Mapping[str, float]  # by its generation config: settings by name, without those that change nothing


class Room(Protocol):
    """Where records are kept, as an engine sees it: room is reserved before a job begins."""

    def check(self, job: Job) -> None:
        """Raises: NoSpace, at once, if there never will be room for the job's `expected_bytes`."""
        ...

    def reserve(self, job: Job) -> bool:
        """Keep room for the job's `expected_bytes`; False if there is none now.

        Called with the engine's queue locked: it returns at once, and neither calls the engine nor stops a job.
        """
        ...


class Engine(Protocol):
    """One loaded model and its queue."""

    @property
    def card(self) -> ModelCard:
        """What the loaded model is: its name, sizes and what it can show."""
        ...

    @property
    def offers(self) -> Offers:
        """What the loaded model has for a form."""
        ...

    def submit(
        self, request: Request, job: Job, *, records: Mapping[str, Saved] = ..., drafts: "Mapping[str, Engine]" = ...
    ) -> None:
        """Check the request against the model and put the job in the queue. Raises: Refusal, at once; Busy."""
        ...

    def add_columns(self, run: Trace, positions: Sequence[int], job: Job) -> None:
        """Compute columns of the logit lens of a finished run, when nobody waits: `job.record` is the run with them.

        Raises: Refusal, at once, if this model did not make the run or has no such column.
        """
        ...

    def stats(self) -> Stats:
        """How many jobs are in each state now."""
        ...

    def close(self) -> None:
        """Stop every job, then let the model go."""
        ...


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """Whether a model is here, and how far its loading is."""

    phase: Literal["away", "loading", "ready", "failed"]
    text: str  # a sentence for a person
    fraction: float | None = None  # of the loading; None when nobody knows
    offers: Offers | None = None  # None until it is loaded


class Models(Protocol):
    """The models that this host offers. The default is loaded from the start, the others when they are asked for."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, the default first."""
        ...

    @property
    def takes_any(self) -> bool:
        """Whether any other may be named too: an id of the hub, or a folder on this machine."""
        ...

    def state(self, name: str) -> ModelState:
        """Whether this model is loaded, and how far its loading is."""
        ...

    def engine(self, name: str) -> Engine | None:
        """The model's engine, or None while it is being loaded. Raises: Refusal, if it cannot be loaded."""
        ...
