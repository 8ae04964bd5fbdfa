"""A chat in a real browser: what the form asks for, what the model recommends, and how a finished chat goes on."""

import json

import pytest
from playwright.sync_api import Page, expect

from model.records.chat import TemplateOption, Turn
from tests.browser.pages import no_overflow, open_settings, run_to_the_end, serious_faults, unfold

pytestmark = pytest.mark.cards("")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def test_a_chat_with_its_turns_and_switches_reaches_the_run(serve, visit):
    served = serve()
    page = visit(served.url)
    open_settings(page)
    expect(page.locator("#chat-fields")).to_be_hidden()
    page.locator("#chat input").check()
    expect(page.locator("#chat-fields")).to_be_visible()
    page.get_by_label("System prompt").fill("Be brief.")
    press(page, "+ Add a turn")
    page.get_by_label("what is said in turn 1").fill("Hello")
    press(page, "+ Add a turn")
    page.get_by_label("what is said in turn 2").fill("Hi!")
    expect(page.get_by_label("who speaks in turn 2")).to_have_value("assistant")
    page.get_by_label("enable_thinking").select_option("off")
    expect(page.locator("#status .ts-chat")).to_contain_text("after a system prompt and 2 earlier turns")
    page.keyboard.press("Escape")
    run_to_the_end(page, "And you?")
    asked = served.engine.asked[0]
    assert (asked.chat, asked.system, asked.prompt) == (True, "Be brief.", "And you?")
    assert asked.turns == (Turn(role="user", content="Hello"), Turn(role="assistant", content="Hi!"))
    assert asked.template_options == (TemplateOption(name="enable_thinking", value="false"),)

    open_settings(page)
    page.locator("#chat input").uncheck()
    expect(page.locator("#status .ts-chat")).to_be_hidden()
    run_to_the_end(page, "Plain")
    assert (served.engine.asked[1].chat, served.engine.asked[1].turns) == (False, ())


def test_a_finished_chat_goes_on_a_plain_run_does_not_and_a_new_chat_begins(serve, visit):
    served = serve()
    page = visit(served.url)
    run_to_the_end(page)
    expect(page.locator("#status .ts-continue")).to_be_hidden()  # it was no chat
    unfold(page, "Examples")
    press(page, "A conversation")
    expect(page.locator("#status .ts-chat")).to_contain_text("after a system prompt and 2 earlier turns")
    run_to_the_end(page)
    press(page, "Continue this chat")
    expect(page.locator("#prompt textarea")).to_have_value("")
    expect(page.locator("#prompt textarea")).to_be_focused()
    expect(page.locator("#status .ts-chat")).to_contain_text("after a system prompt and 4 earlier turns")
    answer = page.evaluate("tokenoscope.store.run.end.text")
    run_to_the_end(page, "And of Spain?")
    asked = served.engine.asked[2]
    assert [each.content for each in asked.turns[2:]] == ["And of Italy?", answer]
    assert asked.system == "Answer with one word."
    press(page, "New chat")
    expect(page.locator("#status .ts-chat")).to_be_hidden()
    run_to_the_end(page, "Again")
    assert (served.engine.asked[3].turns, served.engine.asked[3].system) == ((), "")
    assert served.engine.asked[3].chat


def test_what_the_model_recommends_is_filled_in_by_one_press_and_taken_back(serve, visit):
    page = visit(serve().url)
    open_settings(page)
    page.get_by_label("number input for Temperature").fill("0.3")
    page.get_by_label("number input for Min-p").fill("0.1")
    expect(page.locator("#recommended")).to_contain_text("This model recommends temperature 0.6, top-p 0.95.")

    def values() -> list[str]:
        return [
            page.get_by_label(f"number input for {name}").input_value() for name in ("Temperature", "Top-p", "Min-p")
        ]

    press(page, "Use these")
    expect(page.get_by_label("number input for Temperature")).to_have_value("0.6")
    assert values() == ["0.6", "0.95", "0.1"]
    press(page, "Restore my values")
    expect(page.get_by_label("number input for Temperature")).to_have_value("0.3")
    assert values() == ["0.3", "1", "0.1"]
    expect(page.get_by_role("button", name="Use these")).to_be_visible()


def test_turns_that_were_taken_away_or_replaced_come_back(serve, visit):
    page = visit(serve().url)
    unfold(page, "Examples")
    press(page, "A conversation")
    open_settings(page)
    page.get_by_label("what is said in turn 1").fill("Of my own")
    press(page, "remove turn 1")
    expect(page.locator(".ts-turn")).to_have_count(1)
    press(page, "Restore the previous turns")
    expect(page.get_by_label("what is said in turn 1")).to_have_value("Of my own")
    expect(page.get_by_label("what is said in turn 2")).to_have_value("Paris.")
    expect(page.get_by_role("button", name="Restore the previous turns")).to_be_hidden()
    page.keyboard.press("Escape")
    unfold(page, "Examples")
    press(page, "A conversation")
    open_settings(page)
    press(page, "Restore the previous turns")
    expect(page.get_by_label("what is said in turn 1")).to_have_value("Of my own")


def test_a_chat_survives_a_reload_and_what_a_browser_kept_cannot_break_it(serve, visit):
    page = visit(serve(names=("fake-1k", "other")).url)
    unfold(page, "Examples")
    press(page, "A conversation")
    open_settings(page)
    page.get_by_label("enable_thinking").select_option("on")
    page.wait_for_function("(localStorage.getItem('tokenoscope-form') ?? '').includes('enable_thinking')")
    page.reload()
    page.wait_for_selector('.ts-board[data-ready="1"]', state="attached")
    open_settings(page)
    expect(page.get_by_label("what is said in turn 2")).to_have_value("Paris.")
    expect(page.get_by_label("enable_thinking")).to_have_value("true")
    expect(page.locator("#status .ts-chat")).to_contain_text("after a system prompt and 2 earlier turns")
    for turns, options in (("not json", "7"), ('{"a": 1}', "[]"), ('[["bob", "x"]]', "null")):
        kept = json.dumps({"turns": turns, "template_options": options, "chat": True})
        page.evaluate("kept => localStorage.setItem('tokenoscope-form', kept)", kept)
        page.reload()
        page.wait_for_selector('.ts-board[data-ready="1"]', state="attached")
        open_settings(page)
        expect(page.locator(".ts-turn")).to_have_count(0)
    press(page, "+ Add a turn")
    page.get_by_label("what is said in turn 1").fill("Hello")
    page.keyboard.press("Escape")
    run_to_the_end(page, "And you?")


@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_a_chat_s_fields_fit_the_window_and_can_be_read_by_everyone(serve, visit, width, height, theme):
    page = visit(serve().url, width=width, height=height, theme=theme)
    unfold(page, "Examples")
    press(page, "A conversation")
    open_settings(page)
    expect(page.locator(".ts-turn")).to_have_count(2)
    assert no_overflow(page)
    assert serious_faults(page, "#settings") == []
    clipped = page.evaluate("""() => [...document.querySelectorAll("#chat-fields *, .ts-recommended *")]
        .filter((e) => e.checkVisibility() && getComputedStyle(e).display !== "inline")
        .filter((e) => e.scrollWidth > e.clientWidth + 1)
        .map((e) => `${e.tagName} ${e.className}`)""")
    assert clipped == []
