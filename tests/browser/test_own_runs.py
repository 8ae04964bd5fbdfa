"""The list of the visitor's own runs: looked at again, renamed, taken out, brought back, and there after a reload."""

# pyright: reportPrivateUsage=false

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.app.fakes_engine import FakeEngine
from tests.browser.plain import Plain
from tests.browser.test_run_board import SHOWN, run
from viz.server.store import Store

pytestmark = pytest.mark.cards("")

NAMES = ".ts-own-name"
ENTRY = ".ts-own-run"


@pytest.fixture
def two(house: Plain, visit: Callable[..., Page]) -> tuple[Page, list[str]]:
    """A page with two runs of its own; the ids of the older and of the newer, which is shown."""
    page = visit(None, missing=True)
    page.goto(house.url)
    return page, [run(page, "the older words"), run(page, "the newer words")]


def shows(page: Page, record: str) -> None:
    page.wait_for_function(f"id => {SHOWN} === id && tokenoscope.store.run.id === id", arg=record)
    here = page.locator(f"{ENTRY}:has([aria-current=true])")
    expect(here).to_have_attribute("data-run-id", record)


def test_nothing_is_said_of_runs_before_there_is_one(house: Plain, go: Callable[..., Page]) -> None:
    page = go(house)
    expect(page.locator(".ts-own")).to_be_hidden()
    page.locator("#run").click()
    expect(page.locator(NAMES)).to_have_text(["One two three four five"])


def test_each_run_is_looked_at_again_by_click_or_key_at_the_step_that_is_looked_at(two: tuple[Page, list[str]]) -> None:
    page, (older, newer) = two
    expect(page.locator(NAMES)).to_have_text(["the newer words", "the older words"])
    expect(page.locator(".ts-own-what").first).to_have_text("shown, 16 tokens")
    shows(page, newer)
    page.evaluate("tokenoscope.selection.set({ step: 5 })")
    page.locator(".ts-own-look").nth(1).click()
    shows(page, older)
    assert page.evaluate("tokenoscope.selection.at.step") == 5
    assert page.evaluate("tokenoscope.store.run.head.prompt") == "the older words"
    expect(page.locator(".ts-own-look").nth(1)).to_be_focused()
    page.locator(".ts-own-look").first.press("Enter")
    shows(page, newer)
    assert page.evaluate("tokenoscope.page.held.size") == 1, "arrays of runs that are not shown are let go"


def test_the_list_its_names_and_what_is_shown_survive_a_reload(two: tuple[Page, list[str]]) -> None:
    page, (older, newer) = two
    page.locator(".ts-own-look").nth(1).click()
    shows(page, older)
    page.get_by_role("button", name="rename: the older words").click()
    page.keyboard.type("Mine <b>")
    page.keyboard.press("Enter")
    expect(page.locator(NAMES)).to_have_text(["the newer words", "Mine <b>"])
    expect(page.get_by_role("button", name="rename: Mine <b>")).to_be_focused()
    page.wait_for_function("id => location.hash.includes(id)", arg=older)
    page.reload()
    shows(page, older)
    expect(page.locator(NAMES)).to_have_text(["the newer words", "Mine <b>"])
    page.locator(".ts-own-look").first.click()
    shows(page, newer)


def test_esc_restores_the_name_and_what_is_typed_outlives_a_list_drawn_meanwhile(two: tuple[Page, list[str]]) -> None:
    page, _ = two
    page.get_by_role("button", name="rename: the newer words").click()
    page.keyboard.type("half")
    page.evaluate("tokenoscope.page.tell(); tokenoscope.page.runs.gone('none')")
    expect(page.get_by_label("name of this run")).to_have_value("half")
    page.keyboard.press("Escape")
    expect(page.locator(NAMES).first).to_have_text("the newer words")
    page.get_by_role("button", name="rename: the newer words").click()
    page.keyboard.type("by leaving")
    page.locator("h1").click()
    expect(page.locator(NAMES).first).to_have_text("by leaving")


def test_a_run_taken_out_gives_way_to_the_next_and_comes_back(two: tuple[Page, list[str]]) -> None:
    page, (older, newer) = two
    page.get_by_role("button", name="remove: the newer words").click()
    shows(page, older)
    expect(page.locator(NAMES)).to_have_text(["the older words"])
    expect(page.locator(".ts-own-out")).to_contain_text("“the newer words” was removed.")
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    undo.press("Enter")
    shows(page, newer)
    expect(page.locator(NAMES)).to_have_text(["the newer words", "the older words"])
    expect(page.locator(".ts-own-out")).to_be_empty()


def test_a_run_that_is_kept_no_more_says_so_and_is_run_again_as_it_was(
    house: Plain, two: tuple[Page, list[str]]
) -> None:
    page, (older, newer) = two
    forget(house.store, older)
    page.reload()
    shows(page, newer)
    entry = page.locator(ENTRY).nth(1)
    expect(entry.locator(".ts-own-what")).to_have_text("no longer kept, 16 tokens")
    expect(entry.locator(".ts-own-look")).to_be_disabled()
    page.locator("#prompt textarea").fill("typed meanwhile")
    entry.get_by_role("button", name="Run its prompt again").click()
    page.wait_for_function("tokenoscope.store.run?.head.prompt === 'the older words'")
    expect(page.locator("#prompt textarea")).to_have_value("typed meanwhile")
    expect(page.locator(NAMES)).to_have_text(["the older words", "the newer words", "the older words"])


def test_a_run_that_leaves_while_the_page_is_open_leaves_what_is_shown(
    house: Plain, two: tuple[Page, list[str]]
) -> None:
    page, (older, newer) = two
    page.route(f"**/{older}/parts?*", lambda route: route.fulfill(status=404, body="It is gone."))
    page.locator(".ts-own-look").nth(1).click()
    expect(page.locator(".ts-own-what").nth(1)).to_have_text("no longer kept, 16 tokens")
    shows(page, newer)
    expect(page.locator(".ts-board > .ts-empty")).to_be_hidden()


def test_a_run_that_goes_on_is_followed_while_another_is_looked_at(house: Plain, go: Callable[..., Page]) -> None:
    page = go(house)
    older = run(page, "the older words")
    engine = house.use(FakeEngine(seconds=None))
    page.locator("#prompt textarea").fill("the newer words")
    page.locator("#run").click()
    engine.let(3)
    expect(page.locator(".ts-own-what").first).to_have_text("running, 3 tokens")
    page.locator(".ts-own-look").nth(1).click()
    shows(page, older)
    engine.let(2)
    expect(page.locator(".ts-own-what").first).to_have_text("running, 5 tokens")
    expect(page.get_by_role("button", name="remove: the newer words")).to_have_count(0)
    engine.let(30)
    expect(page.locator(".ts-own-what").first).to_have_text("16 tokens")
    shows(page, older)


def forget(store: Store, record: str) -> None:
    """As when newer records needed its place."""
    with store._lock:
        del store._kept[record]
