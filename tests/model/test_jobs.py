"""Jobs: work on a model that is no run waits in the queue of runs, has the model to itself, and ends as asked."""

import logging
import threading
import weakref
from collections.abc import Iterator

import pytest
from model.engine.jobs import Job, JobUpdate

from model import HookedModel, Settings
from model.engine.engine import Engine
from model.errors import BadPrompt, Busy, NotANumber
from model.experiments.cache.trials import trials
from model.limits import Limits
from model.records.cache import CacheTrials
from tests.model.engines import until_gone
from tests.model.waiting import ended, until
from tests.patience import PATIENCE_S
from tests.tiny import tiny

PROMPT = "w5 w17 w40 w8"


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny("llama")


@pytest.fixture
def engine(hooked: HookedModel) -> Iterator[Engine]:
    engine = Engine(hooked, Limits(queue=3))
    yield engine
    engine.close()
    assert not engine._worker.is_alive()


class Steps:
    """A job whose values, 1, 2, 3 and so on, a test lets through one by one; `most` of them, or until it is closed."""

    def __init__(self, most: int = 1000) -> None:
        self.closed = threading.Event()
        self.began = threading.Event()
        self.thread: int | None = None
        self._most = most
        self._let = threading.Semaphore(0)

    def let(self, count: int) -> None:
        for _ in range(count):
            self._let.release()

    def pieces(self, _: HookedModel) -> Iterator[int]:
        try:
            self.began.set()
            self.thread = threading.get_ident()
            for value in range(1, self._most + 1):
                assert self._let.acquire(timeout=PATIENCE_S)
                yield value
        finally:
            self.closed.set()


def test_a_jobs_result_is_its_latest_value(engine: Engine) -> None:
    steps = Steps(3)
    job = engine.submit_job(steps.pieces)
    assert until(job, lambda seen: seen.state == "running").n_results == 0 and job.result() is None
    for count in (1, 2):
        steps.let(1)
        assert until(job, lambda seen, count=count: seen.n_results == count).state == "running"
        assert job.result() == count
    steps.let(1)
    assert ended(job) == JobUpdate(state="done", place=0, n_results=3)
    assert (job.result(), job.error, job.state) == (3, None, "done")
    assert list(job.updates()) == [JobUpdate(state="done", place=0, n_results=3)]
    assert steps.thread != threading.get_ident()


def test_what_runs_through_the_engine_is_what_runs_without_it(engine: Engine, hooked: HookedModel) -> None:
    run = engine.submit(PROMPT, Settings(max_new_tokens=5))
    ended(run)
    whole = run.trace()
    assert whole is not None
    job = engine.submit_job(lambda hooked: trials(hooked, whole))
    assert ended(job).n_results == 5
    *_, own = trials(hooked, whole)
    theirs = job.result()
    assert isinstance(theirs, CacheTrials) and (theirs.kl == own.kl).all() and (theirs.chosen == own.chosen).all()


def test_a_job_and_runs_take_turns_and_nothing_runs_beside_a_job(engine: Engine) -> None:
    steps = Steps(3)
    job = engine.submit_job(steps.pieces)
    until(job, lambda seen: seen.state == "running")
    run, other = engine.submit(PROMPT, Settings(max_new_tokens=2)), engine.submit_job(Steps(0).pieces)
    assert [run.place, other.place, job.place] == [1, 2, 0]
    assert (engine.stats().waiting, engine.stats().running) == (2, 1)
    for count in (1, 2):  # where they took turns, a pass would run between two values
        steps.let(1)
        until(job, lambda seen, count=count: seen.n_results == count)
    assert (run.state, run.n_steps, other.state) == ("waiting", 0, "waiting")
    steps.let(1)
    assert [ended(each).state for each in (job, run, other)] == ["done"] * 3
    assert engine.stats().finished == 3


def test_a_job_waits_for_the_run_before_it(engine: Engine) -> None:
    held = Steps(1)
    first = engine.submit_job(held.pieces)
    run = engine.submit(PROMPT, Settings(max_new_tokens=4))
    seen: list[int] = []

    def pieces(_: HookedModel) -> Iterator[int]:
        seen.append(run.n_steps)
        yield 1

    after = engine.submit_job(pieces)
    held.let(1)
    assert [ended(each).state for each in (first, after)] == ["done", "done"] and seen == [4]


