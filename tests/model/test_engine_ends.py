"""However a job ends, stopped, closed or failed, the engine and the model go on as they were."""

# pyright: reportPrivateUsage=false

import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from model import Trace, trace
from model.api.job import Job, Status
from model.capture.generation import Generation
from model.engine.engine import Engine
from model.errors import BadPrompt, Busy, NotANumber
from model.limits import Limits
from model.requests.run import Run
from tests.model.engines import (
    PROMPT,
    Steps,
    assert_same,
    assert_untouched,
    begun,
    enqueued,
    fake_engine,
    finished,
    hooked_layers,
    stepped,
    submitted,
    until_gone,
)
from tests.model.waiting import PATIENCE, ended, until, watched
from tests.patience import PATIENCE_S


@pytest.fixture
def bare() -> Iterator[Engine]:
    engine = fake_engine()
    yield engine
    engine.close()


# Stopped, in every state


def test_stop_while_waiting_ends_at_once_and_never_begins(bare):
    held, steps = Steps(1), Steps()
    first, waiting = begun(bare, held), enqueued(bare, steps)
    waiting.stop()
    assert watched(waiting) == [Status(state="stopped", complete=True)] and waiting.record is None
    held.let()
    assert ended(first).state == "done" and not steps.began.is_set() and bare.stats().finished == 2


def test_stop_before_it_is_in_the_queue(bare):
    steps = Steps()
    steps.job.stop()
    assert ended(enqueued(bare, steps)) == Status(state="stopped", complete=True)
    assert not steps.began.is_set() and bare.stats().finished == 1


def test_stop_while_running_gives_one_last_value(bare):
    steps = Steps()
    job = begun(bare, steps)
    steps.let(2)
    until(job, lambda seen: seen.version == 2)
    job.stop()
    steps.let()
    assert ended(job) == Status(state="stopped", version=3, complete=True)
    assert job.record == 102 and steps.closed.is_set() and job.error is None
    job.stop()
    assert job.status.state == "stopped"


def test_stop_while_paused_gives_one_last_value(bare):
    steps = Steps()
    steps.let(2)
    steps.job.pause()
    job = enqueued(bare, steps)
    stepped(job, 1)
    job.stop()
    assert ended(job).state == "stopped" and job.record == 101 and steps.closed.is_set()


def test_stop_of_one_that_made_room_comes_before_those_that_wait(bare, monkeypatch):
    monkeypatch.setattr("model.engine.engine._LONG_S", 0.0)
    long, brief, other = Steps(), Steps(1), Steps(1)
    jobs = [begun(bare, long), enqueued(bare, brief, brief=True), enqueued(bare, other, brief=True)]
    long.let()
    until(jobs[1], lambda seen: seen.state == "running")
    jobs[0].stop()
    long.let()
    brief.let()
    assert ended(jobs[0]).state == "stopped" and jobs[0].record == 101
    assert not other.closed.is_set()
    other.let()
    assert [ended(job).state for job in jobs[1:]] == ["done"] * 2


def test_work_that_hears_no_stop_is_closed_after_its_value(bare):
    closed, made, go_on = threading.Event(), threading.Event(), threading.Semaphore(0)

    def work() -> Iterator[int]:
        try:
            for value in range(1000):
                made.set()
                assert go_on.acquire(timeout=PATIENCE_S)
                yield value
        finally:
            closed.set()

    job = Job()
    bare.enqueue(job, work())
    assert made.wait(PATIENCE_S)
    job.stop()
    go_on.release()
    go_on.release()
    assert ended(job).state == "stopped" and job.record == 1 and closed.is_set()


def test_a_stop_that_fails_ends_its_run_and_not_the_worker(engine, monkeypatch):
    job = submitted(engine, 4, paused=True)
    stepped(job, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Generation, "trace", lambda _: (_ for _ in ()).throw(MemoryError("no room")))
        job.stop()
        assert ended(job).state == "failed"
    assert isinstance(job.error, MemoryError)
    finished(submitted(engine, 2))


# A run, stopped


