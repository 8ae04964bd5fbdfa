"""The probe says how fast this machine is, and is made once."""

# pyright: reportPrivateUsage=false

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from model import HookedModel
from model.capture import machine
from model.capture.machine import probe
from model.limits import Limits
from model.records.timing import Machine
from tests.tiny import tiny


@pytest.fixture(autouse=True)
def small_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to read and to multiply: these tests ask whether it is measured, not how fast this machine is."""
    monkeypatch.setattr(machine, "_BUFFER_BYTES", 4 * 1024 * 1024)
    monkeypatch.setattr(machine, "_LARGEST", 256)


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny()


@pytest.fixture
def limits(tmp_path: Path) -> Limits:
    return replace(Limits.from_environment(), cache=tmp_path)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that the machine was really measured."""
    made: list[str] = []
    real = machine._measured
    monkeypatch.setattr(machine, "_measured", lambda *given: made.append("once") or real(*given))
    return made


def the_file(limits: Limits) -> Path:
    (file,) = (limits.cache / "machines").iterdir()
    return file


def same(one: Machine, other: Machine) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in Machine.__slots__)


def test_it_names_the_machine_and_its_speeds(hooked: HookedModel, limits: Limits) -> None:
    found = probe(hooked, limits)
    assert (found.device, found.dtype, found.torch) == ("cpu", "float32", torch.__version__)
    assert found.threads == torch.get_num_threads()
    assert found.cores >= 1
    assert found.processor
    for middle, (slowest, fastest) in (
        (found.bandwidth, found.bandwidth_span),
        (found.matrix_speed, found.matrix_span),
    ):
        assert 1e6 < slowest <= middle <= fastest < 1e17
    assert found.ridge == found.matrix_speed / found.bandwidth


def test_bandwidth_is_that_of_reading_and_speed_that_of_multiplying(
    hooked: HookedModel, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every try is made to take a known time: what is read in it, and what is computed, is then known too."""
    monkeypatch.setattr(machine, "_seconds", lambda act, device: act() is None or 0.5)
    found = probe(hooked, limits)
    assert found.bandwidth == 4 * 1024 * 1024 / 0.5
    assert found.matrix_speed == 2 * 256**3 / 0.5


def test_it_is_made_once_and_used_again(hooked: HookedModel, limits: Limits, probes: list[str]) -> None:
    assert same(probe(hooked, limits), probe(hooked, limits))
    assert len(probes) == 1


def test_it_can_be_asked_for_again(hooked: HookedModel, limits: Limits, probes: list[str]) -> None:
    probe(hooked, limits)
    again = probe(hooked, limits, again=True)
    assert len(probes) == 2
    assert same(again, probe(hooked, limits))


@pytest.fixture
def other_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("other_threads")
def test_what_it_depends_on_makes_another(hooked: HookedModel, limits: Limits, probes: list[str]) -> None:
    torch.set_num_threads(1)
    probe(hooked, limits)
    torch.set_num_threads(2)
    assert probe(hooked, limits).threads == 2
    assert len(probes) == 2


def damage_fields(text: str, **changed: object) -> str:
    return json.dumps(json.loads(text) | changed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:40],
        lambda text: "[1, 2]",
        lambda text: damage_fields(text, bandwidth="fast"),
        lambda text: damage_fields(text, bandwidth=0.0),
        lambda text: damage_fields(text, matrix_span=[-1.0, 1.0]),
        lambda text: damage_fields(text, processor="another"),
        lambda text: damage_fields(text, more=1),
        lambda text: "\udcff" + text,
    ],
)
def test_a_damaged_file_is_measured_anew(hooked: HookedModel, limits: Limits, probes: list[str], damage) -> None:
    probe(hooked, limits)
    file = the_file(limits)
    file.write_bytes(damage(file.read_text()).encode("utf-8", "surrogateescape"))
    found = probe(hooked, limits)
    assert len(probes) == 2
    assert same(found, probe(hooked, limits))
    assert len(probes) == 2


def test_where_nothing_can_be_kept_it_is_measured_all_the_same(
    hooked: HookedModel, limits: Limits, probes: list[str]
) -> None:
    (limits.cache / "machines").write_text("a file in the folder's place")
    assert probe(hooked, limits).bandwidth > 0
    assert probe(hooked, limits).bandwidth > 0
    assert len(probes) == 2


@pytest.mark.parametrize(("read_s", "speed"), [(0.01, 1e12), (0.1, 5e10), (0.4, 5e9)], ids=["fast", "usual", "slow"])
def test_its_tries_take_a_few_seconds_at_most_and_wait_for_the_model(
    hooked: HookedModel, limits: Limits, monkeypatch: pytest.MonkeyPatch, read_s: float, speed: float
) -> None:
    """By made-up machines: one reads the buffer in so many seconds and multiplies at such a speed."""
    tries: list[float] = []
    held: list[bool] = []

    def seconds(act, device) -> float:
        held.append(hooked.guard.locked())
        tries.append(2 * len(act.args[0]) ** 3 / speed if isinstance(act, partial) else read_s)
        return tries[-1]

    monkeypatch.setattr(machine, "_seconds", seconds)
    monkeypatch.setattr(machine, "_LARGEST", 8192)
    found = probe(hooked, limits)
    assert found.matrix_speed == pytest.approx(speed)
    assert sum(tries) < 5
    assert all(held)


def test_a_probe_can_be_ended_between_two_tries_and_leaves_nothing(hooked: HookedModel, limits: Limits) -> None:
    calls: list[None] = []

    def between() -> None:
        calls.append(None)
        if len(calls) == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        probe(hooked, limits, between=between)
    assert len(calls) == 5
    assert not (limits.cache / "machines").exists()
    assert probe(hooked, limits).bandwidth > 0


def test_what_is_probed_is_never_kept_in_the_folder_that_one_works_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TOKENOSCOPE_CACHE", str(tmp_path / "cache"))
    assert Limits().cache == Limits.from_environment().cache == tmp_path / "cache"
    monkeypatch.delenv("TOKENOSCOPE_CACHE")
    assert Limits().cache.is_absolute()
