"""What a host grants its visitors: a place while they listen, and room for their records."""

import time

import pytest

from model.errors import Busy
from model.limits import Limits
from model.records.trace import Trace
from tests.app.fakes_engine import FakeEngine
from tests.app.running import a_run, held, wait_for
from viz.server import visitors as following


def test_a_job_to_which_nobody_listens_is_stopped_whether_it_waits_runs_or_is_paused(build):
    house = build(FakeEngine(seconds=None), silence_s=0.5)
    paused = house.ask("ann", a_run(new=9))
    house.engine.let(1)
    wait_for(lambda: paused.standing.done == 1)
    house.visitors.pause("ann")
    house.until(paused, "paused")
    running = house.until(house.ask("bob", a_run()), "running")
    waiting = house.ask("eve", a_run())
    wait_for(lambda: waiting.standing.place == 1)
    time.sleep(0.7)
    assert [each.standing.state for each in (paused, running, waiting)] == ["paused", "running", "waiting"]
    for kept in (waiting, running, paused):
        house.listening.discard(kept.id)
        house.finished(kept)
        assert (kept.standing.state, kept.standing.stopped_by) == ("stopped", "silence")


def test_posts_that_never_listen_lock_nobody_out(build):
    house = build(FakeEngine(seconds=None, queue=4), silence_s=600)
    house.until(house.ask("first", a_run(), listen=True), "running")
    silent = [house.ask(f"post {i}", a_run(), listen=False) for i in range(4)]
    wait_for(lambda: {each.standing.place for each in silent} == {1, 2, 3, 4})
    refused = house.finished(house.ask("ann", a_run()))
    assert "waiting for the model" in refused.standing.refusal, "they have only just come"
    for kept in silent:
        kept.heard -= following._GRACE_S  # pyright: ignore[reportPrivateUsage]
    ann = house.ask("ann", a_run())
    wait_for(lambda: ann.standing.place == 4)
    assert [each.standing.stopped_by for each in silent].count("silence") == 1, "no more than the place that was needed"


def test_a_post_that_never_listens_frees_its_place(build):
    house = build(FakeEngine(seconds=None, queue=1), silence_s=0.4)
    house.until(house.ask("first", a_run()), "running")
    post = house.finished(house.ask("post", a_run(), listen=False))
    assert post.standing.stopped_by == "silence"
    ann = house.ask("ann", a_run())
    wait_for(lambda: ann.standing.place == 1)


def test_so_many_jobs_are_followed_and_no_more(build):
    house = build(FakeEngine(seconds=None), limits=Limits(queue=1, paused_runs=1))
    house.models.ready = False
    most = 2 * 1 + 1 + following._MORE  # pyright: ignore[reportPrivateUsage]
    for i in range(most):
        house.ask(f"v{i}", a_run())
    with pytest.raises(Busy, match="at its limit of visitors"):
        house.visitors.ask("one more", a_run())
    for i in range(most):
        house.visitors.leave(f"v{i}")
    wait_for(lambda: house.visitors.followed() == 0)


def test_a_visitor_who_left_or_fell_silent_costs_no_post_run_work(build):
    for how in ("leave", "silence"):
        house = build(FakeEngine(), silence_s=0.4)
        house.engine.post_run_s = 0.6
        kept = house.ask("ann", a_run(new=1))
        house.until(kept, "done")
        if how == "leave":
            house.visitors.leave("ann")
        house.listening.clear()
        house.finished(kept)
        assert house.engine.n_post_run <= 1, "no more than the piece that was being computed"
        assert kept.standing.state == "done"
        assert "lens" not in held(kept)


def test_a_stopped_job_has_no_post_run_work(build):
    house = build(FakeEngine(seconds=0.02))
    kept = house.ask("ann", a_run(new=200))
    wait_for(lambda: kept.standing.done > 1)
    house.visitors.stop("ann")
    house.finished(kept)
    assert house.engine.n_post_run == 0
    assert held(kept)[-3:] == ["end", "heads", "units"]


# Room


def test_thirty_visitors_with_long_prompts_lose_no_run(build):
    house = build(FakeEngine(seconds=0.001, queue=64), limits=Limits(store_bytes=1_500_000, queue=64))
    prompts = [" ".join(f"w{i}x{j}" for j in range(40)) for i in range(30)]
    kept = [house.ask(f"v{i}", a_run(prompt, 3)) for i, prompt in enumerate(prompts)]
    most = 0
    while not all(each.standing.complete for each in kept):
        most = max(most, house.store.held_bytes())
        time.sleep(0.005)
    house.store.settle()
    assert {each.standing.state for each in kept} == {"done"}
    assert most <= 1_500_000
    for each, prompt in zip(kept, prompts, strict=True):
        assert house.store.get(each.id) is each, "on disk, if not in memory"
        record = house.store.record(each)
        assert isinstance(record, Trace) and record.prompt == prompt


def test_a_job_for_which_there_is_no_room_waits_its_turn(build):
    house = build(FakeEngine(seconds=None), limits=Limits(store_bytes=1_000_000))
    house.engine.bytes_expected = 400_000
    ann = house.ask("ann", a_run(new=3))
    house.engine.let(1)
    wait_for(lambda: ann.standing.done == 1)
    house.visitors.pause("ann")
    house.until(ann, "paused")
    bob = house.ask("bob", a_run(new=2))
    wait_for(lambda: bob.standing.place == 1)
    time.sleep(0.6)
    assert bob.standing.state == "waiting", "a paused run keeps its room"
    house.visitors.stop("ann")
    house.finished(ann)
    house.engine.let(2)
    assert house.finished(bob).standing.state == "done"


def test_one_larger_than_the_bound_is_refused_at_once_with_both_sizes(build):
    house = build(FakeEngine(seconds=None), limits=Limits(store_bytes=3_000_000))
    house.engine.bytes_expected = 400_000
    before = house.ask("bob", a_run(new=2))
    house.until(before, "running")
    house.engine.bytes_expected = 7_000_000
    kept = house.finished(house.ask("ann", a_run()))
    assert "this needs 10 MB; this host keeps 3 MB" in kept.standing.refusal
    assert (kept.standing.state, before.standing.state) == ("failed", "running")
    house.engine.let(2)
    assert house.finished(before).standing.state == "done"


def test_one_that_grows_beyond_the_whole_store_ends_with_a_sentence(build):
    house = build(limits=Limits(store_bytes=150_000))
    house.engine.bytes_expected = 1
    kept = house.finished(house.ask("ann", a_run(new=100)))
    assert "this host keeps" in kept.standing.refusal
    wait_for(lambda: house.engine.state(0) == "stopped")
    assert kept.record is None
