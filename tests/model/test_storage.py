"""A saved record comes back bit for bit, and no file, however hostile, does more than get a sentence."""

import errno
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from model import storage, strict_json
from model.errors import BadSetting, BadTrace, NoSpace
from model.storage import Shape, open_record, save

VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    word: str
    data: bytes = b""
    span: tuple[int, int] = (0, 0)
    score: float | None = None
    kind: Literal["prefill", "decode", 7] = "prefill"

    def __post_init__(self) -> None:
        if self.span[0] > self.span[1]:
            raise BadSetting(f"the span {self.span} ends before it begins.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    leaves: tuple[Leaf, ...]
    names: dict[int, str]
    counts: dict[str, tuple[int, ...]]
    seed: int
    on: bool
    heat: float = 0.0
    queries: Annotated[np.ndarray, Shape("float32", "L S D")]
    resid: Annotated[np.ndarray | None, Shape("float64", "L+1 S")] = field(default=None)
    bytes_: Annotated[np.ndarray, Shape("uint8", "B")] | None = None
    ids: Annotated[np.ndarray | None, Shape("int64", "")] = None

    def __post_init__(self) -> None:
        if self.seed == 13:
            raise ValueError("13 brings bad luck")
        if self.seed == 14:
            raise OverflowError("14 is far too much")
        assert self.queries is not None  # the arrays are there when the record checks itself


def sample(**changes: Any) -> Sample:
    basis = Sample(
        leaves=(
            Leaf(word="plain", score=0.1),
            Leaf(word='\0\t\x1b\u2028 "\\/ </script>', data=bytes(range(256)), span=(0, 256)),
            Leaf(word="👩‍👩‍👧‍👦 שלום \u202e \ufffd \U0010ffff", kind=7, score=-0.0),
        ),
        names={0: "", -5: "א", 2**40: "x"},
        counts={"": (), "a b": (1, 2)},
        seed=2**64 - 1,
        on=True,
        heat=5e-324,
        queries=np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        resid=np.array([[np.inf, -np.inf, -0.0], [1, 2, 3], [4, 5, 6.5]]),
    )
    return replace(basis, **changes)


def assert_same(one: Sample, other: Sample) -> None:
    for f in fields(Sample):
        was, now = getattr(one, f.name), getattr(other, f.name)
        if isinstance(was, np.ndarray):
            assert (was.dtype, was.shape, was.tobytes()) == (now.dtype, now.shape, now.tobytes()), f.name
            assert not now.flags.writeable, f.name
        else:
            assert repr(was) == repr(now), f.name  # repr, as -0.0 == 0.0 and True == 1


def refusal(path: Path, kind: type = Sample, **options: Any) -> str:
    """The sentence with which a file is refused, within a second (of the best of three: a busy machine may be slow)."""
    for _ in range(3):
        began = time.process_time()
        with pytest.raises(BadTrace) as caught:
            open_record(kind, path, version=VERSION, **options)
        if time.process_time() - began < 1:
            break
    else:
        pytest.fail("it took more than a second to refuse the file")
    message = str(caught.value)
    assert repr(str(path)) in message
    assert is_sentence(message)
    return message


def is_sentence(message: str) -> bool:
    return message.endswith(".") and "\n" not in message and len(message) < 600


def read_or_refused(path: Path) -> bool:
    """Whether a changed file still opens; if not, it is refused in a sentence and by nothing else."""
    try:
        open_record(Sample, path, version=VERSION)
    except BadTrace as error:
        if not is_sentence(str(error)):
            pytest.fail(str(error))
        return False
    return True


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run.trace"
    save(sample(), path, version=VERSION)
    return path


def take_apart(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def put_together(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def with_record(path: Path, text: str) -> Path:
    header, data = take_apart(path)
    header["__metadata__"]["record"] = text
    return put_together(path, header, data)


# ------------------------------------------------------------ what is saved returns


def test_a_record_comes_back_bit_for_bit(tmp_path: Path) -> None:
    size = save(sample(), tmp_path / "run.trace", version=VERSION)
    assert size == (tmp_path / "run.trace").stat().st_size
    assert_same(sample(), open_record(Sample, tmp_path / "run.trace", version=VERSION))


@pytest.mark.parametrize(
    "changes",
    [
        {"queries": np.array([0x7FC00001, 0xFFABCDEF, 0x7F800001, 0xFF800000], np.uint32).view("f4").reshape(1, 1, 4),
         "resid": None},
        {"queries": np.zeros((0, 3, 4), np.float32), "resid": np.zeros((1, 3))},
        {"queries": np.zeros((2, 0, 9), np.float32), "resid": np.zeros((3, 0))},
        {"bytes_": np.arange(5, dtype=np.uint8), "ids": np.array(-(2**63))},
        {"queries": np.arange(24, dtype=np.float32).reshape(4, 3, 2).T},
        {"queries": np.arange(48, dtype=np.float32).reshape(2, 3, 8)[..., ::-2]},
        {"seed": -(2**63), "heat": 1.7976931348623157e308, "leaves": (), "names": {}, "counts": {}},
    ],
    ids=["NaN payloads", "no layers", "no positions", "a scalar", "transposed", "strided", "extremes"],
)  # fmt: skip
def test_unusual_values_come_back_too(tmp_path: Path, changes: dict[str, Any]) -> None:
    save(sample(**changes), tmp_path / "run.trace", version=VERSION)
    assert_same(sample(**changes), open_record(Sample, tmp_path / "run.trace", version=VERSION))


@given(text=st.text(st.characters(exclude_categories=["Cs"])), number=st.floats(allow_nan=False, allow_infinity=False),
       whole=st.integers(-(2**63), 2**64 - 1).filter(lambda n: n not in (13, 14)), data=st.binary())  # fmt: skip
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_and_number_comes_back(tmp_path: Path, text: str, number: float, whole: int, data: bytes) -> None:
    record = sample(leaves=(Leaf(word=text, score=number, data=data),), counts={text: ()}, seed=whole)
    save(record, tmp_path / "run.trace", version=VERSION)
    assert_same(record, open_record(Sample, tmp_path / "run.trace", version=VERSION))


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


# ------------------------------------------------------------ saving


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
        (strict_json, "MAX_MARKS", marks), (strict_json, "MAX_DEPTH", 3), (storage, "MAX_HEADER_BYTES", 800),
    ):  # fmt: skip
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
from tests.model.test_storage import sample, save
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
from tests.model.test_storage import sample, save
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
    [("no/such/run.trace", "Make the folder first"), ("", "something else than a file"),
     ("run.trace/x", "folder does not exist"), ("a\0b", "null"), ("x" * 300, "too long")],
)  # fmt: skip
def test_a_place_that_takes_no_file_is_refused(saved: Path, place: str, said: str) -> None:
    with pytest.raises(BadTrace) as caught:
        save(sample(), saved.parent / place, version=VERSION)
    assert said in str(caught.value)


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadTrace, match="something else than a file"):
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