@pytest.mark.parametrize("steps", [0, 2])
def test_a_stopped_run_keeps_its_steps_and_gets_nothing_more(engine, small, steps):
    job = submitted(engine, 20, paused=True)
    stepped(job, steps)
    job.stop()
    assert {each.state for each in watched(job)} <= {"waiting", "running", "stopped"}
    kept = job.record
    if not steps:
        assert kept is None
        return
    assert (kept.ended, kept.n_generated) == ("stopped", steps)
    assert kept.embed_ids is None, "nobody waits for what is added after a run"
    whole = trace(small, PROMPT, max_new_tokens=20, additions=False)
    np.testing.assert_array_equal(kept.logits, whole.logits[:steps])
    for name in ("queries", "keys", "values"):
        np.testing.assert_array_equal(kept.arrays()[name], whole.arrays()[name][:, :, : kept.n_fed], err_msg=name)


@pytest.mark.parametrize("in_pass", [0, 2], ids=["prefill", "decode"])
def test_stop_in_the_middle_of_a_pass_ends_it_there(engine, small, in_pass):
    reached, go_on, layers = threading.Event(), threading.Event(), []

    def hold(module, *_) -> None:
        layers.append(module)
        if len(layers) == 3 * in_pass + 1:
            reached.set()
            assert go_on.wait(PATIENCE)

    with hooked_layers(small, hold):
        job = submitted(engine, 9)
        assert reached.wait(PATIENCE)
        job.stop()
        go_on.set()
        assert ended(job).state == "stopped"
    assert len(layers) == 3 * in_pass + 1, "a layer ran after the stop"
    assert (job.record.n_generated if job.record else 0) == in_pass
    assert_untouched(small)


# Closed


def test_closing_stops_everything_and_takes_nothing_more():
    engine, running, parked, waiting = fake_engine(), Steps(), Steps(), Steps()
    parked.let()
    parked.job.pause()
    jobs = [enqueued(engine, parked)]
    stepped(jobs[0], 1)
    jobs += [begun(engine, running), enqueued(engine, waiting)]
    running.let()
    until(jobs[1], lambda seen: seen.version == 1)
    parked.let()
    closing = threading.Thread(target=engine.close)
    closing.start()
    until(jobs[2], lambda seen: seen.state == "stopped")
    running.let()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert [job.status.state for job in jobs] == ["stopped"] * 3
    assert [job.record for job in jobs] == [101, 101, None], "what has begun says its last"
    assert running.closed.is_set() and parked.closed.is_set() and not waiting.began.is_set()
    assert engine.stats().finished == 3 and engine.stats().waiting == engine.stats().running == 0
    with pytest.raises(Busy, match="is being unloaded"):
        enqueued(engine, Steps())


def test_closing_during_post_run_work_leaves_the_job_done():
    engine, began, go_on = fake_engine(), threading.Event(), threading.Event()
    job = Job()

    def work(job: Job) -> Iterator[int]:
        job.settled()
        yield 1
        began.set()
        assert go_on.wait(PATIENCE_S)
        yield 2
        raise AssertionError("it went on after the engine was closed")

    engine.enqueue(job, work(job))
    assert began.wait(PATIENCE_S)
    closing = threading.Thread(target=engine.close)
    closing.start()
    until(job, lambda _: engine._closed)
    go_on.set()
    closing.join(PATIENCE)
    assert ended(job) == Status(state="done", version=2, complete=True) and engine.stats().finished == 1
    assert job.error is None


# Failed


@pytest.mark.parametrize("error", [NotANumber("it computed NaN"), RuntimeError("a bug")])
def test_a_job_that_fails_says_so_keeps_what_it_had_and_the_next_one_runs(bare, error, caplog):
    def work() -> Iterator[int]:
        yield 1
        raise error

    job, steps = Job(), Steps(1)
    steps.let()
    with caplog.at_level(logging.ERROR):
        bare.enqueue(job, work())
        assert ended(job) == Status(state="failed", version=1, complete=True)
    assert job.error is error and job.record == 1
    assert [each.message for each in caplog.records] == (["a job failed"] if type(error) is RuntimeError else [])
    assert ended(enqueued(bare, steps)).state == "done"


def test_what_is_refused_is_refused_at_once_and_takes_no_place(engine):
    job = Job()
    with pytest.raises(BadPrompt, match="empty"):
        engine.submit(Run(prompt=" "), job)
    assert job.status == Status() and engine.stats().waiting == 0


