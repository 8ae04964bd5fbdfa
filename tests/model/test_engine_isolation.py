"""Nothing of one run reaches another, or stays behind it, and what is added afterwards waits for its turn."""

import dataclasses
import random
import threading
import weakref

import numpy as np
import pytest
import torch

from model import Trace, trace
from model.engine.engine import Engine, Run
from model.errors import NotANumber
from model.experiments.generation.additions import with_additions
from model.limits import Limits
from tests.fakes import AFTER_RUN
from tests.model.engines import (
    PROMPT,
    assert_same,
    assert_untouched,
    finished,
    hooked_layers,
    settings,
    switching_often,
    until_gone,
)
from tests.model.waiting import PATIENCE, ended, until


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
