"""The moment that is looked at stands in the address: a reload, going back and a pasted address reopen it."""

import re

import pytest
from playwright.sync_api import Page, expect

from model.records.trace import Settings
from tests.app.fakes_served import drafted
from tests.browser.pages import until
from tests.browser.plain import Plain, finished
from tests.fakes_measured import fake_measurement
from tests.fakes_serving import fake_batching
from viz import export

pytestmark = pytest.mark.cards("")

SHOWN = "document.querySelector('.ts-board[data-run]')?.dataset.run"


def at(page: Page, *axes: str) -> list[int]:
    return page.evaluate("axes => axes.map((axis) => tokenoscope.selection.base[axis])", list(axes))


def moment(page: Page, holds: str) -> None:
    page.wait_for_function("text => location.hash.includes(text)", arg=holds)


@pytest.mark.cards
def test_a_reload_reopens_the_very_moment_of_a_run(look):
    page = look(None, "step=3&layer=2&head=4&token=1")
    assert at(page, "step", "layer", "head", "token") == [3, 2, 4, 1]
    page.evaluate("tokenoscope.selection.set({ step: 6, head: 5 })")
    moment(page, "step=6&layer=2&head=5")
    page.wait_for_function("""() => {  // again and again: cards above it still grow while they are drawn
        document.querySelector('[data-view=attention]').scrollIntoView({ block: 'start' });
        return location.hash.includes("card=attention");
    }""")
    page.reload()
    page.wait_for_function("tokenoscope.store?.run?.lens")
    assert at(page, "step", "layer", "head") == [6, 2, 5]
    expect(page.locator("[data-view=attention]")).to_be_in_viewport()


def test_a_pasted_address_and_going_back_lead_to_their_moments(look, house: Plain):
    page = look(None, "step=3&layer=1")
    first = page.evaluate(SHOWN)
    other = house.keep(finished("quite another prompt"))
    moment(page, "step=3&layer=1")
    page.evaluate("hash => { location.hash = hash; }", f"#record={other}&step=5&layer=3")
    page.wait_for_function(f"id => {SHOWN} === id", arg=other)
    until(lambda: at(page, "step", "layer") == [5, 3], page)
    page.evaluate("hash => { location.hash = hash; }", f"#record={other}&step=7&layer=0")
    until(lambda: at(page, "step", "layer") == [7, 0], page)
    page.go_back()
    until(lambda: at(page, "step", "layer") == [5, 3], page)
    page.go_back()
    page.wait_for_function(f"id => {SHOWN} === id", arg=first)
    until(lambda: at(page, "step", "layer") == [3, 1], page)


def test_what_an_address_has_wrong_is_brought_into_the_record(look):
    page = look(None, "step=999&layer=-4&head=77&token=x")
    assert at(page, "step", "layer", "head") == [15, 0, 5]
    moment(page, "step=15&layer=0&head=5")


def test_an_address_without_a_place_opens_where_a_run_begins(house: Plain, go):
    page = go(house, f"#record={house.keep(finished())}")
    page.wait_for_function("tokenoscope.store.run?.lens")
    first = page.evaluate("""async () => {
        const { opening } = await import("/gradio_api/tokenoscope/assets/js/views/loom/opening.js");
        return opening(tokenoscope.store.run);
    }""")
    assert at(page, "step", "layer", "head") == [first["step"], first["layer"], first["head"]]


def test_a_record_that_is_gone_says_so_and_can_be_run_again_at_the_same_place(house: Plain, visit):
    page = visit(None, missing=True)
    page.goto(f"{house.url}/#record=nobodyhasthis&step=3&layer=2&head=1")
    said = page.locator(".ts-board > .ts-empty")
    expect(said).to_contain_text("This record is no longer kept")
    expect(page.locator(".ts-cards:visible")).to_have_count(0)
    said.get_by_role("button", name="Run it again").click()
    page.wait_for_function("tokenoscope.store.run?.end")
    until(lambda: at(page, "step", "layer", "head") == [3, 2, 1], page)
    expect(said).to_be_hidden()
    moment(page, "step=3&layer=2&head=1")
    assert "nobodyhasthis" not in page.url


