"""The number of threads is the one that was fastest, and what a person has set stays set."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model.loading import threads
from model.loading.threads import settle


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Timed:
    """A model whose passes take as long as the test says, for each number of threads, by a clock of its own."""

    device = torch.device("cpu")

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self, **_: Any) -> None:
        self.now += self.seconds[torch.get_num_threads()]


@pytest.mark.parametrize("fastest", [1, 2, 4])
def test_the_fastest_number_is_taken(fastest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed({count: 0.005 if count == fastest else 0.1 for count in (1, 2, 4)})
    monkeypatch.setattr(threads, "time", SimpleNamespace(**{**vars(time), "perf_counter": lambda: model.now}))
    assert settle(model) == fastest == torch.get_num_threads()
    assert model.now > 0


def test_a_number_that_was_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert settle(Timed({})) == 4
