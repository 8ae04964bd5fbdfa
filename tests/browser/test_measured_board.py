"""The boards of a measurement and of cache compression on a plain page: drawn as they come, and they stay."""

import threading
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app import fakes_experiments
from tests.browser.pages import no_overflow, serious_faults, too_small, until
from tests.browser.plain import Plain
from viz import views

MEASURED = (
    "phases",
    "terms",
    "cache_race",
    "race_total",
    "race_work",
    "race_logits",
    "roofline",
    "utilisation",
    "memory_bill",
    "bill_table",
)
FEW = ("glance", "phases", "cache_race", "roofline", "utilisation", "bill_table", "cache_table")
TRIED = ("cache_saved", "cache_divergence", "cache_table")
LINE = ".ts-run-text"


@pytest.fixture
def few_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few of the pictures, for laws of the page itself; asked for before a page, so that none outlives them."""
    of = views.all_views
    monkeypatch.setattr(views, "all_views", lambda kind: tuple(each for each in of(kind) if each.name in FEW))


@pytest.fixture
def measuring(house: Plain, go):
    """Opens a plain page Measure."""

    def open_page(**size: Any) -> Page:
        return go(house, "measure", **({"width": 1440, "height": 900} | size))

    return open_page


def card(page: Page, name: str) -> Any:
    return page.locator(f'[data-view="{name}"]')


def begin(page: Page) -> None:
    page.get_by_role("button", name="Measure", exact=True).click()


def measure(page: Page) -> None:
    begin(page)
    expect(page.locator(LINE)).to_have_text("Done: measured.")
    expect(card(page, "roofline").locator(".main-svg").first).to_be_visible()


def try_caches(page: Page) -> None:
    page.get_by_role("button", name="Cache", exact=True).click()
    expect(page.locator(LINE)).to_have_text("Done: all caches are measured.")
    expect(card(page, "cache_table").locator("table")).to_be_visible()


def test_every_picture_of_a_measurement_arrives_and_none_is_empty(measuring):
    page = measuring()
    measure(page)
    for name in MEASURED:
        expect(card(page, name).locator("table, .main-svg").first).to_be_visible()
        expect(card(page, name).locator(".ts-empty")).to_have_count(0)
    expect(page.locator("#board-measure .ts-measured-notes")).to_contain_text("Machine:")
    try_caches(page)
    for name in TRIED:
        expect(card(page, name).locator("table, .main-svg").first).to_be_visible()
    expect(card(page, "terms").locator("table")).to_be_visible()  # the earlier record stays


def test_a_term_is_defined_where_it_is_pointed_at_or_focused_and_nowhere_else(few_views, measuring):
    page = measuring(width=390, height=844)
    measure(page)
    card(page, "phases").get_by_text("more").click()
    for name, place, short, means in (
        ("phases", ".ts-tell", "TTFT", "Time to first token"),
        ("utilisation", "thead", "MBU", "memory speed measured"),
    ):
        term = card(page, name).locator(f"{place} .ts-term").filter(has_text=short).first
        told = term.locator(".ts-term-means")
        for point in (term.hover, term.focus):
            page.locator("#prompt textarea").focus()
            page.mouse.move(1, 1)
            expect(told).to_have_css("clip-path", "inset(50%)")
            point()
            expect(told).to_have_css("clip-path", "none")
            box = told.bounding_box()
            assert means in told.inner_text()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] > 30
        assert no_overflow(page)


@pytest.mark.parametrize("width", [1440, pytest.param(390, marks=pytest.mark.long)])
def test_a_press_leads_to_where_its_result_appears_and_says_there_how_far_it_is(
    measuring, width, monkeypatch: pytest.MonkeyPatch
):
    page = measuring(width=width)
    measure(page)
    page.evaluate("scrollTo(0, 0)")
    monkeypatch.setattr(fakes_experiments, "SECONDS", 3)
    page.emulate_media(reduced_motion="no-preference")
    board = page.locator("#board-cache")
    assert board.bounding_box()["y"] > 900
    page.get_by_role("button", name="Cache", exact=True).click()
    going = board.locator(".ts-going")
    expect(going).to_be_in_viewport(ratio=1)
    expect(going).to_have_text("Running: piece 1 of 1")
    expect(going.get_by_role("progressbar")).to_be_visible()
    expect(board).to_be_focused()
    expect(board).to_have_accessible_name("The same run with cache compression")
    expect(going).to_have_text("Done: all caches are measured.")
    expect(going.get_by_role("progressbar")).to_be_hidden()
    expect(page.get_by_role("status").filter(has_text="Done: all caches are measured.")).to_have_count(1)
    expect(board.locator(".ts-card").first).to_be_in_viewport()


def test_the_first_pictures_stand_before_the_last_are_measured(few_views, measuring, monkeypatch: pytest.MonkeyPatch):
    gate = threading.Semaphore(0)
    monkeypatch.setattr(fakes_experiments, "GATE", gate)
    page = measuring()
    begin(page)
    card(page, "phases").locator(".main-svg").first.wait_for()
    expect(card(page, "cache_race").locator(".ts-empty")).to_contain_text("Coming")
    expect(page.locator(LINE)).to_contain_text("piece 2")
    gate.release(100)
    expect(page.locator(LINE)).to_have_text("Done: measured.")
    card(page, "cache_race").locator(".main-svg").first.wait_for()


def test_what_was_measured_last_is_shown_again_after_a_reload(few_views, measuring):
    page = measuring()
    measure(page)
    page.reload()
    expect(page.locator(LINE)).to_have_text("Showing your last result from before you left this page.")
    expect(card(page, "roofline").locator(".main-svg").first).to_be_visible()
    expect(page.locator("#board-measure .ts-keep a").first).to_be_visible()
    measure(page)


def test_the_bill_is_worked_out_for_what_the_sliders_say(few_views, measuring):
    page = measuring()
    measure(page)
    table = card(page, "bill_table").locator("table")
    before = table.inner_text()
    page.get_by_label("concurrent users").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".ts-bill output").nth(1)).to_have_text("2 users")
    expect(card(page, "bill_table")).to_contain_text("2 users")
    assert table.inner_text() != before
    page.locator(".ts-bill select").select_option("4")
    expect(card(page, "bill_table")).to_contain_text("4 bits")
    page.locator(".ts-bill select").select_option("as loaded")
    expect(card(page, "bill_table")).not_to_contain_text("4 bits")


def test_stop_keeps_what_was_measured(few_views, measuring, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fakes_experiments, "GATE", threading.Semaphore(0))  # shut: until it is stopped
    page = measuring()
    begin(page)
    card(page, "phases").locator(".main-svg").first.wait_for()
    expect(card(page, "glance").locator(".ts-late")).to_have_text("coming")
    page.locator("#stop").click()
    expect(page.locator(LINE)).to_have_text("Stopped. The measurements so far stay.")
    expect(card(page, "phases").locator(".main-svg").first).to_be_visible()
    expect(page.locator("#stop")).to_be_disabled()
    expect(card(page, "glance").locator(".ts-late")).to_have_text("not measured: it was stopped")
    expect(card(page, "cache_race").locator(".ts-empty")).to_have_text("Not measured: it was stopped.")


def test_what_was_started_beside_it_ends_a_measurement_and_both_stay(
    few_views, measuring, monkeypatch: pytest.MonkeyPatch
):
    gate = threading.Semaphore(0)
    monkeypatch.setattr(fakes_experiments, "GATE", gate)
    page = measuring()
    begin(page)
    card(page, "phases").locator(".main-svg").first.wait_for()
    gate.release(100)
    try_caches(page)
    expect(card(page, "phases").locator(".main-svg").first).to_be_visible()


@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_every_size_and_axe_finds_no_serious_fault(measuring, theme: str):
    page = measuring(theme=theme)
    measure(page)
    try_caches(page)
    for width, height in ((1440, 900), (1280, 640), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        until(lambda: no_overflow(page), page)
        assert too_small(page) == [], width
        if width == 1440 or (width == 390 and theme == "dark"):
            assert serious_faults(page, ".ts-boards") == [], width


def test_the_page_opens_on_what_comes_with_the_app_and_shows_ones_own_beside_it(shipped, go):
    page = go(shipped, "measure")
    expect(page.locator(LINE)).to_contain_text("made on another machine")
    expect(card(page, "glance").locator("strong")).to_have_count(3)
    expect(card(page, "cache_saved").locator(".main-svg").first).to_be_visible()
    row = page.locator("#board-measure .ts-recorded")
    expect(row).to_be_hidden()
    theirs = page.evaluate("tokenoscope.page.boards.get('measure').record.id")
    measure(page)
    own = page.evaluate("tokenoscope.page.boards.get('measure').record.id")
    assert own != theirs
    row.get_by_role("button", name="Recorded").click()
    page.wait_for_function("id => tokenoscope.page.boards.get('measure').record.id === id", arg=theirs)
    row.get_by_role("button", name="Yours").click()
    page.wait_for_function("id => tokenoscope.page.boards.get('measure').record.id === id", arg=own)