# ------------------------------------------------------------ files that are no record


def test_files_that_are_no_trace_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"1234567", pickle.dumps({"a": 1}), b"Once upon a time, " * 9, bytes(100), b"\xff" * 100):
        path.write_bytes(content)
        assert "it is not a trace" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("queries.npy", bytes(1000))
    assert "it is not a trace" in refusal(path)
    np.savez(path.with_suffix(".npz"), queries=np.zeros(9))
    assert "it is not a trace" in refusal(path.with_suffix(".npz"))


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "file").write_bytes(pickle.dumps(Trap()))
    refusal(tmp_path / "file")
    assert not (tmp_path / "sprung").exists()


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "a pipe" in refusal(tmp_path / "pipe")
    assert "a folder" in refusal(tmp_path)
    assert "a device" in refusal(Path("/dev/zero"))
    assert "No such file" in refusal(tmp_path / "missing")
    assert "symbolic links" in refusal(tmp_path / "loop")
    assert "null" in refusal(tmp_path / "a\0b")
    assert "too long" in refusal(tmp_path / ("x" * 300))


def test_a_file_that_may_not_be_read_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> int:  # root may read everything, so the system cannot be asked
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    assert "Permission denied" in refusal(saved)


def test_a_name_that_is_not_text_still_makes_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadTrace) as caught:
        open_record(Sample, tmp_path / os.fsdecode(b"\xff\n"), version=VERSION)
    assert str(caught.value).isprintable()


