"""Follows the visitors' experiments: what is measured of a model, replayed, served or drafted. No gradio here.

An experiment is one record that grows while the engine works on it; the page is told of each newer version, and
fetches its pictures.
"""

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from model.errors import Refusal
from model.records.batching import Batching
from model.records.cache import CacheTrials
from model.records.speculation import Speculation
from model.records.timing import Measurement
from viz.server.live import Engine, Models
from viz.server.requested import Asked, Kind

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
    refusal: str = ""  # why the last press came to nothing; what ran before it goes on, and says so until the next
    press: int = 0  # grows with each press of a button: the latest that this tells of
    seq: int = 0  # grows: a page forgets a report that comes after a newer one


@dataclass(eq=False)
class _Press:
    """One experiment that a visitor has asked for, from the press of its button to its end."""

    kind: Kind
    number: int
    stopped: threading.Event = field(default_factory=threading.Event)  # nobody wants it any more
    overtaken: bool = False  # what ended it was a press for something of another kind
    job: Job | None = None  # once it has begun
    told: Report | None = None  # the latest
    refusal: str = ""  # of a press that came later, and to nothing

    @property
    def ended_as(self) -> str:
        """What it is once it was stopped: by a person, or by a press for something of another kind."""
        return "overtaken" if self.overtaken else "stopped"


class Experiments:
    """Every visitor's experiments. A record is known to whoever has its id, which cannot be guessed."""

    def __init__(self, models: Models, begin: Mapping[Kind, Begin], most_bytes: int = 250_000_000) -> None:
        self.models = models
        self._begin, self._most_bytes = begin, most_bytes
        self._records: OrderedDict[str, Result] = OrderedDict()
        self._presses: dict[str, list[_Press]] = {}  # of each visitor, those not over; a newer one ends those before
        self._lock = threading.Lock()
        self._seq = self._n_presses = 0

    def get(self, record_id: str) -> Result | None:
        """The record by that id, or None if it has left or never was here."""
        with self._lock:
            if record_id in self._records:
                self._records.move_to_end(record_id)
            return self._records.get(record_id)

    def refuse(self, visitor: str, kind: Kind, sentence: str) -> Report:
        """What the page is told of a request that cannot be carried out: how what still runs stands, and why not."""
        with self._lock:
            number = self._next_press(visitor)
            going = [each for each in self._presses.get(visitor, ()) if each.kind == kind]
            for each in going:
                each.number, each.refusal = number, sentence
            told = next((each.told for each in reversed(going) if each.told), None) or Report(kind=kind)
        return self._numbered(replace(told, refusal=sentence, press=number))

    def stop(self, visitor: str) -> None:
        """End what the visitor has asked for; what was measured so far stays."""
        with self._lock:
            going = list(self._presses.get(visitor, ()))
            for press in going:
                press.stopped.set()  # what has not begun ends where it begins
        _stop_jobs(going)

    def ask(self, visitor: str, wanted: Asked) -> Generator[Report]:
        """Do what is asked for; yields how it stands, at once and until it is over."""
        press, said = self._pressed(visitor, wanted), Report(kind=wanted.kind, state="waiting")
        try:
            yield self._tell(press, replace(said, what="Asking for the model."))
            engine = yield from self._engine(press, wanted, said)
            if engine is None:
                yield self._tell(press, replace(said, state=press.ended_as))
                return
            progress = _Progress()
            job = self._begin[wanted.kind](engine, wanted, progress.say)
            self._take_over(visitor, press, job)
            yield from self._follow(press, job, wanted, progress)
        except Refusal as refusal:
            self._leave(visitor, press)
            yield self.refuse(visitor, wanted.kind, str(refusal))
        finally:  # the visitor may have gone
            if press.job is not None:
                press.job.stop()
            self._leave(visitor, press)

    def _pressed(self, visitor: str, wanted: Asked) -> _Press:
        with self._lock:
            press = _Press(kind=wanted.kind, number=self._next_press(visitor))
            before = self._presses.setdefault(visitor, [])
            for each in before:
                if each.job is None:
                    each.overtaken = each.kind != press.kind
                    each.stopped.set()
            before.append(press)
        return press

    def _next_press(self, visitor: str) -> int:
        """The number of one more press, which wipes away what was said of those before."""
        for each in self._presses.get(visitor, ()):
            each.refusal = ""
        self._n_presses += 1
        return self._n_presses

    def _take_over(self, visitor: str, press: _Press, job: Job) -> None:
        """What has begun ends what ran before it, or ends itself if meanwhile nobody wants it any more."""
        with self._lock:
            press.job = job
            at = self._presses[visitor].index(press)
            over = [press] if press.stopped.is_set() else self._presses[visitor][:at]
            for each in over:
                each.overtaken = each.kind != press.kind
        _stop_jobs(over)

    def _leave(self, visitor: str, press: _Press) -> None:
        with self._lock:
            left = [each for each in self._presses.get(visitor, ()) if each is not press]
            if left:
                self._presses[visitor] = left
            else:
                self._presses.pop(visitor, None)

    def _engine(self, press: _Press, wanted: Asked, said: Report) -> Generator[Report, None, Engine | None]:
        """The engine that does the work, once all models that it needs are here; None if the visitor stopped before."""
        engine = None
        for name in wanted.models:  # the one that does the work comes last
            while (engine := self.models.engine(name)) is None and not press.stopped.is_set():
                yield self._tell(press, replace(said, what=self.models.state(name).text))
                press.stopped.wait(0.25)
        return None if press.stopped.is_set() else engine

    def _follow(self, press: _Press, job: Job, wanted: Asked, progress: "_Progress") -> Iterator[Report]:
        record_id, latest, version = secrets.token_urlsafe(12), None, 0
        for update in job.updates(wait_s=0.25):
            if (record := job.result()) is not None and record is not latest:
                latest, version = record, version + 1
                self._keep(record_id, record)
            over = update.state in ("done", "stopped", "failed")
            state = press.ended_as if update.state == "stopped" else update.state
            what = f"Waiting: {update.place} before yours." if update.state == "waiting" else progress.what
            yield self._tell(
                press,
                Report(
                    id=record_id if latest is not None else None,
                    kind=wanted.kind,
                    version=version,
                    state=state,
                    what="" if over else what,
                    fraction=None if over else progress.fraction,
                    refusal=_sentence(job.error) if over else "",
                ),
            )

    def _keep(self, record_id: str, record: Result) -> None:
        with self._lock:
            self._records[record_id] = record
            self._records.move_to_end(record_id)
            sizes = {name: sum(each.nbytes for each in kept.arrays().values()) for name, kept in self._records.items()}
            while len(sizes) > 1 and (len(sizes) > KEPT or sum(sizes.values()) > self._most_bytes):
                del sizes[self._records.popitem(last=False)[0]]

    def _tell(self, press: _Press, report: Report) -> Report:
        with self._lock:
            press.told = report
            report = replace(report, refusal=report.refusal or press.refusal, press=press.number)
        return self._numbered(report)

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


def _stop_jobs(presses: list[_Press]) -> None:
    for press in presses:
        if press.job is not None:
            press.job.stop()


def _sentence(error: BaseException | None) -> str:
    if error is None or isinstance(error, Refusal):
        return "" if error is None else str(error)
    log.error("an experiment failed", exc_info=error)
    return _BROKEN
