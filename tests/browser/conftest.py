"""A real Chromium that reaches this machine alone, and pages that must end without an error or a foreign request."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from model.records.batching import Batching
from model.records.cache import CacheTrials
from model.records.speculation import Speculation
from model.records.timing import Measurement
from model.records.trace import Trace
from tests.app.fakes_engine import FakeEngine
from tests.app.served import apps, forgive_open_sockets, serve
from tests.browser.plain import Plain, finished, plain
from tests.patience import PATIENCE_S
from viz.markup import ASSETS
from viz.view import Record
from viz.wire import recorded

__all__ = ["apps", "serve"]


PLACES: dict[type, str] = {Batching: "serve", Speculation: "serve", Measurement: "measure", CacheTrials: "measure"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive_open_sockets(Path(__file__).parent, items)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """One window for all tests, so that Gradio's scripts are loaded once."""
    context = browser.new_context(accept_downloads=True)
    context.set_default_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    yield context
    context.close()


@pytest.fixture
def visit(window: BrowserContext, opened_cards: str) -> Iterator[Callable[..., Page]]:
    """Opens the page in a tab, which is a session of its own; at the end nothing may have gone wrong in it."""
    wrong: list[str] = []
    pages: list[Page] = []

    def open_page(
        url: str | None, *, width: int = 1280, height: int = 640, theme: str = "light", missing: bool = False
    ) -> Page:
        page = window.new_page()
        page.add_init_script(opened_cards)
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.on("request", _loopback_only(wrong))
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.on("console", lambda said: wrong.extend(_faults(said, missing)))
        if url is None:
            return page  # an empty tab: the test itself goes somewhere
        page.goto(f"{url}/?__theme={theme}")
        page.wait_for_selector('.ts-board[data-ready="1"]', state="attached")
        return page

    yield open_page
    for page in pages:
        if not page.is_closed():
            page.evaluate("try { localStorage.clear() } catch { /* a page without an origin */ }")
            page.close()
    assert wrong == []


@pytest.fixture(scope="session")
def plain_server() -> Iterator[Plain]:
    """One server of plain pages for all tests; it opens on the recorded runs."""
    with plain(recorded.load(ASSETS / "recorded")) as server:
        yield server


@pytest.fixture
def shipped(plain_server: Plain) -> Iterator[Plain]:
    """A plain page that opens on what comes with the app."""
    yield from _with_fresh_engine(plain_server)


@pytest.fixture(scope="session")
def bare_server() -> Iterator[Plain]:
    """The same without recorded runs."""
    with plain() as server:
        yield server


@pytest.fixture
def house(bare_server: Plain) -> Iterator[Plain]:
    """A server of plain pages that open on nothing, with a fresh engine behind it."""
    yield from _with_fresh_engine(bare_server)


@pytest.fixture
def go(visit: Callable[..., Page]) -> Callable[..., Page]:
    """Opens a plain page, once its boards are there."""

    def open_page(server: Plain, path: str = "", *, theme: str = "light", width: int = 1280, height: int = 640) -> Page:
        page = visit(None, width=width, height=height)
        place, _, moment = path.partition("#")
        page.goto(f"{server.url}/{place}?__theme={theme}{'#' + moment if moment else ''}")
        page.wait_for_selector('.ts-board[data-ready="1"]', state="attached")
        return page

    return open_page


@pytest.fixture
def look(house: Plain, go: Callable[..., Page]) -> Callable[..., Page]:
    """Opens a plain page on a finished record, at the place that a moment names ("step=3&layer=1"), else at its end."""

    def open_record(record: Record | None = None, moment: str = "", **size: int) -> Page:
        shown = record or finished()
        name = PLACES.get(type(shown), "")
        page = go(house, f"{name}#record={house.keep(shown)}{'&' + moment if moment else ''}", **size)
        page.wait_for_selector(".ts-board[data-run]")
        page.wait_for_function("[...tokenoscope.page.held.values()].some(({ status }) => status?.complete)")
        if isinstance(shown, Trace) and not moment:
            page.evaluate("tokenoscope.selection.set({ step: Infinity })")
        if isinstance(shown, Trace):  # cards out of sight are drawn when the browser has time, and are higher then
            page.wait_for_function("tokenoscope.store.cards.every((card) => !card.stale)")
        return page

    return open_record


def _with_fresh_engine(server: Plain) -> Iterator[Plain]:
    server.use(FakeEngine())
    yield server
    server.engine.close()
    server.models.use(FakeEngine())


def _faults(said: ConsoleMessage, missing: bool) -> list[str]:
    """What an error on the console is to be called; with `missing` a record may be missing, which browsers log."""
    expected = missing and "status of 404" in said.text
    return [f"console: {said.text}"] if said.type == "error" and not expected else []


def _loopback_only(wrong: list[str]) -> Callable[[Request], None]:
    """Heard, not held up: the browser resolves no other host, and its cache works only where no route is set."""

    def hear(request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            wrong.append(f"request to {request.url}")

    return hear
