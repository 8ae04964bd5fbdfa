"""The page Serve in a browser: its two parts, its form, and moving over ticks and rounds without asking anything."""

import re
import threading
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app import fakes_experiments
from tests.app.views_served import VIEWS
from tests.browser.pages import no_overflow, until
from tests.browser.test_promises import serious_faults, too_small
from viz import measured_page


@pytest.fixture
def serving(serve, visit):
    """Opens the page Serve by its address."""

    def open_page(*, theme: str = "light", width: int = 1440, height: int = 900, part: str = "") -> Page:
        page = visit(None, theme=theme, width=width, height=height)
        page.goto(f"{serve().url}/serve?__theme={theme}{part}")
        page.wait_for_selector('body[data-model="ready"]')
        page.wait_for_selector(".ts-texts-row", state="attached")
        return page

    return open_page


@pytest.fixture
def small_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views whose every word is known; asked for before `serving`, so that no open page outlives them."""
    monkeypatch.setattr(measured_page, "views_of", lambda kind: VIEWS.get(kind, []))


def run(page: Page, button: str = "Serve") -> None:
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator(".ts-run-text")).to_contain_text("Done:")


def tick(page: Page, said: str) -> Any:
    return expect(page.locator("#batching .ts-crumbs strong")).to_have_text(said)


def test_it_says_what_will_be_seen_before_anything_is_asked_for(serving):
    page = serving()
    expect(page.locator("#batching .ts-card").first).to_contain_text("Press Serve")
    expect(page.locator("#speculation")).to_be_hidden()
    page.get_by_role("tab", name="Speculation").click()
    expect(page.locator("#speculation .ts-card").first).to_contain_text("Press Speculate")
    expect(page.locator("#batching")).to_be_hidden()
    expect(page.get_by_role("button", name="Serve", exact=True)).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#batching")).to_be_visible()


def test_the_address_leads_to_the_second_part_and_the_header_to_the_page(serving):
    page = serving(part="#speculation")
    expect(page.locator("#speculation")).to_be_visible()
    page.get_by_role("link", name="Measure").click()
    page.get_by_role("link", name="Serve").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(4)


def test_texts_are_added_taken_away_and_served_as_they_were_typed(small_views, serving):
    page = serving()
    page.get_by_label("take text B away").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(3)
    page.get_by_role("button", name="Bring back the texts before").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(4)
    for name in ("D", "C", "B"):
        page.get_by_label(f"take text {name} away").click()
    page.get_by_label("text A", exact=True).fill("just one text")
    page.get_by_label("new tokens of text A").fill("3")
    page.get_by_role("button", name="+ Add a text").click()
    expect(page.get_by_label("text B", exact=True)).to_be_focused()
    page.keyboard.type("and another")
    run(page)
    facts = page.locator("#batching .ts-measured-notes")
    expect(facts).to_contain_text("A, 3 tokens: just one text → new0 new1 new2 (as long as was asked)")
    expect(facts).to_contain_text("B, 2 tokens: and another")
    page.get_by_role("button", name="One long, five short").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(6)
    expect(page.get_by_label("new tokens of text A")).to_have_value("48")


def test_the_form_survives_a_reload_and_an_example_can_be_undone(small_views, serving):
    page = serving()
    page.get_by_label("text B", exact=True).fill("mine, before an example")
    page.get_by_role("button", name="One long, five short").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(6)
    page.get_by_role("button", name="Bring back the texts before").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(4)
    expect(page.get_by_label("text B", exact=True)).to_have_value("mine, before an example")
    expect(page.get_by_role("button", name="Bring back the texts before")).to_be_hidden()
    page.get_by_role("tab", name="Speculation").click()
    page.locator("#prompt textarea").fill("a prompt of mine")
    page.get_by_label("Prompt lookup").uncheck()
    page.wait_for_function("(localStorage.getItem('tokenoscope-batching') ?? '').includes('mine, before')")
    page.wait_for_function("!(localStorage.getItem('tokenoscope-speculation') ?? 'lookup').includes('lookup')")
    page.reload()
    expect(page.locator("#speculation")).to_be_visible()
    expect(page.locator("#prompt textarea")).to_have_value("a prompt of mine")
    expect(page.get_by_label("Prompt lookup")).not_to_be_checked()
    expect(page.get_by_label("Early exit")).to_be_checked()
    page.get_by_role("tab", name="Batching").click()
    expect(page.get_by_label("text B", exact=True)).to_have_value("mine, before an example")
    expect(page.get_by_role("button", name="Bring back the texts before")).to_be_hidden()


def test_what_ran_last_is_shown_again_after_a_reload(small_views, serving):
    page = serving()
    run(page)
    page.get_by_role("tab", name="Speculation").click()
    run(page, "Speculate")
    link = page.locator("#speculation .ts-keep-record a").first
    kept = link.get_attribute("href")
    page.get_by_role("link", name="Measure").click()
    page.get_by_role("link", name="Serve").click()
    expect(page.locator(".ts-run-text")).to_have_text("Shown again: what ran last, before you left this page.")
    tick(page, "Tick 2 of 33")
    page.locator('[data-pick="tick=4"]').click()
    tick(page, "Tick 5 of 33")
    page.get_by_role("tab", name="Speculation").click()
    expect(page.locator("#speculation .ts-crumbs strong")).to_contain_text("Round ")
    expect(link).to_have_attribute("href", kept)
    run(page, "Speculate")
    expect(link).not_to_have_attribute("href", kept)


def test_a_record_that_the_program_has_no_more_is_forgotten(small_views, serve, window):
    page = window.new_page()  # whose console may say that there is nothing
    page.goto(f"{serve().url}/serve")
    kept = "sessionStorage.getItem('tokenoscope-record-batching')"
    for text in ('{"id": "gone", "version": 3}', "not json", '{"id": 5}'):
        page.evaluate("text => sessionStorage.setItem('tokenoscope-record-batching', text)", text)
        page.reload()
        page.wait_for_selector('body[data-model="ready"]')
        if text.startswith("{"):
            page.wait_for_function(f"{kept} === null")
        expect(page.locator("#batching .ts-card").first).to_contain_text("Press Serve")
        expect(page.locator("#batching .ts-keep-record")).to_be_hidden()
    run(page)
    page.close()


def test_what_the_browser_kept_cannot_break_the_form(small_views, serving):
    page = serving()
    for kept in ('{"texts": "[[5, 3]]", "rate": "x", "sharing": 1}', '{"texts": "no rows"}', "not json"):
        page.evaluate("kept => localStorage.setItem('tokenoscope-batching', kept)", kept)
        page.reload()
        page.wait_for_selector('body[data-model="ready"]')
        expect(page.locator("#texts .ts-texts-row")).not_to_have_count(0)
    page.get_by_label("text A", exact=True).fill("a text")
    run(page)


def test_what_cannot_be_served_is_refused_in_words(small_views, serving):
    page = serving()
    page.get_by_label("text B", exact=True).fill(" ")
    page.get_by_role("button", name="Serve", exact=True).click()
    expect(page.locator(".ts-refusal")).to_contain_text("Text B is empty")
    page.get_by_label("text B", exact=True).fill("b")
    page.get_by_label("new tokens of text C").fill("9999")
    page.get_by_role("button", name="Serve", exact=True).click()
    expect(page.locator(".ts-refusal")).to_contain_text("New tokens of text C is 9999")
    page.get_by_label("new tokens of text C").fill("")
    page.get_by_role("button", name="Serve", exact=True).click()
    expect(page.locator(".ts-refusal")).to_contain_text("New tokens of text C is empty")
    page.get_by_label("new tokens of text C").fill("4")
    page.get_by_label("text A", exact=True).fill("refuse me")
    page.get_by_role("button", name="Serve", exact=True).click()
    expect(page.locator(".ts-refusal")).to_contain_text("'refuse me' can never fit")
    page.get_by_role("tab", name="Speculation").click()
    expect(page.locator(".ts-refusal")).to_have_text("")


def test_moving_over_ticks_asks_nothing_but_what_is_picked(small_views, serving):
    page = serving()
    run(page)
    tick(page, "Tick 2 of 33")  # the busiest one
    expect(page.locator("#batching .ts-crumbs")).to_contain_text("no tick serves more texts at once")
    expect(page.locator('[data-picture="by_pick"] .main-svg').first).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/experiments/" in request.url else None)
    page.locator("#batching .ts-serving-list .ts-title").first.click()
    for key, said in (("ArrowRight", 3), ("ArrowRight", 4), ("ArrowLeft", 3), ("Home", 1), ("End", 33)):
        page.keyboard.press(key)
        tick(page, f"Tick {said} of 33")
        expect(page.locator("#batching .ts-crumbs")).not_to_contain_text("no tick serves more")
        expect(page.locator('[data-picture="by_tick"]')).to_contain_text(f"after tick {said - 1}")
    page.locator('[data-pick="tick=4"]').click()
    tick(page, "Tick 5 of 33")
    expect(page.locator('[data-tick="4"]')).to_have_class("ts-picked-tick")
    reached = page.locator('[data-tick][tabindex="0"]')  # by Tab: arrows lead on from there
    expect(reached).to_have_count(1)
    expect(reached).to_have_attribute("data-tick", "4")
    page.locator("#batching .ts-serving-axis").fill("6")
    tick(page, "Tick 7 of 33")
    expect(page.locator('[data-picture="by_pick"] .gtitle')).to_have_text("tick 6, layer 0, head 0")
    assert asked, "the attention of what is picked is asked for"
    assert all("/picture?" in url for url in asked)
    page.locator("#batching .ts-serving-list .ts-title").first.click()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("]")
    expect(page.locator('[data-picture="by_pick"] .gtitle')).to_have_text("tick 6, layer 1, head 1")
    expect(page.get_by_label("layer", exact=True)).to_have_value("1")


def test_what_stands_in_the_lanes_tells_of_itself_and_leads_to_its_tick(serving):
    page = serving()
    run(page)
    told = page.locator(".ts-lanes tbody td[title]").nth(7)
    told.hover()  # nothing lies over it
    at = told.evaluate("(cell) => cell.cellIndex")
    told.click()
    tick(page, f"Tick {at} of {page.locator('.ts-lanes [data-tick]').count()}")


def test_a_picture_that_could_not_be_fetched_says_so_and_the_next_is_drawn_in_its_place(small_views, serving):
    page = serving()
    run(page)
    card = page.locator('[data-picture="by_pick"]')
    expect(card.locator(".gtitle")).to_have_text("tick 1, layer 0, head 0")
    page.route("**/picture?**", lambda route: route.fulfill(status=200, body="no picture"))
    page.locator('[data-pick="tick=4"]').click()
    expect(card.locator(".ts-empty")).to_be_visible()
    page.unroute("**/picture?**")
    page.keyboard.press("ArrowRight")
    expect(card.locator(".gtitle")).to_have_text("tick 5, layer 0, head 0")
    expect(card.locator(".ts-empty")).to_have_count(0)


def test_space_plays_to_the_end_and_pauses(small_views, serving):
    page = serving()
    run(page)
    pace, title = page.get_by_label("pace of playing").first, page.locator("#batching .ts-serving-list .ts-title").first
    pace.select_option("1 a second")  # half a minute in which to pause
    title.click()
    page.keyboard.press(" ")
    expect(page.locator("#batching .ts-play")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#batching .ts-crumbs strong")).to_have_text(re.compile(r"Tick ([2-9]|[12]\d) of 33"))
    page.keyboard.press(" ")
    expect(page.locator("#batching .ts-play")).to_have_attribute("aria-pressed", "false")
    said = page.locator("#batching .ts-crumbs strong").inner_text()
    page.evaluate("new Promise((over) => setTimeout(over, 1000))")  # a tick that was still to come would be there
    assert page.locator("#batching .ts-crumbs strong").inner_text() == said
    pace.select_option("10 a second")
    title.click()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    tick(page, "Tick 33 of 33")
    expect(page.locator("#batching .ts-play")).to_have_attribute("aria-pressed", "false")


def test_pictures_grow_tick_by_tick_and_a_chosen_tick_stays(small_views, serving, monkeypatch: pytest.MonkeyPatch):
    gate = threading.Semaphore(0)
    monkeypatch.setattr(fakes_experiments, "GATE", gate)
    page = serving()
    page.get_by_role("button", name="Serve", exact=True).click()
    tick(page, "Tick 1 of 1")
    gate.release()
    tick(page, "Tick 3 of 3")
    page.locator('[data-pick="tick=1"]').click()
    tick(page, "Tick 2 of 3")
    gate.release()
    expect(page.locator(".ts-run-text")).to_contain_text("Done:")
    tick(page, "Tick 2 of 33")


def test_stop_keeps_what_was_seen(small_views, serving, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fakes_experiments, "GATE", threading.Semaphore(0))  # shut: until it is stopped
    page = serving()
    page.get_by_role("button", name="Serve", exact=True).click()
    tick(page, "Tick 1 of 1")
    stop = page.get_by_role("button", name="Stop")
    stop.click()
    expect(page.locator(".ts-run-text")).to_have_text("Stopped. What was seen stays.")
    expect(page.locator('[data-picture="by_tick"]')).to_contain_text("after tick 0")
    expect(stop).to_be_disabled()


def test_what_the_other_part_ended_says_so(small_views, serving, monkeypatch: pytest.MonkeyPatch):
    gate = threading.Semaphore(0)
    monkeypatch.setattr(fakes_experiments, "GATE", gate)
    page = serving()
    page.get_by_role("button", name="Serve", exact=True).click()
    tick(page, "Tick 1 of 1")
    page.get_by_role("tab", name="Speculation").click()
    page.get_by_role("button", name="Speculate", exact=True).click()
    expect(page.locator(".ts-run-text")).to_contain_text("piece")
    page.get_by_role("tab", name="Batching").click()
    expect(page.locator(".ts-run-text")).to_have_text(
        "Ended, because the other part of this page was started. What was seen stays."
    )
    gate.release(100)


def test_each_drafter_has_its_rounds(small_views, serving):
    page = serving(part="#speculation")
    run(page, "Speculate")
    shown = page.locator('[data-picture="by_round"]')
    expect(shown).to_contain_text("prompt lookup, round 0: 2 written")
    page.locator("#speculation .ts-serving-list .ts-title").first.click()
    page.keyboard.press("ArrowRight")
    expect(shown).to_contain_text("prompt lookup, round 1: 3 written")
    page.get_by_label("who drafts").select_option("early exit")
    expect(shown).to_contain_text("early exit, round 0: 2 written")
    page.get_by_label("Own draft: a few layers trained for this model").uncheck()
    page.get_by_label("Early exit: the first layers of the same model").uncheck()
    page.get_by_label("Prompt lookup: copy from the text").uncheck()
    page.get_by_role("button", name="Speculate").click()
    expect(page.locator(".ts-refusal")).to_contain_text("Who drafts is empty")
    expect(shown).to_be_visible()


def test_rounds_that_come_for_a_drafter_that_was_left_are_not_shown(small_views, serving, monkeypatch):
    monkeypatch.setattr(fakes_experiments, "GATE", threading.Semaphore(1))  # two drafters are seen; the third waits
    page = serving(part="#speculation")
    page.get_by_role("button", name="Speculate").click()
    shown, who = page.locator('[data-picture="by_round"]'), page.get_by_label("who drafts")
    expect(shown).to_contain_text("early exit, round")
    held: list[Any] = []
    page.route("**/frames?**", lambda route: route.continue_() if held else held.append(route))
    who.select_option("prompt lookup")
    until(lambda: bool(held), page)
    who.select_option("early exit")
    with page.expect_response(lambda answer: "/frames?" in answer.url and "attempt=1" in answer.url):
        held[0].continue_()
    page.locator("#speculation .ts-serving-list .ts-title").first.click()
    page.keyboard.press("Home")
    expect(shown).to_contain_text("early exit, round 0")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_every_size_and_axe_finds_no_serious_fault(serving, theme: str):
    page = serving(theme=theme)
    run(page)
    page.get_by_role("tab", name="Speculation").click()
    run(page, "Speculate")
    for part in ("Speculation", "Batching"):
        page.get_by_role("tab", name=part).click()
        for width, height in ((1440, 900), (1280, 640), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            until(lambda: no_overflow(page), page)
            assert too_small(page) == [], (part, width)
            if width != 1280:
                assert serious_faults(page) == [], (part, width)