@pytest.mark.parametrize(
    ("make", "given", "wanted"),
    [
        (fake_batching, "tick=4&request=1&layer=2&head=1", {"tick": 4, "request": 1, "layer": 2, "head": 1}),
        (
            lambda: drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit")),
            "attempt=1&round=2&token=1",
            {"attempt": 1, "round": 2, "token": 1},
        ),
        (fake_measurement, "context=512&users=4&bits=8", {"context": 512, "users": 4, "bits": 8}),
    ],
    ids=["served", "drafted", "measured"],
)
def test_every_kind_is_reopened_at_its_place(look, make, given, wanted):
    page = look(make(), given)
    part = page.locator(f".ts-board[data-run='{page.evaluate(SHOWN)}']")
    expect(part).to_be_visible()
    board = "document.querySelector('.ts-board[data-run]').dataset.experiment"
    base = page.evaluate(f"tokenoscope.page.boards.get({board}).selection.base")
    assert {axis: base[axis] for axis in wanted} == wanted
    page.reload()
    page.wait_for_selector(".ts-board[data-run]")
    moment(page, given)
    base = page.evaluate(f"tokenoscope.page.boards.get({board}).selection.base")
    assert {axis: base[axis] for axis in wanted} == wanted


def test_a_record_of_another_kind_leads_to_its_page(house: Plain, go):
    record = house.keep(fake_batching())
    page = go(house, f"#record={record}&tick=4")
    page.get_by_role("link", name="another page").click()
    page.wait_for_function(f"id => {SHOWN} === id", arg=record)
    expect(page.locator(".ts-crumbs:visible strong")).to_contain_text("Tick 4 of")


def test_the_second_part_of_serve_has_its_own_address(house: Plain, go):
    page = go(house, "serve#speculation")
    expect(page.locator("#board-speculate")).to_be_visible()
    page.get_by_role("tab", name="Batching").click()
    expect(page.locator("#board-serve")).to_be_visible()
    page.wait_for_function("location.hash === ''")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#board-speculate")).to_be_visible()
    page.wait_for_function("location.hash === '#speculation'")


def test_a_saved_page_keeps_its_moment_in_its_address_too(visit, tmp_path):
    (tmp_path / "run.html").write_text(export.page(finished(), light=True), encoding="utf-8")
    page = visit(None)
    page.goto(f"{(tmp_path / 'run.html').as_uri()}#record=page&step=2&layer=3&head=1&token=0")
    page.wait_for_selector('#scope[data-ready="1"]')
    assert at(page, "step", "layer", "head", "token") == [2, 3, 1, 0]
    page.keyboard.press("ArrowRight")
    moment(page, "step=3&layer=3&head=1")
    page.reload()
    page.wait_for_selector('#scope[data-ready="1"]')
    assert at(page, "step", "layer", "head") == [3, 3, 1]


def test_the_address_is_written_seldom_however_fast_somebody_moves(look):
    page = look(None, "step=1")
    page.evaluate("""() => {
        window.written = 0;
        const replace = history.replaceState.bind(history);
        history.replaceState = (...all) => { window.written += 1; replace(...all); };
    }""")
    page.evaluate("""async () => {
        for (let i = 0; i < 60; i += 1) {
            tokenoscope.selection.set({ step: i % 15 });
            await new Promise((soon) => setTimeout(soon, 5));
        }
        tokenoscope.selection.set({ step: 9 });
    }""")
    moment(page, "step=9")
    assert 1 <= page.evaluate("window.written") < 12
    assert re.search(r"#record=[\w-]+&step=9&layer=\d+&head=\d+&token=\d+", page.url)
