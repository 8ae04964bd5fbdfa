"""Follows the visitors' runs: asks the engine for them, puts their frames into the store, says how they stand.

No gradio here: a visitor is a string, and what the page is told are `Notice` values.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from model.errors import BadPrompt, Refusal
from model.records import ModelCard, Settings, Trace
from viz import frames
from viz.store import RunStore

log = logging.getLogger("tokenoscope")

NOTICES_PER_SECOND = 15
QUIET_SECONDS = 1.0  # a notice at least this often, so that a generator whose visitor has left can be closed
_NEVER_BEGAN = "Your run was stopped before it began."
VISITORS = 1000  # whose runs are remembered; the one that has asked least recently leaves

State = Literal["waiting", "running", "paused", "done", "stopped", "failed"]


class Update(Protocol):
    """How a run stands, as the engine says it."""

    @property
    def state(self) -> State: ...
    @property
    def place(self) -> int: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def eta_s(self) -> float | None: ...


class Run(Protocol):
    """One generation that was asked of the engine."""

    id: str

    @property
    def error(self) -> BaseException | None: ...
    def updates(self, wait_s: float = 0.25) -> Iterator[Update]: ...
    def trace(self) -> Trace | None: ...
    def stop(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def step(self) -> None: ...


class Stats(Protocol):
    """How many runs want the model now."""

    @property
    def waiting(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def paused(self) -> int: ...


class Engine(Protocol):
    """One loaded model and its queue."""

    card: ModelCard

    def submit(self, prompt: str, settings: Settings) -> Run: ...
    def stats(self) -> Stats: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """Whether a model is here, and how far its loading is."""

    phase: Literal["loading", "ready", "failed"]
    text: str  # a sentence for a person
    fraction: float | None = None  # of the loading; None when nobody knows


class Models(Protocol):
    """The models that this host offers. The default is loaded from the start, the others when they are asked for."""

    @property
    def names(self) -> tuple[str, ...]: ...  # the default first
    def state(self, name: str) -> ModelState: ...
    def engine(self, name: str) -> Engine | None: ...  # None while it is being loaded; raises Refusal if it can't be


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What the page is told while a run goes on: how far it is, never the run itself, which the page fetches."""

    id: str | None = None
    source: Literal["live", "recorded"] = "live"
    ready: int = 0  # frames that can be fetched
    done: bool = True  # no more frames will come
    state: State = "done"
    place: int = 0  # in the queue; 1 is next
    eta_s: float | None = None
    n_steps: int = 0
    max_new_tokens: int = 0
    message: str = ""  # what a person should know of this run, such as replaced characters
    refusal: str = ""  # why the last request was not carried out; the run before it stays
    seq: int = 0  # grows: a page forgets a notice that comes after a newer one


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a visitor asks for, already checked as far as it can be without a model."""

    prompt: str
    settings: Settings
    model: str
    message: str = ""

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise BadPrompt("the prompt is empty. Type a few words for the model to go on from, or choose an example.")


class Ticket:
    """One request on its way: it may still wait for its model, or already be a run."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.withdrawn = threading.Event()

    def stop(self) -> None:
        """End it, whether it has begun or not."""
        self.withdrawn.set()
        if self.run is not None:
            self.run.stop()


@dataclass(eq=False)
class _Visitor:
    """What is remembered of one open page."""

    last: Notice
    ticket: Ticket = field(default_factory=Ticket)
    refusal: str = ""


