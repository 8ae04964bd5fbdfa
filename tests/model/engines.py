"""What the engine's tests share: a gate that holds passes, runs brought to their end, traces compared."""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from model import HookedModel, Settings, Trace
from model.capture.generation import Generation
from model.engine.engine import Run
from tests.model.waiting import ended
from tests.patience import PATIENCE_S

PROMPT = "The cat sat on the mat"


class Gate:
    """Holds every pass until the test lets it through, and remembers whose passes ran, in order."""

    def __init__(self) -> None:
        self.order: list[Generation] = []
        self._open = threading.Event()
        self._let = threading.Semaphore(0)

    def let(self, passes: int) -> None:
        for _ in range(passes):
            self._let.release()

    def open(self) -> None:
        self._open.set()
        self._let.release()

    def wait(self, generation: Generation) -> None:
        if not self._open.is_set():
            assert self._let.acquire(timeout=PATIENCE_S)
        self.order.append(generation)


def settings(n: int = 4, **others) -> Settings:
    return Settings(max_new_tokens=n, **others)


def finished(run: Run) -> Trace:
    """The trace of a run that ends well."""
    last = ended(run)
    assert (run.error, last.state) == (None, "done")
    whole = run.trace()
    assert whole is not None
    return whole


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
        time.sleep(0.02)
