"""A saved record comes back bit for bit, and a save that fails leaves the file that was there."""

import errno
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from model.errors import BadTrace, NoSpace
from model.records import file as storage
from model.records import strict_json
from model.records.file import Shape, open_record, save
from model.records.schema import added
from tests.model.stored import VERSION, Leaf, Sample, assert_same, names_in, run, sample, take_apart
from tests.searching import searched


def test_a_record_comes_back_bit_for_bit(tmp_path: Path) -> None:
    size = save(sample(), tmp_path / "run.trace", version=VERSION)
    assert size == (tmp_path / "run.trace").stat().st_size
    assert_same(sample(), open_record(Sample, tmp_path / "run.trace", version=VERSION))


@pytest.mark.parametrize(
    "changes",
    [
        {
            "queries": np.array([0x7FC00001, 0xFFABCDEF, 0x7F800001, 0xFF800000], np.uint32)
            .view("f4")
            .reshape(1, 1, 4),
            "resid": None,
        },
        {"queries": np.zeros((0, 3, 4), np.float32), "resid": np.zeros((1, 3))},
        {"queries": np.zeros((2, 0, 9), np.float32), "resid": np.zeros((3, 0))},
        {"bytes_": np.arange(5, dtype=np.uint8), "ids": np.array(-(2**63))},
        {"queries": np.arange(24, dtype=np.float32).reshape(4, 3, 2).T},
        {"queries": np.arange(48, dtype=np.float32).reshape(2, 3, 8)[..., ::-2]},
        {"seed": -(2**63), "heat": 1.7976931348623157e308, "leaves": (), "names": {}, "counts": {}},
    ],
    ids=["NaN payloads", "no layers", "no positions", "a scalar", "transposed", "strided", "extremes"],
)
def test_unusual_values_come_back_too(tmp_path: Path, changes: dict[str, Any]) -> None:
    save(sample(**changes), tmp_path / "run.trace", version=VERSION)
    assert_same(sample(**changes), open_record(Sample, tmp_path / "run.trace", version=VERSION))


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    number=st.floats(allow_nan=False, allow_infinity=False),
    whole=st.integers(-(2**63), 2**64 - 1).filter(lambda n: n not in (13, 14)),
    data=st.binary(),
)
@searched(quick=100, long=10_000)
def test_any_text_and_number_comes_back(tmp_path: Path, text: str, number: float, whole: int, data: bytes) -> None:
    record = sample(leaves=(Leaf(word=text, score=number, data=data),), counts={text: ()}, seed=whole)
    save(record, tmp_path / "run.trace", version=VERSION)
    assert_same(record, open_record(Sample, tmp_path / "run.trace", version=VERSION))


def test_a_changed_number_is_told_by_its_checksum(saved: Path) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BadTrace, match=r"a part of it has changed since. The file is damaged.*save the run again"):
        open_record(Sample, saved, version=VERSION)


def test_a_file_of_before_there_was_a_checksum_opens(saved: Path) -> None:
    with safe_open(saved, "np") as file:
        metadata = file.metadata()
        del metadata["crc32"]
        save_file({name: file.get_tensor(name) for name in file.keys()}, saved, metadata)  # noqa: SIM118
    assert_same(sample(), open_record(Sample, saved, version=VERSION))


def test_any_safetensors_reader_opens_the_file(saved: Path) -> None:
    with safe_open(saved, "np") as file:
        assert file.metadata()["kind"] == "Sample"
        np.testing.assert_array_equal(file.get_tensor("queries"), sample().queries)
        np.testing.assert_array_equal(file.get_tensor("resid"), sample().resid)


def test_a_file_that_safetensors_wrote_anew_opens(saved: Path) -> None:
    with safe_open(saved, "np") as file:
        save_file({name: file.get_tensor(name) for name in file.keys()}, saved, file.metadata())  # noqa: SIM118
    assert_same(sample(), open_record(Sample, saved, version=VERSION))


