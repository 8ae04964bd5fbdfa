"""Follows the visitors' experiments: what is measured of a model, and what a run is replayed with. No gradio here.

An experiment is one record that grows while the engine works on it; the page is told of each newer version, and
fetches its pictures.
"""

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from model.errors import Refusal
from model.measurements import CacheTrials, Measurement
from model.records import Settings, Trace
from viz.pages.live import Models

log = logging.getLogger("tokenoscope")

KEPT = 200  # records, of some kilobytes each; the one asked for least recently leaves
_BROKEN = "Something broke inside the program. The host's log says what."

Kind = Literal["measurement", "trials"]
Result = Measurement | CacheTrials
Say = Callable[[int, int, str], None]
"""Called by an experiment with how much is done, of how much, and what it does now."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a visitor asks for, checked as far as it can be without a model."""

    kind: Kind
    model: str
    prompt: str
    settings: Settings
    n_prompt: int | None = None  # tokens to which the prompt is cut or repeated; None: as it is
    run: Trace | None = None  # of trials: the finished run to replay; without one, the prompt is run first
    window: int = 16
    sink: int = 4
    dropped: tuple[int, ...] = ()


class Update(Protocol):
    """How an experiment stands, as the engine says it."""

    @property
    def state(self) -> str: ...
    @property
    def place(self) -> int: ...


class Job(Protocol):
    """An experiment on its way."""

    @property
    def error(self) -> BaseException | None: ...
    def updates(self, wait_s: float = 0.25) -> Iterator[Update]: ...
    def result(self) -> Result | None: ...
    def stop(self) -> None: ...


Begin = Callable[[Any, Wanted, Say], Job]
"""Begins an experiment on an engine, which may be of a kind that this page knows nothing of."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page is told of an experiment: which record it may fetch, and how far it is."""

    id: str | None = None
    kind: Kind = "measurement"
    version: int = 0  # of the record: pictures of an older one are out of date
    state: str = "done"
    what: str = ""  # what is being done, for a person
    fraction: float | None = None  # of it; None when nobody knows
    refusal: str = ""
    seq: int = 0  # grows: a page forgets a report that comes after a newer one


class Experiments:
    """Every visitor's experiments. A record is known to whoever has its id, which cannot be guessed."""

    def __init__(self, models: Models, begin: Mapping[Kind, Begin]) -> None:
        self.models = models
        self._begin = begin
        self._records: OrderedDict[str, Result] = OrderedDict()
        self._jobs: dict[str, Job] = {}  # by visitor: a newer one ends the one before
        self._lock = threading.Lock()
        self._seq = 0

    def get(self, record_id: str) -> Result | None:
        """The record by that id, or None if it has left or never was here."""
        with self._lock:
            if record_id in self._records:
                self._records.move_to_end(record_id)
            return self._records.get(record_id)

    def refuse(self, kind: Kind, sentence: str) -> Report:
        """What the page is told of a request that cannot be carried out."""
        return self._numbered(Report(kind=kind, refusal=sentence))

    def stop(self, visitor: str) -> None:
        """End what the visitor has asked for; what was measured so far stays."""
        with self._lock:
            job = self._jobs.get(visitor)
        if job is not None:
            job.stop()

    def ask(self, visitor: str, wanted: Wanted) -> Generator[Report]:
        """Do what is asked for; yields how it stands, at once and until it is over."""
        said = Report(kind=wanted.kind, state="waiting", what="Asking for the model.")
        yield self._numbered(said)
        try:
            while (engine := self.models.engine(wanted.model)) is None:
                yield self._numbered(replace(said, what=self.models.state(wanted.model).text))
                threading.Event().wait(0.25)
            progress = _Progress()
            job = self._begin[wanted.kind](engine, wanted, progress.say)
        except Refusal as refusal:
            yield self.refuse(wanted.kind, str(refusal))
            return
        self._take_over(visitor, job)
        yield from self._follow(visitor, job, wanted, progress)

    def _follow(self, visitor: str, job: Job, wanted: Wanted, progress: "_Progress") -> Iterator[Report]:
        record_id, latest, version, over = secrets.token_urlsafe(12), None, 0, False
        try:
            for update in job.updates(wait_s=0.25):
                if (record := job.result()) is not None and record is not latest:
                    latest, version = record, version + 1
                    self._keep(record_id, record)
                over = update.state in ("done", "stopped", "failed")
                what = f"Waiting: {update.place} before yours." if update.state == "waiting" else progress.what
                yield self._numbered(Report(
                    id=record_id if latest is not None else None, kind=wanted.kind, version=version,
                    state=update.state, what="" if over else what, fraction=None if over else progress.fraction,
                    refusal=_sentence(job.error) if over else "",
                ))  # fmt: skip
        finally:  # the visitor may have gone
            job.stop()
            with self._lock:
                if self._jobs.get(visitor) is job:
                    del self._jobs[visitor]

    def _take_over(self, visitor: str, job: Job) -> None:
        with self._lock:
            before = self._jobs.get(visitor)
            self._jobs[visitor] = job
        if before is not None:
            before.stop()

    def _keep(self, record_id: str, record: Result) -> None:
        with self._lock:
            self._records[record_id] = record
            self._records.move_to_end(record_id)
            while len(self._records) > KEPT:
                self._records.popitem(last=False)

    def _numbered(self, report: Report) -> Report:
        with self._lock:
            self._seq += 1
            return replace(report, seq=self._seq)


class _Progress:
    """How far an experiment is, as it says itself, from the engine's thread."""

    def __init__(self) -> None:
        self.what, self.fraction = "", None

    def say(self, done: int, total: int, what: str) -> None:
        self.what, self.fraction = what, done / total if total else None


def _sentence(error: BaseException | None) -> str:
    if error is None or isinstance(error, Refusal):
        return "" if error is None else str(error)
    log.error("an experiment failed", exc_info=error)
    return _BROKEN
