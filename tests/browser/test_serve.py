"""The page Serve in the whole app: its two parts, and its form, from typed texts to what was served."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model.records.batching import Batching
from model.records.speculation import Speculation
from tests.app.views_served import VIEWS
from viz import views

RECORDED = Path(__file__).parents[2] / "assets" / "recorded"


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
    monkeypatch.setattr(views, "all_views", lambda kind: tuple(VIEWS.get(kind, [])))


def run(page: Page, button: str = "Serve") -> None:
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator(".ts-run-text")).to_contain_text("Done:")


def form(page: Page) -> list[tuple[str, str]]:
    """The texts, and how many tokens are to be written for each."""
    rows = page.locator("#texts .ts-texts-row")
    expect(rows).not_to_have_count(0)
    return [(each.locator("textarea").input_value(), each.locator("input").input_value()) for each in rows.all()]


def test_the_form_holds_what_the_recorded_result_was_asked_with(serve, visit):
    record = Batching.open(RECORDED / "four-texts.batching")
    asked = [(each.prompt, str(each.max_new_tokens)) for each in record.requests]
    page = visit(None)
    page.goto(f"{serve(recorded=RECORDED).url}/serve")
    page.wait_for_selector('body[data-model="ready"]')
    assert form(page) == asked
    assert page.locator("#prompt textarea").input_value() == Speculation.open(RECORDED / "a-refrain.speculation").prompt
    page.get_by_role("button", name="Two at a time").click()
    expect(page.get_by_label("new tokens of text A")).to_have_value("24")
    run(page)
    page.get_by_role("button", name="Recorded: four texts").click()
    expect(page.get_by_label("new tokens of text A")).to_have_value("10")
    assert form(page) == asked
    page.locator("#settings > button").click()
    for name in ("n_blocks", "block_size", "token_budget", "max_requests"):
        expect(page.locator(f"#{name} input[type=number]")).to_have_value(str(getattr(record, name)))
    page.get_by_label("text A", exact=True).fill("words of my own")
    page.get_by_role("button", name="Yours").click()
    page.get_by_role("button", name="Recorded: four texts").click()
    expect(page.get_by_label("text A", exact=True)).to_have_value("words of my own")


def test_the_address_leads_to_the_second_part_and_the_header_to_the_page(serving):
    page = serving(part="#speculation")
    expect(page.locator("#board-speculate")).to_be_visible()
    page.get_by_role("link", name="Measure").click()
    page.get_by_role("link", name="Serve").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(4)


def test_texts_are_added_taken_away_and_served_as_they_were_typed(small_views, serving):
    page = serving()
    page.get_by_label("remove text B").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(3)
    page.get_by_role("button", name="Restore the previous texts").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(4)
    for name in ("D", "C", "B"):
        page.get_by_label(f"remove text {name}").click()
    page.get_by_label("text A", exact=True).fill("just one text")
    page.get_by_label("new tokens of text A").fill("3")
    page.get_by_role("button", name="+ Add a text").click()
    expect(page.get_by_label("text B", exact=True)).to_be_focused()
    page.keyboard.type("and another")
    run(page)
    facts = page.locator("#board-serve .ts-measured-notes")
    expect(facts).to_contain_text("A, 3 tokens: just one text → new0 new1 new2 (length limit)")
    expect(facts).to_contain_text("B, 2 tokens: and another")
    page.get_by_role("button", name="One long, five short").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(6)
    expect(page.get_by_label("new tokens of text A")).to_have_value("48")


def test_the_form_survives_a_reload_and_an_example_can_be_undone(small_views, serving):
    page = serving()
    page.get_by_label("text B", exact=True).fill("mine, before an example")
    page.get_by_role("button", name="One long, five short").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(6)
    page.get_by_role("button", name="Restore the previous texts").click()
    expect(page.locator("#texts .ts-texts-row")).to_have_count(4)
    expect(page.get_by_label("text B", exact=True)).to_have_value("mine, before an example")
    expect(page.get_by_role("button", name="Restore the previous texts")).to_be_hidden()
    page.get_by_role("tab", name="Speculation").click()
    page.locator("#prompt textarea").fill("a prompt of mine")
    page.get_by_label("Prompt lookup").uncheck()
    page.wait_for_function("(localStorage.getItem('tokenoscope-batching') ?? '').includes('mine, before')")
    page.wait_for_function("!(localStorage.getItem('tokenoscope-speculation') ?? 'lookup').includes('lookup')")
    page.reload()
    expect(page.locator("#board-speculate")).to_be_visible()
    expect(page.locator("#prompt textarea")).to_have_value("a prompt of mine")
    expect(page.get_by_label("Prompt lookup")).not_to_be_checked()
    expect(page.get_by_label("Early exit")).to_be_checked()
    page.get_by_role("tab", name="Batching").click()
    expect(page.get_by_label("text B", exact=True)).to_have_value("mine, before an example")
    expect(page.get_by_role("button", name="Restore the previous texts")).to_be_hidden()


def test_what_the_browser_kept_cannot_break_the_form(small_views, serving):
    page = serving()
    for kept in ('{"texts": "[[5, 3]]", "rate": "x", "prefix_caching": 1}', '{"texts": "no rows"}', "not json"):
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
    expect(page.locator(".ts-refusal")).to_contain_text("text B is empty", ignore_case=True)
    page.get_by_label("text B", exact=True).fill("b")
    page.get_by_label("new tokens of text C").fill("9999")
    page.get_by_role("button", name="Serve", exact=True).click()
    expect(page.locator(".ts-refusal")).to_contain_text("new tokens of text C is 9999", ignore_case=True)
    page.get_by_label("new tokens of text C").fill("")
    page.get_by_role("button", name="Serve", exact=True).click()
    expect(page.locator(".ts-refusal")).to_contain_text("new tokens of text C is empty", ignore_case=True)
    page.get_by_label("new tokens of text C").fill("4")
    page.get_by_label("text A", exact=True).fill("refuse me")
    page.get_by_role("button", name="Serve", exact=True).click()
    expect(page.locator(".ts-refusal")).to_contain_text("'refuse me' can never fit")
    page.get_by_role("tab", name="Speculation").click()
    expect(page.locator(".ts-refusal")).to_have_text("")
