"""Experiments without a model: made-up records that grow piece by piece, as a test lets them."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from model.errors import Refusal
from tests.app.fakes_served import drafted, served
from tests.fakes_measured import fake_measurement, fake_trials
from viz.server.experiments import Begin, Result, Say
from viz.server.requested import Kind, Serving, Speculating, Wanted

SECONDS = 0.05  # a piece
GATE: threading.Semaphore | None = None  # every piece but the first waits for a release, where a test has one


@dataclass(frozen=True, kw_only=True)
class Update:
    state: str
    place: int = 0


class FakeJob:
    """Makes one record after the other; stops when it is told to."""

    def __init__(self, pieces: list[Callable[[], Result]], say: Say) -> None:
        self.error: BaseException | None = None
        self._pieces, self._say = pieces, say
        self._result: Result | None = None
        self._stopping = threading.Event()

    def updates(self, wait_s: float = 0.25) -> Iterator[Update]:
        yield Update(state="waiting", place=1)
        for done, make in enumerate(self._pieces):
            self._say(done, len(self._pieces), f"piece {done + 1} of {len(self._pieces)}")
            yield Update(state="running")
            if self._waited(done):
                yield Update(state="stopped")
                return
            try:
                self._result = make()
            except Refusal as refusal:
                self.error = refusal
                yield Update(state="failed")
                return
        yield Update(state="done")

    def _waited(self, done: int) -> bool:
        """Take the time of a piece; whether it was stopped meanwhile."""
        if GATE is None or not done:
            return self._stopping.wait(SECONDS)
        while not GATE.acquire(timeout=0.02):
            if self._stopping.is_set():
                return True
        return False

    def result(self) -> Result | None:
        return self._result

    def stop(self) -> None:
        self._stopping.set()


def _measurement(_: object, wanted: Wanted, say: Say) -> FakeJob:
    def make(race: bool, batch: bool) -> Result:
        return fake_measurement(
            n_prompt=wanted.n_prompt or 12,
            n_new=wanted.settings.max_new_tokens,
            prompt=wanted.prompt,
            race=race,
            batch=batch,
        )

    return FakeJob([lambda: make(False, False), lambda: make(True, False), lambda: make(True, True)], say)


def _trials(_: object, wanted: Wanted, say: Say) -> FakeJob:
    def make() -> Result:
        if wanted.dropped and wanted.dropped[-1] >= 100:
            raise Refusal(f"Position {wanted.dropped[-1]} is not in the prompt.")
        return fake_trials()

    return FakeJob([make], say)


def _batching(_: object, wanted: Serving, say: Say) -> FakeJob:
    prompts, new = zip(*((each.prompt, each.max_new_tokens) for each in wanted.texts), strict=True)

    def make(n_ticks: int | None) -> Result:
        if "refuse" in prompts[0]:
            raise Refusal(f"The text {prompts[0]!r} can never fit.")
        return served(prompts, new, n_ticks=n_ticks, budget=wanted.token_budget, ways=n_ticks is None)

    return FakeJob([lambda: make(1), lambda: make(3), lambda: make(None)], say)


def _speculation(_: object, wanted: Speculating, say: Say) -> FakeJob:
    def make(n_modes: int) -> Result:
        return drafted(wanted.prompt, wanted.settings, wanted.modes[:n_modes])

    return FakeJob([lambda n=n: make(n + 1) for n in range(len(wanted.modes))], say)


FAKE_EXPERIMENTS: Mapping[Kind, Begin] = {
    "measurement": _measurement,
    "trials": _trials,
    "batching": _batching,
    "speculation": _speculation,
}
