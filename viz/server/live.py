"""Follows the visitors' runs: asks the engine for them, puts their frames into the store, says how they stand.

No gradio here: a visitor is a string, and what the page is told are `Notice` values.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from model.errors import BadPrompt, Refusal
from model.records.trace import ModelCard, Settings, Trace
from viz.server.store import RunStore
from viz.wire import frames

log = logging.getLogger("tokenoscope")

NOTICES_PER_SECOND = 4  # of how far a run is; its frames come without being announced one by one
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
    ended: str = ""  # why it wrote no more, as the trace says it; empty while it runs
    message: str = ""  # what a person should know of the wait
    refusal: str = ""  # why the last request was not carried out; the run before it stays
    seq: int = 0  # grows: a page forgets a notice that comes after a newer one


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a visitor asks for, already checked as far as it can be without a model."""

    prompt: str
    settings: Settings
    model: str

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise BadPrompt("the prompt is empty. Type a few words for the model to go on from, or choose an example.")


class Ticket:
    """One request on its way: it may still wait for its model, or already be a run."""

    def __init__(self, last: Notice) -> None:
        self.last = last  # how it stands
        self.run: Run | None = None
        self.withdrawn = threading.Event()
        self._instead: Ticket | None = None

    def begin(self, run: Run) -> None:
        """The engine has taken the request, perhaps after it was withdrawn."""
        self.run = run
        if self.withdrawn.is_set():
            run.stop()

    def stop(self) -> None:
        """End it, whether it has begun or not."""
        self.withdrawn.set()
        if (run := self.run) is not None:
            run.stop()

    def give_back(self, earlier: "Ticket") -> None:
        """It came to nothing: the page goes on showing the earlier one."""
        self._instead = earlier.shown()

    def shown(self) -> "Ticket":
        """What the page shows: this one, or the one before."""
        return self if self._instead is None else self._instead.shown()


@dataclass(eq=False)
class _Visitor:
    """What is remembered of one open page."""

    ticket: Ticket
    pending: Ticket | None = None  # waits for its model or for the engine's answer; until then the run before goes on
    refusal: str = ""

    def stop(self) -> None:
        for ticket in (self.pending, self.ticket):
            if ticket is not None:
                ticket.stop()


