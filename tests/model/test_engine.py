"""The engine: runs wait, run, pause and stop as asked, one pass at a time, and nothing of one run reaches another."""

import dataclasses
import gc
import logging
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from model import HookedModel, Settings, Trace, trace
from model import engine as engine_module
from model.additions import with_additions
from model.engine import Engine, Run, Update
from model.errors import Busy, NotANumber, PromptTooLong
from model.generate import Generation
from model.limits import Limits
from tests.fakes import AFTER_RUN
from tests.model.waiting import PATIENCE, ended, until, watched

PROMPT = "The cat sat on the mat"


class Gate:
    """Holds every pass until the test lets it through, and remembers whose passes ran, in order."""

    def __init__(self) -> None:
        self.order: list[Generation] = []
        self._open = threading.Event()
        self._let = threading.Semaphore(0)

    def let(self, passes: int) -> None:
        for _ in range(passes):
            self._let.release()

    def open(self) -> None:
        self._open.set()
        self._let.release()

    def wait(self, generation: Generation) -> None:
        if not self._open.is_set():
            assert self._let.acquire(timeout=PATIENCE)
        self.order.append(generation)


@pytest.fixture
def gate(monkeypatch) -> Iterator[Gate]:
    gate, original = Gate(), Generation.__next__

    def gated(self: Generation):
        gate.wait(self)
        return original(self)

    monkeypatch.setattr(Generation, "__next__", gated)
    yield gate
    gate.open()


@pytest.fixture
def engine(small) -> Iterator[Engine]:
    engine = Engine(small, Limits(queue=3))
    yield engine
    engine.close()
    assert not engine._worker.is_alive()


def settings(n: int = 4, **others) -> Settings:
    return Settings(max_new_tokens=n, **others)


def finished(run: Run) -> Trace:
    """The trace of a run that ends well."""
    last = ended(run)
    assert (run.error, last.state) == (None, "done")
    whole = run.trace()
    assert whole is not None
    return whole


def assert_same(one: Trace, other: Trace) -> None:
    """Bit for bit, but for the seconds."""
    assert [token.id for token in one.tokens] == [token.id for token in other.tokens]
    assert (one.text, one.ended, one.settings, one.rules) == (other.text, other.ended, other.settings, other.rules)
    assert one.arrays().keys() == other.arrays().keys()
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name], err_msg=name)


# One run


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


# Stop


def test_a_stop_that_fails_ends_its_run_and_not_the_worker(engine, monkeypatch):
    run = engine.submit(PROMPT, settings(4))
    run.pause()
    until(run, lambda each: each.state == "paused")
    run.step()
    until(run, lambda each: each.state == "paused" and each.n_steps > 0)
    with monkeypatch.context() as patch:
        patch.setattr(Generation, "trace", lambda _: (_ for _ in ()).throw(MemoryError("no room")))
        run.stop()
    assert run.state == "failed"
    assert isinstance(run.error, MemoryError)
    finished(engine.submit(PROMPT, settings(2)))


def test_stop_while_waiting(engine, gate):
    first, second = engine.submit(PROMPT, settings(1)), engine.submit(PROMPT, settings(1))
    second.stop()
    assert [each.state for each in watched(second)] == ["stopped"]
    assert second.trace() is None
    gate.open()
    finished(first)


def test_stop_while_paused(engine):
    run = engine.submit(PROMPT, settings(4))
    run.pause()
    until(run, lambda each: each.state == "paused")
    run.step()
    until(run, lambda each: each.state == "paused" and each.n_steps >= 1)
    steps = run.n_steps
    run.stop()
    assert {each.state for each in watched(run)} == {"stopped"}
    kept = run.trace()
    assert kept is not None
    assert (kept.ended, kept.n_generated) == ("stopped", steps)
    assert kept.lens_ids is not None, "what is added after a run is added to a stopped one too"
    assert kept.embed_ids is not None


