"""A job: one experiment that somebody asked for, from the question to its end.

Three parties use it. The work calls `check`, `progress`, `clock` and `settled`. The engine drives it through
`watch`, `begin`, `may_go_on`, `take`, `place_in_queue` and `end`. The caller reads `status`, `record` and `error`, and
may stop, pause, resume or step it. Without an engine a job is a way to stop a library call and to follow it.
"""

import secrets
import statistics
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from model.api.clock import Clock
from model.errors import Cancelled

R = TypeVar("R")
State = Literal["waiting", "running", "paused", "done", "stopped", "failed"]
OVER = ("done", "stopped", "failed")
_PACES = 32  # pieces whose median pace says how long the rest takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a job stands."""

    state: State = "waiting"
    place: int = 0  # in the queue: 0 has the model, or needs it no more; 1 is next
    version: int = 0  # of its record: grows with each newer one
    what: str = ""  # what is being done, for a person
    done: int = 0  # pieces done, of `total`; 0 of 0 while nobody knows
    total: int = 0
    eta_s: float | None = None  # seconds left at its own pace; None before that is known
    complete: bool = False  # nothing more comes: its post-run work is over, too

    @property
    def over(self) -> bool:
        """Whether the experiment has ended; post-run work may still add to its record."""
        return self.state in OVER