class Live:
    """Every visitor's run. A visitor can reach no run but its own."""

    def __init__(self, models: Models, store: RunStore, first: Notice) -> None:
        self.models, self.store = models, store
        self._first = first  # what a page shows before it has asked for anything
        self._visitors: OrderedDict[str, _Visitor] = OrderedDict()
        self._lock = threading.Lock()
        self._seq = 0

    def ask(self, visitor: str, request: Request) -> Iterator[Notice]:
        """Run what is asked for; yields how it stands, at once and until it is over.

        The visitor's earlier run ends when the engine has taken this one; if it does not, that run goes on.
        """
        page, failure = self._page(visitor), ""
        ticket = self._pend(page, request)
        try:
            yield self._notice(page)
            engine = yield from self._wait_for_model(page, ticket, request)
            if engine is not None:
                ticket.begin(engine.submit(request.prompt, request.settings))
        except Exception as error:  # noqa: BLE001  (logged whole; the page must hear of an end)
            failure = _sentence(error)
        finally:
            earlier = self._settle(page, ticket)
        if earlier is None:
            return  # a newer request has the page
        if ticket.run is None:
            page.refusal = failure
            yield self._notice(page, "" if failure else _NEVER_BEGAN)
            return
        earlier.stop()
        yield from self._follow(page, ticket, earlier)

    def refuse(self, visitor: str, sentence: str) -> Notice:
        """Tell why a request was not carried out, beside the run that is there."""
        page = self._page(visitor)
        page.refusal = sentence
        return self._notice(page)

    def stop(self, visitor: str) -> None:
        """End the visitor's run within one step, and its wait for another."""
        if (page := self._visitors.get(visitor)) is not None:
            page.stop()

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
            page = self._visitors.setdefault(visitor, _Visitor(ticket=Ticket(self._first)))
            self._visitors.move_to_end(visitor)
            gone = self._visitors.popitem(last=False)[1] if len(self._visitors) > VISITORS else None
        if gone is not None:
            gone.stop()
        return page

    def _notice(self, page: _Visitor, message: str = "") -> Notice:
        """How the page's run stands now, and that another is on its way."""
        with self._lock:
            shown = page.ticket.shown().last
            if page.pending is not None:
                state = "waiting" if shown.done else shown.state
                shown = replace(shown, state=state, done=False, message=page.pending.last.message)
            self._seq = max(self._seq + 1, time.time_ns() // 1000)
            return replace(shown, message=message or shown.message, refusal=page.refusal, seq=self._seq)

    def _pend(self, page: _Visitor, request: Request) -> Ticket:
        ticket = Ticket(Notice(state="waiting", done=False, max_new_tokens=request.settings.max_new_tokens))
        with self._lock:
            overtaken, page.pending, page.refusal = page.pending, ticket, ""
        if overtaken is not None:
            overtaken.stop()
        return ticket

    def _settle(self, page: _Visitor, ticket: Ticket) -> Ticket | None:
        """The request waits no more: its run, if there is one, takes the page. The one before; None, if overtaken."""
        with self._lock:
            if page.pending is not ticket:
                return None
            earlier, page.pending = page.ticket, None
            if ticket.run is not None:
                page.ticket = ticket
            return earlier

    def _wait_for_model(self, page: _Visitor, ticket: Ticket, request: Request) -> Iterator[Notice]:
        while (engine := self.models.engine(request.model)) is None:
            if ticket.withdrawn.wait(0.25):
                return None
            message = f"Your run starts by itself. {self.models.state(request.model).text}"
            ticket.last = replace(ticket.last, message=message)
            yield self._notice(page)
        return None if ticket.withdrawn.is_set() else engine

    def _follow(self, page: _Visitor, ticket: Ticket, earlier: Ticket) -> Iterator[Notice]:
        """Record a run to its end, even if a newer one has the page, and tell of it as long as the page shows it."""
        run, told, message = ticket.run, 0.0, ""
        assert run is not None
        try:
            ticket.last = replace(ticket.last, id=run.id, message="")
            recorder = _Recorder(self.store, run)
            for update in run.updates(wait_s=QUIET_SECONDS / 2):
                recorder.record()
                was = ticket.last
                ticket.last = now = replace(
                    was,
                    ready=recorder.n_ready,
                    state=update.state,
                    place=update.place,
                    eta_s=update.eta_s,
                    n_steps=update.n_steps,
                    ended=recorder.ended,
                )
                silence = time.monotonic() - told
                begun = was.ready == 0 and now.ready > 0  # from then on the page follows by itself
                urgent = begun or now.state != was.state or now.place != was.place
                due = urgent or silence >= QUIET_SECONDS or (now != was and silence >= 1 / NOTICES_PER_SECOND)
                if due and page.ticket.shown() is ticket:
                    told = time.monotonic()
                    yield self._notice(page)
                recorder.complete()  # after the notice: the end is told at once
            recorder.finish()
            ticket.last = replace(ticket.last, ready=recorder.n_ready, done=True, eta_s=None, ended=recorder.ended)
            if run.error is not None:
                self._fail(page, ticket, earlier, run.error)
            elif not recorder.n_ready:
                ticket.give_back(earlier)
                message = _NEVER_BEGAN
        except Exception as error:  # noqa: BLE001  (logged whole; the page must hear of an end)
            self._fail(page, ticket, earlier, error)
        finally:  # runs on the event loop when the visitor has gone: nothing slow here
            ticket.stop()
            ticket.run = None  # the store alone decides how long its trace is kept
            self.store.finish(run.id)
        if ticket in (page.ticket, page.ticket.shown()):
            yield self._notice(page, message)

    def _fail(self, page: _Visitor, ticket: Ticket, earlier: Ticket, error: BaseException) -> None:
        sentence = _sentence(error)
        if page.ticket is ticket:
            page.refusal = sentence
        if ticket.last.ready == 0 or self.store.get(ticket.last.id or "") is None:
            ticket.give_back(earlier)
        else:
            ticket.last = replace(ticket.last, state="failed", done=True, eta_s=None)


def _sentence(error: BaseException) -> str:
    """What a person is told of it. A refusal speaks for itself; all else is a bug, and for the log."""
    if isinstance(error, Refusal):
        return str(error)
    log.error("a run failed", exc_info=error)
    return "Something broke inside the program. The host's log says what."


class _Recorder:
    """Turns what is new of one run into frames, and puts them into the store."""

    def __init__(self, store: RunStore, run: Run) -> None:
        self._store, self._run = store, run
        self._made: set[str] = set()  # kinds that come once
        self._steps = 0
        self._notes: tuple[str, ...] = ()  # as the end frame has them
        self.n_ready = 0
        self.ended = ""
        store.open(run.id)

    def record(self) -> None:
        """Store the passes so far, and the end. Raises: NoSpace, if the store can't hold the run."""
        trace = self._run.trace()
        if trace is None:
            return
        new = self._once("head", trace, frames.head)
        new += [frames.step(trace, i) for i in range(self._steps, len(trace.steps))]
        self._steps = len(trace.steps)
        if trace.ended != "running" and "end" not in self._made:
            new += self._once("end", trace, frames.end)
            self.ended, self._notes = trace.ended, trace.notes
        self._add(new, trace)

    def complete(self) -> None:
        """Store what an ended run has by now beside its passes; measuring it takes up to a second. Raises: NoSpace."""
        if (trace := self._run.trace()) is not None and "end" in self._made:
            found = frames.after_run(trace).items()
            self._add([frame for kind, make in found for frame in self._once(kind, trace, make)], trace)

    def finish(self) -> None:
        """Store the last frames, and say that there are no more."""
        self.record()
        self.complete()
        if (trace := self._run.trace()) is not None:
            late = [frames.notes(trace)] if trace.notes != self._notes else []  # such as why there is no lens
            self.n_ready = self._store.add(self._run.id, late, trace, done=True)

    def _once(self, kind: str, trace: Trace, make: Callable[[Trace], bytes]) -> list[bytes]:
        if kind in self._made:
            return []
        self._made.add(kind)
        return [make(trace)]

    def _add(self, new: list[bytes], trace: Trace) -> None:
        if new:
            self.n_ready = self._store.add(self._run.id, new, trace)