def test_a_run_stopped_twice_gets_nothing_more(engine, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def pieces(_hooked, trace):
        begun.set()
        assert go_on.wait(30)
        yield None
        yield dataclasses.replace(trace, notes=("added after the second stop",))

    monkeypatch.setattr(engine_module, "additions", pieces)
    run = engine.submit(PROMPT, settings(4))
    run.pause()
    until(run, lambda each: each.state == "paused")
    run.step()
    until(run, lambda each: each.state == "paused" and each.n_steps >= 1)
    run.stop()
    assert begun.wait(30)
    run.stop()
    go_on.set()
    assert watched(run)[-1].state == "stopped"
    assert run.trace().notes == ()


def test_stop_between_steps_keeps_the_steps_there_were(engine, small, gate):
    run = engine.submit(PROMPT, settings(20))
    gate.let(2)
    until(run, lambda each: each.n_steps == 2)
    run.stop()
    gate.open()
    assert ended(run).state == "stopped"
    kept = run.trace()
    assert kept is not None
    assert (kept.ended, kept.n_generated) == ("stopped", 2)
    whole = trace(small, PROMPT, max_new_tokens=20, additions=False)
    np.testing.assert_array_equal(kept.logits, whole.logits[:2])
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
        run = engine.submit(PROMPT, settings(9))
        assert reached.wait(PATIENCE)
        run.stop()
        go_on.set()
        assert ended(run).state == "stopped"
    assert len(layers) == 3 * in_pass + 1, "a layer ran after the stop"
    assert run.n_steps == in_pass
    kept = run.trace()
    assert (kept.n_generated if kept else 0) == in_pass
    assert_untouched(small)


def test_closing_stops_everything_and_takes_nothing_more(small, gate):
    engine = Engine(small, Limits())
    runs = [engine.submit(PROMPT, settings(9)) for _ in range(3)]
    until(runs[0], lambda each: each.state == "running")
    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.open()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert {ended(run).state for run in runs} == {"stopped"}
    with pytest.raises(Busy, match="put away"):
        engine.submit(PROMPT, settings())


# Failure


def test_a_failing_run_leaves_the_engine_and_the_model_as_they_were(engine, small, caplog):
    before = finished(engine.submit(PROMPT, settings(3)))

    def fail(module, *_) -> None:
        raise RuntimeError("made to fail")

    with caplog.at_level(logging.ERROR), hooked_layers(small, fail, only=1):
        run = engine.submit(PROMPT, settings(3))
        assert ended(run).state == "failed"
    assert isinstance(run.error, RuntimeError)
    assert "made to fail" in caplog.text
    assert "Traceback" in caplog.text
    assert_untouched(small)
    assert_same(finished(engine.submit(PROMPT, settings(3))), before)


def test_nan_names_the_first_layer_that_has_it_and_is_no_bug(engine, small, caplog):
    before = finished(engine.submit(PROMPT, settings(2)))
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
        run = engine.submit(PROMPT, settings(2))
        assert ended(run).state == "failed"
        assert isinstance(run.error, NotANumber)
        assert f"is {place}. " in str(run.error)
        with torch.no_grad():
            weight.copy_(kept)
    assert not caplog.records
    assert_same(finished(engine.submit(PROMPT, settings(2))), before)


# Isolation


def test_runs_side_by_side_do_not_mix(small):
    """Two engines, a notebook's call, and finished runs' lenses, all on one model at the same time."""
    prompts = {f"{word} and so on": seed for seed, word in enumerate(["One", "Two two", "Three three three"])}
    alone = {text: trace(small, text, max_new_tokens=6, temperature=1.0, seed=seed) for text, seed in prompts.items()}
    engines = [Engine(small, Limits()) for _ in range(2)]
    notebook: dict[str, Trace] = {}

    def call() -> None:
        for text, seed in prompts.items():
            notebook[text] = trace(small, text, max_new_tokens=6, temperature=1.0, seed=seed)

    with switching_often():
        beside = threading.Thread(target=call)
        beside.start()
        runs = [
            (text, engine.submit(text, settings(6, temperature=1.0, seed=seed)))
            for text, seed in prompts.items()
            for engine in engines
        ]
        for text, run in runs:
            assert_same(finished(run), alone[text])
        beside.join(PATIENCE)
    for text in prompts:
        assert_same(notebook[text], alone[text])
    for engine in engines:
        engine.close()
    assert_untouched(small)


def test_global_random_state_is_not_touched(engine):
    def states():
        return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()

    before = states()
    finished(engine.submit(PROMPT, settings(4, temperature=1.0, top_k=50, top_p=0.9, min_p=0.01, seed=9)))
    assert states() == before


def test_between_passes_a_model_carries_no_hooks(engine, small, gate):
    run = engine.submit(PROMPT, settings(3))
    gate.let(2)
    until(run, lambda each: each.n_steps == 2)
    assert_untouched(small)
    gate.open()
    finished(run)
    assert_untouched(small)


@pytest.mark.parametrize("end", ["done", "stopped", "failed"])
def test_the_memory_of_a_run_is_given_back(engine, small, end):
    def fail(module, *_) -> None:
        raise NotANumber("made to fail")

    with hooked_layers(small, fail, only=1) if end == "failed" else switching_often():
        run = engine.submit(PROMPT, settings(3))
        generation = weakref.ref(run._generation)
        if end == "stopped":
            run.pause()
            until(run, lambda each: each.state == "paused")
            run.step()
            until(run, lambda each: each.n_steps >= 1)
            run.stop()
        assert ended(run).state == end
    until_gone(generation, "the generation")
    if end != "failed":
        whole = run.trace()
        assert whole is not None
        array = weakref.ref(whole.resid.base if whole.resid is not None and whole.resid.base is not None else whole)
        del whole, run
        until_gone(array, "the arrays")


def test_a_trace_holds_no_more_than_its_own_positions_once_stopped(engine, gate):
    run = engine.submit(PROMPT, settings(100))
    gate.let(1)
    until(run, lambda each: each.n_steps == 1)
    run.stop()
    gate.open()
    ended(run)
    kept = run.trace()
    assert kept is not None
    for name in ("queries", "keys", "values", "resid"):
        assert kept.arrays()[name].flags.owndata, name


# The map and the lens


def test_what_is_added_after_a_run_waits_while_somebody_needs_the_model(engine, small, gate, monkeypatch):
    first, second = engine.submit(PROMPT, settings(2)), engine.submit(PROMPT, settings(2))
    done_without = []
    original = Engine._add_piece

    def add_piece(self: Engine, run: Run) -> None:
        done_without.append(second.n_steps)
        original(self, run)

    monkeypatch.setattr(Engine, "_add_piece", add_piece)
    gate.open()
    one, other = finished(first), finished(second)
    assert done_without[0] == 2, "the first run's map was computed while the second run waited"
    for whole in (one, other):
        assert_same(whole, with_additions(small, dataclasses.replace(whole, **dict.fromkeys(AFTER_RUN))))


# Helpers


@contextmanager
def hooked_layers(small: HookedModel, hook: Callable[..., None], only: int | None = None) -> Iterator[None]:
    layers = small.model.model.layers if only is None else [small.model.model.layers[only]]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def switching_often() -> Iterator[None]:
    """Threads take turns every ten microseconds, so that what can mix does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def assert_untouched(small: HookedModel) -> None:
    """No hook of ours is left; the library leaves its own after it was once asked for hidden states."""
    for name, module in small.model.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not hooks, name


def until_gone(reference: weakref.ref, what: str) -> None:
    deadline = time.monotonic() + 5
    while reference() is not None:
        gc.collect()
        assert time.monotonic() < deadline, f"{what} is still there: {gc.get_referrers(reference())}"
        time.sleep(0.02)
