"""Runs through the engine are the runs without it, and nothing of one reaches another or stays behind it."""

import dataclasses
import random
import threading

import numpy as np
import pytest
import torch

from model import Trace, trace, trials
from model.api.job import Job
from model.capture.post_run import with_post_run
from model.engine.engine import Engine
from model.errors import NotShown, PromptTooLong
from model.experiments.cache.trials import usual
from model.limits import Limits
from model.requests.cache import TryCaches
from model.requests.registry import EXPERIMENTS, named
from tests.fakes import AFTER_RUN
from tests.model.engines import (
    PROMPT,
    asked,
    assert_same,
    assert_untouched,
    finished,
    stepped,
    submitted,
    switching_often,
)
from tests.model.waiting import PATIENCE, ended, watched


def test_a_run_is_the_run_of_trace_and_its_last_record_has_the_lens(engine, small):
    job = submitted(engine, 5, temperature=1.0, seed=3)
    seen = watched(job)
    whole = finished(job)
    assert_same(whole, trace(small, PROMPT, max_new_tokens=5, temperature=1.0, seed=3))
    assert seen[-1].complete and whole.lens_ids is not None and seen[-1].version > 5
    assert (seen[-1].done, seen[-1].total, seen[-1].eta_s) == (5, 5, None)
    done = [each.done for each in seen]
    assert done == sorted(done)
    assert engine.stats().finished == 1
    assert len(watched(job)) == 1, "updates of a job that is over end at once"


def test_snapshots_are_frozen_and_do_not_change_later(engine):
    job = submitted(engine, 4, paused=True)
    stepped(job, 2)
    early = job.record
    before = {name: array.copy() for name, array in early.arrays().items()}
    job.resume()
    whole = finished(job)
    assert (early.n_generated, early.ended, whole.n_generated) == (2, "running", 4)
    for name, array in early.arrays().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        early.text = "else"


def test_a_paused_run_goes_on_as_if_nothing_had_been(engine, small):
    one = submitted(engine, 4, paused=True, temperature=1.0, seed=1)
    assert stepped(one, 2).done == 2
    finished(submitted(engine, 3, temperature=1.0, seed=2))
    assert (one.status.state, one.record.n_generated, engine.stats().paused) == ("paused", 2, 1)
    one.resume()
    assert_same(finished(one), trace(small, PROMPT, max_new_tokens=4, temperature=1.0, seed=1))


def test_cache_trials_through_the_engine_are_those_without_it(engine, small):
    whole = finished(submitted(engine, 5))
    job = Job()
    engine.submit(TryCaches(run="its id", window=4, sink=2), job, records={"run": whole})
    assert ended(job).version == 5
    *_, own = trials(small, whole, usual(small, 4, 2))
    assert job.record.trials[-1].name == own.trials[-1].name == "sink 2 + window 4"
    assert (job.record.kl == own.kl).all() and (job.record.chosen == own.chosen).all()


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
        jobs: list[tuple[str, Job]] = []
        for text, seed in prompts.items():
            for engine in engines:
                jobs.append((text, Job()))
                engine.submit(dataclasses.replace(asked(6, temperature=1.0, seed=seed), prompt=text), jobs[-1][1])
        for text, job in jobs:
            assert_same(finished(job), alone[text])
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
    finished(submitted(engine, 4, temperature=1.0, top_k=50, top_p=0.9, min_p=0.01, seed=9))
    assert states() == before


def test_between_passes_a_model_carries_no_hooks(engine, small):
    job = submitted(engine, 3, paused=True)
    stepped(job, 2)
    assert_untouched(small)
    job.resume()
    finished(job)
    assert_untouched(small)


def test_what_is_added_after_a_run_is_the_same_whoever_ran_between(engine, small):
    jobs = [submitted(engine, 2, seed=seed) for seed in range(3)]
    for whole in map(finished, jobs):
        assert_same(whole, with_post_run(small, dataclasses.replace(whole, **dict.fromkeys(AFTER_RUN))))


# What is refused at once


def test_a_refused_request_takes_no_place(small):
    engine = Engine(small, Limits(prompt_bytes=10))
    with pytest.raises(PromptTooLong, match=r"22 bytes.* at most 10"):
        submitted(engine)
    assert dataclasses.astuple(engine.stats()) == (0, 0, 0, 0)
    engine.close()


def test_a_kind_that_the_model_does_not_fit_is_refused_with_its_reason(engine, monkeypatch):
    unfit = dataclasses.replace(named("run"), fits=lambda card: f"{card.name} is too small")
    monkeypatch.setattr("model.engine.engine.of_request", lambda _: unfit)
    with pytest.raises(NotShown, match="is too small"):
        submitted(engine)
    assert len(EXPERIMENTS) >= 5
