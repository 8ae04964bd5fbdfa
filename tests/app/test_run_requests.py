"""Asking for a run while another goes on, asking for too much, and what a failure leaves on the page."""

import threading
import weakref

import pytest

from model.errors import BadPrompt, NotANumber
from model.limits import Limits
from model.records.trace import Settings
from tests.app.fakes_engine import OVER, FakeEngine, FakeModels
from tests.app.running import kinds, wait_for
from viz.server.live import Live, Notice, Request
from viz.server.store import RunStore
from viz.wire import frames, packing


def test_a_new_run_replaces_the_one_that_goes_on_and_is_the_last_word(serve):
    served = serve(FakeEngine(seconds=None))
    ann = served.visitor()
    ann.run(max_new_tokens=200)
    served.engine.let(1)
    first = ann.until(lambda notice: notice["n_steps"] >= 1)["id"]
    ann.run(prompt="d e", max_new_tokens=3)
    ann.until(lambda notice: notice["id"] not in (None, first))
    assert served.engine.runs[0].stopping  # at once: the new run waits for it
    served.engine.let(9)
    ann.until(lambda notice: notice["state"] == "done" and notice["n_steps"] == 3)
    wait_for(lambda: len(ann.answered) == 2)
    new = [notice for notice in ann.told if notice["id"] == served.engine.runs[1].id]
    assert {notice["state"] for notice in new} <= {"waiting", "running", "done"}
    assert max(ann.told, key=lambda notice: notice["seq"])["state"] == "done"


def test_a_request_that_the_engine_refuses_leaves_the_run_that_goes_on_in_hand(serve):
    served = serve(FakeEngine(seconds=None, queue=1))
    ann, bob = served.visitor(), served.visitor()
    ann.run(max_new_tokens=200)
    served.engine.let(1)
    ann.until(lambda notice: notice["n_steps"] >= 1)
    bob.run()
    bob.until(lambda notice: notice["place"] == 1)
    served.engine.submit_s = 0.3
    ann.run(prompt="d e")
    refused = ann.until(lambda notice: notice["refusal"])
    assert "queue is full" in refused["refusal"]
    served.engine.let(3)
    ann.until(lambda notice: notice["n_steps"] == refused["n_steps"] + 3)
    ann.press("stop")
    last = ann.finished()
    assert (last["state"], last["ready"]) == ("stopped", last["n_steps"] + 4)  # the head, the end, heads, units
    shown = ann.http.get(f"/gradio_api/tokenoscope/runs/{last['id']}/frames")
    assert kinds(shown.content)[-3:] == ["end", "heads", "units"]


def test_a_request_that_waits_for_its_model_leaves_the_run_that_goes_on_on_the_page(serve):
    served = serve(FakeEngine(seconds=None))
    ann = served.visitor()
    ann.run(max_new_tokens=40)
    served.engine.let(1)
    first = ann.until(lambda notice: notice["n_steps"] >= 1)["id"]
    served.models.ready = False
    ann.run(prompt="d e", max_new_tokens=2)
    ann.until(lambda notice: notice["state"] == "running" and "starts by itself" in notice["message"])
    served.engine.let(39)
    ann.until(lambda notice: notice["state"] == "waiting" and notice["n_steps"] == 40)
    assert all(notice["id"] in (None, first) and not notice["done"] for notice in ann.told)
    served.models.ready = True
    served.engine.let(2)
    assert ann.finished()["n_steps"] == 2


