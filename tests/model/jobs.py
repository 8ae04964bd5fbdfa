"""Jobs for library calls in tests: one that stops itself after so many checks, one that notes what it is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from model.api.job import Job


class StopsWhen(Job):
    """Stopped as soon as this holds."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        super().__init__()
        self._holds = holds

    def stopped(self) -> bool:
        return self._holds()


class StopsAfter(Job):
    """Stopped after so many checks."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self._left = checks

    def stopped(self) -> bool:
        self._left -= 1
        return self._left < 0


class Told(Job):
    """Notes its progress, and whether its clock runs."""

    def __init__(self, tell: Callable[[int, int, str], None] = lambda *_: None) -> None:
        super().__init__()
        self.said: list[tuple[int, int, str]] = []
        self.clocks = 0  # how often it ran
        self.timing = False
        self._also = tell

    def progress(self, done: int, total: int, what: str) -> None:
        super().progress(done, total, what)
        self.said.append((done, total, what))
        self._also(done, total, what)

    @contextmanager
    def clock(self) -> Iterator[None]:
        assert not self.timing
        self.timing = True
        self.clocks += 1
        yield
        self.timing = False
