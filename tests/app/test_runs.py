"""Runs over HTTP, as a page asks for them: streaming, pause, step and stop."""

import dataclasses
import time

import pytest

from model.records.trace import Settings
from tests.app.fakes_engine import FakeEngine, FakeModels, FakeRun, whole_trace
from tests.app.running import kinds, wait_for
from tests.fakes import AFTER_RUN
from viz.server.live import Live, Notice, Request, _Recorder
from viz.server.store import RunStore
from viz.wire import packing, roles


def test_a_run_streams_notices_and_its_frames_can_be_fetched_as_they_come(serve):
    served = serve(FakeEngine(seconds=None))
    ann = served.visitor()
    ann.run()
    served.engine.let(2)
    two = ann.until(lambda notice: notice["n_steps"] == 2)
    assert (two["state"], two["done"], two["max_new_tokens"]) == ("running", False, 4)
    wait_for(lambda: ann.told[-1]["ready"] == 3)
    first = ann.http.get(f"/gradio_api/tokenoscope/runs/{two['id']}/frames")
    assert kinds(first.content) == ["head", "step", "step"]
    served.engine.let(2)
    last = ann.finished()
    rest = ann.http.get(f"/gradio_api/tokenoscope/runs/{two['id']}/frames?from=3")
    assert kinds(rest.content) == ["step", "step", "end", "heads", "units", "embeddings", "lens"]
    assert (last["state"], last["ready"]) == ("done", 10)
    sequence = [notice["seq"] for notice in ann.told]
    assert sequence == sorted(sequence)


def test_the_end_is_told_before_the_heads_are_measured(monkeypatch: pytest.MonkeyPatch):
    engine = FakeEngine(seconds=None)
    live = Live(FakeModels(engine), RunStore(10**9), Notice())
    told = live.ask("ann", Request(prompt="a b c", settings=Settings(max_new_tokens=1), model="fake-1k"))
    monkeypatch.setattr(roles, "measure", lambda trace: pytest.fail("it was measured while nobody knew of the end"))
    engine.let(1)
    last = next(notice for notice in told if notice.ended)
    assert (last.ready, last.done) == (3, False)  # the head, the pass, the end
    monkeypatch.undo()
    assert list(told)[-1].ready == 7
    engine.close()


def test_what_arrives_after_the_end_is_told_in_any_order():
    whole = whole_trace("a b c", 2)
    bare = dataclasses.replace(whole, **dict.fromkeys(AFTER_RUN))
    with_lens = dataclasses.replace(bare, lens_ids=whole.lens_ids, lens_probs=whole.lens_probs)
    store = RunStore(10**9)
    run = FakeRun(FakeEngine(), "a b c", Settings(max_new_tokens=2), ())
    recorder, kept, held = _Recorder(store, run), None, []
    for trace in (bare, with_lens, whole, whole):
        run.trace = lambda trace=trace: trace
        recorder.record()
        recorder.complete()
        kept = store.get(run.id)
        assert kept is not None
        held.append(kinds(b"".join(kept.frames)))
    recorder.finish()
    assert held[0] == ["head", "step", "step", "end", "heads", "units"]
    assert held[1] == [*held[0], "lens"]
    assert held[2] == held[3] == [*held[1], "embeddings"]
    assert kept is not None
    assert kept.done


def test_a_note_that_comes_after_the_end_is_told_last():
    whole = dataclasses.replace(whole_trace("a b c", 2), **dict.fromkeys(AFTER_RUN))
    for late, told in (("The logit lens is left out.",), True), ((), False):
        store = RunStore(10**9)
        run = FakeRun(FakeEngine(), "a b c", Settings(max_new_tokens=2), ())
        recorder = _Recorder(store, run)
        run.trace = lambda: whole
        recorder.record()
        run.trace = lambda late=late: dataclasses.replace(whole, notes=late)
        recorder.finish()
        kept = store.get(run.id)
        assert kept is not None
        last, _ = packing.unpack(kept.frames[-1])
        assert (last["kind"] == "notes") == told
        assert not told or last["notes"] == list(late)


def test_notices_are_at_most_four_a_second(serve):
    served = serve(FakeEngine(seconds=0.005))
    ann = served.visitor()
    began = time.monotonic()
    ann.run(max_new_tokens=150)
    ann.finished()
    changes_of_state = 6  # the first frame among them
    assert len(ann.told) <= 4 * (time.monotonic() - began) + changes_of_state


def test_pause_holds_step_goes_one_on_resume_goes_on(serve):
    served = serve(FakeEngine(seconds=None))
    ann = served.visitor()

    def another_is_served() -> None:
        """Its one pass would be taken by the run before it, did that one not hold."""
        bob = served.visitor()
        bob.run(max_new_tokens=1)
        served.engine.let(1)
        assert bob.finished()["state"] == "done"

    ann.run(max_new_tokens=60)
    served.engine.let(2)
    ann.until(lambda notice: notice["n_steps"] >= 2)
    ann.press("pause")
    held = ann.until(lambda notice: notice["state"] == "paused")["n_steps"]
    another_is_served()
    assert served.engine.runs[0].n_steps == held
    ann.press("step")
    served.engine.let(1)
    ann.until(lambda notice: notice["state"] == "paused" and notice["n_steps"] == held + 1)
    another_is_served()
    assert served.engine.runs[0].n_steps == held + 1
    ann.press("resume")
    served.engine.let(2)
    ann.until(lambda notice: notice["n_steps"] > held + 2)
    ann.press("stop")
    assert ann.finished()["state"] == "stopped"


def test_stop_ends_the_run_and_the_next_one_starts(serve):
    served = serve(FakeEngine(seconds=0.05))
    ann = served.visitor()
    ann.run(max_new_tokens=100)
    first = ann.until(lambda notice: notice["n_steps"] >= 1)["id"]
    ann.press("stop")
    ann.run(prompt="d e", max_new_tokens=2)
    last = ann.until(lambda notice: notice["done"] and notice["id"] not in (None, first))
    assert last["state"] == "done"
    assert served.engine.runs[0].state == "stopped"
