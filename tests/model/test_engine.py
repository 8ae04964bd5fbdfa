"""The engine: runs wait, run, pause and step as asked, one pass at a time."""

import dataclasses
import threading

import numpy as np
import pytest

from model import trace
from model.engine.engine import Engine, Run, Update
from model.errors import Busy, PromptTooLong
from model.limits import Limits
from tests.model.engines import PROMPT, assert_same, finished, settings
from tests.model.waiting import ended, until, watched


def test_a_run_is_the_run_of_trace_and_its_last_update_has_the_lens(engine, small):
    asked = settings(5, temperature=1.0, seed=3)
    run = engine.submit(PROMPT, asked)
    seen = watched(run)
    assert_same(finished(run), trace(small, PROMPT, max_new_tokens=5, temperature=1.0, seed=3))
    assert seen[-1] == Update(state="done", place=0, n_steps=5, eta_s=None, lens=True)
    steps = [each.n_steps for each in seen]
    assert steps == sorted(steps)
    assert engine.stats().finished == 1


def test_updates_of_a_finished_run_end_at_once(engine):
    run = engine.submit(PROMPT, settings(1))
    finished(run)
    assert len(watched(run)) == 1


def test_the_time_left_is_measured_on_decode_steps(engine, gate):
    run = engine.submit(PROMPT, settings(6))
    gate.let(1)
    assert until(run, lambda each: each.n_steps == 1).eta_s is None
    gate.let(3)
    left = until(run, lambda each: each.n_steps == 4).eta_s
    so_far = run.trace()
    assert so_far is not None
    assert left == pytest.approx(2 * sorted(step.seconds for step in so_far.steps[1:])[1])


def test_snapshots_are_frozen_and_do_not_change_later(engine, gate):
    run = engine.submit(PROMPT, settings(4))
    gate.let(2)
    until(run, lambda each: each.n_steps == 2)
    early = run.trace()
    assert early is not None
    before = {name: array.copy() for name, array in early.arrays().items()}
    gate.open()
    whole = finished(run)
    assert (early.n_generated, early.ended, whole.n_generated) == (2, "running", 4)
    for name, array in early.arrays().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        early.text = "else"


# Turns


def test_first_come_first_served_one_at_a_time(engine, gate):
    runs = [engine.submit(PROMPT, settings(2, seed=seed)) for seed in range(3)]
    generations = [run._generation for run in runs]
    until(runs[0], lambda each: each.state == "running")
    assert [run.place for run in runs] == [0, 1, 2]
    assert dataclasses.astuple(engine.stats()) == (2, 1, 0, 0)
    gate.open()
    for run in runs:
        finished(run)
    passes = [generations.index(each) for each in gate.order]
    assert passes == sorted(passes)
    assert set(passes) == {0, 1, 2}


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(engine, gate):
    runs = [engine.submit(PROMPT, settings(1))]
    until(runs[0], lambda each: each.state == "running")
    runs += [engine.submit(PROMPT, settings(1)) for _ in range(3)]
    with pytest.raises(Busy, match=r"3 runs are waiting.*Try again"):
        engine.submit(PROMPT, settings(1))
    runs[1].stop()
    runs.append(engine.submit(PROMPT, settings(1)))
    gate.open()
    assert [ended(run).state for run in runs] == ["done", "stopped", "done", "done", "done"]


def test_a_refused_prompt_takes_no_place(small):
    engine = Engine(small, Limits(prompt_bytes=10))
    with pytest.raises(PromptTooLong, match=r"22 bytes.* at most 10"):
        engine.submit(PROMPT, settings())
    assert dataclasses.astuple(engine.stats()) == (0, 0, 0, 0)
    engine.close()


# Pause and step


def test_a_paused_run_lets_others_run_and_goes_on_as_if_nothing_had_been(engine, small, gate):
    one = engine.submit(PROMPT, settings(4, temperature=1.0, seed=1))
    gate.let(1)
    until(one, lambda each: each.n_steps == 1)
    one.pause()
    gate.let(1)  # the pass that was being computed
    until(one, lambda each: each.state == "paused")
    other = engine.submit(PROMPT, settings(3, temperature=1.0, seed=2))
    gate.open()
    finished(other)
    assert (one.state, one.n_steps, engine.stats().paused) == ("paused", 2, 1)
    one.resume()
    assert_same(finished(one), trace(small, PROMPT, max_new_tokens=4, temperature=1.0, seed=1))


def test_a_step_is_one_step(engine):
    run = engine.submit(PROMPT, settings(4))
    run.pause()
    until(run, lambda each: each.state == "paused")
    begun = run.n_steps
    for taken in range(begun + 1, 4):
        run.step()
        until(run, lambda each, taken=taken: each.state == "paused" and each.n_steps == taken)
        so_far = run.trace()
        assert so_far is not None
        assert so_far.n_generated == taken
    run.resume()
    assert finished(run).n_generated == 4


def test_a_run_paused_before_its_turn_holds_when_its_turn_comes(engine, gate):
    first = engine.submit(PROMPT, settings(2))
    second = engine.submit(PROMPT, settings(2))
    second.pause()
    gate.open()
    finished(first)
    assert until(second, lambda each: each.state == "paused").n_steps == 0
    second.resume()
    finished(second)


def test_a_resume_while_the_worker_is_parking_the_run_is_not_lost(engine, monkeypatch):
    original, resumed = Run._may_step, []

    def may_step(self: Run) -> bool:
        answer = original(self)
        if not answer and not resumed:
            resumed.append(threading.Thread(target=self.resume))
            resumed[0].start()
            resumed[0].join(timeout=0.2)
        return answer

    monkeypatch.setattr(Run, "_may_step", may_step)
    run = engine.submit(PROMPT, settings(3))
    run.pause()
    until(run, lambda each: each.state == "done")
    assert resumed
    finished(run)


def test_a_run_left_paused_ends_and_keeps_what_it_had(small):
    engine = Engine(small, Limits(paused_seconds=0))
    run = engine.submit(PROMPT, settings(4))
    run.pause()
    until(run, lambda each: each.state == "stopped")
    assert ended(run).state == "stopped"
    assert dataclasses.astuple(engine.stats()) == (0, 0, 0, 1)
    engine.close()


def test_of_too_many_paused_runs_the_one_paused_longest_ends(small):
    engine = Engine(small, Limits(paused_runs=2))
    runs = []
    for _ in range(3):
        runs.append(engine.submit(PROMPT, settings(4)))
        runs[-1].pause()
        until(runs[-1], lambda each: each.state == "paused")
    assert [run.state for run in runs] == ["stopped", "paused", "paused"]
    engine.close()
