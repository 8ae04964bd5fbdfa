"""Several visitors before one engine: they wait their turns, reach no job but their own, and leave when they like."""

import threading
import time
import weakref

import pytest

from model.errors import BadPrompt, BadSetting, NotAllowed, UnknownModel
from model.records.timing import Measurement
from model.records.trace import Trace
from model.requests.cache import TryCaches
from model.requests.fork import Fork
from model.requests.timing import Measure
from tests.app.fakes_engine import FakeEngine
from tests.app.running import a_run, held, wait_for
from viz.wire.packing import says
from viz.wire.standing import Standing


def test_a_record_grows_and_every_version_is_kept(build):
    house = build()
    kept = house.ask("ann", Measure(prompt="a b c", max_new_tokens=5))
    versions = []
    while not kept.standing.complete:
        if kept.n_parts not in versions:
            versions.append(kept.n_parts)
        time.sleep(0.005)
    assert versions == sorted(versions)
    assert (kept.standing.state, kept.standing.version, kept.n_parts) == ("done", 3, 3)
    assert isinstance(kept.record, Measurement) and len(kept.record.batch_sizes) > 0
    assert held(kept) == ["record"]


@pytest.mark.parametrize(
    ("state", "over", "usable"),
    [
        ("waiting", False, False),
        ("running", False, False),
        ("paused", False, False),
        ("done", True, True),
        ("stopped", True, True),
        ("failed", True, False),
    ],
)
def test_a_record_is_over_when_nothing_more_is_written_and_usable_when_it_did_not_fail(state, over, usable):
    standing = Standing(id="a", experiment="run", state=state)
    assert (standing.over, standing.usable) == (over, usable)
    assert says(standing.frame(0))["over"] == over


def test_a_second_visitor_waits_and_sees_the_place(build):
    house = build(FakeEngine(seconds=None))
    ann = house.until(house.ask("ann", a_run()), "running")
    bob = house.ask("bob", a_run("d e"))
    wait_for(lambda: bob.standing.place == 1)
    eve = house.ask("eve", a_run("f g"))
    wait_for(lambda: eve.standing.place == 2)
    house.visitors.stop("ann")
    wait_for(lambda: eve.standing.place == 1)
    house.engine.let(20)
    assert house.finished(bob).standing.state == house.finished(eve).standing.state == "done"
    assert (ann.standing.state, ann.standing.stopped_by) == ("stopped", "person")


def test_one_that_is_held_from_the_start_makes_one_value(build):
    house = build(FakeEngine())
    kept = house.until(house.ask("ann", a_run(new=9), held=True), "paused")
    assert kept.standing.done == 1
    house.visitors.step("ann")
    wait_for(lambda: kept.standing.done == 2 and kept.standing.state == "paused")
    house.visitors.resume("ann")
    assert house.finished(kept).standing.done == 9


def test_a_visitor_reaches_no_job_but_its_own(build):
    house = build(FakeEngine(seconds=None))
    ann = house.ask("ann", a_run(new=10))
    house.engine.let(1)
    wait_for(lambda: ann.standing.done == 1)
    for act in ("pause", "resume", "step", "stop", "leave"):
        getattr(house.visitors, act)("eve")
    house.engine.let(9)
    assert house.finished(ann).standing.state == "done"


def test_pause_holds_step_goes_one_on_resume_goes_on(build):
    house = build(FakeEngine(seconds=None))

    def another_is_served() -> None:
        """Its one pass would be taken by the run before it, did that one not hold."""
        bob = house.ask("bob", a_run(new=1))
        house.engine.let(1)
        assert house.finished(bob).standing.state == "done"

    ann = house.ask("ann", a_run(new=60))
    house.engine.let(2)
    wait_for(lambda: ann.standing.done == 2)
    house.visitors.pause("ann")
    house.until(ann, "paused")
    another_is_served()
    assert ann.standing.done == 2
    house.engine.let(1)
    house.visitors.step("ann")
    wait_for(lambda: ann.standing.state == "paused" and ann.standing.done == 3)
    another_is_served()
    house.visitors.resume("ann")
    house.engine.let(2)
    wait_for(lambda: ann.standing.done == 5)
    house.visitors.stop("ann")
    assert house.finished(ann).standing.state == "stopped"


def test_a_new_job_stops_the_one_that_goes_on_once_it_is_accepted(build):
    house = build(FakeEngine(seconds=None))
    first = house.until(house.ask("ann", a_run(new=200)), "running")
    other = house.ask("ben", a_run(new=200))
    house.engine.let(1)
    wait_for(lambda: first.standing.done == 1)
    second = house.ask("ann", Measure(prompt="d e"))
    house.finished(first)
    assert (first.standing.state, first.standing.stopped_by) == ("stopped", "overtaken")
    assert held(first)[-2:] == ["heads", "units"], "what was recorded is whole"
    house.visitors.stop("ben")
    assert house.finished(second).standing.state == "done"
    assert house.finished(other).standing.stopped_by == "person"