def test_a_request_overtaken_by_a_newer_one_never_runs(serve):
    served = serve(FakeEngine(seconds=None))
    served.engine.submit_s = 0.3
    ann = served.visitor()
    ann.run(prompt="a b", max_new_tokens=3)
    assert served.engine.submitting.wait(5)
    ann.run(prompt="d e", max_new_tokens=2)
    wait_for(lambda: len(served.engine.runs) == 2)
    served.engine.let(9)
    last = ann.finished()
    assert (last["state"], last["n_steps"]) == ("done", 2)
    old = next(run for run in served.engine.runs if run.prompt == "a b")
    assert (old.state, old.n_steps) == ("stopped", 0)


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_a_stop_while_the_engine_thinks_about_a_request_is_not_lost(how):
    engine = FakeEngine()
    engine.submit_s = 0.3
    live = Live(FakeModels(engine), RunStore(10**9), Notice())
    told: list[Notice] = []
    request = Request(prompt="a b", settings=Settings(max_new_tokens=100), model="fake-1k")
    asking = threading.Thread(target=lambda: told.extend(live.ask("ann", request)))
    asking.start()
    assert engine.submitting.wait(5)
    getattr(live, how)("ann")
    asking.join(5)
    assert engine.runs[0].state == "stopped"
    assert engine.runs[0].n_steps <= 1
    assert told[-1].done
    engine.close()


def test_a_bug_in_the_engine_leaves_the_page_as_it_was_with_one_line(serve, caplog):
    served = serve()
    ann = served.visitor()
    ann.run()
    earlier = ann.finished()
    served.engine.breaks = ValueError("secret detail")
    ann.run(prompt="d e")
    told = ann.until(lambda notice: notice["refusal"])
    assert "Something broke inside the program" in told["refusal"]
    assert (told["id"], told["state"], told["done"]) == (earlier["id"], "done", True)
    assert "secret" not in str(ann.told)
    assert "secret detail" in caplog.text


def test_a_bug_in_the_frames_ends_the_run_with_one_line(serve, monkeypatch, caplog):
    def too_large(trace, i):
        raise MemoryError("secret detail")

    served = serve()
    ann = served.visitor()
    with monkeypatch.context() as here:
        here.setattr(frames, "step", too_large)
        ann.run(max_new_tokens=100)
        told = ann.until(lambda notice: notice["refusal"])
    assert "Something broke inside the program" in told["refusal"]
    assert told["done"]
    wait_for(lambda: served.engine.runs[0].state == "stopped")
    assert "secret detail" in caplog.text


def test_a_run_that_never_began_gives_the_page_back_to_the_run_that_it_ended(serve):
    served = serve(FakeEngine(seconds=None))
    ann, bob = served.visitor(), served.visitor()
    ann.run(max_new_tokens=200)
    served.engine.let(1)
    first = ann.until(lambda notice: notice["n_steps"] == 1)["id"]
    ann.press("pause")
    ann.until(lambda notice: notice["state"] == "paused")
    bob.run()
    bob.until(lambda notice: notice["state"] == "running")
    ann.run(prompt="d e")
    ann.until(lambda notice: notice["id"] not in (None, first) and notice["place"] == 1)
    ann.press("stop")
    last = ann.finished()
    assert (last["id"], last["state"], last["ready"]) == (first, "stopped", 5)


def test_a_paused_run_ends_when_its_visitor_asks_for_another(serve):
    served = serve(FakeEngine(seconds=0.02))
    ann = served.visitor()
    for asked in range(4):
        ann.run(prompt=f"a {asked}", max_new_tokens=200)
        wait_for(lambda asked=asked: len(served.engine.runs) > asked and served.engine.runs[asked].n_steps > 0)
        ann.press("pause")
        wait_for(lambda asked=asked: served.engine.runs[asked].state == "paused")
        assert served.engine.stats().paused == 1
    ann.run(max_new_tokens=2)
    assert ann.finished()["state"] == "done"
    assert [run.state for run in served.engine.runs] == ["stopped"] * 4 + ["done"]


def test_a_run_that_is_over_is_held_by_the_store_alone():
    engine = FakeEngine(seconds=0)
    live = Live(FakeModels(engine), RunStore(10**9), Notice())
    list(live.ask("ann", Request(prompt="a b", settings=Settings(max_new_tokens=2), model="fake-1k")))
    run = weakref.ref(engine.runs.pop())
    engine.close()
    engine._worker.join()
    assert run() is None


