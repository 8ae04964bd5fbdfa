"""Owns a loaded model and its one queue: jobs of every kind are asked for, watched and stopped from any thread.

One worker thread holds the model. It takes the first job of the queue and works on it until it has ended, is paused,
or makes room for a shorter one. What a job adds after its end (post-run work) comes when nobody waits.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model.api.clock import Clock
from model.api.engine import Room, Stats
from model.api.inputs import Inputs
from model.api.job import Job, State
from model.capture.hooked import HookedModel
from model.errors import Busy, Cancelled, NoSpace, NotShown, Refusal
from model.limits import Limits
from model.records.file import Saved
from model.records.trace import ModelCard
from model.requests.registry import of_request
from model.requests.request import Request

_log = logging.getLogger(__name__)
_LONG_S = 2.0  # for which a long job has the model before it makes room for those that wait
_LOOK_S = 0.25  # between two looks at whether there is room for the next record


class Unbounded:
    """Room for every record: for an engine whose host keeps none."""

    def reserve(self, job: Job) -> bool:  # noqa: ARG002
        """Always."""
        return True


@dataclass(eq=False)
class _Turn:
    """A job, and the work that its experiment does for it."""

    job: Job
    work: Iterator[Any]
    brief: bool
    begun: bool = False

    def close(self) -> None:
        """End the work where it is; only the worker may, once it has begun."""
        if isinstance(self.work, Generator):
            self.work.close()


class Engine:
    """A model at work for many visitors, one piece of work at a time."""

    def __init__(
        self, hooked: HookedModel, limits: Limits, *, clock: Clock | None = None, room: Room | None = None
    ) -> None:
        self.card: ModelCard = hooked.card
        self.hooked = hooked
        self._limits, self._clock, self._room = limits, clock or Clock(), room or Unbounded()
        self._change = threading.Condition()
        self._queue: deque[_Turn] = deque()
        self._parked: list[_Turn] = []
        self._post_run: deque[_Turn] = deque()
        self._current: _Turn | None = None
        self._finished = 0
        self._closed = False
        self._worker = threading.Thread(target=self._serve, name=f"engine {self.card.name}", daemon=True)
        self._worker.start()

    def submit(
        self,
        request: Request,
        job: Job,
        *,
        records: Mapping[str, Saved] | None = None,
        drafts: Mapping[str, "Engine"] | None = None,
    ) -> None:
        """Check the request against the model and put the job in the queue.

        `records` are those that the request names, by its fields; `drafts` the engines of the other models it needs,
        by role. Raises: Refusal, at once, if it can't be done; Busy, if too many wait.
        """
        request.check(self._limits, self.card)
        experiment = of_request(request)
        if reason := experiment.fits(self.card):
            raise NotShown(reason)
        models = {role: engine.hooked for role, engine in (drafts or {}).items()}
        inputs = Inputs(models={**models, "target": self.hooked}, records=records or {}, limits=self._limits)
        self.enqueue(job, experiment.function()(inputs, request, job), brief=experiment.brief)

    def enqueue(self, job: Job, work: Iterator[Any], *, brief: bool = False) -> None:
        """Put work that has been checked into the queue. Raises: Busy."""
        with self._change:
            if self._closed:
                raise Busy(f"{self.card.name} is being unloaded. Reload the page to run on the model that follows it.")
            if len(self._queue) >= self._limits.queue:
                raise Busy(
                    f"{len(self._queue)} requests are waiting for the model, as many as this host lets wait. "
                    "Try again in a minute."
                )
            job.on_change = self._look_again
            self._queue.append(_Turn(job=job, work=work, brief=brief))
            self._tell_places()

    def stats(self) -> Stats:
        """How many jobs wait, run, are paused and have ended."""
        with self._change:
            return Stats(
                waiting=len(self._queue),
                running=int(self._current is not None),
                paused=len(self._parked),
                finished=self._finished,
            )

    def close(self) -> None:
        """Stop every job and end the worker."""
        with self._change:
            self._closed = True
            turns = [*self._queue, *self._parked, *self._post_run, *([self._current] if self._current else [])]
        for turn in turns:
            turn.job.stop()
        with self._change:
            self._change.notify_all()
        self._worker.join()

    # The worker

    def _serve(self) -> None:
        while self._served():
            pass

    def _served(self) -> bool:
        """Work on the next job; no name is left behind that would keep its record while the worker waits."""
        turn = self._next()
        if turn is None:
            return False
        try:
            if turn.job.status.over:
                self._add_post_run(turn)
            else:
                self._advance(turn)
        except Exception as error:  # noqa: BLE001  (logged whole; the next job must not suffer for it)
            self._fail(turn, error)
        return True

    def _next(self) -> _Turn | None:
        """The first in the queue that there is room for, else post-run work. Waits until there is one."""
        with self._change:
            while not self._closed:
                self._end_idle()
                if (turn := self._first_with_room()) is not None:
                    return turn
                if self._post_run:
                    return self._post_run.popleft()
                self._change.wait(timeout=_LOOK_S if self._queue else 1.0 if self._parked else None)
            left = [*self._queue, *self._parked, *self._post_run]
            self._queue.clear()
            self._parked.clear()
            self._post_run.clear()
        for turn in left:
            turn.close()
            self._end(turn, "stopped")
        return None

    def _first_with_room(self) -> _Turn | None:
        """The first that has begun, or that there is room for: nobody new goes before one that waits for room."""
        may_begin = True
        for turn in list(self._queue):
            try:
                ready = turn.begun or (may_begin and self._room.reserve(turn.job))
            except NoSpace as error:
                self._queue.remove(turn)
                self._fail(turn, error)
                continue
            if ready:
                self._queue.remove(turn)
                self._current, turn.begun = turn, True
                turn.job.begin(self._clock)
                self._tell_places()
                return turn
            may_begin = False
        return None

    def _end_idle(self) -> None:
        """Paused jobs hold memory: one that nobody touched for long ends, and of too many the one paused longest."""
        too_long = [turn for turn in self._parked if turn.job.idle_s > self._limits.paused_seconds]
        for turn in too_long or self._parked[: max(len(self._parked) - self._limits.paused_runs, 0)]:
            turn.job.stop()

    def _advance(self, turn: _Turn) -> None:
        """Work on one job until it has ended, is paused or makes room."""
        began = time.monotonic()
        while True:
            if not turn.job.may_go_on() and self._park(turn):
                break
            was_stopped = turn.job.stopped()
            try:
                with self._clock.working():
                    record = next(turn.work)
            except (StopIteration, Cancelled):
                self._end(turn, "stopped" if turn.job.stopped() else "done")
                break
            if record is not None:
                turn.job.take(record)
            if was_stopped:  # that was its last word
                turn.close()
                self._end(turn, "stopped")
                break
            if turn.job.is_settled:
                self._settle(turn)
                break
            if not turn.brief and time.monotonic() - began > _LONG_S and self._makes_room(turn):
                break

    def _park(self, turn: _Turn) -> bool:
        with self._change:
            if not turn.job.hold():
                return False
            self._parked.append(turn)
            self._current = None
            self._change.notify_all()
            return True

    def _makes_room(self, turn: _Turn) -> bool:
        """A long job goes behind the first one that waits."""
        with self._change:
            if not self._queue:
                return False
            self._queue.insert(1, turn)
            self._current = None
            turn.job.wait_again()
            self._tell_places()
            return True

    def _settle(self, turn: _Turn) -> None:
        """Its record is whole; what may be added to it comes when nobody waits."""
        with self._change:
            turn.job.end("done", complete=False)
            self._finished += 1
            self._current = None
            self._post_run.append(turn)

    def _add_post_run(self, turn: _Turn) -> None:
        """One piece of post-run work; the queue comes first, so the rest waits its turn again."""
        if not turn.job.stopped():
            with self._clock.working():
                record = next(turn.work, _NOTHING)
            if record is not _NOTHING:
                if record is not None:
                    turn.job.take(record)
                with self._change:
                    self._post_run.appendleft(turn)
                return
        turn.close()
        turn.job.end(turn.job.status.state, complete=True)

    def _end(self, turn: _Turn, state: State, error: Exception | None = None) -> None:
        with self._change:
            if self._current is turn:
                self._current = None
            self._finished += 1
            turn.job.end(state, error, complete=True)
            self._tell_places()

    def _fail(self, turn: _Turn, error: Exception) -> None:
        if not isinstance(error, Refusal):
            _log.error("a job failed", exc_info=error)
        if turn.job.status.over:  # its post-run work broke: the record stays as it is
            return turn.job.end(turn.job.status.state, error, complete=True)
        self._end(turn, "failed", error)

    def _look_again(self, job: Job) -> None:
        """A job was stopped, paused, resumed or stepped."""
        with self._change:
            for turn in [each for each in self._parked if each.job is job and job.wants_model]:
                self._parked.remove(turn)
                self._queue.appendleft(turn)
                job.wait_again()
            for turn in [each for each in self._queue if each.job is job and job.stopped() and not each.begun]:
                self._queue.remove(turn)
                turn.close()
                self._end(turn, "stopped")
            self._tell_places()

    def _tell_places(self) -> None:
        for place, turn in enumerate(self._queue, 1):
            turn.job.place_in_queue(place)
        self._change.notify_all()


_NOTHING = object()
