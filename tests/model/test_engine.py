"""The engine's queue: jobs wait, run, pause, step and make room as asked, one value at a time."""

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from model.api.job import Job, Status
from model.engine import engine as engine_module
from model.engine.engine import Engine
from model.errors import Busy, NoSpace
from model.limits import Limits
from tests.model.engines import Steps, begun, enqueued, fake_engine
from tests.model.waiting import ended, until, watched
from tests.patience import PATIENCE_S


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = fake_engine()
    yield engine
    engine.close()


def until_version(job: Job, version: int) -> Status:
    return until(job, lambda seen: seen.version == version)


def test_a_jobs_record_is_its_latest_value(engine):
    steps = Steps(3)
    job = begun(engine, steps)
    assert (job.status.version, job.record) == (0, None)
    for count in (1, 2):
        steps.let()
        assert until_version(job, count).state == "running"
        assert job.record == count
    steps.let()
    assert ended(job) == Status(state="done", version=3, complete=True)
    assert (job.record, job.error) == (3, None)
    assert watched(job) == [Status(state="done", version=3, complete=True)]
    assert steps.thread != threading.get_ident()


def test_a_value_of_none_is_no_newer_record(engine):
    def work() -> Iterator[int | None]:
        yield 1
        yield None

    job = Job()
    engine.enqueue(job, work())
    assert ended(job).version == 1 and job.record == 1


# Turns


def test_first_come_first_served_one_at_a_time(engine):
    order: list[str] = []
    steps = [Steps(2, order, name) for name in "abc"]
    jobs = [begun(engine, steps[0], brief=True), *(enqueued(engine, each, brief=True) for each in steps[1:])]
    assert [job.status.place for job in jobs] == [0, 1, 2]
    assert dataclasses.astuple(engine.stats()) == (2, 1, 0, 0)
    for each in reversed(steps):
        each.let(2)
    assert [ended(job).state for job in jobs] == ["done"] * 3
    assert order == list("aabbcc") and engine.stats().finished == 3


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(engine):
    steps = [Steps(1) for _ in range(6)]
    jobs = [begun(engine, steps[0]), *(enqueued(engine, each) for each in steps[1:4])]
    with pytest.raises(Busy, match=r"3 requests are waiting.*Try again"):
        enqueued(engine, steps[4])
    jobs[1].stop()
    jobs.append(enqueued(engine, steps[5]))
    for each in steps:
        each.let()
    assert [ended(job).state for job in jobs] == ["done", "stopped", "done", "done", "done"]


def test_a_long_job_makes_room_for_a_brief_one_between_two_values(engine, monkeypatch):
    monkeypatch.setattr(engine_module, "_LONG_S", 0.0)
    order: list[str] = []
    long, other, brief = Steps(4, order, "long"), Steps(2, order, "other"), Steps(3, order, "brief")
    jobs = [begun(engine, long), enqueued(engine, other), enqueued(engine, brief, brief=True)]
    long.let()
    until(jobs[0], lambda seen: seen.state == "waiting")
    until(jobs[2], lambda seen: seen.state == "running")
    for each in (brief, long, other):
        each.let(4)
    assert [ended(job).state for job in jobs] == ["done"] * 3
    # the brief one overtakes the other long one, which waits for the end of the first
    assert order == ["long", *["brief"] * 3, *["long"] * 3, *["other"] * 2]


def test_many_brief_ones_do_not_starve_a_long_job(engine, monkeypatch):
    monkeypatch.setattr(engine_module, "_LONG_S", 0.0)
    order: list[str] = []
    long, one, two = Steps(3, order, "long"), Steps(1, order, "one"), Steps(1, order, "two")
    jobs = [begun(engine, long), enqueued(engine, one, brief=True), enqueued(engine, two, brief=True)]
    for each in (long, one, two):
        each.let(3)
    assert [ended(job).state for job in jobs] == ["done"] * 3
    assert order == ["long", "one", "long", "two", "long"]


def test_a_long_job_has_its_time_before_it_makes_room(engine):
    order: list[str] = []
    long, brief = Steps(3, order, "long"), Steps(1, order, "brief")
    jobs = [begun(engine, long), enqueued(engine, brief, brief=True)]
    brief.let()
    long.let(3)
    assert [ended(job).state for job in jobs] == ["done"] * 2
    assert order == ["long"] * 3 + ["brief"]


