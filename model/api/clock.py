"""Who may work while something is timed: one clock a host, shared by the engines of all its models."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Engines run in parallel; while one of them is timed, nothing else on this host runs.

    `working` is held around each piece of work; `timing`, inside it, waits until no other piece runs and lets none
    begin until it ends. It is entered before a model's guard is taken, so a waiting thread holds no lock.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._working = 0
        self._timing: int | None = None  # the thread that times
        self._left_inside = False  # whether the thread that times has left its piece of work, which is a fault
        self._wanted = 0  # threads that wait to time: no new work begins before them

    @contextmanager
    def working(self) -> Iterator[None]:
        """A piece of work on some model of this host."""
        with self._change:
            self._change.wait_for(lambda: self._timing is None and not self._wanted)
            self._working += 1
        try:
            yield
        finally:
            with self._change:
                self._left_inside = self._timing == threading.get_ident()
                if not self._left_inside:
                    self._working -= 1
                    self._change.notify_all()
        if self._left_inside:
            raise RuntimeError("work was left inside its clock: nothing may be yielded while it is timed")

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Until the block ends no other engine of this host runs. Reentrant: the same thread may enter it again."""
        me = threading.get_ident()
        if self._timing == me:
            yield
            return
        with self._change:
            self._working -= 1  # it waits, and does not work: two that want to time would wait for each other
            self._wanted += 1
            self._change.notify_all()
            self._change.wait_for(lambda: self._timing is None and self._working == 0)
            self._wanted -= 1
            self._timing = me
        try:
            yield
        finally:
            with self._change:
                self._timing = None
                self._working += not self._left_inside  # then the piece of work is over already
                self._left_inside = False
                self._change.notify_all()
