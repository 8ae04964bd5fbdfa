"""What the engine's tests share: work that a test lets through value by value, runs asked for, traces compared."""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from model import HookedModel, Trace
from model.api.clock import Clock
from model.api.engine import Room
from model.api.job import Job, Status
from model.engine.engine import Engine
from model.errors import Cancelled
from model.limits import Limits
from model.requests.run import Run
from tests.model.waiting import ended, until
from tests.patience import PATIENCE_S

PROMPT = "The cat sat on the mat"


class Steps:
    """Work whose values, 1, 2, 3 and so on, a test lets through one by one; `most` of them, or until it is closed.

    A stop is heard between two values; then comes one last one, 100 more than the value before.
    """

    def __init__(self, most: int = 1000, order: list[str] | None = None, name: str = "") -> None:
        self.job = Job()
        self.began = threading.Event()
        self.closed = threading.Event()
        self.thread: int | None = None
        self._most, self._order, self._name = most, order, name
        self._let = threading.Semaphore(0)

    def let(self, count: int = 1) -> None:
        for _ in range(count):
            self._let.release()

    def work(self) -> Iterator[int]:
        value = 0
        try:
            self.began.set()
            self.thread = threading.get_ident()
            while value < self._most:
                assert self._let.acquire(timeout=PATIENCE_S)
                self.job.check()
                value += 1
                if self._order is not None:
                    self._order.append(self._name)
                yield value
        except Cancelled:
            yield value + 100
        finally:
            self.closed.set()


def fake_engine(limits: Limits | None = None, *, clock: Clock | None = None, room: Room | None = None) -> Engine:
    """An engine without a model: for work that needs none."""
    hooked: Any = SimpleNamespace(card=SimpleNamespace(name="fake"))
    return Engine(hooked, limits or Limits(queue=3), clock=clock, room=room)


def enqueued(engine: Engine, steps: Steps, *, brief: bool = False) -> Job:
    engine.enqueue(steps.job, steps.work(), brief=brief)
    return steps.job


def begun(engine: Engine, steps: Steps, *, brief: bool = False) -> Job:
    """The work has the model, and waits to be let through."""
    job = enqueued(engine, steps, brief=brief)
    until(job, lambda seen: seen.state == "running")
    assert steps.began.wait(PATIENCE_S)
    return job


def asked(n: int = 4, **settings: Any) -> Run:
    return Run(prompt=PROMPT, max_new_tokens=n, **settings)


def submitted(engine: Engine, n: int = 4, *, paused: bool = False, **settings: Any) -> Job:
    """A run of n new tokens."""
    job = Job()
    if paused:
        job.pause()
    engine.submit(asked(n, **settings), job)
    return job


def stepped(job: Job, steps: int) -> Status:
    """A paused job, so many values later."""
    status = until(job, lambda seen: seen.state == "paused")
    for _ in range(steps):
        version = status.version
        job.step()
        status = until(job, lambda seen, version=version: seen.state == "paused" and seen.version > version)
    return status


def finished(job: Job) -> Trace:
    """The trace of a run that ends well."""
    last = ended(job)
    assert (job.error, last.state) == (None, "done")
    assert isinstance(job.record, Trace)
    return job.record


def assert_same(one: Trace, other: Trace) -> None:
    """Bit for bit, but for the seconds."""
    assert [token.id for token in one.tokens] == [token.id for token in other.tokens]
    assert (one.text, one.ended, one.settings, one.rules) == (other.text, other.ended, other.settings, other.rules)
    assert one.arrays().keys() == other.arrays().keys()
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name], err_msg=name)


@contextmanager
def hooked_layers(small: HookedModel, hook: Callable[..., None], only: int | None = None) -> Iterator[None]:
    layers = small.model.model.layers if only is None else [small.model.model.layers[only]]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def switching_often() -> Iterator[None]:
    """Threads take turns every ten microseconds, so that what can mix does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def assert_untouched(small: HookedModel) -> None:
    """No hook of ours is left; the library leaves its own after it was once asked for hidden states."""
    for name, module in small.model.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not hooks, name


def until_gone(reference: weakref.ref, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while reference() is not None:
        gc.collect()
        assert time.monotonic() < deadline, f"{what} is still there: {gc.get_referrers(reference())}"
        threading.Event().wait(0.01)
