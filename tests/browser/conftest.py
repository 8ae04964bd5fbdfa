"""A real Chromium that reaches this machine alone, and pages that must end without an error or a foreign request."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.app.served import forgive_open_sockets, serve, shared_app
from tests.patience import PATIENCE_S

__all__ = ["serve", "shared_app"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive_open_sockets(Path(__file__).parent, items)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.flaky(reruns=1))  # a machine may stall under a browser: what fails twice fails


@pytest.fixture(scope="session")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """One window for all tests, so that Gradio's scripts are loaded once."""
    context = browser.new_context(accept_downloads=True)
    context.set_default_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    yield context
    context.close()


@pytest.fixture
def visit(window: BrowserContext) -> Iterator[Callable[..., Page]]:
    """Opens the page in a tab, which is a session of its own; at the end nothing may have gone wrong in it."""
    wrong: list[str] = []
    pages: list[Page] = []

    def open_page(url: str | None, *, width: int = 1280, height: int = 640, theme: str = "light") -> Page:
        page = window.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.route("**/*", _loopback_only(wrong))
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
        if url is None:
            return page  # an empty tab: the test itself goes somewhere
        page.goto(f"{url}/?__theme={theme}")
        page.wait_for_selector('.ts-scope-root[data-ready="1"]', state="attached")
        return page

    yield open_page
    for page in pages:
        if not page.is_closed():
            page.evaluate("localStorage.clear()")
            page.close()
    assert wrong == []


def _loopback_only(wrong: list[str]) -> Callable[[Route], None]:
    def allow(route: Route) -> None:
        if urlsplit(route.request.url).hostname in ("127.0.0.1", None):
            route.continue_()
        else:
            wrong.append(f"request to {route.request.url}")
            route.abort()

    return allow
