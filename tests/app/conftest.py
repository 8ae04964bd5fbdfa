"""What the tests of the app share."""

from pathlib import Path

import pytest

from tests.app.served import forgive_open_sockets, serve, shared_app

__all__ = ["serve", "shared_app"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive_open_sockets(Path(__file__).parent, items)
