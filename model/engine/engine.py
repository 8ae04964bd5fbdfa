"""Owns a loaded model and its one queue: jobs of every kind are submitted, watched and stopped from any thread.

One worker thread holds the model. It takes the first job of the queue and works on it until it has ended, is paused,
or makes room for a brief one. What a job adds after its end (post-run work) comes when nobody waits.

Locks: the engine's is taken first, a job's inside it, never the other way round.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from model.api.clock import Clock
from model.api.engine import Offers, Room, Stats
from model.api.inputs import Inputs
from model.api.job import Job, State
from model.arch.template_variables import variables_of
from model.capture.hooked import HookedModel
from model.capture.logit_lens import add_columns
from model.errors import Busy, Cancelled, NotShown, Refusal
from model.limits import Limits
from model.records.file import Saved
from model.records.trace import ModelCard, Trace
from model.requests.registry import of_request
from model.requests.request import Request

_log = logging.getLogger(__name__)
_LONG_S = 2.0  # for which a long job has the model before it makes room for a brief one
_ROOM_S = 0.25  # between two questions whether there is room for the next record
_PARKED_S = 1.0  # between two checks for jobs that were paused for too long


class Unbounded:
    """Room for every record: for an engine whose host keeps none."""

    def check(self, job: Job) -> None:
        """Nothing is too large."""

    def reserve(self, job: Job) -> bool:  # noqa: ARG002
        """There always is."""
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
        self._after_long = False  # whether the job that last made room or ended was a long one
        self._closed = False
        self._worker = threading.Thread(target=self._serve, name=f"engine {self.card.name}", daemon=True)
        self._worker.start()

    @property
    def offers(self) -> Offers:
        """What the model has for a form: its chat template's variables, and what it recommends."""
        return Offers(
            chat=bool(getattr(self.hooked.tokenizer, "chat_template", None)),
            variables=variables_of(self.hooked.tokenizer),
            recommended=self.hooked.recommends,
        )

    def submit(
        self,
        request: Request,
        job: Job,
        *,
        records: Mapping[str, Saved] | None = None,
        drafts: Mapping[str, Any] | None = None,
    ) -> None:
        """Check the request against the model and put the job in the queue.

        `records` are those that the request names, by its fields; `drafts` the engines of the other models it needs,
        by role. Raises: Refusal, at once, if it can't be done; Busy, if too many wait.
        """
        request.check(self._limits, self.card)
        experiment = of_request(request)
        if reason := experiment.fits(self.card):
            raise NotShown("{reason}", reason=reason)
        models = {role: engine.hooked for role, engine in (drafts or {}).items()}
        inputs = Inputs(models={**models, "target": self.hooked}, records=records or {}, limits=self._limits)
        self.enqueue(job, experiment.function()(inputs, request, job), brief=experiment.brief)

    def enqueue(self, job: Job, work: Iterator[Any], *, brief: bool = False) -> None:
        """Put work that has been checked into the queue. Raises: Busy; NoSpace, if its record will never have room."""
        self._room.check(job)
        with self._change:
            self._check_open()
            if len(self._queue) >= self._limits.queue:
                raise Busy(
                    "{n} requests are waiting for the model, the most that this host allows. Try again in a minute.",
                    n=len(self._queue),
                )
            turn = _Turn(job=job, work=work, brief=brief)
            self._queue.append(turn)
            job.watch(self._reconsider)
            self._reconsider(job)  # it may have been stopped on its way here

    def add_columns(self, run: Trace, positions: Sequence[int], job: Job) -> None:
        """Compute columns of the logit lens of a finished run, when nobody waits.

        The job's record is the run with them. Raises, at once: Busy, and what `logit_lens.add_columns` raises.
        """
        self.enqueue_post_run(job, add_columns(self.hooked, run, positions))

    def enqueue_post_run(self, job: Job, work: Iterator[Any]) -> None:
        """Put work that adds to a finished record before all other post-run work: somebody waits for it.

        Raises: Busy, while the model is being unloaded.
        """
        with self._change:
            self._check_open()
            job.end("done", complete=False)
            self._post_run.appendleft(_Turn(job=job, work=work, brief=True, begun=True))
            self._change.notify_all()

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
        """Stop every job and end the worker; a job that has begun may still yield its last record."""
        with self._change:
            self._closed = True
            turns = [*self._queue, *self._parked, *self._post_run, *([self._current] if self._current else [])]
            for turn in turns:
                turn.job.stop()
            del turns
            self._change.notify_all()
        self._worker.join()

    def _check_open(self) -> None:
        if self._closed:
            raise Busy(
                "{model} is being unloaded. Reload the page to run on the model that follows it.",
                model=self.card.name,
            )

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
        """The first that waits and that there is room for, else post-run work. Waits until there is one."""
        with self._change:
            while True:
                self._end_idle()
                if (turn := self._begun()) is not None:
                    return turn
                if self._post_run:
                    return self._post_run.popleft()
                if self._closed:  # all were stopped: what was not begun has left the queue, the others came before this
                    return None
                self._change.wait(timeout=_ROOM_S if self._queue else _PARKED_S if self._parked else None)

    def _begun(self) -> _Turn | None:
        """The next job, which has the model from now on; nobody new goes before one that waits for room."""
        may_begin = True
        for turn in self._in_turn():
            try:
                ready = turn.begun or (may_begin and self._room.reserve(turn.job))
            except Exception as error:  # noqa: BLE001  (no room ever, or a fault of the store: of this job alone)
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

    def _in_turn(self) -> list[_Turn]:
        """Those that wait, in order; after a long job has had its turn, the first brief one comes first."""
        turns = list(self._queue)
        first = next((each for each in turns if each.brief), None)
        if self._after_long and first is not None:
            turns.remove(first)
            turns.insert(0, first)
        return turns

    def _end_idle(self) -> None:
        """Paused jobs hold memory: one that nobody touched for long ends, and of too many the one paused longest."""
        too_long = [turn for turn in self._parked if turn.job.idle_s > self._limits.paused_seconds]
        for turn in too_long or self._parked[: max(len(self._parked) - self._limits.paused_runs, 0)]:
            turn.job.stop()

    def _advance(self, turn: _Turn) -> None:
        """Work on one job until it has ended, is paused or makes room."""
        began = time.monotonic()
        while not self._park(turn) and self._made_value(turn):
            if turn.job.is_settled:
                return self._settle(turn)
            if not turn.brief and time.monotonic() - began > _LONG_S and self._makes_room(turn):
                return None
        return None

    def _park(self, turn: _Turn) -> bool:
        """Hold the job if it is paused; in one step, so that a resume that comes meanwhile finds it parked."""
        with self._change:
            if turn.job.may_go_on():
                return False
            self._parked.append(turn)
            self._left(turn)
            return True

    def _made_value(self, turn: _Turn) -> bool:
        """Let the work make its next value; False if the job has ended."""
        was_stopped = turn.job.stopped()
        try:
            with self._clock.working():
                record = next(turn.work)
        except (StopIteration, Cancelled):
            self._end(turn, "stopped" if turn.job.stopped() else "done")
            return False
        if record is not None:
            turn.job.take(record)
        if was_stopped:  # that was its last value
            turn.close()
            self._end(turn, "stopped")
        return not was_stopped

    def _makes_room(self, turn: _Turn) -> bool:
        """A long job lets a brief one go first, if one waits; another long one waits for its end."""
        with self._change:
            if not any(each.brief for each in self._queue):
                return False
            self._queue.appendleft(turn)
            turn.job.wait_again()
            self._left(turn)
            return True

    def _settle(self, turn: _Turn) -> None:
        """Its record is whole; what may be added to it comes when nobody waits."""
        with self._change:
            turn.job.end("done", complete=False)
            self._finished += 1
            self._post_run.append(turn)
            self._left(turn)

    def _add_post_run(self, turn: _Turn) -> None:
        """One piece of post-run work; the queue comes first, so the rest waits its turn again."""
        if not turn.job.stopped() and not self._closed:
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
            self._finished += 1
            turn.job.end(state, error, complete=True)
            self._left(turn)

    def _left(self, turn: _Turn) -> None:
        """It has the model no more, if it had it."""
        if self._current is turn:
            self._current, self._after_long = None, not turn.brief
        self._tell_places()

    def _fail(self, turn: _Turn, error: Exception) -> None:
        if not isinstance(error, Refusal):
            _log.error("a job failed", exc_info=error)
        with suppress(Exception):  # it failed already, or could not be left where it was
            turn.close()
        if turn.job.status.over:  # its post-run work broke: the record stays as it is
            return turn.job.end(turn.job.status.state, error, complete=True)
        return self._end(turn, "failed", error)

    def _reconsider(self, job: Job) -> None:
        """A job came, or was stopped, paused, resumed or stepped."""
        with self._change:
            for turn in [each for each in self._parked if each.job is job and job.wants_model]:
                self._parked.remove(turn)
                self._queue.appendleft(turn)
                job.wait_again()
            for turn in [each for each in self._queue if each.job is job and job.stopped()]:
                self._queue.remove(turn)
                if turn.begun:
                    self._queue.appendleft(turn)  # its last value takes a moment, and gives its memory back
                else:
                    turn.close()
                    self._end(turn, "stopped")
            self._tell_places()

    def _tell_places(self) -> None:
        for place, turn in enumerate(self._queue, 1):
            turn.job.place_in_queue(place)
        if self._current is not None:
            self._current.job.has_company(bool(self._queue))
        self._change.notify_all()


_NOTHING = object()