def test_a_refused_request_leaves_the_earlier_run_on_the_page(serve):
    served = serve()
    ann = served.visitor()
    ann.run()
    earlier = ann.finished()
    ann.run(prompt="   ")
    refused = ann.until(lambda notice: notice["refusal"])
    assert "prompt is empty" in refused["refusal"]
    assert (refused["id"], refused["ready"], refused["state"]) == (earlier["id"], earlier["ready"], "done")
    ann.run()
    assert ann.until(lambda notice: notice["seq"] > refused["seq"])["refusal"] == ""


def test_a_refusal_while_a_run_goes_on_stands_until_the_next_request(serve):
    served = serve(FakeEngine(seconds=0.03))
    ann = served.visitor()
    ann.run(max_new_tokens=30)
    ann.until(lambda notice: notice["n_steps"] >= 1)
    ann.run(temperature=-1)
    ann.until(lambda notice: notice["refusal"])
    last = ann.finished()
    assert "Temperature is -1" in last["refusal"]
    assert (last["state"], last["n_steps"]) == ("done", 30)


def test_nan_is_refused_by_the_name_of_its_field(serve):
    ann = serve().visitor()
    ann.run(temperature=float("nan"))  # goes as the bare word NaN, which Gradio lets through
    assert "Temperature is nan" in ann.until(lambda notice: notice["refusal"])["refusal"]


def test_a_lone_surrogate_is_replaced_told_and_does_not_kill_the_stream(serve):
    served = serve()
    ann = served.visitor()
    ann.run(prompt="half \ud800 a character")
    name = ann.finished()["id"]
    head, _ = packing.unpack(packing.split(ann.http.get(f"/gradio_api/tokenoscope/runs/{name}/frames").content)[0])
    assert head["prompt"] == "half � a character"
    assert any("UTF-16" in note for note in head["notes"])
    ann.run(max_new_tokens=2)
    ann.until(lambda notice: notice["done"] and notice["n_steps"] == 2)


def test_a_failed_run_says_why_and_gives_the_page_back_to_the_run_before(serve):
    served = serve()
    ann = served.visitor()
    ann.run()
    earlier = ann.finished()
    served.engine.fail_with = NotANumber("layer 3 computed NaN.")
    ann.run(prompt="d e")
    told = ann.until(lambda notice: notice["refusal"])
    assert told["refusal"] == "layer 3 computed NaN."
    shown = served.app.store.get(told["id"])
    assert shown is not None
    assert shown.trace is not None
    assert earlier["id"] != served.engine.runs[1].id


def test_a_bug_is_logged_whole_and_shown_as_one_line(serve, caplog):
    served = serve()
    served.engine.fail_with = ZeroDivisionError("secret detail")
    ann = served.visitor()
    ann.run()
    told = ann.until(lambda notice: notice["refusal"])
    assert "Something broke inside the program" in told["refusal"]
    assert "secret" not in str(ann.told)
    assert "secret detail" in caplog.text


def test_a_run_too_large_for_the_store_ends_with_a_sentence(serve):
    served = serve(limits=Limits(store_bytes=50_000))
    ann = served.visitor()
    ann.run(max_new_tokens=100)
    assert "this host keeps" in ann.until(lambda notice: notice["refusal"])["refusal"]
    wait_for(lambda: served.engine.runs[0].state in OVER)
    assert len(served.app.store) == 0


def test_settings_reach_the_engine_as_they_were_chosen(serve):
    served = serve()
    ann = served.visitor()
    ann.run(temperature=0.7, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.1, seed=9, chat=True)
    ann.finished()
    ((prompt, settings),) = served.engine.asked
    assert prompt == "a b c"
    assert (
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
        settings.repetition_penalty,
        settings.seed,
        settings.chat,
        settings.max_new_tokens,
    ) == (0.7, 40, 0.9, 0.05, 1.1, 9, True, 4)


def test_only_offered_models_are_run(serve):
    served = serve(names=("fake-1k", "other"))
    ann = served.visitor()
    ann.run(model="../../etc/passwd")
    assert "not one that this host offers" in ann.until(lambda notice: notice["refusal"])["refusal"]
    assert served.engine.runs == []


def test_the_prompt_must_hold_something():
    with pytest.raises(BadPrompt, match="prompt is empty"):
        Request(prompt="\n", settings=Settings(), model="x")