class Live:
    """Every visitor's run. A visitor can reach no run but its own."""

    def __init__(self, models: Models, store: RunStore, first: Notice) -> None:
        self.models, self.store = models, store
        self._first = first  # what a page shows before it has asked for anything
        self._visitors: OrderedDict[str, _Visitor] = OrderedDict()
        self._lock = threading.Lock()
        self._seq = 0

    def ask(self, visitor: str, request: Request) -> Iterator[Notice]:
        """Run what is asked for; yields how it stands, at once and until it is over. The visitor's earlier run ends."""
        page = self._page(visitor)
        ticket, earlier, page.refusal = Ticket(), page.ticket, ""
        page.ticket = ticket
        try:
            yield self._notice(page, replace(page.last, state="waiting", done=False, message=request.message))
            engine = yield from self._wait_for_model(page, ticket, request)
            if engine is None:
                yield self._notice(page, replace(page.last, message=_NEVER_BEGAN))
                return
            ticket.run = engine.submit(request.prompt, request.settings)
        except Refusal as error:
            if page.ticket is ticket:
                page.ticket = earlier  # it goes on, or stays as it ended
            yield self.refuse(visitor, str(error))
            return
        earlier.stop()
        yield from self._follow(page, ticket, request)

    def refuse(self, visitor: str, sentence: str) -> Notice:
        """Tell why a request was not carried out, beside the run that is there."""
        page = self._page(visitor)
        page.refusal = sentence
        return self._notice(page, page.last)

    def stop(self, visitor: str) -> None:
        """End the visitor's run within one step, or its wait for a model."""
        if (page := self._visitors.get(visitor)) is not None:
            page.ticket.stop()

    def pause(self, visitor: str) -> None:
        """Hold the visitor's run after the pass that is being computed."""
        if (run := self._run(visitor)) is not None:
            run.pause()

    def resume(self, visitor: str) -> None:
        """Let the visitor's paused run go on."""
        if (run := self._run(visitor)) is not None:
            run.resume()

    def step(self, visitor: str) -> None:
        """Let the visitor's run compute one more pass, then hold it."""
        if (run := self._run(visitor)) is not None:
            run.step()

    def leave(self, visitor: str) -> None:
        """The visitor has closed the page: its run ends and it is forgotten."""
        self.stop(visitor)
        with self._lock:
            self._visitors.pop(visitor, None)

    def _run(self, visitor: str) -> Run | None:
        page = self._visitors.get(visitor)
        return None if page is None else page.ticket.run

    def _page(self, visitor: str) -> _Visitor:
        with self._lock:
            page = self._visitors.setdefault(visitor, _Visitor(last=self._first))
            self._visitors.move_to_end(visitor)
            gone = self._visitors.popitem(last=False)[1] if len(self._visitors) > VISITORS else None
        if gone is not None:
            gone.ticket.stop()
        return page

    def _notice(self, page: _Visitor, notice: Notice) -> Notice:
        with self._lock:
            self._seq = max(self._seq + 1, time.time_ns() // 1000)
            return replace(notice, refusal=page.refusal, seq=self._seq)

    def _wait_for_model(self, page: _Visitor, ticket: Ticket, request: Request) -> Iterator[Notice]:
        while (engine := self.models.engine(request.model)) is None:
            if ticket.withdrawn.wait(0.25) or page.ticket is not ticket:
                return None
            state = self.models.state(request.model)
            message = f"Your run starts by itself. {state.text}"
            yield self._notice(page, replace(page.last, state="waiting", done=False, message=message))
        return None if ticket.withdrawn.is_set() else engine

    def _follow(self, page: _Visitor, ticket: Ticket, request: Request) -> Iterator[Notice]:
        run, told = ticket.run, 0.0
        assert run is not None
        before = page.last
        recorder = _Recorder(self.store, run)
        try:
            page.last = Notice(id=run.id, done=False, state="waiting", message=request.message,
                               max_new_tokens=request.settings.max_new_tokens)  # fmt: skip
            for update in run.updates(wait_s=QUIET_SECONDS / 2):
                if page.ticket is not ticket:
                    return  # a newer request has the page
                recorder.record()
                was = page.last
                page.last = replace(was, ready=recorder.n_ready, state=update.state, place=update.place,
                                    eta_s=update.eta_s, n_steps=update.n_steps)  # fmt: skip
                silence = time.monotonic() - told
                urgent = page.last.state != was.state or page.last.place != was.place
                if urgent or silence >= QUIET_SECONDS or (page.last != was and silence >= 1 / NOTICES_PER_SECOND):
                    told = time.monotonic()
                    yield self._notice(page, page.last)
            recorder.finish()
            page.last = replace(page.last, ready=recorder.n_ready, done=True, eta_s=None)
            if run.error is not None:
                self._fail(page, run.error, before)
            elif not recorder.n_ready:
                page.last = replace(before, message=_NEVER_BEGAN)
        except Refusal as error:
            self._fail(page, error, before)
        finally:  # runs on the event loop when the visitor has gone: nothing slow here
            ticket.stop()
            self.store.finish(run.id)
        yield self._notice(page, page.last)

    def _fail(self, page: _Visitor, error: BaseException, before: Notice) -> None:
        if isinstance(error, Refusal):
            page.refusal = str(error)
        else:
            log.error("a run failed", exc_info=error)
            page.refusal = "Something broke inside the program, and the run ended. The host's log says what."
        if page.last.ready == 0 or self.store.get(page.last.id or "") is None:
            page.last = before
        else:
            page.last = replace(page.last, state="failed", done=True)


class _Recorder:
    """Turns what is new of one run into frames, and puts them into the store."""

    def __init__(self, store: RunStore, run: Run) -> None:
        self._store, self._run = store, run
        self._head = self._end = self._lens = False
        self._steps = 0
        self.n_ready = 0
        store.open(run.id)

    def record(self) -> None:
        """Store the frames that can be made by now. Raises: NoSpace, if the store can't hold the run."""
        self._record(done=False)

    def finish(self) -> None:
        """Store the last frames, and say that there are no more."""
        self._record(done=True)

    def _record(self, *, done: bool) -> None:
        trace = self._run.trace()
        if trace is None:
            return
        new: list[bytes] = []
        if not self._head:
            new.append(frames.head(trace))
            self._head = True
        new += [frames.step(trace, i) for i in range(self._steps, len(trace.steps))]
        self._steps = len(trace.steps)
        if not self._end and trace.ended != "running":
            new.append(frames.end(trace))
            self._end = True
        if not self._lens and trace.lens_ids is not None:
            new.append(frames.lens(trace))
            self._lens = True
        if new or done:
            self.n_ready = self._store.add(self._run.id, new, trace, done=done)
