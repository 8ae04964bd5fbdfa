"""The text, in a real browser: it is tinted by doubt, says its numbers, and tells the template from the typed words."""

import re

from playwright.sync_api import expect

from tests.browser.test_page import run_to_the_end
from viz.markup import ASSETS


def test_the_less_likely_a_token_was_the_stronger_its_tint_and_above_four_fifths_there_is_none(serve, visit):
    page = visit(serve(recorded=ASSETS / "runs").url)
    page.locator(".ts-word.ts-is-generated").first.wait_for()
    found = page.evaluate("""() => {
        const run = tokenoscope.store.run;
        const words = [...document.querySelectorAll(".ts-word.ts-is-generated")];
        return words.map((word, i) => [run.steps[i].choices[0].probability,
            parseFloat(word.style.getPropertyValue("--ts-share")), word.classList.contains("ts-is-doubtful")]);
    }""")
    ranked = sorted(found)
    shares = [share for _, share, _ in ranked]
    assert shares == sorted(shares, reverse=True)
    assert all(doubtful == (probability < 0.8) for probability, _, doubtful in found)
    assert any(doubtful for *_, doubtful in found)


def test_pointing_at_a_written_token_says_its_numbers_and_a_click_stays_there(serve, visit):
    page = visit(serve().url)
    run_to_the_end(page)
    page.evaluate("tokenoscope.selection.set({ step: 0 })")
    words = page.locator(".ts-word.ts-is-generated")
    words.nth(3).hover()
    entropy = page.evaluate("tokenoscope.store.run.steps[3].choices[0].entropy")
    readout = page.locator(".ts-card-output .ts-readout")
    expect(readout).to_contain_text(f"entropy {float(f'{entropy:.4g}'):g} nats")
    expect(readout).to_contain_text(re.compile(r"of [\d,]+ tokens"))
    words.nth(3).click()
    page.mouse.move(1, 1)
    assert page.evaluate("[tokenoscope.selection.at.step, tokenoscope.selection.locked]") == [3, True]
    expect(words.nth(3)).to_have_class(re.compile("ts-now"))
    expect(words.nth(4)).to_have_class(re.compile("ts-not-yet"))


def test_of_a_chat_turn_the_template_is_told_from_what_was_typed(serve, visit):
    page = visit(serve(recorded=ASSETS / "runs").url)
    template = page.locator(".ts-card-output .ts-swatch.ts-is-template")
    expect(template).to_be_hidden()
    page.get_by_role("button", name="A chat turn").click()
    expect(template).to_be_visible()
    typed = page.locator(".ts-text .ts-word.ts-is-prompt:not(.ts-is-template)")
    assert "".join(typed.all_inner_texts()) == page.evaluate("tokenoscope.store.run.head.prompt")


def test_the_rail_says_how_much_is_written(serve, visit):
    page = visit(serve().url)
    run_to_the_end(page)
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    expect(page.locator("[data-goes-to=output] .ts-rail-value")).to_have_text("wrote 3 of 16")