# Pause and step


def test_a_paused_job_lets_others_run_and_goes_on_where_it_was(engine):
    one, other = Steps(3), Steps(1)
    job = begun(engine, one)
    one.let()
    until_version(job, 1)
    job.pause()
    one.let()  # the value that was being made
    assert until(job, lambda seen: seen.state == "paused").version == 2
    other.let()
    assert ended(enqueued(engine, other)).state == "done"
    assert (job.status.state, job.record, engine.stats().paused) == ("paused", 2, 1)
    one.let()
    job.resume()
    assert ended(job).state == "done" and job.record == 3


def test_a_step_is_one_value(engine):
    steps = Steps(4)
    steps.let(4)
    steps.job.pause()
    job = enqueued(engine, steps)
    until(job, lambda seen: seen.state == "paused")
    for taken in range(1, 4):
        job.step()
        assert until(job, lambda seen, taken=taken: seen.state == "paused" and seen.version == taken)
        assert job.record == taken
    job.resume()
    assert ended(job).state == "done" and job.record == 4


def test_a_job_paused_before_its_turn_holds_when_its_turn_comes(engine):
    first, second = Steps(1), Steps(1)
    job, other = begun(engine, first), enqueued(engine, second)
    other.pause()
    first.let()
    ended(job)
    assert until(other, lambda seen: seen.state == "paused").version == 0
    second.let()
    other.resume()
    assert ended(other).state == "done"


@pytest.mark.parametrize("act", ["resume", "step", "stop"])
def test_what_is_asked_while_the_worker_is_parking_the_job_is_not_lost(engine, monkeypatch, act):
    original, asking = Job.may_go_on, []

    def may_go_on(self: Job) -> bool:
        answer = original(self)
        if not answer and not asking:
            asking.append(threading.Thread(target=getattr(self, act)))
            asking[0].start()
            asking[0].join(timeout=0.1)  # it waits for the worker, which has the engine's lock
        return answer

    monkeypatch.setattr(Job, "may_go_on", may_go_on)
    steps = Steps(2)
    steps.let(2)
    steps.job.pause()
    job = enqueued(engine, steps)
    if act == "step":
        assert until(job, lambda seen: seen.version == 1 and seen.state == "paused")
        job.stop()
    assert ended(job).state == ("done" if act == "resume" else "stopped")
    assert asking


def test_a_job_left_paused_ends_and_keeps_what_it_had():
    engine, steps = fake_engine(Limits(paused_seconds=0)), Steps(4)
    steps.let(4)
    steps.job.pause()
    job = enqueued(engine, steps)
    assert ended(job).state == "stopped" and job.record == 100
    assert dataclasses.astuple(engine.stats()) == (0, 0, 0, 1)
    engine.close()


def test_of_too_many_paused_jobs_the_one_paused_longest_ends():
    engine, jobs = fake_engine(Limits(paused_runs=2)), []
    for _ in range(3):
        steps = Steps(4)
        steps.let(4)
        steps.job.pause()
        jobs.append(enqueued(engine, steps))
        until(jobs[-1], lambda seen: seen.state == "paused")
    assert ended(jobs[0]).state == "stopped"
    assert [job.status.state for job in jobs] == ["stopped", "paused", "paused"]
    engine.close()


# Room for records


class Shelf:
    """Room for some jobs."""

    def __init__(self) -> None:
        self.answers: dict[Job, Any] = {}
        self.questions: list[Job] = []
        self.too_large: set[Job] = set()

    def check(self, job: Job) -> None:
        if job in self.too_large:
            raise NoSpace("it takes 9 bytes; 5 are there")

    def reserve(self, job: Job) -> bool:
        self.questions.append(job)
        answer = self.answers.get(job, True)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def shelf(monkeypatch) -> Shelf:
    monkeypatch.setattr(engine_module, "_ROOM_S", 0.01)
    return Shelf()