def test_weights_of_a_model_are_no_trace(tmp_path: Path) -> None:
    save_file({"w": np.zeros(3)}, tmp_path / "model.safetensors")
    assert "without a record" in refusal(tmp_path / "model.safetensors")


def test_another_kind_or_version_is_refused_by_name(saved: Path, tmp_path: Path) -> None:
    assert "it holds a 'Sample', not a Leaf. Choose a saved Leaf." in refusal(saved, Leaf)
    for other, said in ((2, "an older Tokenoscope (format 2; this one reads 3). Record the run again"),
                        (4, "a newer Tokenoscope (format 4; this one reads 3). Update Tokenoscope.")):  # fmt: skip
        save(sample(), tmp_path / "other", version=other)
        assert said in refusal(tmp_path / "other")


def test_a_newer_file_says_so_even_if_it_holds_more(saved: Path) -> None:
    header, data = take_apart(saved)
    header["__metadata__"]["version"] = "4"
    header["surprise"] = {"dtype": "F8_E8M0", "shape": [0], "data_offsets": [0, 0]}
    assert "newer Tokenoscope" in refusal(put_together(saved, header, data))


def test_a_file_above_the_bound_is_not_read(saved: Path) -> None:
    size = saved.stat().st_size
    open_record(Sample, saved, version=VERSION, max_bytes=size)
    assert f"at most {size - 1:,} are read" in refusal(saved, max_bytes=size - 1)


# ------------------------------------------------------------ damaged and hostile files


def test_a_file_cut_short_anywhere_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(len(whole)):
        saved.write_bytes(whole[:length])
        refusal(saved)
    saved.write_bytes(whole + b"\0")
    assert "its arrays take" in refusal(saved)


def test_a_flipped_bit_in_the_header_never_escapes_as_another_error(saved: Path) -> None:
    whole = saved.read_bytes()
    header_bytes = 8 + int.from_bytes(whole[:8], "little")
    opened = 0
    for position in range(header_bytes):
        for bit in range(8):
            saved.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            opened += read_or_refused(saved)  # a changed letter or digit of a value is still a record
    assert opened < 4 * header_bytes


def set_tensor(name: str, **entry: Any) -> Any:
    return lambda header: header[name].update(entry)


