"""No damaged or hostile file, whatever its bytes, does more than get a sentence, in little time and memory."""

# pyright: reportPrivateUsage=false

import gc
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import BadTrace
from model.records import file as storage
from model.records.file import open_record, save
from tests.model.stored import (
    VERSION,
    Sample,
    put_together,
    read_or_refused,
    refusal,
    run,
    sample,
    take_apart,
    with_record,
)
from tests.searching import searched


def test_a_file_cut_short_anywhere_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(len(whole)):
        saved.write_bytes(whole[:length])
        refusal(saved)
    saved.write_bytes(whole + b"\0")
    assert "its arrays take" in refusal(saved)


@pytest.mark.parametrize("n_bits", [1, pytest.param(8, marks=pytest.mark.long)], ids=["one a byte", "every"])
def test_a_flipped_bit_anywhere_is_refused(saved: Path, n_bits: int) -> None:
    whole = saved.read_bytes()
    for position in range(len(whole)):
        for bit in ((position + each) % 8 for each in range(n_bits)):
            saved.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            refusal(saved)


def set_tensor(name: str, **entry: Any) -> Any:
    return lambda header: header[name].update(entry)


def set_metadata(**entries: Any) -> Any:
    return lambda header: header["__metadata__"].update(entries)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}), "unknown tensors ['extra']"),
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
        (set_tensor("queries", data_offsets=[0, 96]), "begins at byte 0; byte 72 is next"),
        (set_tensor("queries", data_offsets=[80, 176]), "begins at byte 80; byte 72 is next"),
        (set_tensor("queries", data_offsets=[2**63, 2**63 + 96]), "begins at byte"),
        (set_tensor("resid", shape=[2, 3], data_offsets=[0, 48]), "L"),
        (lambda h: h.pop("resid"), "begins at byte 72; byte 0 is next"),
        (lambda h: h.pop("__metadata__"), "without a record"),
        (lambda h: h["__metadata__"].pop("kind"), "without a record"),
        (set_metadata(more="x"), "its metadata was not"),
        (set_metadata(record={"leaves": []}), "its metadata was not"),
        (set_metadata(kind=["Sample"]), "it holds a ['Sample'], not a Sample"),
        (set_metadata(version=3), "its version is 3, which is not a number"),
        (set_metadata(version="３"), "which is not a number"),
        (set_metadata(version="9" * 5000), "which is not a number"),
        (set_metadata(record="שלום"), "its metadata was not"),
    ],
)
def test_a_header_that_lies_is_refused(saved: Path, change: Any, said: str) -> None:
    header, data = take_apart(saved)
    change(header)
    assert said in refusal(put_together(saved, header, data))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"__metadata__":{},"__metadata__":{}}', "a repeated key"),
        (b'{"a":{"dtype":"F32","dtype":"F32"}}', "a repeated key"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1e999}', "more than a float holds"),
        (b'{"a":' + b"9" * 10_000 + b"}", "10,000 digits"),
        (b'{"a":0.' + b"9" * 1_000 + b"}", "1,002 digits"),
        (b'{"a":18446744073709551616}', "more than 64 bits hold"),
        (b'{"a":' + b"[" * 17 + b"]" * 17 + b"}", "deeper than 16"),
        (b'{"a":' + b"[" * 100_000 + b"}", "deeper than 16"),
        (b'{"a":' + b'{"":' * 100_000 + b"1" + b"}" * 100_001, "deeper than 16"),
        (b'{"a":"' + b'\\"[' * 250_000, "is cut short"),
        (b'{"a":"\\', "is cut short"),
        (b'{"a":1} x', "cannot be read"),
        (b'{"a":"\xff"}', "not ASCII"),
        (b"{'a':1}", "cannot be read"),
        (b"{", "is cut short"),
        (b"{}", "without a record"),
    ],
)
def test_json_that_python_would_take_is_refused(tmp_path: Path, raw: bytes, said: str) -> None:
    assert said in refusal(put_together(tmp_path / "file", raw))


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**32, 2**63, 2**64 - 1])
def test_a_header_length_that_lies_is_refused(saved: Path, length: int) -> None:
    saved.write_bytes(length.to_bytes(8, "little") + saved.read_bytes()[8:])
    refusal(saved)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"seed":18446744073709551615', '"seed":13', "is not a valid Sample: 13 brings bad luck"),
        ('"seed":18446744073709551615', '"seed":14', "14 is far too much"),
        ('"seed":18446744073709551615', '"seed":1.0', "seed should be a whole number"),
        ('"seed":18446744073709551615', '"seed":true', "seed should be a whole number"),
        ('"seed":18446744073709551615', '"seed":null', "seed should be a whole number"),
        ('"seed":18446744073709551615', '"seed":1,"seed":2', "a repeated key"),
        ('"seed":18446744073709551615', '"seed":1,"more":2', "the unknown entries ['more']"),
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
        ('"span":[0,256]', '"span":[9,0]', "leaves[1] is not a valid Leaf: the span (9, 0) ends before"),
        ('"data":""', '"data":"0G"', "leaves[0].data should be bytes in hex"),
        ('"data":""', '"data":"0"', "leaves[0].data should be bytes in hex"),
        ('"data":""', '"data":"00\\n"', "leaves[0].data should be bytes in hex"),
        ('"data":""', '"data":"AB"', "leaves[0].data should be bytes in hex"),
        ('"data":"",', "", "leaves[0] has the unknown entries [], lacks ['data']"),
        ('"data":"",', '"data":"","word":"x",', "a repeated key"),
        ('"a b":[1,2]', '"a b":[1,2],"a b":[3]', "a repeated key"),
        ('"0":""', '"00":""', "the key '00'"),
        ('"0":""', '"+0":""', "the key '+0'"),
        ('"0":""', '" 0":""', "the key ' 0'"),
        ('"0":""', '"0.0":""', "the key '0.0'"),
        ('"0":""', '"1_0":""', "the key '1_0'"),
        ('"0":""', '"0":0', "names[0] should be text"),
        ('"0":""', '"99999999999999999999":""', "whole number of 64 bits"),
        ('{"leaves"', '[{"leaves"', "is cut short"),
    ],
)
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
    "lists in the record": lambda: (
        '"__metadata__":{"kind":"Sample","version":"3","record":"{\\"leaves\\":['
        + "[]," * 290_000
        + '0]}"},"queries":{"dtype":"F32","shape":[0,0,0],"data_offsets":[0,0]}'
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_costs_little_time(tmp_path: Path, name: str) -> None:
    put_together(tmp_path / "file", b"{" + HOSTILE[name]().encode() + b"}")
    gc.collect()
    refusal(tmp_path / "file")


@pytest.mark.long
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
from model.records.file import open_record
from tests.model.stored import Sample
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
        (storage.MAX_HEADER_BYTES + 1, 2 * storage.MAX_HEADER_BYTES, "it is not a record"),
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
    check = storage.check_tensors

    def shrink(*arguments: Any) -> Any:
        os.truncate(saved, saved.stat().st_size - 4)
        return check(*arguments)

    monkeypatch.setattr(storage, "check_tensors", shrink)
    assert "was cut short" in refusal(saved)


def test_too_little_memory_is_a_sentence(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "fromfile", exhausted)
    assert "more memory than is available" in refusal(saved)


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
@searched(quick=100, long=20_000)
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
@searched(quick=150, long=10_000)
def test_any_value_anywhere_in_a_valid_file_is_read_or_refused(saved: Path, data: st.DataObject) -> None:
    header, arrays = take_apart(saved)
    record = json.loads(header["__metadata__"]["record"])
    target = data.draw(st.sampled_from([record, header, header["queries"], record["leaves"][0]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    if isinstance(header["__metadata__"], dict):
        header["__metadata__"]["record"] = json.dumps(record)
    read_or_refused(put_together(saved.parent / "changed", header, arrays))


@given(changes=st.lists(st.tuples(st.integers(0), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=5))
@searched(quick=150, long=20_000)
def test_any_mutation_of_a_valid_file_is_read_or_refused(saved: Path, changes: list[tuple[int, bytes, int]]) -> None:
    content = saved.read_bytes()
    for position, inserted, removed in changes:
        at = position % (len(content) + 1)
        content = content[:at] + inserted + content[at + removed :]
    path = saved.parent / "changed"
    path.write_bytes(content)
    read_or_refused(path)
