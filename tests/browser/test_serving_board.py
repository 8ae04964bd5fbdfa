"""The boards of served texts and of drafts on a plain page: moving over ticks and rounds, without asking anything."""

import re
import threading
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app import fakes_experiments
from tests.app.views_served import VIEWS
from tests.browser.pages import no_overflow, serious_faults, too_small, until
from tests.browser.plain import Plain
from viz import views

SERVE, SPECULATE = "#board-serve", "#board-speculate"
LINE = ".ts-run-text"


@pytest.fixture
def small_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views whose every word is known; asked for before a page, so that none outlives them."""
    monkeypatch.setattr(views, "all_views", lambda kind: tuple(VIEWS.get(kind, [])))


@pytest.fixture
def serving(house: Plain, go):
    """Opens a plain page Serve."""

    def open_page(part: str = "", **size: Any) -> Page:
        return go(house, f"serve{part}", **({"width": 1440, "height": 900} | size))

    return open_page


def begin(page: Page, button: str = "Serve") -> None:
    page.get_by_role("button", name=button, exact=True).click()


def run(page: Page, button: str = "Serve") -> None:
    begin(page, button)
    expect(page.locator(LINE)).to_contain_text("Done:")


def tick(page: Page, said: str) -> None:
    expect(page.locator(f"{SERVE} .ts-crumbs strong")).to_have_text(said)


def blur(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")


def test_it_says_what_will_be_seen_before_anything_is_asked_for(serving):
    page = serving()
    expect(page.locator(f"{SERVE} .ts-card").first).to_contain_text("Press Serve")
    expect(page.locator(SPECULATE)).to_be_hidden()
    page.get_by_role("tab", name="Speculation").click()
    expect(page.locator(f"{SPECULATE} .ts-card").first).to_contain_text("Press Speculate")
    expect(page.locator(SERVE)).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(SERVE)).to_be_visible()


def test_what_ran_last_is_shown_again_after_a_reload_or_a_visit_elsewhere(small_views, serving, house: Plain):
    page = serving()
    run(page)
    page.get_by_role("tab", name="Speculation").click()
    run(page, "Speculate")
    link = page.locator(f"{SPECULATE} .ts-keep a").first
    kept = link.get_attribute("href")
    page.goto(f"{house.url}/measure")
    page.goto(f"{house.url}/serve")
    expect(page.locator(LINE)).to_have_text("Showing your last result from before you left this page.")
    tick(page, "Tick 0 of 0–15")
    page.locator('[data-pick="tick=4"]').click()
    tick(page, "Tick 4 of 0–15")
    page.get_by_role("tab", name="Speculation").click()
    expect(page.locator(f"{SPECULATE} .ts-crumbs strong")).to_contain_text("Round ")
    expect(link).to_have_attribute("href", kept)
    run(page, "Speculate")
    expect(link).not_to_have_attribute("href", kept)


def test_a_record_that_the_program_has_no_more_is_forgotten(small_views, house: Plain, visit):
    page = visit(None, missing=True)
    page.goto(f"{house.url}/serve")
    kept = "sessionStorage.getItem('tokenoscope-record-serve')"
    for text in ('{"id": "gone"}', "not json", '{"id": 5}'):
        page.evaluate("text => sessionStorage.setItem('tokenoscope-record-serve', text)", text)
        page.reload()
        page.wait_for_selector('.ts-board[data-ready="1"]', state="attached")
        page.wait_for_function(f"{kept} === null" if text.startswith("{") else "true")
        expect(page.locator(f"{SERVE} .ts-card").first).to_contain_text("Press Serve")
        expect(page.locator(f"{SERVE} .ts-keep")).to_be_hidden()
    run(page)


def test_moving_over_ticks_asks_nothing_but_what_is_selected(small_views, serving):
    page = serving()
    run(page)
    tick(page, "Tick 0 of 0–15")  # the busiest one
    expect(page.locator(f"{SERVE} .ts-crumbs")).to_contain_text(
        re.compile(r"Tick \d+ of 0–\d+: read .* counted from 0")
    )
    expect(page.locator(f"{SERVE} .ts-crumbs")).to_contain_text("the largest batch")
    expect(page.locator('[data-view="by_pick"] .gtitle')).to_have_text("tick 0, layer 0, head 0")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/records/" in request.url else None)
    blur(page)
    for key, said in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 15), ("Home", 0)):
        page.keyboard.press(key)
        tick(page, f"Tick {said} of 0–15")
        expect(page.locator('[data-view="by_tick"]')).to_contain_text(f"after tick {said}")
    page.locator('[data-pick="tick=4"]').click()
    tick(page, "Tick 4 of 0–15")
    expect(page.locator(f"{SERVE} .ts-crumbs")).not_to_contain_text("the largest batch")
    expect(page.locator('[data-tick="4"]')).to_have_class("ts-picked-tick")
    reached = page.locator('[data-tick][tabindex="0"]')  # by Tab: arrows lead on from there
    expect(reached).to_have_count(1)
    expect(reached).to_have_attribute("data-tick", "4")
    axis = page.locator(f"{SERVE} .ts-axis")
    box = axis.bounding_box()
    axis.click(position={"x": box["width"] * 6.5 / 16, "y": 15})
    tick(page, "Tick 6 of 0–15")
    expect(axis).to_have_attribute("aria-valuetext", "Tick 6 of 0–15")
    expect(page.locator('[data-view="by_pick"] .gtitle')).to_have_text("tick 6, layer 0, head 0")
    assert asked, "the attention of what is selected is asked for"
    assert all("/view/by_pick?" in url for url in asked)
    blur(page)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("]")
    expect(page.locator('[data-view="by_pick"] .gtitle')).to_have_text("tick 6, layer 1, head 1")
    expect(page.get_by_label("layer", exact=True)).to_have_value("1")
    page.get_by_label("head", exact=True).select_option("0")
    expect(page.locator('[data-view="by_pick"] .gtitle')).to_have_text("tick 6, layer 1, head 0")


def test_a_picture_of_another_place_is_out_of_sight_until_its_own_has_come(small_views, serving):
    page = serving()
    run(page)
    chart = page.locator('[data-view="by_pick"] .ts-chart')
    expect(chart.locator(".gtitle")).to_have_text("tick 0, layer 0, head 0")
    held: list[Any] = []
    page.route("**/view/by_pick?**", lambda route: held.append(route))
    page.locator('[data-pick="tick=4"]').click()
    expect(chart.locator(".gtitle")).to_be_hidden()
    expect(chart).to_have_attribute("data-waits", re.compile("Fetching"))
    until(lambda: len(held) == 1, page)
    held[0].continue_()
    expect(chart.locator(".gtitle")).to_have_text("tick 4, layer 0, head 0")
    expect(chart.locator(".gtitle")).to_be_visible()


def test_what_stands_in_the_lanes_tells_of_itself_and_leads_to_its_tick(serving):
    page = serving()
    run(page)
    told = page.locator(".ts-lanes tbody td[title]").nth(7)
    told.hover()  # nothing lies over it
    at = told.evaluate("(cell) => cell.cellIndex")
    told.click()
    tick(page, f"Tick {at - 1} of 0–{page.locator('.ts-lanes [data-tick]').count() - 1}")


def test_a_picture_that_could_not_be_fetched_says_so_and_the_next_is_drawn_in_its_place(small_views, serving):
    page = serving()
    run(page)
    card = page.locator('[data-view="by_pick"]')
    expect(card.locator(".gtitle")).to_have_text("tick 0, layer 0, head 0")
    page.route("**/view/by_pick?**", lambda route: route.fulfill(status=200, body="no picture"))
    page.locator('[data-pick="tick=4"]').click()
    expect(card.locator(".ts-empty")).to_have_text("The program does not answer.")
    page.unroute("**/view/by_pick?**")
    page.keyboard.press("ArrowRight")
    expect(card.locator(".gtitle")).to_have_text("tick 5, layer 0, head 0")
    expect(card.locator(".ts-empty")).to_have_count(0)


def test_space_plays_to_the_end_and_pauses(small_views, serving):
    page = serving()
    run(page)
    play, said = page.locator(f"{SERVE} .ts-play"), page.locator(f"{SERVE} .ts-crumbs strong")
    pace = page.locator(SERVE).get_by_label("playback speed")
    pace.select_option("1 per second")
    blur(page)
    page.keyboard.press(" ")
    expect(play).to_have_attribute("aria-pressed", "true")
    expect(said).to_have_text(re.compile("Tick ([1-9]|1.) of 0–15"))
    page.keyboard.press(" ")
    expect(play).to_have_attribute("aria-pressed", "false")
    assert page.evaluate("tokenoscope.store.transport.timer") is None, "nothing is still to come"
    pace.select_option("10 per second")
    blur(page)
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    tick(page, "Tick 15 of 0–15")
    expect(play).to_have_attribute("aria-pressed", "false")


def test_pictures_grow_tick_by_tick_and_a_chosen_tick_stays(small_views, serving, monkeypatch: pytest.MonkeyPatch):
    gate = threading.Semaphore(0)
    monkeypatch.setattr(fakes_experiments, "GATE", gate)
    page = serving()
    begin(page)
    tick(page, "Tick 0")
    gate.release()
    tick(page, "Tick 2 of 0–2")
    page.locator('[data-pick="tick=1"]').click()
    tick(page, "Tick 1 of 0–2")
    gate.release()
    expect(page.locator(LINE)).to_contain_text("Done:")
    tick(page, "Tick 1 of 0–15")


def test_stop_keeps_what_was_seen(small_views, serving, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fakes_experiments, "GATE", threading.Semaphore(0))  # shut: until it is stopped
    page = serving()
    begin(page)
    tick(page, "Tick 0")
    page.locator("#stop").click()
    expect(page.locator(LINE)).to_have_text("Stopped. The results so far stay.")
    expect(page.locator('[data-view="by_tick"]')).to_contain_text("after tick 0")
    expect(page.locator("#stop")).to_be_disabled()


def test_what_the_other_part_ended_says_so(small_views, serving, monkeypatch: pytest.MonkeyPatch):
    gate = threading.Semaphore(0)
    monkeypatch.setattr(fakes_experiments, "GATE", gate)
    page = serving()
    begin(page)
    tick(page, "Tick 0")
    page.get_by_role("tab", name="Speculation").click()
    begin(page, "Speculate")
    expect(page.locator(LINE)).to_contain_text("piece")
    page.get_by_role("tab", name="Batching").click()
    expect(page.locator(LINE)).to_have_text(
        "Ended because the other part of this page was started. The results so far stay."
    )
    gate.release(100)


def test_a_refusal_is_of_the_part_that_was_asked(small_views, serving):
    page = serving()
    page.evaluate("press('serve', { texts: [['refuse me', 4]] })")
    expect(page.locator(".ts-refusal")).to_contain_text("'refuse me' can never fit")
    page.get_by_role("tab", name="Speculation").click()
    expect(page.locator(".ts-refusal")).to_have_text("")


def test_of_drafts_each_is_looked_at_and_the_best_one_first(small_views, serving):
    page = serving(part="#speculation")
    run(page, "Speculate")
    shown, who = page.locator('[data-view="by_round"]'), page.get_by_label("drafting method")
    expect(shown).to_contain_text("prompt lookup, round 0")
    blur(page)
    page.keyboard.press("ArrowRight")
    expect(shown).to_contain_text("prompt lookup, round 1")
    who.select_option("early exit")
    expect(shown).to_contain_text("early exit, round 0")
    expect(page.locator(f"{SPECULATE} .ts-crumbs strong")).to_contain_text("Round 0 of")


def test_a_late_answer_of_another_draft_is_not_shown(small_views, serving, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fakes_experiments, "GATE", threading.Semaphore(1))  # two drafts are seen; the third waits
    page = serving(part="#speculation")
    page.evaluate("press('speculate', { modes: ['prompt lookup', 'early exit', 'own draft'] })")
    shown, who = page.locator('[data-view="by_round"]'), page.get_by_label("drafting method")
    expect(shown).to_contain_text("early exit, round")
    held: list[Any] = []
    page.route("**/view/by_round?attempt=0**", lambda route: route.continue_() if held else held.append(route))
    page.evaluate("tokenoscope.page.boards.get('speculate').pictures.held.clear()")
    page.evaluate("tokenoscope.page.boards.get('speculate').pictures.reach.clear()")
    who.select_option("prompt lookup")
    until(lambda: bool(held), page)
    who.select_option("early exit")
    held[0].continue_()
    expect(shown).to_contain_text("early exit, round")
    blur(page)
    page.keyboard.press("Home")
    expect(shown).to_contain_text("early exit, round 0")


@pytest.mark.long
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
            if width == 1440 or (width == 390 and theme == "dark"):
                assert serious_faults(page, ".ts-boards") == [], (part, width)
