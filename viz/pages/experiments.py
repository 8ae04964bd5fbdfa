"""Follows the visitors' experiments: what is measured of a model, replayed, served or drafted. No gradio here.

An experiment is one record that grows while the engine works on it; the page is told of each newer version, and
fetches its pictures.
"""

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from model.errors import Refusal
from model.measurements import CacheTrials, Measurement
from model.serving import Batching, Speculation
from viz.pages.live import Engine, Models
from viz.pages.wanted import Asked, Kind

log = logging.getLogger("tokenoscope")

KEPT = 200  # records at most, most of some kilobytes; the one asked for least recently leaves
_BROKEN = "Something broke inside the program. The host's log says what."

Result = Measurement | CacheTrials | Batching | Speculation
Say = Callable[[int, int, str], None]
"""Called by an experiment with how much is done, of how much, and what it does now."""


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


Begin = Callable[[Engine, Any, Say], Job]
"""Begins an experiment of one kind on an engine, which may be of a kind that this page knows nothing of."""


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

    def __init__(self, models: Models, begin: Mapping[Kind, Begin], most_bytes: int = 250_000_000) -> None:
        self.models = models
        self._begin, self._most_bytes = begin, most_bytes
        self._records: OrderedDict[str, Result] = OrderedDict()
        self._jobs: dict[str, Job] = {}  # by visitor: a newer one ends the one before
        self._waiting: dict[str, threading.Event] = {}  # of visitors whose model is on its way: set to end the waiting
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
            job, waiting = self._jobs.get(visitor), self._waiting.get(visitor)
        if waiting is not None:
            waiting.set()
        if job is not None:
            job.stop()

    def ask(self, visitor: str, wanted: Asked) -> Generator[Report]:
        """Do what is asked for; yields how it stands, at once and until it is over."""
        said = Report(kind=wanted.kind, state="waiting", what="Asking for the model.")
        yield self._numbered(said)
        try:
            engine = yield from self._engine(visitor, wanted, said)
            if engine is None:
                yield self._numbered(replace(said, state="stopped", what=""))
                return
            progress = _Progress()
            job = self._begin[wanted.kind](engine, wanted, progress.say)
        except Refusal as refusal:
            yield self.refuse(wanted.kind, str(refusal))
            return
        self._take_over(visitor, job)
        yield from self._follow(visitor, job, wanted, progress)

    def _engine(self, visitor: str, wanted: Asked, said: Report) -> Generator[Report, None, Engine | None]:
        """The engine that does the work, once all models that it needs are here; None if the visitor stopped before."""
        engine, stopped = None, threading.Event()
        with self._lock:
            before, self._waiting[visitor] = self._waiting.get(visitor), stopped
        if before is not None:
            before.set()
        try:
            for name in wanted.models:  # the one that does the work comes last
                while (engine := self.models.engine(name)) is None and not stopped.is_set():
                    yield self._numbered(replace(said, what=self.models.state(name).text))
                    stopped.wait(0.25)
            return None if stopped.is_set() else engine
        finally:
            with self._lock:
                if self._waiting.get(visitor) is stopped:
                    del self._waiting[visitor]

    def _follow(self, visitor: str, job: Job, wanted: Asked, progress: "_Progress") -> Iterator[Report]:
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
            sizes = {name: sum(each.nbytes for each in kept.arrays().values()) for name, kept in self._records.items()}
            while len(sizes) > 1 and (len(sizes) > KEPT or sum(sizes.values()) > self._most_bytes):
                del sizes[self._records.popitem(last=False)[0]]

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
