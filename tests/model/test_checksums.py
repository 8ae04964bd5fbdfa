"""Weights that have changed on the disk are found before anything is shown of them, and made again where possible."""

import json
import os
from pathlib import Path

import pytest
import torch

from model import Limits, load
from model.errors import BadWeights, UnknownModel
from model.weights import checksums, packaged
from model.weights.checksums import damaged, keep
from model.weights.packaged import default_folder
from tests.model.packed import never, put, sha256
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "config.json", b"{}")
    put(tmp_path / "model.safetensors", b"weights" * 100)
    keep(tmp_path)
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which the default model is a tiny one, made in a moment."""

    def convert(_gguf: Path, into: Path, _progress: packaged.Progress) -> None:
        tiny_model("llama").save_pretrained(into)
        tiny_tokenizer().save_pretrained(into)

    put(tmp_path / "downloads" / packaged.GGUF, b"weights in four bits")
    monkeypatch.setattr(packaged, "GGUF_SHA256", sha256(b"weights in four bits"))
    monkeypatch.setattr(packaged, "convert", convert)
    return tmp_path


def flip(file: Path, byte: int = -1, bit: int = 6) -> None:
    """Flip one bit, by default the second highest of the last float32: it lies in the exponent."""
    content = bytearray(file.read_bytes())
    content[byte] ^= 1 << bit
    file.write_bytes(content)


def test_any_changed_or_missing_file_is_found(folder: Path) -> None:
    assert damaged(folder) == []
    for byte in range(700):
        flip(folder / "model.safetensors", byte, byte % 8)
        assert damaged(folder) == ["model.safetensors"]
        flip(folder / "model.safetensors", byte, byte % 8)
    (folder / "config.json").unlink()
    assert damaged(folder) == ["config.json"]


def test_a_file_is_read_once_for_each_time_it_was_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert damaged(folder) == []
    monkeypatch.setattr(checksums.hashlib, "file_digest", never)
    assert damaged(folder) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": {"sha256": "x"}}'])
def test_checksums_that_cannot_be_read_are_none(folder: Path, content: str) -> None:
    (folder / "checksums.json").write_text(content)
    assert damaged(folder) == []


def test_damaged_weights_of_the_default_model_are_made_again(cache: Path) -> None:
    whole = [each.clone() for each in load(limits=Limits(cache=cache)).model.parameters()]  # else mapped from the file
    flip(default_folder(cache) / "model.safetensors")
    again = load(limits=Limits(cache=cache))
    for one, other in zip(whole, again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert damaged(default_folder(cache)) == []


@pytest.mark.parametrize("byte", [0, 9, 40, -1])  # the header cannot be read, or a weight is another one
def test_damage_that_cannot_be_mended_is_told_with_its_folder(
    cache: Path, byte: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UnknownModel("no package index answers.")

    flip(default_folder(cache) / "model.safetensors", byte)
    monkeypatch.setattr(packaged, "convert", fail)
    with pytest.raises(BadWeights, match=rf"model.safetensors in the folder {cache}.* is damaged.*no package index"):
        load(limits=Limits(cache=cache))


def test_a_damaged_folder_that_was_named_is_refused(cache: Path) -> None:
    folder = default_folder(cache)
    flip(folder / "model.safetensors")
    with pytest.raises(BadWeights, match=rf"model.safetensors in the folder {folder} is damaged.*[Cc]opy or download"):
        load(folder)


def test_a_folder_of_before_there_were_checksums_gets_them_when_it_is_loaded(cache: Path) -> None:
    folder = default_folder(cache)
    (folder / "checksums.json").unlink()
    load(limits=Limits(cache=cache))
    kept = json.loads((folder / "checksums.json").read_text())
    assert kept["model.safetensors"]["sha256"] == sha256((folder / "model.safetensors").read_bytes())
