"""An engine without a model: the interface of model/engine.py, with a made-up run whose passes a test lets through."""

import dataclasses
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from model.arch.tokens import readable
from model.errors import Busy
from model.records.trace import ModelCard, Settings, Trace
from tests.fakes import AFTER_RUN, fake_trace
from viz.server.live import ModelState

OVER = ("done", "stopped", "failed")


@dataclass(frozen=True, kw_only=True)
class Stats:
    waiting: int
    running: int
    paused: int
    finished: int


@dataclass(frozen=True, kw_only=True)
class Update:
    state: Any
    place: int
    n_steps: int
    eta_s: float | None
    lens: bool


class FakeEngine:
    """Runs one pass after the other, each `seconds` long, first come first served; `seconds=None` waits for `let()`.

    `submit_s` is how long it thinks about a request; `breaks` is what it raises instead of an answer.
    """

    def __init__(self, seconds: float | None = 0.02, queue: int = 8) -> None:
        self.submit_s = 0.0
        self.submitting = threading.Event()
        self.breaks: Exception | None = None
        self.card: ModelCard = fake_trace().model
        self.asked: list[tuple[str, Settings]] = []
        self.runs: list[FakeRun] = []
        self.fail_with: BaseException | None = None
        self._seconds, self._queue = seconds, queue
        self._let = threading.Semaphore(0)
        self.changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    def submit(self, prompt: str, settings: Settings) -> "FakeRun":
        self.submitting.set()
        time.sleep(self.submit_s)
        if self.breaks is not None:
            raise self.breaks
        prompt, notes = readable(prompt)
        with self.changed:
            if sum(run.state == "waiting" for run in self.runs) >= self._queue:
                raise Busy("the queue is full. Try again in a minute.")
            run = FakeRun(self, prompt, settings, notes)
            self.asked.append((prompt, settings))
            self.runs.append(run)
            self.changed.notify_all()
        return run

    def stats(self) -> Stats:
        states = [run.state for run in self.runs]
        return Stats(
            waiting=states.count("waiting"),
            running=states.count("running"),
            paused=states.count("paused"),
            finished=sum(state in OVER for state in states),
        )

    def let(self, passes: int = 1) -> None:
        """Let this many passes through."""
        self._let.release(passes)

    def close(self) -> None:
        with self.changed:
            self._closed = True
            for run in self.runs:
                run.stopping = True
            self.changed.notify_all()

    def _work(self) -> None:
        while not self._closed:
            with self.changed:
                run = next((run for run in self.runs if run.wants_pass()), None)
                if run is None:
                    self.changed.wait(0.05)
                    continue
                run.state = "running"
                self.changed.notify_all()
            if not run.stopping:
                self._pass(run)
            with self.changed:
                run.after_pass(self.fail_with)
                self.changed.notify_all()

    def _pass(self, run: "FakeRun") -> None:
        if self._seconds is not None:
            time.sleep(self._seconds)
            run.n_steps += 1
            return
        while not run.stopping and (run.single or not run.holds):
            if self._let.acquire(timeout=0.02):
                run.n_steps += 1
                return


