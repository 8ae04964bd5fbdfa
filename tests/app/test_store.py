"""The run store: bounded by bytes, the oldest leave first, and nothing that is shown changes under a reader."""

import pytest

from model.errors import NoSpace
from tests.fakes import fake_trace
from viz.server.store import RunStore

TRACE = fake_trace()
COST = sum(array.nbytes for array in TRACE.arrays().values())


def test_frames_are_appended_and_the_newest_trace_is_kept():
    store = RunStore(10 * COST)
    store.open("a")
    assert store.add("a", [b"1", b"2"], TRACE) == 2
    assert store.add("a", [b"3"], TRACE, done=True) == 3
    run = store.get("a")
    assert run is not None
    assert (run.frames, run.trace, run.done, run.n_bytes) == ((b"1", b"2", b"3"), TRACE, True, COST + 3)


def test_the_run_used_least_recently_leaves_first():
    store = RunStore(2 * COST + 10)
    for name in ("a", "b"):
        store.open(name)
        store.add(name, [b"x"], TRACE, done=True)
    store.get("a")
    store.open("c")
    store.add("c", [b"x"], TRACE)
    assert store.get("b") is None
    assert store.get("a") is not None
    assert store.get("c") is not None


def test_frames_count_as_well_as_arrays():
    store = RunStore(2 * COST + 10)
    for name in ("a", "b"):
        store.open(name)
        store.add(name, [b"x"], TRACE)
    store.add("b", [b"x" * 20], TRACE)
    assert store.get("a") is None


def test_a_run_larger_than_the_store_is_refused_and_pushes_nobody_out():
    store = RunStore(COST + 100)
    store.open("small")
    store.add("small", [b"x"], TRACE, done=True)
    store.open("large")
    with pytest.raises(NoSpace, match=r"needs .* MB; this host keeps .* fewer new tokens"):
        store.add("large", [bytes(COST + 200)], TRACE)
    assert store.get("small") is not None
    assert store.get("large") is None


def test_a_run_that_has_left_takes_no_more_frames():
    store = RunStore(COST + 100)
    for name in ("a", "b"):
        store.open(name)
        store.add(name, [b"x"], TRACE)
    with pytest.raises(NoSpace, match="no longer kept"):
        store.add("a", [b"y"], TRACE)
    assert len(store) == 1


def test_a_run_that_ended_before_it_had_frames_leaves_nothing_behind():
    store = RunStore(COST)
    store.open("a")
    store.finish("a")
    store.finish("unknown")
    assert len(store) == 0