def test_a_job_that_waits_for_its_model_leaves_the_one_that_goes_on_in_hand(build):
    house = build(FakeEngine(seconds=None))
    first = house.ask("ann", a_run(new=40))
    house.engine.let(1)
    wait_for(lambda: first.standing.done == 1)
    house.models.ready = False
    second = house.ask("ann", a_run("d e", 2))
    wait_for(lambda: "starts when the model is there" in second.standing.what and "40%" in second.standing.what)
    assert (second.standing.state, second.standing.place, first.standing.state) == ("waiting", 0, "running")
    house.engine.let(39)
    assert house.finished(first).standing.state == "done"
    house.models.ready = True
    house.engine.let(2)
    assert house.finished(second).standing.done == 2


def test_of_two_that_wait_for_a_model_the_newer_one_is_begun(build):
    house = build()
    house.models.ready = False
    first, second = house.ask("ann", a_run()), house.ask("ann", a_run("d e"))
    house.finished(first)
    assert (first.standing.state, first.standing.stopped_by, first.n_parts) == ("stopped", "overtaken", 0)
    house.models.ready = True
    assert house.finished(second).standing.state == "done"
    assert [each.prompt for each in house.engine.asked] == ["d e"]


def test_a_job_overtaken_while_the_engine_thinks_about_it_never_runs(build):
    house = build(FakeEngine(seconds=None))
    house.engine.submit_s = 0.3
    old = house.ask("ann", a_run("a b", 3))
    assert house.engine.submitting.wait(5)
    new = house.ask("ann", a_run("d e", 2))
    wait_for(lambda: len(house.engine.jobs) == 2)
    house.engine.let(9)
    assert (house.finished(new).standing.state, new.standing.done) == ("done", 2)
    assert (house.finished(old).standing.state, old.standing.done) == ("stopped", 0)


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_a_stop_while_the_engine_thinks_about_a_job_is_not_lost(build, how):
    house = build()
    house.engine.submit_s = 0.3
    kept = house.ask("ann", a_run("a b", 100))
    assert house.engine.submitting.wait(5)
    getattr(house.visitors, how)("ann")
    assert house.finished(kept).standing.state == "stopped"
    assert kept.standing.done <= 1
    assert kept.standing.stopped_by == {"stop": "person", "leave": "silence"}[how]


def test_stop_ends_the_wait_for_a_model(build):
    house = build()
    house.models.ready = False
    kept = house.ask("ann", a_run())
    house.visitors.stop("ben")
    time.sleep(0.3)
    assert kept.standing.state == "waiting"
    house.visitors.stop("ann")
    assert (house.finished(kept).standing.state, kept.standing.stopped_by) == ("stopped", "person")
    house.models.ready = True
    wait_for(lambda: house.visitors.followed() == 0)
    assert house.engine.asked == []


def test_a_job_stopped_in_the_queue_was_never_begun(build):
    house = build(FakeEngine(seconds=None))
    house.until(house.ask("ann", a_run()), "running")
    bob = house.ask("bob", a_run("d e"))
    wait_for(lambda: bob.standing.place == 1)
    house.visitors.stop("bob")
    assert (house.finished(bob).standing.state, bob.n_parts, bob.record) == ("stopped", 0, None)


def test_a_paused_job_ends_when_its_visitor_asks_for_another(build):
    house = build(FakeEngine(seconds=0.02))
    for asked in range(3):
        kept = house.ask("ann", a_run(f"a {asked}", 200))
        wait_for(lambda kept=kept: kept.standing.done > 0)
        house.visitors.pause("ann")
        house.until(kept, "paused")
        assert house.engine.stats().paused == 1
    assert house.finished(house.ask("ann", a_run(new=2))).standing.state == "done"
    assert [house.engine.state(i) for i in range(4)] == ["stopped"] * 3 + ["done"]


def test_a_refusal_is_raised_at_once_and_what_runs_goes_on(build):
    house = build(FakeEngine(seconds=None))
    kept = house.ask("ann", a_run(new=3))
    house.engine.let(1)
    wait_for(lambda: kept.standing.done == 1)
    for wrong, error in (
        (a_run(prompt="  "), BadPrompt),
        (a_run(temperature=-1), BadSetting),
        (a_run(new=10_000), BadSetting),
        (a_run(model="../../etc/passwd"), NotAllowed),
        (a_run(model=""), NotAllowed),
    ):
        with pytest.raises(error):
            house.visitors.ask("ann", wrong)
    house.engine.let(2)
    assert house.finished(kept).standing.state == "done"
    assert len(house.engine.asked) == 1


def test_what_the_engine_refuses_fails_the_new_job_alone_in_its_own_words(build):
    house = build(FakeEngine(seconds=None))
    kept = house.ask("ann", a_run(new=3))
    house.engine.let(1)
    wait_for(lambda: kept.standing.done == 1)
    house.engine.breaks = BadSetting("exit_layer is 99; it must be less.")
    refused = house.finished(house.ask("ann", a_run()))
    assert (refused.standing.state, refused.standing.refusal) == ("failed", "exit_layer is 99; it must be less.")
    house.engine.let(2)
    assert house.finished(kept).standing.state == "done"


