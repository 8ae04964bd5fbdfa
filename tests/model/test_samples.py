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
from model.records import batching
from model.records.batching import Batching
from model.records.earlier import EARLIER
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


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A JSON value with its keys, and values of "name", called as they are now: replaced wherever they stand."""
    if isinstance(value, dict):
        return {
            names.get(key, key): names.get(each, each) if key == "name" else renamed(each, names)
            for key, each in value.items()
        }
    return [renamed(each, names) for each in value] if isinstance(value, list) else value


NAMES_OF_1 = {  # of a Batching's first format: written here again, because the table of the reader may be wrong
    "sharing": "prefix_caching",
    "ways": "schedulers",
    "one by one": "sequential",
    "shares": "scheduled",
    "tables": "block_tables",
    "put_back": "preempted",
    "n_free": "n_free_blocks",
    "cached": "cached_blocks",
    "shared": "shared_blocks",
    "reused": "n_cached_tokens",
    "keys": "key_lengths",
    "stray": "cross_request_weight",
}


def test_there_is_one_of_each_kind() -> None:
    assert {kind_of(path) for path in FILES} == set(RECORDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_an_earlier_version_opens_with_every_value(path: Path) -> None:
    record = RECORDS[kind_of(path)].open(path)
    with safe_open(path, "np") as file:  # by the library's reader, not ours
        told = json.loads(file.metadata()["record"])
        if path.name == "served.batching":
            told = renamed(told, NAMES_OF_1)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert told and arrays.keys() == record.arrays().keys()
    for name, array in arrays.items():
        ours = record.arrays()[name]
        assert ours.dtype == array.dtype
        np.testing.assert_array_equal(ours, array, err_msg=name)
    for name, value in told.items():
        assert plain(getattr(record, name)) == value, name


def test_a_serving_of_the_first_format_equals_the_same_one_of_the_second() -> None:
    first, second = (SAMPLES / "served.batching", SAMPLES / "served_2.batching")
    assert [_metadata(each)["version"] for each in (first, second)] == ["1", "2"]
    one, other = (Batching.open(each) for each in (first, second))
    for each in fields(Batching):
        if each.name != "weights":
            assert plain(getattr(one, each.name)) == plain(getattr(other, each.name)), each.name
    assert np.array_equal(one.weights, other.weights)
    assert [each.name for each in one.schedulers] == ["continuous", "static", "sequential"]
    assert any(tick.preempted for tick in one.ticks) and any(tick.n_cached_tokens for tick in one.ticks)


def test_a_record_of_the_first_format_is_saved_as_the_second(tmp_path: Path) -> None:
    for name in ("served.batching", "served_2.batching"):
        Batching.open(SAMPLES / name).save(tmp_path / name)
    assert (tmp_path / "served.batching").read_bytes() == (tmp_path / "served_2.batching").read_bytes()
    assert _metadata(tmp_path / "served.batching")["version"] == "2"


@pytest.mark.parametrize(
    ("sample", "before", "after", "why"),
    [
        ("served.batching", '"put_back":', '"preempted":[],"put_back":', "unknown entries"),  # both names
        ("served_2.batching", '"preempted":', '"put_back":[],"preempted":', "unknown entries"),
        ("served.batching", '"put_back":', '"preempted":', "unknown entries"),  # a name of the other format
        ("served_2.batching", '"preempted":', '"put_back":', "unknown entries"),
        ("served.batching", '"one by one"', '"sequential"', "should be one of"),
        ("served_2.batching", '"sequential"', '"one by one"', "should be one of"),
        ("served.batching", '"stray":', '"astray":', "unknown entries"),
    ],
)
def test_a_file_with_the_names_of_two_formats_is_refused(
    tmp_path: Path, sample: str, before: str, after: str, why: str
) -> None:
    raw = (SAMPLES / sample).read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    text = header["__metadata__"]["record"]
    assert before in text
    header["__metadata__"]["record"] = text.replace(before, after, 1)
    changed = json.dumps(header).encode("ascii")
    changed += b" " * (-len(changed) % 8)
    (tmp_path / sample).write_bytes(len(changed).to_bytes(8, "little") + changed + raw[end:])
    with pytest.raises(BadTrace, match=why):
        Batching.open(tmp_path / sample)


def test_every_name_of_an_earlier_format_is_one_of_today() -> None:
    for (kind, version), names in EARLIER.items():
        assert version < RECORDS[kind].VERSION
        for of in (*names.fields, *(of for of, _ in names.values)):
            assert of in vars(batching) or of in RECORDS
        for of, renamed_fields in names.fields.items():
            today = {each.name for each in fields(vars(batching)[of])}
            assert set(renamed_fields.values()) <= today and not renamed_fields.keys() & today


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as file:
        return file.metadata()


def test_a_file_cut_short_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "cut.trace").write_bytes((SAMPLES / "run.trace").read_bytes()[:-8])
    with pytest.raises(BadTrace):
        RECORDS["Trace"].open(tmp_path / "cut.trace")
