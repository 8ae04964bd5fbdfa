"""Owns a loaded model and its queue: runs and jobs are asked for, watched and stopped from any thread.

One worker thread holds the model. It takes the first run of the queue and works on it until it has ended or is
paused; a paused run keeps its cache and gives the model to the next one. Whoever asked for a run watches it through
`Run.updates` and reads the run so far from `Run.trace`. A job, such as a measurement, waits in the same queue and
has the model to itself until it ends.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from model.capture.generation import Generation
from model.capture.hooked import HookedModel
from model.capture.tracer import Cancelled
from model.engine.jobs import OVER, Job, State, Turn
from model.errors import Busy, PromptTooLong, Refusal
from model.experiments.generation.additions import additions
from model.limits import Limits
from model.records.trace import ModelCard, Settings, Trace

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How a run stands."""

    state: State
    place: int  # in the queue: 0 has the model, 1 is next
    n_steps: int
    eta_s: float | None  # seconds left at this run's own pace; None before its second step
    lens: bool  # whether the logit lens has been added


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How busy the model is."""

    waiting: int
    running: int
    paused: int
    finished: int


class Engine:
    """A model at work for many visitors, one forward pass at a time."""

    def __init__(self, hooked: HookedModel, limits: Limits) -> None:
        self.card: ModelCard = hooked.card
        self._hooked, self._limits = hooked, limits
        self._change = threading.Condition()
        self._queue: deque[Run | Job] = deque()
        self._parked: list[Run] = []
        self._incomplete: deque[Run] = deque()  # done, but for what is added after a run, while others need the model
        self._current: Run | Job | None = None
        self._finished = 0
        self._closed = False
        self._worker = threading.Thread(target=self._work, name=f"engine {self.card.name}", daemon=True)
        self._worker.start()

    @property
    def hooked(self) -> HookedModel:
        """The model, for work on another engine that needs it too, as a draft; that work holds its guard."""
        return self._hooked

    def submit(self, prompt: str, settings: Settings) -> "Run":
        """Ask for a run; it waits its turn. Raises: Refusal, at once, if it cannot be run; Busy, if too many wait."""
        n_bytes = len(prompt.encode("utf-8", "replace"))
        if n_bytes > self._limits.prompt_bytes:
            raise PromptTooLong(
                f"the prompt has {n_bytes:,} bytes; this host reads at most "
                f"{self._limits.prompt_bytes:,} (TOKENOSCOPE_PROMPT_BYTES). Shorten it."
            )
        run = Run(self, Generation(self._hooked, prompt, settings, self._limits), settings)
        self._enqueue(run)
        return run

    def submit_job(self, make: Callable[[HookedModel], Iterator[Any]], stopping: threading.Event | None = None) -> Job:
        """Ask for work on the model that is no run, such as a measurement; it waits its turn like one.

        `make` is called at once, and what it gives is worked off when the turn comes: each value it yields is the
        job's result so far. `stopping`, if there is one, is set when the job is stopped, so that work between two
        values can look at it, and is asked for one last value, which may say how it ended. Raises: Refusal, at once, if
        `make` raises it; Busy, if too many wait.
        """
        job = Job(self, make(self._hooked), stopping or threading.Event(), ends_itself=stopping is not None)
        self._enqueue(job)
        return job

    def stats(self) -> Stats:
        """How many runs wait, run, are paused and have ended."""
        with self._change:
            return Stats(
                waiting=len(self._queue),
                running=int(self._current is not None),
                paused=len(self._parked),
                finished=self._finished,
            )

    def close(self) -> None:
        """Stop every run and end the worker."""
        with self._change:
            self._closed = True
            runs = [*self._queue, *self._parked, *([self._current] if self._current else [])]
            self._change.notify_all()
        for run in runs:
            run.stop()
        self._worker.join()

    def _enqueue(self, turn: "Run | Job") -> None:
        with self._change:
            if self._closed:
                raise Busy(f"{self.card.name} is being put away. Reload the page to run on the model that follows it.")
            if len(self._queue) >= self._limits.queue:
                raise Busy(
                    f"{len(self._queue)} runs are waiting for the model, as many as this host lets wait. "
                    "Try again in a minute."
                )
            self._queue.append(turn)
            self._change.notify_all()

    def _work(self) -> None:
        while self._served():
            pass

    def _served(self) -> bool:
        """Work on the next run; no name is left behind that would keep its trace in memory while the worker waits."""
        run = self._next()
        if run is None:
            return False
        try:
            if isinstance(run, Job):
                self._work_off(run)
            elif run.state in OVER:
                self._add_piece(run)
            else:
                self._advance(run)
        except Exception as error:  # noqa: BLE001  (logged whole; the next visitor must not suffer for it)
            self._fail(run, error)
        return True

    def _next(self) -> "Run | Job | None":
        """What to work on: the first in the queue, else a run that is not complete. Waits until there is one."""
        with self._change:
            while not self._closed:
                self._end_idle()
                if self._queue:
                    self._current = self._queue.popleft()
                    self._current._state = "running"
                    self._change.notify_all()
                    return self._current
                if self._incomplete:
                    return self._incomplete.popleft()
                self._change.wait(timeout=1.0 if self._parked else None)
            while self._incomplete:
                self._leave(self._incomplete.popleft())
        return None

    def _end_idle(self) -> None:
        """Paused runs hold memory: one that nobody touched for long ends."""
        now = time.monotonic()
        for run in [each for each in self._parked if now - each._touched > self._limits.paused_seconds]:
            run.stop()

    def _work_off(self, job: Job) -> None:
        """Work on a job until it has ended: nothing else has the model meanwhile."""
        stopped = False
        while not stopped:
            stopped = job._stopping.is_set()
            if stopped and not (job._ends_itself and job._n_results):
                break
            try:
                value = next(job._pieces)
            except (StopIteration, Cancelled):
                break
            with self._change:
                job._result, job._n_results = value, job._n_results + 1
                self._change.notify_all()
        self._end_job(job)

    def _end_job(self, job: Job) -> None:
        try:
            if isinstance(job._pieces, Generator):
                job._pieces.close()
        except Exception as error:  # noqa: BLE001  (whoever stops a job that waits must not suffer for it)
            return self._fail(job, error)
        with self._change:
            job._state = "stopped" if job._stopping.is_set() else "done"
            self._leave(job)

    def _advance(self, run: "Run") -> None:
        """Work on one run until it has ended or is paused."""
        while not run._stopping.is_set():
            with self._change:  # one look and one answer: a resume in between would be lost
                if not run._may_step():
                    return self._park(run)
            try:
                next(run._generation)
            except StopIteration:
                return self._finish(run)
            except Cancelled:
                break
            run._step_done()
        self._stop(run)

    def _park(self, run: "Run") -> None:
        """Hold a run, under the lock; a stop that came just now wins."""
        if run._stopping.is_set():
            return self._stop(run)
        run._state, run._touched = "paused", time.monotonic()
        self._parked.append(run)
        self._current = None
        self._change.notify_all()
        while len(self._parked) > self._limits.paused_runs:
            self._parked[0].stop()

    def _finish(self, run: "Run") -> None:
        """The last step is done: say so, and add the map and the lens when nobody waits for the model."""
        self._end(run, "done", run._generation.trace())

    def _end(self, run: "Run", state: State, trace: Trace) -> None:
        with self._change:
            run._trace, run._state = trace, state
            run._pieces = additions(self._hooked, trace)
            if self._current is run:
                self._current = None
            self._incomplete.append(run)
            self._change.notify_all()

    def _add_piece(self, run: "Run") -> None:
        """One piece of what a finished run still lacks; the queue comes first, so the rest waits its turn again."""
        for piece in run._pieces:
            with self._change:
                if piece is not None:
                    run._trace, run._lens = piece, piece.lens_ids is not None
                    self._change.notify_all()
                if run._abandoned:
                    break
                self._incomplete.appendleft(run)
                return
        self._leave(run)

    def _stop(self, run: "Run") -> None:
        try:
            run._generation.close()
            trace = run._generation.trace() if run.n_steps else None
        except Exception as error:  # noqa: BLE001  (such as no memory left for the copy: the worker must live on)
            return self._fail(run, error)
        with self._change:
            if trace is not None and not self._closed:
                return self._end(run, "stopped", trace)
            run._trace, run._state = trace, "stopped"
            self._leave(run)

    def _fail(self, run: "Run | Job", error: Exception) -> None:
        if not isinstance(error, Refusal):
            _log.error("a job failed" if isinstance(run, Job) else "a run failed", exc_info=error)
        with self._change:
            run.error = error.with_traceback(None)  # its frames would keep the run's memory
            run._state = "failed"
            self._leave(run)

    def _leave(self, run: "Run | Job") -> None:
        with self._change:
            if self._current is run:
                self._current = None
            self._finished += 1
            run._over = True
            run._let_go()
            self._change.notify_all()


class Run(Turn[Update]):
    """One generation that somebody asked for."""

    def __init__(self, engine: Engine, generation: Generation, settings: Settings) -> None:
        super().__init__(engine, threading.Event())
        self.id = secrets.token_urlsafe(12)
        self.settings = settings
        self._generation = generation
        self._pieces: Iterator[Trace | None] = iter(())
        self._abandoned = False  # stopped once more when it was over
        self._paused = False
        self._allowed = 0  # steps that may still be taken while paused
        self._seconds: list[float] = []
        self._trace: Trace | None = None
        self._lens = False
        self._touched = time.monotonic()
        generation.stop_when(self._stopping.is_set)

    @property
    def n_steps(self) -> int:
        """Forward passes that have been recorded."""
        return len(self._seconds)

    def trace(self) -> Trace | None:
        """The run so far, frozen; None before the prefill is done."""
        with self._engine._change:
            return self._trace

    def stop(self) -> None:
        """End the run: at once if it waits or is paused, else within the layer that is being computed.

        A run that is over gets no more of what is added after it.
        """
        engine = self._engine
        with engine._change:
            self._abandoned = self._state in OVER
            self._stopping.set()
            for line in (engine._queue, engine._parked):
                if self in line:
                    line.remove(self)
                    engine._stop(self)

    def pause(self) -> None:
        """Hold the run after the step that is being computed; others may have the model meanwhile."""
        self._hold(True)

    def resume(self) -> None:
        """Go on with a paused run."""
        self._hold(False)

    def step(self) -> None:
        """Take one more step, then hold."""
        self._hold(True, allowed=1)

    def _snapshot(self) -> Update:
        return Update(state=self._state, place=self.place, n_steps=self.n_steps, eta_s=self._eta(), lens=self._lens)

    def _let_go(self) -> None:
        del self._generation  # its arrays now belong to the trace alone

    def _eta(self) -> float | None:
        decode = self._seconds[1:]
        if not decode or self._state in OVER:
            return None
        return (self.settings.max_new_tokens - self.n_steps) * sorted(decode)[len(decode) // 2]

    def _hold(self, paused: bool, allowed: int = 0) -> None:
        engine = self._engine
        with engine._change:
            self._paused, self._allowed, self._touched = paused, allowed, time.monotonic()
            if self in engine._parked and (not paused or allowed):
                engine._parked.remove(self)
                engine._queue.appendleft(self)
                self._state = "waiting"
            engine._change.notify_all()

    def _may_step(self) -> bool:
        with self._engine._change:
            if self._paused:
                self._allowed -= 1
            return not self._paused or self._allowed >= 0

    def _step_done(self) -> None:
        trace = self._generation.trace()
        with self._engine._change:
            self._seconds.append(trace.steps[-1].seconds)
            self._trace = trace
            self._engine._change.notify_all()