class FakeRun:
    """One asked-for run: a slice of a made-up trace, as long as the passes that were let through."""

    def __init__(self, engine: FakeEngine, prompt: str, settings: Settings, notes: tuple[str, ...]) -> None:
        self.id = secrets.token_urlsafe(12)
        self.prompt, self.settings = prompt, settings
        self.state: Any = "waiting"
        self.error: BaseException | None = None
        self.n_steps = 0
        self.stopping = self.holds = False
        self.single = 0
        self.lens = False
        self._engine = engine
        self._whole = dataclasses.replace(whole_trace(prompt, settings.max_new_tokens), notes=notes)

    @property
    def place(self) -> int:
        if self.state != "waiting":
            return 0
        before = self._engine.runs[: self._engine.runs.index(self)]
        return 1 + sum(run.state == "waiting" for run in before)

    def wants_pass(self) -> bool:
        if self.state in OVER:
            return False
        return self.stopping or not self.holds or self.single > 0

    def after_pass(self, failure: BaseException | None) -> None:
        self.single = max(0, self.single - 1)
        if failure is not None:
            self.state, self.error = "failed", failure
        elif self.stopping:
            self.state = "stopped"
        elif self.n_steps >= self.settings.max_new_tokens:
            self.state, self.lens = "done", True
        elif self.holds:
            self.state = "paused"

    def updates(self, wait_s: float = 0.25) -> Iterator[Update]:
        told = None
        while True:
            with self._engine.changed:
                now = Update(state=self.state, place=self.place, n_steps=self.n_steps, eta_s=1.0, lens=self.lens)
                if now == told and now.state not in OVER:
                    self._engine.changed.wait(wait_s)
                    now = Update(state=self.state, place=self.place, n_steps=self.n_steps, eta_s=1.0, lens=self.lens)
            told = now
            yield now
            if now.state in OVER:
                return

    def trace(self) -> Trace | None:
        return None if self.n_steps == 0 else part(self._whole, self.n_steps, self.state, lens=self.lens)

    def stop(self) -> None:
        waits = self.state in ("waiting", "paused")
        self._set(stopping=True, **({"state": "stopped"} if waits else {}))

    def pause(self) -> None:
        self._set(holds=True)

    def resume(self) -> None:
        self._set(holds=False)

    def step(self) -> None:
        self._set(single=self.single + 1)

    def _set(self, **changes: Any) -> None:
        with self._engine.changed:
            for name, value in changes.items():
                setattr(self, name, value)
            self._engine.changed.notify_all()


class FakeModels:
    """One engine under one name, there from the start or when a test says so."""

    def __init__(self, engine: FakeEngine, *names: str, ready: bool = True) -> None:
        self.names = names or ("fake-1k",)
        self.use(engine, ready=ready)

    def use(self, engine: FakeEngine, *, ready: bool = True) -> None:
        """Put another engine behind the page."""
        self._engine, self.ready = engine, ready
        self.failure: Exception | None = None

    def state(self, name: str) -> ModelState:
        if self.ready:
            return ModelState(phase="ready", text=f"Ready: {name}, 4 layers × 6 heads, cpu, float32", fraction=1.0)
        return ModelState(phase="loading", text=f"Getting the model: downloading {name}, 40%", fraction=0.4)

    def engine(self, name: str) -> FakeEngine | None:
        if self.failure is not None:
            raise self.failure
        return self._engine if self.ready else None


@cache
def whole_trace(prompt: str, n_new: int) -> Trace:
    """A made-up run that reads the words of this prompt."""
    words = prompt.split(" ")
    read = tuple(word if i == 0 else f" {word}" for i, word in enumerate(words))[:60]
    written = tuple(f" new{i}" for i in range(n_new))
    return dataclasses.replace(fake_trace(read, written, d_vocab=400), prompt=prompt)


def part(whole: Trace, n_steps: int, state: str, *, lens: bool) -> Trace:
    """The same run, after its first passes."""
    n_steps = min(n_steps, len(whole.steps))
    fed = whole.n_prompt + n_steps - 1
    cut: dict[str, Any] = {}
    for name, array in whole.arrays().items():
        if name in ("queries", "keys", "values"):
            cut[name] = array[:, :, :fed]
        elif name == "logits":
            cut[name] = array[:n_steps]
        elif name in ("resid", "unit_ids", "unit_values"):
            cut[name] = array[:, :fed]
        elif name in AFTER_RUN and not lens:
            cut[name] = None
        elif name in ("lens_ids", "lens_probs"):
            cut[name] = array[:, :fed]
        elif name in ("rotary_cos", "rotary_sin"):
            cut[name] = array[:fed]
    ended = {"done": "length", "stopped": "stopped", "failed": "stopped"}.get(state, "running")
    return dataclasses.replace(
        whole,
        steps=whole.steps[:n_steps],
        tokens=whole.tokens[: whole.n_prompt + n_steps],
        text="".join(t.text for t in whole.tokens[whole.n_prompt :][:n_steps]),
        ended=ended,
        **cut,
    )
