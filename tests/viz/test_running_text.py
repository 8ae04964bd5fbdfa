"""The text as it stands, in a real Chromium: it reads as its script does, whatever the tokens' borders."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fakes import fake_trace
from viz import export

pytestmark = pytest.mark.browser

FAMILY = "👩\u200d👩\u200d👧"


@pytest.fixture(scope="module")
def read(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Shows the page of a run of these tokens, at its last pass, in the one tab of these tests."""
    page = browser.new_page(viewport={"width": 1280, "height": 640})

    def show(*prompt: str) -> Page:
        small = fake_trace(prompt, (" a", " b"), n_layers=1, n_heads=1, n_kv_heads=1, lens=False, sampled=False)
        page.goto("about:blank")  # the scripts of the page before go with it
        page.set_content(export.page(small, light=True))
        page.wait_for_selector('#scope[data-ready="1"]')
        page.locator(".ts-rail-all").click()
        page.locator(".ts-word").first.wait_for()
        return page

    yield show
    page.close()


def places(page: Page, n: int) -> list[float]:
    """Where the first tokens begin, from left to right."""
    lefts = page.locator(".ts-text .ts-word").evaluate_all(
        "(words) => words.map((w) => w.getBoundingClientRect().left)"
    )
    return lefts[:n]


def test_right_to_left_text_reads_from_the_right_and_each_line_in_its_own_direction(read: Callable[..., Page]):
    page = read("مرحبا", " بالعا", "لم", "\n", "Hello", " there", " you")
    lefts = places(page, 7)
    assert lefts[0] > lefts[1] > lefts[2]
    assert lefts[4] < lefts[5] < lefts[6]
    assert lefts[2] > 640 > lefts[6]


def test_marks_of_direction_are_seen_and_turn_nothing_round(read: Callable[..., Page]):
    page = read("pay", " \u202e", "one", " two", "\u202c", " three")
    lefts = places(page, 6)
    assert lefts == sorted(lefts)
    text = page.locator(".ts-text").inner_text()
    assert text.startswith("pay [RLO]one two[PDF] three")


def test_a_character_of_several_tokens_joins_and_a_lone_joiner_is_named(read: Callable[..., Page]):
    page = read("A ", "👩", "\u200d", "👩", "\u200d👧", " e", "\u0301", " x", "\u200d", "y")
    words = page.locator(".ts-text .ts-word").all_text_contents()
    assert words[:10] == ["A ", "", "", "", FAMILY, " ", "e\u0301", " x", "[ZWJ]", "y"]


def test_a_box_that_goes_on_below_fades_until_it_is_scrolled_to_its_end(read: Callable[..., Page]):
    page = read(*(f" word{i}" for i in range(200)))
    goes_on = re.compile("ts-goes-on")
    for box in (page.locator(".ts-text"), page.locator(".ts-strip")):
        box.evaluate("(box) => { box.scrollTop = 0; }")
        expect(box).to_have_class(goes_on)
        box.evaluate("(box) => { box.scrollTop = box.scrollHeight; }")
        expect(box).not_to_have_class(goes_on)
        expect(box).to_have_class(re.compile("ts-goes-back"))
    expect(read("short").locator(".ts-card :is(.ts-goes-on, .ts-goes-back)")).to_have_count(0)


def test_a_text_of_twelve_lines_stands_whole_and_no_box_scrolls_for_one_more(read: Callable[..., Page]):
    for lines in (11, 12, 13, 14, 30):
        page = read("line", *["\n"] * lines)
        page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        hidden = page.locator(".ts-text").evaluate("(box) => box.scrollHeight - box.clientHeight")
        assert hidden == 0 if lines < 12 else hidden == 0 or hidden > 50
