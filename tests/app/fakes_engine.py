"""An engine without a model: the queue of model/engine/engine.py with made-up work, let through by a test."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from model.api.engine import Engine as AnyEngine
from model.api.engine import ModelState, Offers, Room
from model.api.job import Job
from model.arch.tokens import readable
from model.engine.engine import Engine
from model.errors import BadSetting, NotShown
from model.limits import Limits
from model.records.attribution import Attribution
from model.records.chat import TemplateVariable
from model.records.file import Saved
from model.records.lens import with_columns_of
from model.records.trace import Origin, Step, Trace
from model.requests.attribution import Attribute
from model.requests.fork import Fork
from model.requests.registry import of_request
from model.requests.request import Request
from model.requests.run import Run
from tests.app.fakes_experiments import WORK
from tests.fakes import AFTER_RUN, fake_trace
from tests.fakes_attributed import fake_attribution

UNEXPLAINED = 5  # a step that is refused an attribution
OFFERS = Offers(
    chat=True,
    variables=(
        TemplateVariable(name="effort", kind="text", values=("low", "high")),
        TemplateVariable(name="enable_thinking", kind="switch", values=()),
    ),
    recommended={"temperature": 0.6, "top_p": 0.95},
)


class LaterRoom:
    """Room in the store of whatever app the engine is put behind; without one, for everything."""

    def __init__(self) -> None:
        self.store: Room | None = None

    def check(self, job: Job) -> None:
        if self.store is not None:
            self.store.check(job)

    def reserve(self, job: Job) -> bool:
        return self.store is None or self.store.reserve(job)


class FakeEngine(Engine):
    """Each pass of a run takes `seconds`; with `seconds=None` it waits for `let()`.

    `submit_s` is how long it thinks about a request; `breaks` is what it raises instead of an answer; `fail_with` is
    what a run fails with after its first pass. `timed` runs say when their layers were entered. `post_run_s` is how
    long each of the two pieces of post-run work takes.
    """

    def __init__(self, seconds: float | None = 0.02, queue: int = 8) -> None:
        self.submit_s = self.post_run_s = 0.0
        self.submitting = threading.Event()
        self.breaks: Exception | None = None
        self.fail_with: Exception | None = None
        self.asked: list[Request] = []
        self.records: list[Mapping[str, Saved]] = []
        self.jobs: list[Job] = []
        self.room = LaterRoom()
        self.n_post_run = 0  # pieces that were done
        self.timed = False
        self.columns: list[list[int]] = []  # of the logit lens that were asked for, question by question
        self.column_s = 0.0  # that each of them takes
        self.bytes_expected: int | None = None  # of a run; None: what it will take
        self._seconds, self._let = seconds, threading.Semaphore(0)
        self.limits = Limits(queue=queue)
        super().__init__(cast("Any", SimpleNamespace(card=fake_trace().model)), self.limits, room=self.room)

    @property
    def offers(self) -> Offers:
        return OFFERS

    def submit(
        self,
        request: Request,
        job: Job,
        *,
        records: Mapping[str, Saved] | None = None,
        drafts: Mapping[str, Any] | None = None,
    ) -> None:
        self.submitting.set()
        time.sleep(self.submit_s)
        if self.breaks is not None:
            raise self.breaks
        request.check(Limits(), self.card)
        self.asked.append(request)
        self.records.append(records or {})
        self.jobs.append(job)
        experiment = of_request(request)
        work = self._run(request, job) if isinstance(request, Run) and experiment.name == "run" else None
        if isinstance(request, Fork):
            work = self._fork(request, (records or {}).get("run"), job)
        if isinstance(request, Attribute):
            work = self._attribute(request, (records or {}).get("run"), job)
        self.enqueue(job, work or WORK[experiment.name](request, job), brief=experiment.brief)

    def add_columns(self, run: Trace, positions: Sequence[int], job: Job) -> None:
        self.columns.append(list(positions))
        self.enqueue_post_run(job, made_up_columns(run, positions, self.column_s))

    def let(self, passes: int = 1) -> None:
        """Let this many passes through."""
        self._let.release(passes)

    def state(self, at: int) -> str:
        """How the job stands that was asked for at this place."""
        return self.jobs[at].status.state

    def _run(self, request: Run, job: Job) -> Iterator[Trace | None]:
        prompt, notes = readable(request.prompt)
        whole = replace(whole_trace(prompt, request.max_new_tokens), notes=notes)
        whole = replace(whole, settings=request.settings) if request.chat else whole
        whole = timed(whole) if self.timed else whole
        expected = 2 * sum(array.nbytes for array in whole.arrays().values())
        job.expected_bytes = expected if self.bytes_expected is None else self.bytes_expected
        return self._passes(whole, request.max_new_tokens, job)

    def _fork(self, request: Fork, run: Saved | None, job: Job) -> Iterator[Trace | None]:
        if not isinstance(run, Trace) or request.token == "nonsense":
            raise BadSetting("token is {given!r}; fake-1k has no such token.", given=request.token)
        return self._passes(forked_trace(run, request), run.settings.max_new_tokens, job, request.step + 1)

    def _attribute(self, request: Attribute, run: Saved | None, job: Job) -> Iterator[Attribution | None]:
        if not isinstance(run, Trace) or request.step == UNEXPLAINED:
            raise NotShown("the logits of fake-1k cannot be split over its parts: it is made up.")
        return self._explained(request, run, job)

    def _explained(self, request: Attribute, run: Trace, job: Job) -> Iterator[Attribution | None]:
        for done in range(1, request.step + 2):
            job.progress(done, request.step + 1, "running the step again")
            while not job.stopped() and not self._passed():
                yield None
            yield None
        yield fake_attribution(run, request.step, request.rival_id)

    def _passes(self, whole: Trace, n_new: int, job: Job, first: int = 1) -> Iterator[Trace | None]:
        for n in range(first, n_new + 1):
            while not job.stopped() and not self._passed():
                yield None
            if job.stopped():
                if n > 1:
                    yield part(whole, n - 1, "stopped", lens=False)
                return
            if n > 1 and self.fail_with is not None:
                raise self.fail_with
            job.progress(n, n_new, "")
            if n == n_new:
                job.settled()
            yield part(whole, n, "done" if n == n_new else "running", lens=False)
        for _ in range(2):
            time.sleep(self.post_run_s)
            self.n_post_run += 1
            yield None
        yield part(whole, n_new, "done", lens=True)

    def _passed(self) -> bool:
        """Whether the next pass is done; where a test lets passes through, it may not be let yet."""
        if self._seconds is None:
            return self._let.acquire(timeout=0.02)
        time.sleep(self._seconds)
        return True


def timed(trace: Trace) -> Trace:
    """A run whose steps say when each layer was entered; the second layer takes half of each step."""

    def of(step: Step) -> Step:
        n = trace.model.n_layers
        return replace(
            step, entered_s=tuple(step.seconds * (0.1 + 0.5 * (at > 1) + 0.3 * at / n) for at in range(n + 1))
        )

    return replace(trace, steps=tuple(map(of, trace.steps)))


class FakeModels:
    """One engine under every name, there from the start or when a test says so."""

    def __init__(self, engine: FakeEngine, *names: str, ready: bool = True) -> None:
        self.names = names or ("fake-1k",)
        self.takes_any = False
        self.store: Room | None = None  # of the app around it
        self.use(engine, ready=ready)

    def keep_in(self, store: Room) -> None:
        """Room for records is that of this store, from now on."""
        self.store = self._engine.room.store = store

    def use(self, engine: FakeEngine, *, ready: bool = True) -> None:
        """Put another engine behind the page."""
        self._engine, self.ready = engine, ready
        engine.room.store = self.store
        self.failure: Exception | None = None

    def state(self, name: str) -> ModelState:
        if self.ready:
            text = f"Ready: {name}, 4 layers × 6 heads, cpu, float32"
            return ModelState(phase="ready", text=text, fraction=1.0, offers=self._engine.offers)
        return ModelState(phase="loading", text=f"Getting the model: downloading {name}, 40%", fraction=0.4)

    def engine(self, name: str) -> AnyEngine | None:
        if self.failure is not None:
            raise self.failure
        return cast("AnyEngine", self._engine) if self.ready else None


@cache
def whole_trace(prompt: str, n_new: int) -> Trace:
    """A made-up run that reads the words of this prompt."""
    words = prompt.split(" ")
    read = tuple(word if i == 0 else f" {word}" for i, word in enumerate(words))[:60]
    written = tuple(f" new{i}" for i in range(n_new))
    return replace(fake_trace(read, written, d_vocab=400), prompt=prompt)


def made_up_columns(run: Trace, positions: Sequence[int], seconds: float = 0.0) -> Iterator[Trace]:
    """The run with more and more columns of the logit lens, whose numbers follow from the position."""
    size = (run.model.n_layers + 1, run.n_fed, 5)
    for position in positions:
        time.sleep(seconds)
        column = replace(run, lens_ids=np.full(size, -1, np.int32), lens_probs=np.zeros(size, np.float32))
        assert column.lens_ids is not None and column.lens_probs is not None
        ids, probs = column.lens_ids.copy(), column.lens_probs.copy()
        ids[:, position] = position % 90 + np.arange(5)
        probs[:, position] = 0.5 / (1 + np.arange(5))
        run = with_columns_of(run, replace(column, lens_ids=ids, lens_probs=probs))
        yield run


def without_columns(run: Trace, kept: int = 0) -> Trace:
    """A run as a long one is at its end: the newest columns of the logit lens are there, the others are not."""
    assert run.lens_ids is not None
    ids = run.lens_ids.copy()
    ids[:, : run.n_fed - kept] = -1
    return replace(run, lens_ids=ids)


def forked_trace(run: Trace, request: Fork) -> Trace:
    """A made-up run that goes on from a step of another with the token that a person chose there."""
    step, n_prompt = request.step, run.n_prompt
    chosen = run.texts[request.token_id] if request.token_id is not None else request.token
    words = tuple(token.text for token in run.tokens)
    written = (*words[n_prompt : n_prompt + step], chosen, *(f" other{i}" for i in range(step + 1, len(run.steps))))
    token_id = 399 if request.token_id is None else request.token_id
    made = fake_trace(words[:n_prompt], written, d_vocab=400, token_ids={chosen: token_id})
    choices = [replace(each, chosen_by="person", draw=()) for each in made.steps[step].choices]
    steps = (*made.steps[:step], replace(made.steps[step], choices=tuple(choices)), *made.steps[step + 1 :])
    instead_of = run.choices[step].id
    origin = Origin(
        run=request.run,
        step=step,
        token_id=choices[0].id,
        instead_of=instead_of,
        n_reused=n_prompt + step,
        n_replayed=0,
        recorded_s=0.08 + 0.05 * step,
        restore_s=0.01,
        note="",
    )
    texts = {**made.texts, instead_of: run.texts[instead_of]}
    return replace(made, prompt=run.prompt, settings=run.settings, steps=steps, origin=origin, texts=texts)


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
    return replace(
        whole,
        steps=whole.steps[:n_steps],
        tokens=whole.tokens[: whole.n_prompt + n_steps],
        text="".join(t.text for t in whole.tokens[whole.n_prompt :][:n_steps]),
        ended=ended,
        **cut,
    )
