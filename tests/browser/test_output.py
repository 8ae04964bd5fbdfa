"""The text, in a real browser: it is tinted by doubt, says its numbers, and tells the template from the typed words."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import settle

# What the marks paint over the letters of what stands beside them: [text, px across, px down].
COVERED = """([all, marked]) => {
  const words = [...document.querySelectorAll(all)];
  const found = [];
  for (const mark of document.querySelectorAll(marked)) {
    const style = getComputedStyle(mark);
    const line = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset);
    const outline = style.outlineStyle === "none" ? 0 : line;
    const shadows = style.boxShadow === "none" ? [] : style.boxShadow.split(/,(?![^(]*\\))/);
    const pushed = shadows.filter((each) => !each.includes("inset")).map((each) => {
      const [x, y, blur, spread] = each.match(/-?[\\d.]+px/g).map(parseFloat);
      return [Math.abs(x) + blur + spread, Math.abs(y) + blur + spread];
    });
    const [wide, high] = [0, 1].map((k) => Math.max(outline, 0, ...pushed.map((each) => each[k])));
    const at = words.indexOf(mark);
    for (const near of words.filter((_, i) => i !== at && Math.abs(i - at) < 40)) {
      const letters = document.createRange();
      letters.selectNodeContents(near);
      for (const a of mark.getClientRects()) for (const b of letters.getClientRects()) {
        const x = Math.min(a.right + wide, b.right) - Math.max(a.left - wide, b.left);
        // Boxes of lines next to each other may touch: letters do not fill them.
        const sameLine = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
        const y = sameLine ? 9 : Math.min(a.bottom + high, b.bottom - 4) - Math.max(a.top - high, b.top + 4);
        if (a.width && x > 0.5 && y > 0.5) found.push([near.textContent, x, y]);
      }
    }
  }
  return found;
}"""


# Goes to each of so many places along an axis, and calls the function of the marks there: [place, what it found].
AT_EACH = f"""async ([axis, n, all, marked]) => {{
  const covered = {COVERED};
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const found = [];
  for (let place = 0; place < n; place += 1) {{
    tokenoscope.selection.set({{ [axis]: place }});
    await frame();
    await frame();
    if (document.querySelectorAll(marked).length !== 1) found.push([place, "not marked"]);
    else found.push(...covered([all, marked]).map((each) => [place, each]));
  }}
  return found;
}}"""


@pytest.mark.cards("output")
@pytest.mark.parametrize("width", [1280, 390])
def test_no_mark_paints_over_letters_of_its_neighbours(plain_server, go, width):
    page = go(plain_server, width=width)
    page.wait_for_selector(".ts-board[data-run]")
    page.get_by_role("button", name="A chat turn").click()
    until_drawn(page, "run.head.settings.chat")
    page.locator(".ts-card-output").scroll_into_view_if_needed()
    n_steps, n_prompt = page.evaluate("[tokenoscope.store.run.steps.length, tokenoscope.store.run.nPrompt]")
    assert page.evaluate(AT_EACH, ["step", n_steps, ".ts-text .ts-word", ".ts-text .ts-now"]) == []
    page.evaluate("tokenoscope.store.rail.open('tokens')")
    page.locator(".ts-card-tokens").scroll_into_view_if_needed()
    page.wait_for_function("tokenoscope.store.cards.every((card) => !card.stale)")
    assert page.evaluate(AT_EACH, ["token", n_prompt, ".ts-read", ".ts-read-now"]) == []


def test_what_this_pass_wrote_has_one_frame_in_both_cards_and_keeps_its_tint(plain_server, go):
    page = go(plain_server)
    page.wait_for_selector(".ts-board[data-run]")
    ground = "e => getComputedStyle(e).backgroundColor"
    frame = "e => getComputedStyle(e).boxShadow"
    words = page.locator(".ts-word.ts-is-generated")
    doubtful = page.evaluate("tokenoscope.store.run.steps.findIndex((step) => step.choices[0].probability < 0.6)")
    page.evaluate("tokenoscope.selection.set({ step: Infinity })")
    expect(words.last).to_have_class(re.compile("ts-now"))
    tint = words.nth(doubtful).evaluate(ground)
    page.evaluate("step => tokenoscope.selection.set({ step })", doubtful)
    expect(words.nth(doubtful)).to_have_class(re.compile("ts-now"))
    assert words.nth(doubtful).evaluate(ground) == tint != "rgba(0, 0, 0, 0)"
    keys = page.locator(".ts-now-key")
    assert keys.all_inner_texts() == ["written in this pass"] * 2
    expect(page.locator(".ts-strip .ts-chip.ts-now")).to_have_count(1)
    marked = (page.locator(".ts-text .ts-now"), page.locator(".ts-strip .ts-chip.ts-now"), keys.first)
    frames = {each.evaluate(frame) for each in marked}
    assert len(frames) == 1
    assert "inset" in frames.pop()
    assert page.locator(".ts-strip .ts-chip[aria-selected=true]").evaluate(frame) not in frames


CARDS = ["output", "tokens", "next-token", "passes"]


HEIGHTS = """async (cards) => {
  const { store, selection } = tokenoscope;
  const seen = [];
  for (const step of store.run.steps) {
    const at = store.run.place(selection.at, { step: step.index });
    const state = { run: store.run, at, word: at.token, step, colours: store.colours };
    for (const card of store.cards.filter((each) => cards.includes(each.view.id))) card.draw(state);
    await new Promise((done) => requestAnimationFrame(done));
    seen.push(cards.map((id) => document.querySelector(`.ts-card-${id}`).getBoundingClientRect().height));
  }
  return seen;
}"""


def test_stepping_through_a_run_moves_nothing(plain_server, go):
    page = go(plain_server, width=1440, height=900)
    page.wait_for_selector(".ts-board[data-run]")
    for button, prompt in (("A fact", "The capital"), ("A story", "Once upon"), ("A chat turn", "Name three")):
        page.locator(".ts-recorded button", has_text=button).click()
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            until_drawn(page, f"run.head.prompt.startsWith('{prompt}')")
            settle(page)
            heights = page.evaluate(HEIGHTS, CARDS)
            assert len(heights) > 5
            for each in heights:
                assert each == pytest.approx(heights[0], abs=0.6), (button, width)


def until_drawn(page: Page, holds: str) -> None:
    page.wait_for_function(f"(() => {{ const run = tokenoscope.store.run; return run?.end && {holds}; }})()")
    page.wait_for_function("tokenoscope.store.cards.every((card) => !card.stale)")


@pytest.mark.cards("output")
def test_the_less_likely_a_token_was_the_stronger_its_tint_and_above_four_fifths_there_is_none(plain_server, go):
    page = go(plain_server)
    page.wait_for_selector(".ts-board[data-run]")
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


@pytest.mark.cards("output")
def test_pointing_at_a_written_token_says_its_numbers_and_a_click_stays_there(look):
    page = look()
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


@pytest.mark.cards("output")
def test_of_a_chat_turn_the_template_is_told_from_what_was_typed(plain_server, go):
    page = go(plain_server)
    page.wait_for_selector(".ts-board[data-run]")
    template = page.locator(".ts-card-output .ts-swatch.ts-is-template")
    expect(template).to_be_hidden()
    page.get_by_role("button", name="A chat turn").click()
    expect(template).to_be_visible()
    typed = page.locator(".ts-text .ts-word.ts-is-prompt:not(.ts-is-template)")
    assert "".join(typed.all_inner_texts()) == page.evaluate("tokenoscope.store.run.head.prompt")


@pytest.mark.cards("")
def test_the_rail_says_how_much_is_written(look):
    page = look()
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    expect(page.locator("[data-goes-to=output] .ts-rail-value")).to_have_text("wrote 3 of 16")


def test_after_a_click_on_a_word_the_header_the_selected_token_and_the_cards_name_that_word(look):
    page = look()
    for place in (0, 3, 15):
        page.evaluate("tokenoscope.selection.unlock()")
        page.evaluate("tokenoscope.selection.set({ step: 1 })")
        check_named(page, place)


def check_named(page: Page, place: int) -> None:
    words = page.locator(".ts-word.ts-is-generated")
    words.nth(place).click()
    page.mouse.move(1, 1)
    n = page.evaluate("tokenoscope.store.run.nPrompt") + place
    name = page.evaluate("n => tokenoscope.store.run.tokens[n].text.trim()", n)
    assert page.evaluate("[tokenoscope.selection.at.step, tokenoscope.selection.at.token]") == [place, n]
    crumbs = page.locator(".ts-crumb").last
    expect(crumbs).to_have_text(re.compile(rf"^token {n} “.?{name}”, written in this step$"))
    expect(page.locator(".ts-player")).to_contain_text(f"Step {place} of")
    expect(words.nth(place)).to_have_class(re.compile("ts-now"))
    readout = page.locator(".ts-card-output .ts-readout")
    expect(readout).to_have_text(re.compile(rf"^Written in step {place}: “.?{name}” \(token {n}\)"))
    expect(page.locator(".ts-strip .ts-chip[aria-selected=true]")).to_have_attribute("id", f"ts-token-{n}")
    expect(page.locator(".ts-card-next-token .ts-headline")).to_contain_text(name)
    page.evaluate("tokenoscope.selection.set({ layer: 1 })")
    assert page.evaluate("tokenoscope.selection.at.token") == n
    page.evaluate("tokenoscope.selection.move(-1)")
    last = page.evaluate("tokenoscope.store.run.steps[tokenoscope.selection.at.step].last")
    assert page.evaluate("tokenoscope.selection.at.token") == last


@pytest.mark.cards("output")
def test_the_least_likely_token_is_named_and_one_press_away(plain_server, go):
    page = go(plain_server)
    page.wait_for_selector(".ts-board[data-run]")
    step, share = page.evaluate("""() => tokenoscope.store.run.steps
        .map((step) => [step.index, step.choices[0].probability]).sort(([, one], [, other]) => one - other)[0]""")
    said = page.locator(".ts-card-output .ts-note", has_text="least likely")
    expect(said).to_contain_text(f"written in step {step}.")
    expect(said).to_contain_text(re.compile(rf"{share * 100:.3g}"[:4]))
    said.get_by_role("button").click()
    assert page.evaluate("tokenoscope.selection.at.step") == step
