"""A job by itself: its status, what stops and holds it, what it keeps; and the clock that all jobs of a host share."""

import threading
import time
from collections.abc import Generator, Iterator

import pytest

from model.api.clock import Clock
from model.api.job import Job, Status, records_of
from model.errors import Cancelled
from tests.model.engines import Steps, begun, enqueued, fake_engine
from tests.model.waiting import ended, until
from tests.patience import PATIENCE_S


def test_check_raises_after_a_stop_and_not_before() -> None:
    job = Job()
    job.check()
    assert not job.stopped()
    job.stop()
    assert job.stopped()
    with pytest.raises(Cancelled):
        job.check()


def test_without_an_engine_its_clock_may_always_run() -> None:
    with Job().clock(), Job().clock():
        pass


def test_ids_are_their_own_and_hard_to_guess() -> None:
    ids = {Job().id for _ in range(100)}
    assert len(ids) == 100 and min(map(len, ids)) >= 16


def test_the_time_left_is_the_median_pace_times_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("model.api.job.time.monotonic", lambda: now[0])
    job = Job()
    for done, seconds in ((0, 0.0), (1, 9.0), (2, 1.0), (3, 3.0), (4, 2.0)):
        now[0] += seconds
        job.progress(done, 10, f"piece {done + 1}")
        assert (job.status.eta_s is None) == (done < 2)
    assert job.status == Status(what="piece 5", done=4, total=10, eta_s=6 * 2.0)
    job.progress(4, 10, "the same piece")
    assert job.status.eta_s == 12.0
    job.end("done", complete=True)
    assert job.status.eta_s is None


def test_the_time_while_it_waits_or_is_held_is_not_part_of_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("model.api.job.time.monotonic", lambda: now[0])
    job = Job()
    job.begin(Clock())
    for hold in (job.pause, job.wait_again):
        for _ in range(2):
            now[0] += 1
            job.progress(job.status.done + 1, 100, "")
        hold()
        job.may_go_on()
        now[0] += 1000
        job.resume()
        job.progress(job.status.done + 1, 100, "")
        assert job.status.eta_s is None


def test_steps_that_are_asked_twice_before_one_is_made_are_one() -> None:
    job = Job()
    job.step()
    job.step()
    assert [job.may_go_on() for _ in range(3)] == [True, False, False]
    assert job.status.state == "paused"


def test_updates_come_after_every_change_and_end_with_the_last() -> None:
    job, seen = Job(), list[Status]()

    def follow() -> None:
        seen.extend(job.updates(wait_s=PATIENCE_S))

    follower = threading.Thread(target=follow)
    follower.start()
    job.take("a record")
    job.end("done", complete=False)
    job.end("done", complete=True)
    follower.join(PATIENCE_S)
    assert not follower.is_alive()
    assert seen[-1] == Status(state="done", version=1, complete=True)


def test_an_error_is_kept_without_the_frames_that_hold_memory() -> None:
    job = Job()
    try:
        try:
            raise ValueError("the cause")
        except ValueError as cause:
            raise RuntimeError("the error") from cause
    except RuntimeError as error:
        job.end("failed", error, complete=True)
    assert isinstance(job.error, RuntimeError) and isinstance(job.error.__cause__, ValueError)
    assert job.error.__traceback__ is None and job.error.__cause__.__traceback__ is None


def test_a_library_call_gives_records_alone_and_closes_its_work() -> None:
    closed: list[bool] = []

    def pieces() -> Generator[int | None]:
        try:
            yield from (None, 1, None, None, 2)
        finally:
            closed.append(True)

    assert list(records_of(pieces())) == [1, 2]
    work = pieces()  # somebody else may hold it: it is closed, not only let go
    records = records_of(work)
    next(records)
    records.close()
    assert closed == [True, True]


# The clock of a host


def test_while_one_is_timed_no_other_engine_works() -> None:
    clock = Clock()
    engines = [fake_engine(clock=clock) for _ in range(2)]
    order: list[str] = []
    timing, timed, go_on = Job(), threading.Event(), threading.Event()

    def work() -> Iterator[int]:
        with timing.clock():
            timed.set()
            assert go_on.wait(PATIENCE_S)
            order.append("timed")
        yield 1

    engines[0].enqueue(timing, work())
    assert timed.wait(PATIENCE_S)
    steps = Steps(2, order, "other")
    steps.let(2)
    other = enqueued(engines[1], steps)
    until(other, lambda seen: seen.state == "running")
    assert not steps.began.is_set(), "it works while another is timed"
    go_on.set()
    assert ended(timing).state == ended(other).state == "done"
    assert order == ["timed", "other", "other"]
    for engine in engines:
        engine.close()


def test_timing_waits_for_the_piece_that_another_engine_is_at() -> None:
    clock = Clock()
    engines = [fake_engine(clock=clock) for _ in range(2)]
    order: list[str] = []
    steps = Steps(2, order, "other")
    other = begun(engines[0], steps)
    timing, wants = Job(), threading.Event()

    def work() -> Iterator[int]:
        wants.set()
        with timing.clock():
            order.append("timed")
        yield 1

    engines[1].enqueue(timing, work())
    assert wants.wait(PATIENCE_S)
    steps.let(2)
    assert ended(timing).state == ended(other).state == "done"
    assert order == ["other", "timed", "other"], "once timing is wanted, no new piece begins before it"
    for engine in engines:
        engine.close()


def test_two_that_want_to_time_take_turns() -> None:
    clock, inside, most = Clock(), [0], [0]
    engines = [fake_engine(clock=clock) for _ in range(2)]

    def work(job: Job) -> Iterator[int]:
        for value in range(50):
            with job.clock(), job.clock():  # inside its own it may be entered again
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)  # let the other thread in
                inside[0] -= 1
            yield value

    jobs = [Job(), Job()]
    for engine, job in zip(engines, jobs, strict=True):
        engine.enqueue(job, work(job))
    assert [ended(job).state for job in jobs] == ["done"] * 2 and most == [1]
    for engine in engines:
        engine.close()


def test_work_that_fails_while_it_is_timed_gives_the_clock_back() -> None:
    engine, job, steps = fake_engine(), Job(), Steps(1)

    def work() -> Iterator[int]:
        with job.clock():
            raise Cancelled
        yield 1

    engine.enqueue(job, work())
    ended(job)
    steps.let()
    assert ended(enqueued(engine, steps)).state == "done"
    engine.close()


def test_a_value_given_inside_the_clock_is_a_bug_that_ends_its_job_alone(caplog: pytest.LogCaptureFixture) -> None:
    engine, job, other = fake_engine(), Job(), Job()

    def work(job: Job, *, inside: bool) -> Iterator[int]:
        with job.clock():
            if inside:
                yield 1
        yield 2

    engine.enqueue(job, work(job, inside=True))
    assert ended(job).state == "failed" and isinstance(job.error, RuntimeError)
    engine.enqueue(other, work(other, inside=False))
    assert ended(other).state == "done", "the clock can be had again"
    engine.close()