def test_a_job_waits_for_room_and_nobody_new_goes_before_it(shelf):
    engine, first, second = fake_engine(room=shelf), Steps(1), Steps(1)
    shelf.answers[first.job] = False
    jobs = [enqueued(engine, first, brief=True), enqueued(engine, second, brief=True)]
    first.let()
    second.let()
    until(jobs[0], lambda _: len(shelf.questions) >= 3)
    assert set(shelf.questions) == {first.job}
    assert [job.status.place for job in jobs] == [1, 2] and not second.began.is_set()
    shelf.answers[first.job] = True
    assert [ended(job).state for job in jobs] == ["done"] * 2
    assert shelf.questions.count(second.job) == 1, "room is reserved once"
    engine.close()


def test_without_room_what_has_begun_goes_on_and_post_run_work_too(shelf):
    engine, parked, waiting = fake_engine(room=shelf), Steps(2), Steps(1)
    added = threading.Event()

    def work() -> Iterator[int]:
        settled.settled()
        yield 1
        added.set()
        yield 2

    settled = Job()
    parked.job.pause()
    paused = enqueued(engine, parked)
    until(paused, lambda seen: seen.state == "paused")
    shelf.answers[waiting.job] = False
    held = Steps(1)
    busy = begun(engine, held)
    engine.enqueue(settled, work())
    job = enqueued(engine, waiting)
    held.let()
    ended(busy)
    assert ended(settled).version == 2 and added.is_set()
    parked.let(2)
    paused.resume()
    assert ended(paused).state == "done" and job.status.state == "waiting"
    engine.close()
    assert job.status.state == "stopped"


def test_what_never_has_room_is_refused_at_once_though_another_one_has_the_model(shelf):
    engine, large = fake_engine(room=shelf), Steps(1)
    shelf.too_large.add(large.job)
    busy = Steps(1)
    job = begun(engine, busy)
    with pytest.raises(NoSpace, match="9 bytes"):
        enqueued(engine, large)
    assert job.status.state == "running" and engine.stats().waiting == 0 and not large.began.is_set()
    busy.let()
    assert ended(job).state == "done"
    engine.close()


def test_a_fault_of_the_store_ends_one_job_and_the_next_one_runs(shelf, caplog):
    engine, faulty, fitting = fake_engine(room=shelf), Steps(1), Steps(1)
    shelf.answers[faulty.job] = RuntimeError("a fault of the store")
    fitting.let()
    jobs = [enqueued(engine, each) for each in (faulty, fitting)]
    assert [ended(job).state for job in jobs] == ["failed", "done"]
    assert isinstance(jobs[0].error, RuntimeError)
    assert not faulty.began.is_set() and [each.message for each in caplog.records] == ["a job failed"]
    engine.close()


# Post-run work


def test_post_run_work_waits_while_somebody_needs_the_model(engine):
    order: list[str] = []
    held = Steps(1)
    busy, first = begun(engine, held), Job()

    def work() -> Iterator[int | None]:
        first.settled()
        yield 1
        for _ in range(2):
            order.append("post-run")
            yield None
        yield 2

    second = Steps(2, order, "second")
    engine.enqueue(first, work(), brief=True)
    other = enqueued(engine, second, brief=True)
    held.let()
    ended(busy)
    until(other, lambda seen: seen.state == "running")
    assert first.status == Status(state="done", version=1)
    second.let(2)
    assert ended(first) == Status(state="done", version=2, complete=True)
    assert ended(other).state == "done"
    assert order == ["second", "second", "post-run", "post-run"]


def test_a_job_that_is_over_gets_nothing_more_after_a_stop(engine):
    began, go_on = threading.Event(), threading.Event()
    closed = threading.Event()
    job = Job()

    def work() -> Iterator[int]:
        job.settled()
        yield 1
        began.set()
        assert go_on.wait(PATIENCE_S)
        try:
            yield 2
            yield 3
        finally:
            closed.set()

    engine.enqueue(job, work())
    assert began.wait(PATIENCE_S)
    job.stop()
    go_on.set()
    assert ended(job).state == "done" and job.record == 2 and closed.is_set()


def test_post_run_work_that_fails_leaves_the_record(engine, caplog):
    job = Job()

    def work() -> Iterator[int]:
        job.settled()
        yield 1
        raise RuntimeError("made to fail")

    engine.enqueue(job, work())
    assert ended(job) == Status(state="done", version=1, complete=True)
    assert job.record == 1 and isinstance(job.error, RuntimeError)
    assert [each.message for each in caplog.records] == ["a job failed"]
