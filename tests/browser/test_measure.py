"""The page Measure in a browser: what is measured is drawn as it comes, and stays."""

import threading

import pytest
from playwright.sync_api import Page, expect

from app import ASSETS
from tests.app import fakes_experiments
from tests.browser.pages import no_overflow, until
from tests.browser.test_promises import serious_faults, too_small

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
TRIED = ("cache_saved", "cache_divergence", "cache_table")


@pytest.fixture
def measuring(serve, visit):
    """Opens the page Measure by its address."""

    def open_page(*, theme: str = "light", width: int = 1440, height: int = 900) -> Page:
        page = visit(None, theme=theme, width=width, height=height)
        page.goto(f"{serve().url}/measure?__theme={theme}")
        page.wait_for_selector('body[data-model="ready"]')
        return page

    return open_page


def measure(page: Page) -> None:
    page.get_by_role("button", name="Measure", exact=True).click()
    expect(page.locator(".ts-run-text")).to_have_text("Done: measured.")
    expect(page.locator('[data-picture="roofline"] .main-svg').first).to_be_visible()


def test_its_console_is_silent_though_another_page_opens_on_a_run(serve, visit):
    """What the page with runs fetches early is not fetched here, where the browser would warn of it in vain."""
    url, said = serve(recorded=ASSETS / "runs").url, []
    for path, early in (("", 1), ("measure", 0)):
        page = visit(None)
        page.on("console", lambda message, path=path: said.append((path, message.type, message.text)))
        page.goto(f"{url}/{path}")
        page.wait_for_selector('body[data-model="ready"]')
        expect(page.locator('link[rel="preload"][as="fetch"]')).to_have_count(early)
        page.wait_for_timeout(4000)  # the browser warns three seconds after the page has loaded
    assert said == []


def test_every_picture_of_a_measurement_arrives_and_none_is_empty(measuring):
    page = measuring()
    measure(page)
    for name in MEASURED:
        card = page.locator(f'[data-picture="{name}"]')
        expect(card.locator("table, .main-svg").first).to_be_visible()
        expect(card.locator(".ts-empty")).to_have_count(0)
    expect(page.locator("#measurement .ts-measured-notes")).to_contain_text("Machine:")
    page.get_by_role("button", name="Try smaller caches").click()
    expect(page.locator(".ts-run-text")).to_have_text("Done: all caches tried.")
    for name in TRIED:
        expect(page.locator(f'[data-picture="{name}"]').locator("table, .main-svg").first).to_be_visible()
    expect(page.locator('[data-picture="terms"] table')).to_be_visible()  # the earlier record stays


def test_a_term_is_defined_where_it_is_pointed_at_or_focused_and_nowhere_else(measuring):
    page = measuring(width=390, height=844)
    measure(page)
    for name, place, short, means in (
        ("phases", ".ts-sentence", "TTFT", "Time to first token"),
        ("utilisation", "thead", "MBU", "memory speed measured"),
    ):
        term = page.locator(f'[data-picture="{name}"] {place} .ts-term').filter(has_text=short).first
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


def test_the_first_pictures_stand_before_the_last_are_measured(measuring, monkeypatch: pytest.MonkeyPatch):
    gate = threading.Semaphore(0)
    monkeypatch.setattr(fakes_experiments, "GATE", gate)
    page = measuring()
    page.get_by_role("button", name="Measure", exact=True).click()
    page.wait_for_selector('[data-picture="phases"] .main-svg')
    expect(page.locator('[data-picture="cache_race"] .ts-empty')).to_be_visible()
    expect(page.locator(".ts-run-text")).to_contain_text("piece 2")
    gate.release(100)
    expect(page.locator(".ts-run-text")).to_have_text("Done: measured.")
    page.wait_for_selector('[data-picture="cache_race"] .main-svg')


def test_what_was_measured_last_is_shown_again_after_a_reload(measuring):
    page = measuring()
    measure(page)
    page.reload()
    expect(page.locator(".ts-run-text")).to_have_text("Shown again: what ran last, before you left this page.")
    expect(page.locator('[data-picture="roofline"] .main-svg').first).to_be_visible()
    expect(page.locator("#measurement .ts-keep-record a").first).to_be_visible()
    measure(page)


def test_the_bill_is_reckoned_for_what_the_sliders_say(measuring):
    page = measuring()
    measure(page)
    table = page.locator('[data-picture="bill_table"] table')
    before = table.inner_text()
    users = page.get_by_label("users at once")
    users.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".ts-bill output").nth(1)).to_have_text("2 users")
    expect(page.locator('[data-picture="bill_table"]')).to_contain_text("2 users")
    assert table.inner_text() != before
    page.locator(".ts-bill select").select_option("4")
    expect(page.locator('[data-picture="bill_table"]')).to_contain_text("4 bits")


def test_stop_keeps_what_was_measured(measuring, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fakes_experiments, "GATE", threading.Semaphore(0))  # shut: until it is stopped
    page = measuring()
    page.get_by_role("button", name="Measure", exact=True).click()
    page.wait_for_selector('[data-picture="phases"] .main-svg')
    stop = page.get_by_role("button", name="Stop")
    stop.click()
    expect(page.locator(".ts-run-text")).to_have_text("Stopped. What was measured stays.")
    expect(page.locator('[data-picture="phases"] .main-svg').first).to_be_visible()
    expect(stop).to_be_disabled()


def test_what_cannot_be_tried_is_refused_beside_the_form(measuring):
    page = measuring()
    page.get_by_label("Drop positions of the prompt").fill("3, x")
    page.get_by_role("button", name="Try smaller caches").click()
    expect(page.locator(".ts-refusal")).to_contain_text("'x'")
    page.get_by_label("Drop positions of the prompt").fill("3, 700")
    page.get_by_role("button", name="Try smaller caches").click()
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
    page.get_by_role("link", name="Watch a run").click()
    expect(page.locator(".ts-run-text")).to_contain_text("Done: 16")
    expect(page.locator(".ts-card-output")).to_contain_text("words that were watched")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_every_size_and_axe_finds_no_serious_fault(measuring, theme: str):
    page = measuring(theme=theme)
    measure(page)
    page.get_by_role("button", name="Try smaller caches").click()
    expect(page.locator(".ts-run-text")).to_have_text("Done: all caches tried.")
    page.wait_for_selector('[data-picture="cache_table"] table')
    for width, height in ((1440, 900), (1280, 640), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        until(lambda: no_overflow(page), page)
        assert too_small(page) == [], width
        if width != 1280:
            assert serious_faults(page) == [], width
