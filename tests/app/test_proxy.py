"""Behind a proxy that puts the app at a path of its own, or hands its Host on in another form, every page works."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from model.limits import Limits
from tests.app.fakes_engine import FakeEngine, FakeModels
from tests.app.proxy import proxied
from tests.app.served import serving
from tests.fakes import fake_trace
from tests.patience import PATIENCE_S
from viz.wire import packing, parts

pytestmark = pytest.mark.browser

WAYS = {
    "under a path": ("/scope", None),
    "under a path, no port in Host": ("/scope", "127.0.0.1"),
    "Host": ("", "127.0.0.1"),
}


def ways() -> list[Any]:
    """Each of them; the one that changes the most of an address is decided quickly."""
    most = "under a path, no port in Host"
    return [pytest.param(way, id=name, marks=[] if name == most else pytest.mark.long) for name, way in WAYS.items()]


@pytest.fixture(scope="module", params=ways())
def seen(request, tmp_path_factory) -> Iterator[str]:
    """The app's address as a visitor has it."""
    path, host = request.param
    recorded = tmp_path_factory.mktemp("recorded")
    (recorded / "1-a-fact.frames").write_bytes(b"".join(parts.all_parts(fake_trace())))
    engine = FakeEngine()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_ROOT_PATH", path)
        with serving(FakeModels(engine), Limits(), recorded) as (url, _), proxied(url, path, host) as address:
            yield f"{address}/"
            engine.close()


@pytest.mark.parametrize("page", ["", "measure", "serve"])
def test_every_address_of_the_head_answers(seen: str, page: str):
    place = urljoin(seen, page)
    with httpx.Client(timeout=PATIENCE_S) as http:
        head = http.get(place).text.replace('\\"', '"')  # Gradio hands it on in a script
        ours = [each for each in re.findall(r'(?:href|src)="([^"]+)"', head) if "tokenoscope" in each]
        assert {each.partition("?")[0].rpartition("/")[2] for each in ours} >= {"pictures.css", "page.js"}
        for address in {*ours, "gradio_api/tokenoscope/records/1-a-fact/parts?since=0"}:
            assert not urlsplit(address).path.startswith("/"), "as the page was loaded, wherever that is"
            assert http.get(urljoin(place, address)).status_code == 200, address


def test_records_are_read_through_the_proxy(seen: str):
    body = httpx.get(urljoin(seen, "gradio_api/tokenoscope/records/1-a-fact/parts"), timeout=PATIENCE_S).content
    assert packing.split(body)[:-1] == parts.all_parts(fake_trace())


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A tab; at the end nothing may have gone wrong in it, nor been asked of another host."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
    yield page
    context.close()
    assert [each for each in wrong if not each.endswith("/favicon.ico")] == []


def test_a_run_can_be_asked_for_and_watched(seen: str, tab: Page):
    tab.goto(seen)
    expect(tab.locator(".ts-run-text")).to_have_text(re.compile("Showing a recorded run"), timeout=PATIENCE_S * 1000)
    tab.locator("#run").click()
    expect(tab.locator(".ts-run-text")).to_have_text(re.compile("^Done: 16 tokens"), timeout=PATIENCE_S * 1000)


def test_the_other_pages_find_their_scripts_too(seen: str, tab: Page):
    for page, board in (("measure", "#board-measure"), ("serve", "#board-serve")):
        tab.goto(urljoin(seen, page))
        tab.locator('body[data-model="ready"]').wait_for()
        tab.locator(f'{board}[data-ready="1"], {board} [data-ready="1"]').first.wait_for(state="attached")
