"""The cards below the loom: closed until one is pressed, one open or all of them, and still so after a reload."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import scroll_to
from tests.browser.plain import finished

pytestmark = pytest.mark.cards("")

OPEN = ".ts-cards > .ts-card:visible"
ALL = ".ts-rail-all"


def row(page: Page, name: str):
    return page.locator(f".ts-rail-row[data-goes-to={name}]")


@pytest.fixture
def page(look: Callable[..., Page]) -> Page:
    return look(finished(), "step=3", width=1440, height=900)


def test_cards_are_closed_and_one_that_is_pressed_is_open_alone(page: Page):
    expect(page.locator(OPEN)).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollHeight") < 1400
    row(page, "attention").click()
    expect(page.locator(OPEN)).to_have_attribute("data-view", "attention")
    expect(page.locator(".ts-card-attention")).to_have_attribute("data-at", "3/0/0/7")
    assert "card=attention" in page.evaluate("tokenoscope.page.bar.flush() ?? location.hash")
    row(page, "layers").click()
    expect(page.locator(OPEN)).to_have_attribute("data-view", "layers")
    expect(row(page, "attention")).to_have_attribute("aria-expanded", "false")
    row(page, "layers").click()
    expect(page.locator(OPEN)).to_have_count(0)


def test_the_open_card_follows_the_selection_and_those_that_are_closed_cost_nothing(page: Page):
    row(page, "kv-cache").click()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".ts-card-kv-cache")).to_have_attribute("data-at", re.compile("^4/"))
    expect(page.locator(".ts-card-attention")).not_to_have_attribute("data-at", re.compile("^4/"))
    assert page.evaluate("tokenoscope.store.cards.filter((card) => card.stale).length") == 0


def test_the_loom_opens_the_card_that_tells_more(page: Page):
    page.locator(".ts-caption").filter(has=page.locator("b", has_text="Look back")).click()
    page.locator(".ts-inspector .ts-loom-more").first.click()
    expect(page.locator(OPEN)).to_have_attribute("data-view", "attention")
    expect(page.locator(".ts-card-attention .ts-title")).to_be_in_viewport()


def test_after_a_reload_the_same_card_is_open_or_all_of_them(page: Page):
    row(page, "embeddings").click()
    page.evaluate("tokenoscope.page.bar.flush()")
    page.reload()
    expect(page.locator(".ts-card-embeddings")).to_be_visible()
    page.locator(ALL).click() if page.locator(ALL).inner_text() == "Open all" else None
    expect(page.locator(OPEN)).to_have_count(9)
    page.reload()
    expect(page.locator(OPEN)).to_have_count(9)


def test_a_new_run_leaves_open_what_is_open(page: Page):
    row(page, "tokens").click()
    before = page.evaluate("tokenoscope.store.run.id")
    page.locator("#run").click()
    page.wait_for_function("id => tokenoscope.store.run.id !== id && tokenoscope.store.run.end", arg=before)
    expect(page.locator(OPEN)).to_have_attribute("data-view", "tokens")


def test_nothing_in_a_card_leaves_its_place(page: Page):
    page.locator(ALL).click()
    fixed = "[...document.querySelectorAll('.ts-card *')].filter((e) => getComputedStyle(e).position === 'fixed')"
    assert page.evaluate(f"{fixed}.map((e) => e.className)") == []


def test_what_the_player_says_when_it_sticks_moves_nothing_below_it(page: Page):
    page.locator(ALL).click()
    page.wait_for_function("tokenoscope.store.cards.every((card) => !card.stale)")
    title = page.locator(".ts-card-attention .ts-title")
    place = "(e) => e.getBoundingClientRect().top + scrollY"
    before = title.evaluate(place)
    scroll_to(page, 1500)
    expect(page.locator(".ts-player.ts-stuck .ts-crumbs")).to_be_in_viewport()
    assert title.evaluate(place) == pytest.approx(before, abs=0.5)
