"""A made-up record with every kind of field, and files of it taken apart and put together again."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from model.errors import BadSetting, BadTrace
from model.records.file import Shape, open_record

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
            raise BadSetting("the span {span} ends before it begins.", span=self.span)


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
    del header["__metadata__"]["crc32"]  # files of earlier versions have none
    return put_together(path, header, data)
