"""Several visitors over HTTP: they wait their turns, reach no run but their own, and leave when they like."""

from model.errors import UnknownModel
from model.records.trace import Settings
from tests.app.fakes_engine import FakeEngine, FakeModels
from tests.app.running import wait_for
from viz.server.live import Live, Notice, Request
from viz.server.store import RunStore


def test_a_second_visitor_waits_and_sees_the_place(serve):
    served = serve(FakeEngine(seconds=None))
    ann, bob, eve = served.visitor(), served.visitor(), served.visitor()
    ann.run()
    ann.until(lambda notice: notice["state"] == "running")
    bob.run(prompt="d e")
    bob.until(lambda notice: notice["state"] == "waiting" and notice["place"] == 1)
    eve.run(prompt="f g")
    eve.until(lambda notice: notice["place"] == 2)
    ann.press("stop")
    eve.until(lambda notice: notice["place"] == 1)
    served.engine.let(20)
    assert bob.finished()["state"] == eve.finished()["state"] == "done"


def test_a_full_queue_is_refused_kindly(serve):
    served = serve(FakeEngine(seconds=None, queue=1))
    visitors = [served.visitor() for _ in range(3)]
    visitors[0].run()
    visitors[0].until(lambda notice: notice["state"] == "running")
    visitors[1].run()
    visitors[1].until(lambda notice: notice["place"] == 1)
    visitors[2].run()
    assert "queue is full" in visitors[2].until(lambda notice: notice["refusal"])["refusal"]


def test_a_visitor_reaches_no_run_but_its_own(serve):
    served = serve(FakeEngine(seconds=None))
    ann, eve = served.visitor(), served.visitor()
    ann.run(max_new_tokens=10)
    served.engine.let(1)
    ann.until(lambda notice: notice["n_steps"] >= 1)
    for button in ("pause", "step", "stop"):
        eve.press(button)
    served.engine.let(9)
    assert ann.finished()["state"] == "done"
    assert eve.told == []


def test_a_visitor_who_leaves_takes_the_run_along():
    engine = FakeEngine(seconds=None)
    live = Live(FakeModels(engine), RunStore(10**9), Notice())
    notices = live.ask("ann", Request(prompt="a b", settings=Settings(), model="fake-1k"))
    while next(notices).id is None:
        pass
    live.leave("ann")
    assert engine.runs[0].stopping
    engine.close()


def test_a_closed_tab_ends_its_run_and_the_next_visitor_gets_the_model(serve):
    served = serve(FakeEngine(seconds=0.02))
    ann, bob = served.visitor(), served.visitor()
    ann.run(max_new_tokens=250)
    ann.until(lambda notice: notice["n_steps"] >= 1)
    bob.run(prompt="d e")
    bob.until(lambda notice: notice["place"] == 1)
    ann.leave()
    wait_for(lambda: served.engine.runs[0].state == "stopped")
    assert bob.finished()["state"] == "done"


def test_a_run_stopped_in_the_queue_leaves_the_earlier_run_on_the_page(serve):
    served = serve()
    ann, bob = served.visitor(), served.visitor()
    bob.run()
    earlier = bob.finished()
    ann.run(max_new_tokens=250)
    ann.until(lambda notice: notice["n_steps"] >= 1)
    bob.run(prompt="d e")
    waiting = bob.until(lambda notice: notice["place"] == 1 and notice["seq"] > earlier["seq"])
    bob.press("stop")
    last = bob.until(lambda notice: notice["done"] and notice["seq"] > waiting["seq"])
    assert (last["id"], last["ready"]) == (earlier["id"], earlier["ready"])
    assert last["message"] == "Your run was stopped before it began."


def test_a_tab_closed_while_it_waits_in_the_queue_leaves_the_queue(serve):
    served = serve(FakeEngine(seconds=None))
    ann, bob = served.visitor(), served.visitor()
    ann.run()
    ann.until(lambda notice: notice["state"] == "running")
    bob.run()
    bob.until(lambda notice: notice["place"] == 1)
    bob.leave()
    wait_for(lambda: served.engine.runs[1].stopping)


def test_a_run_asked_for_while_the_model_loads_starts_by_itself(serve):
    served = serve(ready=False)
    ann = served.visitor()
    ann.run()
    waiting = ann.until(lambda notice: "starts by itself" in notice["message"])
    assert "40%" in waiting["message"]
    served.models.ready = True
    assert ann.finished()["state"] == "done"


def test_stop_ends_the_wait_for_a_model(serve):
    served = serve(ready=False)
    ann = served.visitor()
    ann.run()
    ann.until(lambda notice: notice["state"] == "waiting")
    ann.press("stop")
    assert ann.finished()["message"] == "Your run was stopped before it began."
    served.models.ready = True
    wait_for(lambda: ann.answered)
    assert served.engine.runs == []


def test_a_model_that_cannot_be_had_is_refused_with_its_reason(serve):
    served = serve()
    served.models.failure = UnknownModel("the hub does not answer. There are three ways.")
    ann = served.visitor()
    ann.run()
    assert "three ways" in ann.until(lambda notice: notice["refusal"])["refusal"]
