"""The form in a real browser: what is typed stays, is refused in words, and reaches the run."""

import re

import pytest
from playwright.sync_api import expect

from tests.app.fakes_engine import FakeEngine
from tests.browser.pages import no_overflow, open_settings, run_to_the_end, unfold, until
from viz.examples import EXAMPLES

pytestmark = pytest.mark.cards("")

HOSTILE = (
    "<img src=x onerror=window.pwned=1> <script>window.pwned=2</script> ${window.pwned=3} {{window.pwned=4}} `${1}` "
    "\\u0041 </script> \u202eright\u202c عربي 👩\u200d👩\u200d👧 javascript:window.pwned=5 <!-- ' \" &amp; --> "
) + "x" * 400


def test_a_refusal_stands_beside_the_form_and_the_run_and_the_form_stay(serve, visit):
    page = visit(serve().url)
    shown = run_to_the_end(page)
    page.locator("#prompt textarea").fill("  ")
    unfold(page, "Settings")
    page.locator("#chat input").check()
    page.locator("#run").click()
    alert = page.locator("#status").get_by_role("alert")
    expect(alert).to_contain_text("prompt is empty")
    expect(alert).to_be_in_viewport()
    assert page.locator(".ts-board").get_attribute("data-run") == shown
    assert page.locator("#chat input").is_checked()
    assert page.locator("#prompt textarea").input_value() == "  "
    run_to_the_end(page, "It works again")
    expect(page.locator(".ts-refusal")).to_have_text("")


def test_what_pauses_the_run_and_what_pauses_its_replay_are_named_apart(serve, visit):
    engine = FakeEngine(seconds=None)
    page = visit(serve(engine).url)
    page.locator("#run").click()
    engine.let(2)
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Running: token 2"))
    replay = page.locator(".ts-play")
    if replay.get_attribute("aria-pressed") == "false":
        replay.click()
    pauses = page.get_by_role("button", name=re.compile("pause", re.IGNORECASE))
    expect(pauses).to_have_count(2)
    expect(pauses.first).to_have_accessible_name("Pause the run")
    expect(pauses.last).to_have_accessible_name("Pause the replay")
    pauses.first.click()
    expect(page.get_by_role("button", name="Resume the run")).to_be_visible()
    engine.let(30)


def test_the_form_survives_a_reload(serve, visit):
    page = visit(serve(names=("fake-1k", "other")).url)
    page.locator("#prompt textarea").fill("Mine,\nin two lines 🌍")
    open_settings(page)
    page.locator("#chat input").check()
    page.get_by_label("number input for Temperature").fill("0.7")
    page.get_by_label("number input for New tokens").fill("7")
    page.get_by_label("Seed").fill("11")
    page.locator("h1").click()
    page.wait_for_function("(localStorage.getItem('tokenoscope-form') ?? '').includes('11')")
    page.reload()
    page.wait_for_selector('.ts-board[data-ready="1"]', state="attached")
    expect(page.locator("#prompt textarea")).to_have_value("Mine,\nin two lines 🌍")
    expect(page.locator("#chat input")).to_be_checked()
    open_settings(page)
    expect(page.get_by_label("number input for Temperature")).to_have_value("0.7")
    expect(page.get_by_label("number input for New tokens")).to_have_value("7")
    expect(page.get_by_label("Seed")).to_have_value("11")


def test_what_the_browser_kept_cannot_break_the_form(serve, visit):
    page = visit(serve(names=("fake-1k", "other")).url)
    for kept in ('{"model": "gone", "prompt": 5, "seed": null, "temperature": "x"}', "not json"):
        page.evaluate("kept => localStorage.setItem('tokenoscope-form', kept)", kept)
        page.reload()
        page.wait_for_selector('.ts-board[data-ready="1"]', state="attached")
        expect(page.locator("#prompt textarea")).to_have_value(EXAMPLES[0].prompt)
    run_to_the_end(page)


def test_an_example_fills_the_form(serve, visit):
    served = serve()
    page = visit(served.url)
    unfold(page, "Examples")
    page.get_by_role("button", name="A question").click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("^Why is the sky blue"))
    expect(page.locator("#chat input")).to_be_checked()
    page.get_by_role("button", name="Facts").click()
    expect(page.locator("#chat input")).not_to_be_checked()


def test_settings_reach_the_run(serve, visit):
    served = serve()
    page = visit(served.url)
    open_settings(page)
    page.get_by_label("number input for Temperature").fill("0.7")
    page.get_by_label("number input for New tokens").fill("3")
    page.get_by_label("Seed").fill("11")
    run_to_the_end(page)
    settings = served.engine.asked[0].settings
    assert (settings.temperature, settings.max_new_tokens, settings.seed) == (0.7, 3, 11)


def test_an_emptied_number_is_refused_by_name(serve, visit):
    page = visit(serve().url)
    open_settings(page)
    page.get_by_label("Seed").fill("")
    page.locator("#run").click()
    expect(page.locator("#status").get_by_role("alert")).to_contain_text("Seed is empty")


def test_a_second_visitor_sees_the_queue_and_gets_a_turn_when_the_first_tab_closes(serve, visit):
    served = serve(FakeEngine(seconds=0.05))
    ann, bob, eve = visit(served.url), visit(served.url), visit(served.url)
    open_settings(ann)
    ann.get_by_label("number input for New tokens").fill("200")
    ann.locator("#run").click()
    expect(ann.locator(".ts-run-text")).to_have_text(re.compile("^Running"))
    bob.locator("#run").click()
    expect(bob.locator(".ts-run-text")).to_have_text(re.compile("^Waiting: yours is next"))
    eve.locator("#run").click()
    expect(eve.locator(".ts-run-text")).to_have_text(re.compile("^Waiting: 2 before yours"))
    ann.close()
    until(lambda: served.engine.state(0) == "stopped", bob)
    expect(bob.locator(".ts-run-text")).to_have_text("Done: 16 tokens written, as many as requested.")


@pytest.mark.cards
def test_hostile_prompts_are_inert_and_whole(serve, visit):
    page = visit(serve().url)
    for text in (HOSTILE, "${window.pwned=6}", "{{constructor}}", "\x00\x07 nul"):
        run_to_the_end(page, text)
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.querySelectorAll('.ts-board img, .ts-board script').length") == 0
        held = page.evaluate("window.tokenoscope.store.run.tokens.filter(t => !t.generated).map(t => t.text).join('')")
        assert held == page.locator("#prompt textarea").input_value()
        assert no_overflow(page)
