"""The store: bounded by bytes in memory and on disk; what is complete goes to disk, comes back, and leaves for good."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.api.job import Job
from model.errors import NoSpace
from model.records.timing import Measurement
from model.records.trace import Trace
from tests.fakes import fake_trace
from tests.fakes_measured import fake_measurement
from viz.server.store import Kept, Store
from viz.wire import packing, parts, recorded
from viz.wire.standing import Standing

TRACE = fake_trace()
ARRAYS = sum(array.nbytes for array in TRACE.arrays().values())
PARTS = parts.all_parts(TRACE)
COST = ARRAYS + ARRAYS // 8 + sum(map(len, PARTS)) + 50_000  # what a whole run takes


@pytest.fixture
def make() -> Iterator:
    made: list[Store] = []

    def store(most: int = 10 * COST, on_disk: int = 10**9, **more) -> Store:
        made.append(Store(most, on_disk, **more))
        return made[-1]

    yield store
    for each in made:
        each.settle()


def kept_in(store: Store, name: str, trace: Trace = TRACE, *, complete: bool = True) -> Kept:
    """A run with all of its parts."""
    kept = store.open(Standing(id=name, experiment="run", state="running"))
    store.add(kept, trace, PARTS)
    if complete:
        store.tell(kept, Standing(id=name, experiment="run", state="done", complete=True))
    return kept


def job(name: str, n_bytes: int) -> Job:
    asked = Job()
    asked.id, asked.expected_bytes = name, n_bytes
    return asked


def status(store: Store, kept: Kept, since: int = 0) -> dict:
    reading = store.read(kept, since)
    assert reading is not None
    return packing.says(reading.status)


def test_parts_are_appended_and_the_newest_record_is_kept(make):
    store = make()
    kept = store.open(Standing(id="a", experiment="run"))
    store.add(kept, TRACE, PARTS[:2])
    store.add(kept, TRACE, PARTS[2:3])
    reading = store.read(kept, 1)
    assert (reading.parts, reading.n_parts, reading.complete) == (tuple(PARTS[1:3]), 3, False)
    assert status(store, kept)["parts"] == 3
    assert store.record(kept) is TRACE
    assert store.read(kept, 9).parts == ()


def test_a_part_that_is_replaced_is_sent_to_whoever_has_an_older_version(make):
    store = make()
    kept = store.open(Standing(id="a", experiment="measure"))
    for version in (1, 2, 3):
        store.add(kept, fake_measurement(), [b"version %d" % version], replaces=version)
    for since in (0, 1, 2):
        assert store.read(kept, since).parts == (b"version 3",)
    assert store.read(kept, 3).parts == ()
    assert status(store, kept)["parts"] == 3


def test_everything_that_is_held_is_counted(make):
    store = make()
    kept = kept_in(store, "a", complete=False)
    assert store.held_bytes() == COST
    late = dataclasses.replace(TRACE, lens_ids=None, lens_probs=None)
    store.add(kept, late, [b"x" * 1000])
    grown = sum(array.nbytes for array in late.arrays().values())
    assert store.held_bytes() == grown + grown // 8 + sum(map(len, PARTS)) + 1000 + 50_000
    store.open(Standing(id="b", experiment="run"))
    assert store.reserve(job("b", 8_000)), "and three eighths for its parts and objects"
    assert store.held_bytes() == grown + grown // 8 + sum(map(len, PARTS)) + 1000 + 100_000 + 11_000


def test_a_view_of_a_larger_buffer_counts_as_the_buffer(make):
    store = make()
    assert TRACE.queries is not None
    buffer = np.concatenate([TRACE.queries, TRACE.queries], axis=2)
    cut = dataclasses.replace(TRACE, queries=buffer[:, :, : TRACE.n_fed])
    kept = store.open(Standing(id="a", experiment="run"))
    store.add(kept, cut, [])
    arrays = ARRAYS + TRACE.queries.nbytes
    assert kept.n_bytes == arrays + arrays // 8


def test_room_is_reserved_once_and_given_back_when_the_record_is_complete(make):
    store = make(most=int(3.2 * COST))
    kept = kept_in(store, "a", complete=False)
    other = store.open(Standing(id="b", experiment="run"))
    asked = job("b", COST)
    assert store.reserve(asked)
    assert store.reserve(asked)
    store.open(Standing(id="c", experiment="run"))
    assert not store.reserve(job("c", COST)), "what is on its way is never pushed out"
    assert store.get("a") is kept
    store.tell(other, Standing(id="b", experiment="run", state="stopped", complete=True))
    assert store.reserve(job("c", COST // 2))


def test_one_that_can_never_fit_is_refused_with_both_sizes(make):
    store = make(most=3_000_000)
    with pytest.raises(NoSpace, match=r"this needs 8 MB; this host keeps 3 MB .* fewer new tokens"):
        store.check(job("a", 6_000_000))
    store.check(job("a", 2_000_000))


def test_a_record_that_grows_beyond_the_whole_store_is_refused_and_pushes_nobody_out(make):
    store = make(most=2 * COST)
    small = kept_in(store, "small")
    large = store.open(Standing(id="large", experiment="run"))
    with pytest.raises(NoSpace, match=r"needs .* MB; this host keeps"):
        store.add(large, TRACE, [bytes(2 * COST)])
    store.settle()
    assert small.record is TRACE
    assert store.held_bytes() == COST


def test_the_one_used_least_recently_goes_to_disk_and_comes_back_exactly(make):
    store = make(most=2 * COST + 60_000)
    first, second = kept_in(store, "a"), kept_in(store, "b")
    store.get("a")
    store.open(Standing(id="c", experiment="run"))
    third = job("c", COST // 2)
    assert not store.reserve(third), "there is no room before another one is out"
    store.settle()
    assert store.reserve(third)
    assert first.record is TRACE
    assert second.record is None and second.parts is None
    assert store.read(second, 1).parts == tuple(PARTS[1:]), "parts are read from disk"
    assert status(store, second)["parts"] == len(PARTS)
    back = store.record(second)
    assert isinstance(back, Trace) and back is not TRACE
    assert back.text == TRACE.text
    assert all((back.arrays()[name] == array).all() for name, array in TRACE.arrays().items())
    assert first.record is None, "it made room"
    assert second.parts == tuple(PARTS)


def test_only_what_is_complete_leaves(make):
    store = make(most=COST + 60_000)
    growing = kept_in(store, "a", complete=False)
    for name in "bcd":
        kept_in(store, name)
        store.settle()
    assert growing.record is TRACE
    assert [store.get(name).record is None for name in "bcd"] == [True] * 3


def test_what_is_on_disk_is_bounded_too_and_the_oldest_leaves_for_good(make):
    probe = make(most=COST + 1000)
    kept_in(probe, "a")
    kept_in(probe, "b")
    probe.settle()
    size = probe.disk_bytes()
    assert size > ARRAYS
    store = make(most=COST + 1000, on_disk=int(2.5 * size))
    for name in "abcde":
        kept_in(store, name)
        store.settle()
    assert [store.get(name) is not None for name in "abcde"] == [False, False, True, True, True]
    assert store.disk_bytes() <= 2.5 * size


def test_a_record_of_any_kind_goes_and_comes_back(make):
    store = make(most=COST)
    record = fake_measurement()
    kept = store.open(Standing(id="m", experiment="measure"))
    store.add(kept, record, [b"\x01\x00\x00\x00x"], replaces=3)
    store.tell(kept, Standing(id="m", experiment="measure", state="done", version=3, complete=True))
    kept_in(store, "a")
    store.settle()
    assert kept.record is None
    assert store.read(kept, 2).parts == (b"\x01\x00\x00\x00x",)
    back = store.record(kept)
    assert isinstance(back, Measurement) and back.prompt == record.prompt


def test_one_that_cannot_be_written_leaves_for_good(make, monkeypatch, caplog):
    store = make(most=COST + 1000)

    def full(*_) -> int:
        raise NoSpace("the disk is full.")

    monkeypatch.setattr(Trace, "save", full)
    kept_in(store, "a")
    kept_in(store, "b")
    store.settle()
    assert store.get("a") is None
    assert "the disk is full" in caplog.text


def test_what_was_never_begun_leaves_without_a_trace(make):
    store = make(most=COST + 60_000)
    kept = store.open(Standing(id="never", experiment="run"))
    store.tell(kept, Standing(id="never", experiment="run", state="stopped", complete=True))
    kept_in(store, "a")
    kept_in(store, "b")
    store.settle()
    assert store.get("never") is None


def test_records_that_come_with_the_app_never_leave(make, tmp_path: Path):
    (tmp_path / "1-a-fact.frames").write_bytes(b"".join(PARTS))
    shipped = recorded.load(tmp_path)
    store = make(most=COST + sum(map(len, PARTS)), shipped=shipped)
    for name in "abc":
        kept_in(store, name)
        store.settle()
    (there,) = store.shipped()
    assert store.get("1-a-fact") is there
    assert store.read(there, 0).parts == tuple(PARTS)
    told = status(store, there)
    assert (told["state"], told["complete"], told["parts"]) == ("done", True, len(PARTS))
    store.open(Standing(id="x", experiment="run"))
    with pytest.raises(NoSpace):
        store.check(job("x", COST + 1))


def test_the_folder_on_disk_goes_with_the_store(make):
    store = Store(COST + 1000, 10**9)
    kept_in(store, "a")
    kept_in(store, "b")
    store.settle()
    folder = store.folder
    assert folder is not None and any(folder.iterdir())
    store.close()
    assert not folder.exists()