def test_a_failing_run_leaves_the_engine_and_the_model_as_they_were(engine, small, caplog):
    before = finished(submitted(engine, 3))

    def fail(module, *_) -> None:
        raise RuntimeError("made to fail")

    with caplog.at_level(logging.ERROR), hooked_layers(small, fail, only=1):
        job = submitted(engine, 3)
        assert ended(job).state == "failed"
    assert isinstance(job.error, RuntimeError)
    assert "made to fail" in caplog.text
    assert "Traceback" in caplog.text
    assert_untouched(small)
    assert_same(finished(submitted(engine, 3)), before)


def test_nan_names_the_first_layer_that_has_it_and_is_no_bug(engine, small, caplog):
    before = finished(submitted(engine, 2))
    places = {
        "the embedding": small.anatomy.embedding.weight,
        "layer 0": small.model.model.layers[0].self_attn.v_proj.weight,
        "layer 2": small.model.model.layers[2].mlp.down_proj.weight,
        "the output head": small.model.model.norm.weight,
    }
    for place, weight in places.items():
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.fill_(float("nan"))
        job = submitted(engine, 2)
        state = ended(job).state
        with torch.no_grad():
            weight.copy_(kept)  # before anything can fail: other tests use the same model
        assert state == "failed"
        assert isinstance(job.error, NotANumber)
        assert f"first in {place}. " in str(job.error)
    assert not caplog.records
    assert_same(finished(submitted(engine, 2)), before)


# Memory


class Heavy:
    """Memory that work uses."""


@pytest.mark.parametrize("end", ["done", "stopped", "failed", "settled"])
def test_what_a_job_worked_with_is_given_back_when_it_is_over(bare, end):
    heavy = [Heavy()]
    gone = weakref.ref(heavy[0])
    job = Job()

    def work(heavy: Heavy) -> Iterator[Any]:
        yield 1
        if end == "settled":
            job.settled()
            yield 2
        if end == "failed":
            try:
                raise RuntimeError("the cause")
            except RuntimeError as error:
                raise NotANumber("made to fail") from error
        if end == "stopped":
            job.stop()
        yield heavy is None

    bare.enqueue(job, work(heavy.pop()))
    last = ended(job)
    assert last.state == ("done" if end == "settled" else end)
    until_gone(gone, "what the job worked with")
    assert (job.error is not None) == (end == "failed")


def test_a_job_that_is_kept_does_not_keep_its_engine():
    engine, steps = fake_engine(), Steps(1)
    steps.let()
    job = enqueued(engine, steps)
    ended(job)
    engine.close()
    gone = weakref.ref(engine)
    del engine
    until_gone(gone, "the engine")
    job.stop()
    job.pause()


@pytest.mark.parametrize("end", ["done", "stopped"])
def test_the_memory_of_a_run_is_given_back(engine, monkeypatch, end):
    made: list[weakref.ref] = []
    original = Generation.__init__

    def init(self: Generation, *given: Any) -> None:
        original(self, *given)
        made.append(weakref.ref(self))

    monkeypatch.setattr(Generation, "__init__", init)
    job = submitted(engine, 3, paused=end == "stopped")
    if end == "stopped":
        stepped(job, 1)
        job.stop()
    assert ended(job).state == end
    until_gone(made[0], "the generation")
    whole = job.record
    assert isinstance(whole, Trace) and whole.resid is not None
    array = weakref.ref(whole.resid if whole.resid.base is None else whole.resid.base)
    del whole, job
    until_gone(array, "the arrays")


def test_a_trace_holds_no_more_than_its_own_positions_once_stopped(engine):
    job = submitted(engine, 100, paused=True)
    stepped(job, 1)
    job.stop()
    ended(job)
    assert job.record.ended == "stopped"
    for name in ("queries", "keys", "values", "resid"):
        assert job.record.arrays()[name].flags.owndata, name


def test_closing_an_engine_lets_its_model_go(small):
    engine = Engine(small, Limits())
    job = submitted(engine, 1)
    finished(job)
    engine.close()
    gone = weakref.ref(engine)
    del engine
    until_gone(gone, "the engine")