def set_metadata(**entries: Any) -> Any:
    return lambda header: header["__metadata__"].update(entries)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}), "['extra'] too many"),
        (lambda h: h.pop("queries"), "lacks ['queries']"),
        (set_tensor("queries", dtype="F64"), "should hold F32, and holds 'F64'"),
        (set_tensor("queries", dtype="I32"), "should hold F32"),
        (set_tensor("queries", dtype=["F32"]), "should hold F32"),
        (set_tensor("queries", note=1), "is not described as safetensors"),
        (lambda h: h.update(queries=[1]), "is not described as safetensors"),
        (set_tensor("queries", shape=[2, 3]), "should have the axes [L S D]"),
        (set_tensor("queries", shape=[2, 3, 4, 1]), "should have the axes [L S D]"),
        (set_tensor("queries", shape=[2, 3, 4.0]), "should have the axes [L S D]"),
        (set_tensor("queries", shape=[2, 3, True]), "should have the axes [L S D]"),
        (set_tensor("queries", shape=[-2, -3, 4]), "should have the axes [L S D]"),
        (set_tensor("queries", shape="234"), "should have the axes [L S D]"),
        (set_tensor("queries", shape=[2, 4, 3]), "S = "),
        (set_tensor("queries", shape=[3, 2, 4]), "= "),
        (set_tensor("queries", shape=[2, 3, 5]), "does not fill the bytes"),
        (set_tensor("queries", shape=[0, 2**62, 4], data_offsets=[72, 72]), "which no file of this size holds"),
        (set_tensor("queries", shape=[2**32, 2**32, 1]), "which no file of this size holds"),
        (set_tensor("queries", shape=[2**64 - 1, 0, 1]), "which no file of this size holds"),
        (set_tensor("queries", data_offsets=[-96, 0]), "which is no place in the file"),
        (set_tensor("queries", data_offsets=[72, 168, 1]), "which is no place in the file"),
        (set_tensor("queries", data_offsets=[168, 72]), "does not fill"),
        (set_tensor("queries", data_offsets=[0, 96]), "begins at byte 0 where byte 72 is next"),
        (set_tensor("queries", data_offsets=[80, 176]), "begins at byte 80 where byte 72 is next"),
        (set_tensor("queries", data_offsets=[2**63, 2**63 + 96]), "begins at byte"),
        (set_tensor("resid", shape=[2, 3], data_offsets=[0, 48]), "L"),
        (lambda h: h.pop("resid"), "begins at byte 72 where byte 0 is next"),
        (lambda h: h.pop("__metadata__"), "without a record"),
        (lambda h: h["__metadata__"].pop("kind"), "without a record"),
        (set_metadata(more="x"), "its metadata is not as"),
        (set_metadata(record={"leaves": []}), "its metadata is not as"),
        (set_metadata(kind=["Sample"]), "it holds a ['Sample'], not a Sample"),
        (set_metadata(version=3), "its version is 3, which is not a number"),
        (set_metadata(version="３"), "which is not a number"),
        (set_metadata(version="9" * 5000), "which is not a number"),
        (set_metadata(record="שלום"), "its metadata is not as"),
    ],
)
def test_a_header_that_lies_is_refused(saved: Path, change: Any, said: str) -> None:
    header, data = take_apart(saved)
    change(header)
    assert said in refusal(put_together(saved, header, data))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"__metadata__":{},"__metadata__":{}}', "twice"),
        (b'{"a":{"dtype":"F32","dtype":"F32"}}', "twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1e999}', "more than a float holds"),
        (b'{"a":' + b"9" * 10_000 + b"}", "10,000 digits"),
        (b'{"a":0.' + b"9" * 1_000 + b"}", "1,002 digits"),
        (b'{"a":18446744073709551616}', "more than 64 bits hold"),
        (b'{"a":' + b"[" * 17 + b"]" * 17 + b"}", "deeper than 16"),
        (b'{"a":' + b"[" * 100_000 + b"}", "deeper than 16"),
        (b'{"a":' + b'{"":' * 100_000 + b"1" + b"}" * 100_001, "deeper than 16"),
        (b'{"a":"' + b'\\"[' * 250_000, "breaks off"),
        (b'{"a":"\\', "breaks off"),
        (b'{"a":1} x', "cannot be read"),
        (b'{"a":"\xff"}', "not ASCII"),
        (b"{'a':1}", "cannot be read"),
        (b"{", "breaks off"),
        (b"{}", "without a record"),
    ],
)  # fmt: skip
def test_json_that_python_would_take_is_refused(tmp_path: Path, raw: bytes, said: str) -> None:
    assert said in refusal(put_together(tmp_path / "file", raw))


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**32, 2**63, 2**64 - 1])
def test_a_header_length_that_lies_is_refused(saved: Path, length: int) -> None:
    saved.write_bytes(length.to_bytes(8, "little") + saved.read_bytes()[8:])
    refusal(saved)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"seed":18446744073709551615', '"seed":13', "is not a whole Sample: 13 brings bad luck"),
        ('"seed":18446744073709551615', '"seed":14', "14 is far too much"),
        ('"seed":18446744073709551615', '"seed":1.0', "seed should be a whole number"),
        ('"seed":18446744073709551615', '"seed":true', "seed should be a whole number"),
        ('"seed":18446744073709551615', '"seed":null', "seed should be a whole number"),
        ('"seed":18446744073709551615', '"seed":1,"seed":2', "twice"),
        ('"seed":18446744073709551615', '"seed":1,"more":2', "the entries ['more'] too many"),
        ('"seed":18446744073709551615,', "", "lacks ['seed']"),
        ('"heat":5e-324', '"heat":NaN', "NaN"),
        ('"heat":5e-324', '"heat":"1"', "heat should be a finite number"),
        ('"heat":5e-324', '"heat":false', "heat should be a finite number"),
        ('"on":true', '"on":1', "on should be true or false"),
        ('"kind":7', '"kind":7.0', "leaves[2].kind should be one of"),
        ('"kind":7', '"kind":{}', "leaves[2].kind should be one of"),
        ('"word":"plain"', '"word":"\\ud83d"', "leaves[0].word holds half a character"),
        ('"word":"plain"', '"word":["plain"]', "leaves[0].word should be text"),
        ('"span":[0,256]', '"span":[0,256,1]', "leaves[1].span should have 2 values"),
        ('"span":[0,256]', '"span":{"0":1}', "leaves[1].span should be a list"),
        ('"span":[0,256]', '"span":[9,0]', "leaves[1] is not a whole Leaf: the span (9, 0) ends before"),
        ('"data":""', '"data":"0G"', "leaves[0].data should be bytes in hex"),
        ('"data":""', '"data":"0"', "leaves[0].data should be bytes in hex"),
        ('"data":""', '"data":"00\\n"', "leaves[0].data should be bytes in hex"),
        ('"0":""', '"00":""', "the key '00'"),
        ('"0":""', '"0":0', "names[0] should be text"),
        ('"0":""', '"99999999999999999999":""', "whole number of 64 bits"),
        ('{"leaves"', '[{"leaves"', "breaks off"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_fit_its_types_is_refused(saved: Path, old: str, new: str, said: str) -> None:
    text = take_apart(saved)[0]["__metadata__"]["record"]
    assert text.count(old) >= 1
    assert said in refusal(with_record(saved, text.replace(old, new, 1)))


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"x"', "{}", "[" * 5000, "{} {}"])
def test_a_record_that_is_no_record_is_refused(saved: Path, text: str) -> None:
    refusal(with_record(saved, text))


FULL = storage.MAX_HEADER_BYTES - 2000
HOSTILE = {
    "tensors": lambda: ",".join(f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(1_000_000)),
    "fewer tensors": lambda: ",".join(f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(9**5)),
    "dimensions": lambda: '"a":{"shape":[' + "0," * (FULL // 2) + "0]}",
    "few dimensions": lambda: '"a":{"shape":[' + "0," * 950_000 + "0]}",
    "lists": lambda: '"a":[' + "[]," * 290_000 + "0]",
    "texts": lambda: '"a":[' + '"",' * 950_000 + "0]",
    "quotes": lambda: '"a":"' + '\\"' * (FULL // 2),
    "few quotes": lambda: '"a":"' + '\\"' * 1_900_000,
    "one text": lambda: '"a":"' + "x" * FULL + '"',
    "blanks": lambda: " " * FULL,
    "digits": lambda: '"a":' + "9" * FULL,
    "decimals": lambda: '"a":0.' + "9" * FULL,
    "floats": lambda: '"a":[' + "1.5," * 950_000 + "0]",
    "escapes": lambda: '"__metadata__":{"kind":"Sample","version":"3","record":"' + "\\u005b" * (FULL // 6) + '"}',
    "lists in the record": lambda: '"__metadata__":{"kind":"Sample","version":"3","record":"{\\"leaves\\":['
    + "[]," * 290_000 + '0]}"},"queries":{"dtype":"F32","shape":[0,0,0],"data_offsets":[0,0]}',
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_costs_little_time(tmp_path: Path, name: str) -> None:
    put_together(tmp_path / "file", b"{" + HOSTILE[name]().encode() + b"}")
    gc.collect()
    refusal(tmp_path / "file")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_costs_little_memory(tmp_path: Path, name: str) -> None:
    put_together(tmp_path / "file", b"{" + HOSTILE[name]().encode() + b"}")
    tracemalloc.start()
    try:
        with pytest.raises(BadTrace):
            open_record(Sample, tmp_path / "file", version=VERSION)
        assert tracemalloc.get_traced_memory()[1] < 220_000_000
    finally:
        tracemalloc.stop()


def test_a_hostile_header_adds_little_to_the_resident_memory(tmp_path: Path) -> None:
    put_together(tmp_path / "file", b"{" + HOSTILE["few quotes"]().encode() + b"}")
    program = f"""
import resource
from model.errors import BadTrace
from tests.model.test_storage import Sample, open_record
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_record(Sample, {str(tmp_path / "file")!r}, version=3)
except BadTrace:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = run(program)
    kilobytes = int(done.stdout) / (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 200_000


@pytest.mark.parametrize(
    ("header_bytes", "file_bytes", "said"),
    [
        (storage.MAX_HEADER_BYTES + 1, 2 * storage.MAX_HEADER_BYTES, "it is not a trace"),
        (storage.MAX_HEADER_BYTES, 1000, "it is cut short: its header has 32,000,000 bytes, and the whole file 1,000"),
    ],
)
def test_a_header_is_not_read_before_its_length_is_checked(
    tmp_path: Path, header_bytes: int, file_bytes: int, said: str
) -> None:
    (tmp_path / "file").write_bytes(header_bytes.to_bytes(8, "little") + b"{")
    os.truncate(tmp_path / "file", file_bytes)
    tracemalloc.start()
    try:
        assert said in refusal(tmp_path / "file")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_tensors_are_counted_while_the_header_is_parsed(tmp_path: Path) -> None:
    header = {str(i): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(storage.MAX_TENSORS + 1)}
    assert "more than 512 tensors" in refusal(put_together(tmp_path / "file", header))


def test_nothing_is_allocated_for_arrays_that_are_not_there(saved: Path) -> None:
    header, data = take_apart(saved)
    header["queries"].update(shape=[2, 3, 10**9], data_offsets=[72, 72 + 24 * 10**9])
    put_together(saved, header, data)
    tracemalloc.start()
    try:
        refusal(saved)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_shrinks_while_it_is_read_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = storage._check_tensors

    def shrink(*arguments: Any) -> Any:
        os.truncate(saved, saved.stat().st_size - 4)
        return check(*arguments)

    monkeypatch.setattr(storage, "_check_tensors", shrink)
    assert "became shorter" in refusal(saved)


def test_too_little_memory_is_a_sentence(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "fromfile", exhausted)
    assert "more memory than there is" in refusal(saved)


def test_a_large_record_saves_and_opens_without_a_second_copy(tmp_path: Path) -> None:
    record = sample(queries=np.ones((2, 3, 3_000_000), np.float32))  # 72 MB
    tracemalloc.start()
    try:
        save(record, tmp_path / "run.trace", version=VERSION)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        open_record(Sample, tmp_path / "run.trace", version=VERSION)
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_only_ever_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    refusal(tmp_path / "file")
    refusal(put_together(tmp_path / "file", b"{" + content, content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_in_a_valid_file_is_read_or_refused(saved: Path, data: st.DataObject) -> None:
    header, arrays = take_apart(saved)
    record = json.loads(header["__metadata__"]["record"])
    target = data.draw(st.sampled_from([record, header, header["queries"], record["leaves"][0]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    if isinstance(header["__metadata__"], dict):
        header["__metadata__"]["record"] = json.dumps(record)
    read_or_refused(put_together(saved.parent / "changed", header, arrays))


@given(changes=st.lists(st.tuples(st.integers(0), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=5))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mutation_of_a_valid_file_is_read_or_refused(saved: Path, changes: list[tuple[int, bytes, int]]) -> None:
    content = saved.read_bytes()
    for position, inserted, removed in changes:
        at = position % (len(content) + 1)
        content = content[:at] + inserted + content[at + removed :]
    path = saved.parent / "changed"
    path.write_bytes(content)
    read_or_refused(path)
