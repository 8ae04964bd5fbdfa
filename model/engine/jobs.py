"""What waits its turn at the engine: a turn of any kind, and a job, which is work on the model other than a run."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from model.engine.engine import Engine

State = Literal["waiting", "running", "paused", "done", "stopped", "failed"]
OVER = ("done", "stopped", "failed")

U = TypeVar("U")


class Turn(ABC, Generic[U]):
    """Something that somebody asked of the engine: it waits, has the model, and ends."""

    def __init__(self, engine: "Engine", stopping: threading.Event) -> None:
        self.error: Exception | None = None
        self._engine = engine
        self._state: State = "waiting"
        self._stopping = stopping
        self._over = False

    @property
    def state(self) -> State:
        """Waiting for the model, running, paused, or over: done, stopped or failed."""
        return self._state

    @property
    def place(self) -> int:
        """Place in the queue: 0 has the model, or needs it no more; 1 is next."""
        with self._engine._change:
            return next((at for at, turn in enumerate(self._engine._queue, 1) if turn is self), 0)

    def updates(self, wait_s: float = 0.25) -> Iterator[U]:
        """How it stands: now, after every change, at least every wait_s seconds; the last one when all is done."""
        while True:
            with self._engine._change:
                seen, over = self._snapshot(), self._over
            yield seen
            if over:
                return
            with self._engine._change:
                if self._snapshot() == seen and not self._over:
                    self._engine._change.wait(timeout=wait_s)

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    @abstractmethod
    def _snapshot(self) -> U: ...

    @abstractmethod
    def _let_go(self) -> None:
        """Drop what only the work needed; it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """How a job stands."""

    state: State
    place: int  # in the queue: 0 has the model, 1 is next
    n_results: int  # values so far; a newer one replaces the one before


class Job(Turn[JobUpdate]):
    """Work on a model that somebody asked for, such as a measurement: it has the model to itself until it ends."""

    def __init__(
        self, engine: "Engine", pieces: Iterator[Any], stopping: threading.Event, *, ends_itself: bool
    ) -> None:
        super().__init__(engine, stopping)
        self._pieces = pieces
        self._ends_itself = ends_itself  # it looks whether it is stopped, and may say so in a last value
        self._result: Any = None
        self._n_results = 0

    def result(self) -> Any:
        """The latest value, whole or as far as it went; None before the first."""
        with self._engine._change:
            return self._result

    def stop(self) -> None:
        """End the job: at once if it waits, else after the value that is being made, or sooner if that asks."""
        engine = self._engine
        with engine._change:
            self._stopping.set()
            if self in engine._queue:
                engine._queue.remove(self)
                engine._end_job(self)

    def _snapshot(self) -> JobUpdate:
        return JobUpdate(state=self._state, place=self.place, n_results=self._n_results)

    def _let_go(self) -> None:
        del self._pieces
