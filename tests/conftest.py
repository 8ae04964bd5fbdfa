"""What several suites share: the default model, one thread for torch, and one Chromium."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from model.limits import Limits
from tests.searching import QUICK

if TYPE_CHECKING:
    from model import HookedModel

settings.load_profile(QUICK)  # before pytest reads --hypothesis-profile, which may choose the other one
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported; programs that tests start inherit it

ALL_CARDS = "try { localStorage['tokenoscope-all-cards'] ??= '1' } catch { /* a page of no origin */ }"
"""A script: in this browser somebody has opened all cards."""
ONE_CARD = """let held;
Object.defineProperty(window, "tokenoscope", {{
  get: () => held,
  set(made) {{ held = made; made.store.rail?.open({0!r}); }},
}});"""
"""A script: the page opens with this card open."""
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",  # a graphics card imitated in software draws slower than none
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # this machine alone can be reached
]
CHROMIUM = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def default_folder() -> Path:
    """The embedded default model, fetched and converted if it is not here yet."""
    import torch

    from model.weights.sources import find

    torch.set_num_threads(1)  # the suite shares its machine, and sums come out alike on every one
    return find(None, Limits.from_environment()).folder


@pytest.fixture(scope="session")
def default_model(default_folder: Path) -> "HookedModel":
    """The default model, loaded once a process for all tests: what a test changes in it, it puts back."""
    from model import load

    return load(default_folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the default model stand first: one of the processes then gets them all, and loads it alone."""
    items.sort(key=lambda item: "default_model" not in getattr(item, "fixturenames", ()))


def pytest_collection_finish() -> None:
    """What was imported stays: the collector need not look through it again, which cost a quarter second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def opened_cards(request: pytest.FixtureRequest) -> str:
    """A script for each page that opens: all cards are open, or the one that the test's mark `cards` names."""
    mark = request.node.get_closest_marker("cards")
    return ONE_CARD.format(*mark.args) if mark and mark.args else ALL_CARDS


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or Playwright's own; without one the tests are skipped, and fail where CI is set."""
    with sync_playwright() as playwright:
        installed = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
        if installed is None and not Path(playwright.chromium.executable_path).exists():
            reason = "no Chromium on PATH and none of Playwright's: `make test` installs one where it may"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        chromium = playwright.chromium.launch(executable_path=installed, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()
