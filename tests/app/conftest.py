"""What the tests of the app share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.requests.run import Run
from tests.app.fakes_engine import FakeEngine
from tests.app.running import House
from tests.app.served import apps, forgive_open_sockets, serve
from tests.app.site import RECORDS, Site
from viz.server.store import Kept

__all__ = ["apps", "serve"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive_open_sockets(Path(__file__).parent, items)


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


@pytest.fixture
def slow() -> Iterator[House]:
    made = House(FakeEngine(seconds=None))
    yield made
    made.close()


@pytest.fixture
def done(house: House) -> tuple[Site, Kept, str]:
    """A finished run, and its address."""
    kept = house.finished(house.ask("ann", Run(prompt="a b c", max_new_tokens=4)))
    return Site(house), kept, f"{RECORDS}/{kept.id}"


@pytest.fixture
def build() -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def make(engine: FakeEngine | None = None, **more) -> House:
        houses.append(House(engine, **more))
        return houses[-1]

    yield make
    for house in houses:
        house.close()