def test_a_bug_is_logged_whole_and_told_as_one_line(build, caplog):
    house = build()
    house.engine.breaks = ValueError("secret detail")
    broken = house.finished(house.ask("ann", a_run()))
    assert "An internal error occurred" in broken.standing.refusal
    house.engine.breaks, house.engine.fail_with = None, ZeroDivisionError("another secret")
    failed = house.finished(house.ask("ann", a_run()))
    assert "An internal error occurred" in failed.standing.refusal
    assert (failed.standing.state, held(failed)) == ("failed", ["head", "step"])
    assert "secret detail" in caplog.text and "another secret" in caplog.text


def test_a_bug_in_the_parts_ends_the_job_with_one_line(build, monkeypatch, caplog):
    def too_large(trace, i):
        raise MemoryError("secret detail")

    house = build()
    monkeypatch.setattr("viz.wire.frames.step", too_large)
    kept = house.finished(house.ask("ann", a_run(new=100)))
    assert "An internal error occurred" in kept.standing.refusal
    wait_for(lambda: house.engine.state(0) == "stopped")
    assert "secret detail" in caplog.text


def test_a_job_that_fails_says_why_and_keeps_what_it_has(build):
    house = build()
    house.engine.fail_with = BadSetting("layer 3 computed NaN.")
    kept = house.finished(house.ask("ann", a_run("d e")))
    assert (kept.standing.state, kept.standing.refusal) == ("failed", "layer 3 computed NaN.")
    assert isinstance(kept.record, Trace)


def test_a_model_that_cannot_be_had_is_refused_with_its_reason(build):
    house = build()
    house.models.failure = UnknownModel("the hub does not answer. There are three ways.")
    kept = house.finished(house.ask("ann", a_run()))
    assert (kept.standing.state, "three ways" in kept.standing.refusal) == ("failed", True)


def test_a_full_queue_is_refused_kindly(build):
    house = build(FakeEngine(seconds=None, queue=1))
    house.until(house.ask("ann", a_run()), "running")
    bob = house.ask("bob", a_run())
    wait_for(lambda: bob.standing.place == 1)
    eve = house.finished(house.ask("eve", a_run()))
    assert "1 requests are waiting" in eve.standing.refusal
    assert bob.standing.state == "waiting"


def test_settings_reach_the_engine_as_they_were_chosen(build):
    house = build()
    asked = a_run(temperature=0.7, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.1, seed=9, chat=True)
    house.finished(house.ask("ann", asked))
    assert house.engine.asked == [asked]


def test_a_run_is_handed_to_the_experiment_that_names_it(build):
    house = build()
    kept = house.finished(house.ask("ann", a_run()))
    trials = house.finished(house.ask("ann", TryCaches(run=kept.id)))
    assert trials.standing.state == "done"
    assert house.engine.records[1] == {"run": kept.record}
    gone = house.finished(house.ask("ann", TryCaches(run="gone")))
    assert "'gone' is no longer kept" in gone.standing.refusal


def test_a_fork_writes_as_many_tokens_as_the_run_it_goes_on_from(build):
    house = build()
    kept = house.finished(house.ask("ann", a_run(new=6)))
    fork = house.finished(house.ask("ann", Fork(run=kept.id, step=2, token=" Rome")))
    assert (fork.standing.state, fork.standing.total, fork.standing.done) == ("done", 6, 6)
    assert isinstance(fork.record, Trace) and fork.record.origin is not None
    assert isinstance(kept.record, Trace) and fork.record.origin.run == kept.id
    read = [token.text for token in fork.record.tokens]
    assert read[:6] == [*(token.text for token in kept.record.tokens[:5]), " Rome"]


def test_the_end_is_told_before_the_heads_are_measured(build, monkeypatch):
    may_measure = threading.Event()
    from viz.wire import roles

    measure = roles.measure
    monkeypatch.setattr(roles, "measure", lambda trace: may_measure.wait(5) and measure(trace))
    house = build()
    kept = house.ask("ann", a_run(new=1))
    house.until(kept, "done")
    assert (kept.standing.state, held(kept), kept.standing.complete) == ("done", ["head", "step", "end"], False)
    may_measure.set()
    house.finished(kept)
    assert held(kept) == ["head", "step", "end", "heads", "units", "embeddings", "lens"]


def test_a_job_that_is_over_is_held_by_the_store_alone(build):
    house = build(FakeEngine(seconds=0))
    house.finished(house.ask("ann", a_run("a b", 2)))
    wait_for(lambda: house.visitors.followed() == 0)
    job = weakref.ref(house.engine.jobs.pop())
    house.engine.asked.clear()
    wait_for(lambda: job() is None)