def test_a_job_that_is_stopped_ends_after_its_value_and_keeps_it(engine: Engine) -> None:
    steps, held = Steps(), []

    def make(hooked: HookedModel) -> Iterator[int]:
        held.append(steps.pieces(hooked))  # somebody else may know it: it is closed, not only let go
        return held[0]

    job = engine.submit_job(make)
    steps.let(2)
    until(job, lambda seen: seen.n_results == 2)
    job.stop()
    steps.let(1)
    last = ended(job)
    assert last.state == "stopped" and job.result() == last.n_results and last.n_results in (2, 3)
    assert steps.closed.is_set() and job.error is None
    job.stop()
    assert job.state == "stopped"


def test_work_between_two_values_can_look_whether_it_is_stopped(engine: Engine) -> None:
    stopping, began = threading.Event(), threading.Event()

    def pieces(_: HookedModel) -> Iterator[int]:
        yield 1
        began.set()
        if stopping.wait(PATIENCE_S):
            return
        yield 2

    job = engine.submit_job(pieces, stopping)
    assert began.wait(PATIENCE_S)
    job.stop()
    assert ended(job) == JobUpdate(state="stopped", place=0, n_results=1)


def test_a_job_that_waits_is_stopped_at_once_and_never_begins(engine: Engine) -> None:
    held, steps = Steps(1), Steps()
    first, waiting = engine.submit_job(held.pieces), engine.submit_job(steps.pieces)
    until(first, lambda seen: seen.state == "running")
    waiting.stop()
    assert list(waiting.updates()) == [JobUpdate(state="stopped", place=0, n_results=0)]
    held.let(1)
    assert ended(first).state == "done" and not steps.began.is_set() and engine.stats().finished == 2


def test_what_is_refused_is_refused_at_once(engine: Engine) -> None:
    def make(_: HookedModel) -> Iterator[int]:
        raise BadPrompt("nothing to measure")

    with pytest.raises(BadPrompt, match="nothing to measure"):
        engine.submit_job(make)
    assert engine.stats().waiting == 0


def test_jobs_count_among_those_that_wait(engine: Engine) -> None:
    held = Steps(1)
    first = engine.submit_job(held.pieces)
    until(first, lambda seen: seen.state == "running")
    others = [engine.submit_job(Steps(0).pieces) for _ in range(3)]
    with pytest.raises(Busy, match="3 runs"):
        engine.submit_job(Steps(0).pieces)
    with pytest.raises(Busy, match="3 runs"):
        engine.submit(PROMPT, Settings(max_new_tokens=1))
    held.let(1)
    assert [ended(each).state for each in others] == ["done"] * 3


@pytest.mark.parametrize("error", [NotANumber("it computed NaN"), RuntimeError("a bug")])
def test_a_job_that_fails_says_so_keeps_what_it_had_and_the_next_one_runs(
    engine: Engine, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def pieces(_: HookedModel) -> Iterator[int]:
        yield 1
        raise error

    with caplog.at_level(logging.ERROR):
        job = engine.submit_job(pieces)
        assert ended(job) == JobUpdate(state="failed", place=0, n_results=1)
    assert job.error is error and job.result() == 1
    assert [each.message for each in caplog.records] == (["a job failed"] if type(error) is RuntimeError else [])
    assert ended(engine.submit(PROMPT, Settings(max_new_tokens=1))).state == "done"


def test_closing_the_engine_stops_its_jobs_and_takes_no_more(hooked: HookedModel) -> None:
    engine, steps = Engine(hooked, Limits()), Steps()
    job, waiting = engine.submit_job(steps.pieces), engine.submit_job(Steps().pieces)
    until(job, lambda seen: seen.state == "running")
    closing = threading.Thread(target=engine.close)
    closing.start()
    until(waiting, lambda seen: seen.state == "stopped")
    steps.let(1)
    closing.join(PATIENCE_S)
    assert not closing.is_alive() and job.state == "stopped" and steps.closed.is_set()
    with pytest.raises(Busy, match="put away"):
        engine.submit_job(steps.pieces)


def test_what_a_job_worked_with_is_let_go_when_it_is_over(engine: Engine) -> None:
    class Heavy:
        pass

    def make(_: HookedModel, heavy: Heavy) -> Iterator[int]:
        return filter(lambda one: one and heavy, [1])  # which keeps what it works with, even when it has ended

    heavy = Heavy()
    gone = weakref.ref(heavy)
    job: Job = engine.submit_job(lambda hooked, heavy=heavy: make(hooked, heavy))
    del heavy
    ended(job)
    until_gone(gone, "what the job worked with")
    assert job.result() == 1
