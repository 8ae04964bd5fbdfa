"""Experiments without a model: made-up records that grow piece by piece, as a test lets them."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from model.api.job import Job
from model.errors import Refusal
from model.records.file import Saved
from model.requests.batching import Serve
from model.requests.cache import TryCaches
from model.requests.speculation import Speculate
from model.requests.timing import Measure
from tests.app.fakes_served import drafted, served
from tests.fakes_measured import fake_measurement, fake_trials

SECONDS = 0.05  # a piece
GATE: threading.Semaphore | None = None  # every piece but the first waits for a release, where a test has one


def pieces(made: list[Callable[[], Saved]], job: Job) -> Iterator[Saved]:
    """One record after the other, each a version of the one before."""
    for done, make in enumerate(made):
        job.progress(done, len(made), f"piece {done + 1} of {len(made)}")
        _wait(done, job)
        yield make()


def _wait(done: int, job: Job) -> None:
    """Take the time of a piece. Raises: Cancelled."""
    if GATE is None or not done:
        time.sleep(SECONDS)
        job.check()
        return
    while not GATE.acquire(timeout=0.02):
        job.check()


def _measure(asked: Measure, job: Job) -> Iterator[Saved]:
    def make(race: bool, batch: bool) -> Saved:
        return fake_measurement(
            n_prompt=asked.n_prompt or 12, n_new=asked.max_new_tokens, prompt=asked.prompt, race=race, batch=batch
        )

    return pieces([lambda: make(False, False), lambda: make(True, False), lambda: make(True, True)], job)


def _cache(asked: TryCaches, job: Job) -> Iterator[Saved]:
    def make() -> Saved:
        if asked.dropped and asked.dropped[-1] >= 100:
            raise Refusal("Position {at} is not in the prompt.", at=asked.dropped[-1])
        return fake_trials()

    return pieces([make], job)


def _serve(asked: Serve, job: Job) -> Iterator[Saved]:
    prompts, new = zip(*((each.prompt, each.max_new_tokens) for each in asked.texts), strict=True)
    if "refuse" in prompts[0]:
        raise Refusal("The text {prompt!r} can never fit.", prompt=prompts[0])

    def make(n_ticks: int | None) -> Saved:
        return served(prompts, new, n_ticks=n_ticks, budget=asked.token_budget, schedulers=n_ticks is None)

    return pieces([lambda: make(1), lambda: make(3), lambda: make(None)], job)


def _speculate(asked: Speculate, job: Job) -> Iterator[Saved]:
    def make(n_modes: int) -> Saved:
        return drafted(asked.prompt, asked.settings, asked.modes[:n_modes])

    return pieces([lambda n=n: make(n + 1) for n in range(len(asked.modes))], job)


WORK: Mapping[str, Callable[[Any, Job], Iterator[Any]]] = {
    "measure": _measure,
    "cache": _cache,
    "serve": _serve,
    "speculate": _speculate,
}
