"""Files that are no record, or one of another kind: each is refused in a sentence that names it."""

import errno
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from model.errors import BadTrace
from model.records.file import open_record, save
from tests.model.stored import VERSION, Leaf, Sample, put_together, refusal, sample, take_apart


def test_files_that_are_no_trace_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"1234567", pickle.dumps({"a": 1}), b"Once upon a time, " * 9, bytes(100), b"\xff" * 100):
        path.write_bytes(content)
        assert "it is not a record" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("queries.npy", bytes(1000))
    assert "it is not a record" in refusal(path)
    np.savez(path.with_suffix(".npz"), queries=np.zeros(9))
    assert "it is not a record" in refusal(path.with_suffix(".npz"))


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
    for other, said in (
        (2, "an older Tokenoscope (format 2; this one reads 3). Record the run again"),
        (4, "a newer Tokenoscope (format 4; this one reads 3). Update Tokenoscope."),
    ):
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
