"""What tests of the server share: waiting until something holds, the kinds of frames, and a listener of records."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from model.limits import Limits
from model.requests.run import Run
from tests.app.fakes_engine import FakeEngine, FakeModels
from tests.patience import PATIENCE_S
from viz.server.store import Kept, Store
from viz.server.visitors import Visitors
from viz.wire import packing


def wait_for(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def kinds(body: bytes) -> list[str]:
    """What stands in an answer, less the status that ends it and may stand in between."""
    return [kind for frame in packing.split(body) if (kind := str(packing.says(frame)["kind"])) != "status"]


class House:
    """Visitors before a fake engine, without HTTP: whose jobs are listened to until a test lets one fall silent."""

    def __init__(
        self, engine: FakeEngine | None = None, *, limits: Limits | None = None, silence_s: float = 15
    ) -> None:
        self.engine, self.limits = engine or FakeEngine(), limits or Limits()
        self.store = Store(self.limits.store_bytes, self.limits.disk_bytes)
        self.models = FakeModels(self.engine)
        self.models.keep_in(self.store)
        self.visitors = Visitors(self.models, self.store, self.limits, silence_s=silence_s)
        self.listening: set[str] = set()
        self._closed = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, visitor: str, request: Any, *, listen: bool = True, held: bool = False) -> Kept:
        """The record that this visitor's request makes."""
        record_id = self.visitors.ask(visitor, request, held=held)
        if listen:
            self.listening.add(record_id)
        kept = self.store.get(record_id)
        assert kept is not None
        return kept

    def until(self, kept: Kept, state: str) -> Kept:
        wait_for(lambda: kept.standing.state == state)
        return kept

    def finished(self, kept: Kept) -> Kept:
        wait_for(lambda: kept.standing.complete)
        return kept

    def close(self) -> None:
        self._closed.set()
        self._listener.join()
        self.engine.close()
        wait_for(lambda: self.visitors.followed() == 0)
        self.store.settle()

    def _listen(self) -> None:
        while not self._closed.wait(0.02):
            for record_id in list(self.listening):
                if (kept := self.store.get(record_id)) is not None:
                    self.store.read(kept, 10**6)


def held(kept: Kept) -> list[str]:
    """The kinds of the parts that a record has."""
    return [str(packing.says(part)["kind"]) for part in kept.parts or ()]


def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


def a_run(prompt: str = "a b c", new: int = 4, **more) -> Run:
    return Run(prompt=prompt, max_new_tokens=new, **more)
