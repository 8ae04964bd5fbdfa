"""A short run waits at most three seconds beside a long experiment whose clock is not running."""

import time

import pytest

from model import HookedModel
from model.api.job import Job
from model.engine.engine import Engine
from model.limits import Limits
from model.requests.batching import Serve, Text
from model.requests.cache import TryCaches
from model.requests.run import Run
from model.requests.speculation import Speculate
from tests.patience import PATIENCE_S

MOST_S = 3.0
STORY = "Once upon a time, in a land of hills,"
LONG = {  # each writes for far longer than that before its first timed run
    "speculate": Speculate(prompt=STORY, max_new_tokens=200, modes=("own draft",)),
    "cache": TryCaches(prompt=STORY, max_new_tokens=200),
    "serve": Serve(texts=(Text(prompt=STORY, max_new_tokens=200),) * 4),
}


@pytest.mark.alone
@pytest.mark.parametrize("name", LONG)
def test_a_short_run_waits_at_most_three_seconds(default_model: HookedModel, name: str):
    engine, long, short = Engine(default_model, Limits()), Job(), Job()
    try:
        engine.submit(LONG[name], long)
        until(long, "running")
        time.sleep(1.0)  # it is well under way
        asked = time.monotonic()
        engine.submit(Run(prompt="The capital of Italy is", max_new_tokens=2), short)
        until(short, "running")
        waited = time.monotonic() - asked
        until(short, "done")
        print(f"{name}: waited {waited:.2f} s")  # noqa: T201  (`pytest -s` shows it)
        assert not long.status.over, "the experiment was too short to tell"
        assert waited <= MOST_S, f"{name}: waited {waited:.2f} s"
    finally:
        long.stop()
        engine.close()


def until(job: Job, state: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (now := job.status.state) not in (state, "done", "failed"):
        assert time.monotonic() < deadline, f"it is still {now}"
        time.sleep(0.01)
    assert now != "failed", job.error