def test_the_same_record_makes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save(sample(), tmp_path / "again", version=VERSION)
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heat": float("nan")}, "heat should be a finite number, and is nan"),
        ({"leaves": (Leaf(word="x"), Leaf(word="x", score=float("-inf")))}, "leaves[1].score should be a finite"),
        ({"leaves": (Leaf(word="half \ud83d"),)}, "leaves[0].word holds half a character"),
        ({"counts": {"\udc00": ()}}, "half a character"),
        ({"seed": True}, "seed should be a whole number"),
        ({"seed": 2**64}, "seed should be a whole number"),
        ({"on": 1}, "on should be true or false"),
        ({"leaves": [Leaf(word="x")]}, "leaves should be a tuple"),
        ({"leaves": (Leaf(word="x", kind="other"),)}, "leaves[0].kind should be one of"),  # type: ignore[arg-type]
        ({"leaves": (Leaf(word="x", span=(1, 2, 3)),)}, "leaves[0].span should have 2 values"),  # type: ignore[arg-type]
        ({"leaves": ("x",)}, "leaves[0] should be a Leaf"),
        ({"queries": np.zeros((2, 3, 4))}, "queries should be an array of float32, and is an array of float64"),
        ({"queries": [[[1.0]]]}, "queries should be an array of float32, and is list"),
        ({"queries": np.zeros((2, 3), np.float32)}, "queries should have the axes [L S D]"),
        ({"resid": np.zeros((2, 3))}, "resid has L+1 = 2, where L is 2"),
        ({"resid": np.zeros((3, 4))}, "resid has S = 4, where S is 3"),
    ],
)
def test_what_a_file_cannot_hold_is_not_saved(saved: Path, changes: dict[str, Any], said: str) -> None:
    before = saved.read_bytes()
    with pytest.raises(BadTrace) as caught:
        save(sample(**changes), saved, version=VERSION)
    assert said in str(caught.value)
    assert saved.read_bytes() == before
    assert names_in(saved.parent) == [saved.name]


def test_a_record_too_large_to_be_read_back_is_not_saved(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = take_apart(saved)[0]["__metadata__"]["record"]
    marks = {mark: record.count(mark) for mark in strict_json.MAX_MARKS}  # the header around it has more
    for home, bound, value in (
        (strict_json, "MAX_MARKS", marks),
        (strict_json, "MAX_DEPTH", 3),
        (storage, "MAX_HEADER_BYTES", 800),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(home, bound, value)
            with pytest.raises(BadTrace, match="Record a shorter run"):
                save(sample(), saved, version=VERSION)
        save(sample(), saved, version=VERSION)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace, match=r"run\.trace' was not saved: .*Free some space"):
        save(sample(heat=1.0), saved, version=VERSION)
    assert saved.read_bytes() == before
    assert names_in(saved.parent) == [saved.name]


def test_a_disk_that_fills_up_in_the_middle_leaves_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    program = f"""
import resource
import numpy as np
from model.records.file import save
from tests.model.stored import sample
from model.errors import NoSpace
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(sample(queries=np.zeros((2, 3, 100_000), np.float32)), {str(saved)!r}, version=3)
except NoSpace:
    print("no space")
"""
    done = run(program)
    assert done.stdout == "no space\n"
    assert saved.read_bytes() == before
    assert names_in(saved.parent) == [saved.name]


def test_an_interrupted_save_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(sample(heat=1.0), saved, version=VERSION)
    assert saved.read_bytes() == before
    assert names_in(saved.parent) == [saved.name]


def test_a_killed_save_leaves_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    program = f"""
import os
from model.records.file import save
from tests.model.stored import sample
os.fsync = lambda _: os.kill(os.getpid(), {int(signal.SIGKILL)})
save(sample(heat=1.0), {str(saved)!r}, version=3)
"""
    done = run(program)
    assert done.returncode == -signal.SIGKILL
    assert saved.read_bytes() == before
    assert_same(sample(), open_record(Sample, saved, version=VERSION))


def test_a_save_replaces_the_file_and_follows_a_link_to_it(saved: Path) -> None:
    link = saved.parent / "link"
    link.symlink_to(saved)
    save(sample(heat=1.0), link, version=VERSION)
    assert link.is_symlink()
    assert open_record(Sample, saved, version=VERSION).heat == 1.0


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no/such/run.trace", "Make the folder first"),
        ("", "something other than a file"),
        ("run.trace/x", "folder does not exist"),
        ("a\0b", "null"),
        ("x" * 300, "too long"),
    ],
)
def test_a_place_that_takes_no_file_is_refused(saved: Path, place: str, said: str) -> None:
    with pytest.raises(BadTrace) as caught:
        save(sample(), saved.parent / place, version=VERSION)
    assert said in str(caught.value)


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadTrace, match="something other than a file"):
        save(sample(), tmp_path / "pipe", version=VERSION)


def test_only_what_can_be_stored_may_be_declared() -> None:
    with pytest.raises(ValueError, match="float16"):
        Shape("float16", "L")
    with pytest.raises(ValueError, match="'2L'"):
        Shape("float32", "2L")

    @dataclass(frozen=True)
    class Ends:
        resid: Annotated[np.ndarray, Shape("float32", "L+1 S")]

    with pytest.raises(BadTrace, match=r"resid has L\+1 = 0, where L is at least 0"):
        save(Ends(np.zeros((0, 3), np.float32)), "never", version=1)

    @dataclass(frozen=True)
    class Deep:
        inner: tuple[Sample, ...]

    with pytest.raises(TypeError, match="at the top of a record"):
        save(Deep(()), "never", version=1)

    @dataclass(frozen=True)
    class Bare:
        word: str = field(metadata=added("").metadata)

    with pytest.raises(TypeError, match="word was added to a record and has no default"):
        save(Bare(""), "never", version=1)
