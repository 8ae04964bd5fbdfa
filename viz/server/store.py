"""Keeps the runs that the page shows, up to a number of bytes; the oldest leave first."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from model.errors import NoSpace
from model.records.trace import Trace


class StoredRun:
    """One run as the browser knows it: its frames so far, and the latest trace they were made from."""

    def __init__(self) -> None:
        self.frames: tuple[bytes, ...] = ()
        self.trace: Trace | None = None
        self.done = False  # no more frames will come
        self.n_bytes = 0  # its frames, and the arrays of its trace


class RunStore:
    """Runs by their id. Ids are unguessable, so whoever knows one may look at that run. Safe to use from any thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._runs: OrderedDict[str, StoredRun] = OrderedDict()  # the one used last stands last
        self._lock = threading.Lock()

    def open(self, run_id: str) -> None:
        """Make room for a new run, which has nothing to show yet."""
        with self._lock:
            self._runs[run_id] = StoredRun()

    def add(self, run_id: str, frames: Iterable[bytes], trace: Trace, *, done: bool = False) -> int:
        """Append frames, keep the newer trace, let the oldest runs leave if it is too much. Returns the frames held.

        Raises: NoSpace, if this run has left the store, or alone needs more than the whole store.
        """
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                raise NoSpace("this run is no longer kept: newer runs needed its place. Run it again.")
            run.frames += tuple(frames)
            run.trace, run.done = trace, done
            run.n_bytes = sum(map(len, run.frames)) + sum(array.nbytes for array in trace.arrays().values())
            self._runs.move_to_end(run_id)
            if run.n_bytes > self._max_bytes:
                needed = run.n_bytes
                del self._runs[run_id]
                raise NoSpace(
                    f"this run needs {needed / 1e6:,.0f} MB; this host keeps {self._max_bytes / 1e6:,.0f} MB of runs. "
                    f"Shorten the prompt, ask for fewer new tokens, or raise TOKENOSCOPE_STORE_BYTES."
                )
            while sum(each.n_bytes for each in self._runs.values()) > self._max_bytes:
                self._runs.popitem(last=False)
            return len(run.frames)

    def get(self, run_id: str) -> StoredRun | None:
        """The run by that id, or None if it has left the store or never was in it."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is not None:
                self._runs.move_to_end(run_id)
            return run

    def finished(self, run_id: str) -> Trace | None:
        """The run by that id once it is over, by itself or stopped, and as long as it is kept."""
        run = self.get(run_id)
        return run.trace if run is not None and run.done and run.trace is not None else None

    def finish(self, run_id: str) -> None:
        """Say that no more frames of this run will come; one that never had any leaves."""
        with self._lock:
            if (run := self._runs.get(run_id)) is None:
                return
            run.done = True
            if not run.frames:
                del self._runs[run_id]

    def __len__(self) -> int:
        with self._lock:
            return len(self._runs)
