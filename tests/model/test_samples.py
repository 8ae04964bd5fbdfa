"""Files that an earlier version saved still open, with every value that stands in them."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from model.errors import BadTrace
from model.records.file import kind_of
from model.records.schema import form_of
from model.requests.registry import EXPERIMENTS

SAMPLES = Path(__file__).parents[1] / "samples"
FILES = sorted(path for path in SAMPLES.iterdir() if path.suffix != ".md")
RECORDS = {each.record.__name__: each.record for each in EXPERIMENTS}


def plain(value: Any) -> Any:
    """A value as JSON has it, taken apart without the program's own writer.

    A field that was added later is left out where it holds what it stands for in a file that lacks it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        held = {each.name: plain(getattr(value, each.name)) for each in fields(value)}
        missing = form_of(type(value)).added
        return {name: each for name, each in held.items() if name not in missing or each != plain(missing[name])}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value.hex() if isinstance(value, bytes) else value


def test_there_is_one_of_each_kind() -> None:
    assert {kind_of(path) for path in FILES} == set(RECORDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_an_earlier_version_opens_with_every_value(path: Path) -> None:
    record = RECORDS[kind_of(path)].open(path)
    with safe_open(path, "np") as file:  # by the library's reader, not ours
        told = json.loads(file.metadata()["record"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert told and arrays.keys() == record.arrays().keys()
    for name, array in arrays.items():
        ours = record.arrays()[name]
        assert ours.dtype == array.dtype
        np.testing.assert_array_equal(ours, array, err_msg=name)
    for name, value in told.items():
        assert plain(getattr(record, name)) == value, name


def test_a_file_cut_short_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "cut.trace").write_bytes((SAMPLES / "run.trace").read_bytes()[:-8])
    with pytest.raises(BadTrace):
        RECORDS["Trace"].open(tmp_path / "cut.trace")
