"""The page Measure in the whole app: its form, and the run that was watched."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import no_overflow
from viz.markup import ASSETS


@pytest.fixture
def measuring(serve, visit):
    """Opens the page Measure by its address."""

    def open_page(*, theme: str = "light", width: int = 1440, height: int = 900) -> Page:
        page = visit(None, theme=theme, width=width, height=height)
        page.goto(f"{serve().url}/measure?__theme={theme}")
        page.wait_for_selector('body[data-model="ready"]')
        return page

    return open_page


def test_its_console_is_silent_though_another_page_opens_on_a_run(serve, visit):
    """What the page with runs fetches early is not fetched here, where the browser would warn of it in vain."""
    url, said = serve(recorded=ASSETS / "recorded").url, []
    for path, early in (("", 1), ("measure", 0)):
        page = visit(None)
        page.on("console", lambda message, path=path: said.append((path, message.type, message.text)))
        page.goto(f"{url}/{path}")
        page.wait_for_selector('body[data-model="ready"]')
        expect(page.locator('link[rel="preload"][as="fetch"]')).to_have_count(early)
    page.wait_for_timeout(4000)  # the browser warns three seconds after a page has loaded
    assert said == []


def test_what_cannot_be_tried_is_refused_beside_the_form(measuring):
    page = measuring()
    page.get_by_label("Evict positions of the prompt").fill("3, x")
    page.get_by_role("button", name="Compress the cache").click()
    expect(page.locator(".ts-refusal")).to_contain_text("'x'")
    page.get_by_label("Evict positions of the prompt").fill("3, 700")
    page.get_by_role("button", name="Compress the cache").click()
    expect(page.locator(".ts-refusal")).to_contain_text("700")


def test_a_watched_run_is_taken_along(serve, visit):
    page = visit(serve().url, width=1440, height=900)
    page.locator("#prompt textarea").fill("words that were watched")
    page.locator("#run").click()
    expect(page.locator(".ts-run-text")).to_contain_text("Done: 16")
    page.wait_for_selector('.ts-nav [data-page="measure"][href*="run="]')
    page.get_by_role("link", name="Measure").click()
    expect(page.locator("#prompt textarea")).to_have_value("words that were watched")
    expect(page.locator("#aim")).to_contain_text("4 + 16 tokens")
    page.get_by_role("link", name="Watch").click()
    expect(page.locator(".ts-run-text")).to_contain_text("Done: 16")
    expect(page.locator(".ts-card-output")).to_contain_text("words that were watched")


@pytest.mark.parametrize("path", ["measure", pytest.param("serve", marks=pytest.mark.long), "serve#speculation"])
def test_a_phone_shows_the_result_before_the_form_which_opens_on_a_press(serve, visit, path):
    page = visit(None, width=390, height=844)
    page.goto(f"{serve(recorded=ASSETS / 'recorded').url}/{path}")
    page.wait_for_selector('body[data-model="ready"]')
    asked = page.locator("#texts textarea, #prompt textarea").locator("visible=true")
    big = page.locator(".ts-glance strong:visible").first
    expect(big).to_be_in_viewport(ratio=1)
    expect(asked).to_have_count(0)
    fold = page.get_by_role("button", name="Prompt and settings")
    fold.click()
    expect(asked.first).to_be_in_viewport()
    expect(fold).to_have_attribute("aria-expanded", "true")
    assert no_overflow(page)
    fold.click()
    expect(big).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(asked.first).to_be_visible()
    expect(fold).to_be_hidden()