class Job:
    """One experiment on its way. Safe to use from any thread."""

    def __init__(self) -> None:
        self.id = secrets.token_urlsafe(12)
        self.expected_bytes = 0  # of its record, once its work has been checked
        self.error: Exception | None = None
        self._change = threading.Condition()
        self._status = Status()
        self._record: Any = None
        self._clock: Clock | None = None
        self._watcher: Callable[[Job], None] | None = None  # the engine that has it
        self._stopping = threading.Event()
        self._settled = False
        self._same_piece = self._others_wait = False
        self._paused = False
        self._allowed = 0  # values that may still be made while paused
        self._touched = time.monotonic()
        self._marks: list[float] = []  # when each of the latest pieces was done

    # For the work

    def check(self) -> None:
        """Called between pieces of work. Raises: Cancelled, if the job was stopped."""
        if self.stopped():
            raise Cancelled

    def stopped(self) -> bool:
        """Whether it was stopped: for a library that takes a function."""
        return self._stopping.is_set()

    def progress(self, done: int, total: int, what: str) -> None:
        """Say how many pieces of how many are done, and what comes now."""
        with self._change:
            if done > self._status.done:
                self._marks = [*self._marks[-_PACES:], time.monotonic()]
            self._status = replace(self._status, done=done, total=total, what=what, eta_s=self._eta(total - done))
            self._change.notify_all()

    def clock(self) -> AbstractContextManager[None]:
        """Around what is timed: no other model of this host works inside, and the job is not paused there."""
        return nullcontext() if self._clock is None else self._clock.timing()

    def goes_on(self, same_piece: bool) -> None:
        """Say whether the next value belongs to the piece of work that was just done: a pause then waits for it."""
        self._same_piece = same_piece

    @property
    def others_wait(self) -> bool:
        """Whether another job waits for the model: work that can be done later is then left for later."""
        return self._others_wait

    def settled(self) -> None:
        """Say that the record is whole: what is yielded from now on is post-run work, of low priority."""
        self._settled = True

    # For the engine

    def watch(self, watcher: Callable[["Job"], None]) -> None:
        """Call this after every stop, pause, resume and step, from the thread that did it, until the job ends."""
        self._watcher = watcher

    def begin(self, clock: Clock) -> None:
        """The engine gives the model to this job."""
        with self._change:
            self._clock = clock
            self._move("running", place=0)

    def may_go_on(self) -> bool:
        """Whether the next value may be made. A paused job uses up a step for it, or is held from now on."""
        with self._change:
            if not self._paused or self._stopping.is_set() or self._same_piece:
                return True
            if self._allowed > 0:
                self._allowed -= 1
                return True
            self._touched, self._marks = time.monotonic(), []
            self._move("paused")
            return False

    def wait_again(self) -> None:
        """Put the job back in the queue."""
        with self._change:
            self._marks = []
            self._move("waiting")

    def has_company(self, others_wait: bool) -> None:
        """Record whether another job waits for the model that this one has."""
        self._others_wait = others_wait

    def place_in_queue(self, place: int) -> None:
        """Record the job's place in the queue."""
        with self._change:
            if self._status.place != place:
                self._move(self._status.state, place=place)

    def take(self, record: Any) -> None:
        """Keep a newer record; its version grows by one."""
        with self._change:
            self._record = record
            self._move(self._status.state, version=self._status.version + 1)

    def end(self, state: State, error: Exception | None = None, *, complete: bool) -> None:
        """The experiment has ended; with `complete`, so has its post-run work."""
        with self._change:
            self.error = self.error if error is None else _without_frames(error)
            self._move(state, place=0, eta_s=None, complete=complete)
            if complete:
                self._watcher = None  # a job that is kept must not keep the engine and its model

    @property
    def wants_model(self) -> bool:
        """Whether there is something to do for it: it is not paused, may take a step, or was stopped."""
        with self._change:
            return not self._paused or self._allowed > 0 or self._stopping.is_set()

    @property
    def is_settled(self) -> bool:
        """Whether only post-run work is left."""
        return self._settled

    @property
    def idle_s(self) -> float:
        """Seconds for which nobody has paused, resumed or stepped it."""
        return time.monotonic() - self._touched

    # For the caller

    @property
    def status(self) -> Status:
        """How it stands now."""
        with self._change:
            return self._status

    @property
    def record(self) -> Any:
        """The record so far; None before the first. It belongs to the version in `status`, or to a newer one."""
        with self._change:
            return self._record

    def updates(self, wait_s: float = 0.25) -> Iterator[Status]:
        """How it stands: now, after every change, at least every wait_s seconds; the last one when it is complete."""
        while True:
            seen = self.status
            yield seen
            if seen.complete:
                return
            with self._change:
                self._change.wait_for(lambda seen=seen: self._status is not seen, timeout=wait_s)

    def stop(self) -> None:
        """End it within the piece that is being computed; of a job that is over, end its post-run work."""
        with self._change:
            self._stopping.set()
            self._change.notify_all()
        self._tell()

    def pause(self) -> None:
        """Hold it after the value that is being made; others may have the model meanwhile."""
        self._hold(True)

    def resume(self) -> None:
        """Go on."""
        self._hold(False)

    def step(self) -> None:
        """Make one more value, then hold."""
        self._hold(True, allowed=1)

    def _hold(self, paused: bool, allowed: int = 0) -> None:
        with self._change:
            self._paused, self._allowed, self._touched = paused, allowed, time.monotonic()
        self._tell()

    def _tell(self) -> None:
        """Outside its own lock: the engine takes its lock first and the job's inside."""
        if (watcher := self._watcher) is not None:
            watcher(self)

    def _move(self, state: State, **changed: Any) -> None:
        self._status = replace(self._status, state=state, **changed)
        self._change.notify_all()

    def _eta(self, left: int) -> float | None:
        paces = [after - before for before, after in zip(self._marks, self._marks[1:], strict=False)]
        return left * statistics.median(paces) if paces else None


def records_of(pieces: Generator[R | None]) -> Generator[R]:
    """The records alone, without the None between two pieces of work: what a library call gives."""
    with closing(pieces):
        for record in pieces:
            if record is not None:
                yield record


def _without_frames(error: Exception) -> Exception:
    """The error and its causes without tracebacks, whose frames would keep the memory of the work."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and one not in seen:
            seen.append(one)
            todo += [one.__cause__, one.__context__]
            one.__traceback__ = None
    return error
