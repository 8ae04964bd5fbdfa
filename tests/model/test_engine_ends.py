"""However a run ends, stopped, closed or failed, the engine and the model go on as they were."""

import dataclasses
import logging
import threading

import numpy as np
import pytest
import torch

from model import trace
from model.capture.generation import Generation
from model.engine import engine as engine_module
from model.engine.engine import Engine
from model.errors import Busy, NotANumber
from model.limits import Limits
from tests.model.engines import PROMPT, assert_same, assert_untouched, finished, hooked_layers, settings
from tests.model.waiting import PATIENCE, ended, until, watched


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
