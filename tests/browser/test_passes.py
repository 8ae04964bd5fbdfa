"""Prefill and decode, in a real browser: widths are seconds, the words are the numbers, and the written token flies."""

import pytest
from playwright.sync_api import Page, expect

from tests.app.fakes_engine import FakeEngine
from tests.browser.pages import scroll_to, until

pytestmark = pytest.mark.cards("passes")

SHORTEST_FLIGHT_MS = 120  # a token that comes sooner after the one before does not fly

# Counts flights of the loop's chips, and how long each is meant to take.
FLIGHTS = """() => {
  window.flights = [];
  const animate = Element.prototype.animate;
  Element.prototype.animate = function (frames, how) {
    if (this.closest(".ts-loop")) window.flights.push([this.textContent, how.duration, Object.keys(frames[0])]);
    return animate.call(this, frames, how);
  };
}"""

# Resolves once an observer younger than the loop's own was told whether the loop is in sight: the loop's own was, too.
SIGHT = """(inSight) => new Promise((done) => {
  const told = new IntersectionObserver((entries) => { if (entries.at(-1).isIntersecting === inSight) done(true); });
  told.observe(document.querySelector(".ts-loop"));
})"""


def flights(page: Page) -> list:
    page.wait_for_timeout(150)
    return page.evaluate("window.flights.splice(0)")


@pytest.fixture
def ran(look) -> Page:
    """A finished run, the loop in sight, flights counted."""
    page = look()
    page.wait_for_function("tokenoscope.store.run.lens && tokenoscope.store.run.embeddings")
    page.locator(".ts-loop").scroll_into_view_if_needed()
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    page.wait_for_function("document.querySelector('.ts-card-passes').dataset.at?.startsWith('2/')")
    page.evaluate(SIGHT, True)
    page.wait_for_timeout(SHORTEST_FLIGHT_MS)
    page.evaluate("document.activeElement.blur()")  # keys are the form's while it has the focus
    page.evaluate(FLIGHTS)
    return page


def test_every_pass_is_as_wide_as_its_seconds_and_can_be_clicked(ran):
    axis = ran.locator(".ts-pass-axis")
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    assert box is not None
    seconds = ran.evaluate("tokenoscope.store.run.steps.map((step) => step.seconds)")
    for index in (0, 1, 7, len(seconds) - 1):
        middle = (sum(seconds[:index]) + seconds[index] / 2) / sum(seconds)
        ran.mouse.move(box["x"] + middle * box["width"], box["y"] + box["height"] / 2)
        until(lambda index=index: ran.evaluate("tokenoscope.selection.at.step") == index, ran)
    ran.mouse.click(box["x"] + box["width"] * seconds[0] / sum(seconds) / 2, box["y"] + 60)
    assert ran.evaluate("[tokenoscope.selection.at.step, tokenoscope.selection.locked]") == [0, True]
    expect(axis).to_have_attribute("aria-valuenow", "0")


def test_the_phases_say_tokens_seconds_and_tokens_a_second(ran):
    steps = ran.evaluate("tokenoscope.store.run.steps.map(({ kind, n, seconds }) => ({ kind, n, seconds }))")
    decode = [step for step in steps if step["kind"] == "decode"]
    expect(ran.locator(".ts-phase").nth(0)).to_contain_text(f"read {steps[0]['n']} tokens in 1 pass")
    expect(ran.locator(".ts-phase").nth(1)).to_contain_text(f"read {len(decode)} tokens in {len(decode)} passes")
    rate = len(decode) / sum(step["seconds"] for step in decode)
    expect(ran.locator(".ts-phase-rate").nth(1)).to_have_text(f"{rate:.1f} tokens per second")
    expect(ran.locator(".ts-card-passes")).to_contain_text("recording makes every pass slower")


def test_the_loop_shows_what_is_read_kept_and_written(ran):
    loop = ran.locator(".ts-loop")
    read, written = loop.locator(".ts-loop-chips").nth(0), loop.locator(".ts-loop-chips").nth(1)
    was = written.inner_text()
    kept = ran.evaluate("tokenoscope.store.run.steps[2].last + 1")
    expect(loop).to_contain_text(f"KV cache: {kept} tokens kept")
    expect(loop).to_contain_text("the next pass reads it")
    ran.evaluate("tokenoscope.selection.set({ step: 3 })")
    expect(read).to_have_text(was)
    ran.evaluate("tokenoscope.selection.set({ step: Infinity })")
    expect(loop).to_contain_text("the run ended here")


def test_the_written_token_flies_to_where_it_is_read_only_from_one_pass_to_the_next(ran):
    ran.keyboard.press("ArrowRight")
    until(lambda: ran.evaluate("window.flights.length") > 0, ran)
    [(token, ms, animated)] = flights(ran)
    assert token == ran.locator(".ts-loop-chips").first.inner_text()
    assert 0 < ms <= 400
    assert animated == ["transform"]
    ran.keyboard.press("ArrowLeft")
    ran.evaluate("tokenoscope.selection.set({ step: 9 })")
    ran.evaluate("tokenoscope.selection.preview({ step: 10 })")
    ran.evaluate("tokenoscope.selection.preview(null)")
    assert flights(ran) == []


def test_nothing_flies_where_motion_is_not_wanted_or_nobody_looks(ran):
    ran.emulate_media(reduced_motion="reduce")
    ran.keyboard.press("ArrowRight")
    assert flights(ran) == []
    ran.emulate_media(reduced_motion="no-preference")
    scroll_to(ran, 0)
    ran.evaluate(SIGHT, False)
    ran.keyboard.press("ArrowRight")
    assert flights(ran) == []
    assert ran.evaluate("tokenoscope.selection.at.step") == 4


def test_streaming_moves_the_loop_too(house, go):
    engine = house.use(FakeEngine(seconds=None))
    page = go(house)
    page.locator("#run").click()
    engine.let(2)
    until(lambda: page.evaluate("tokenoscope.store.run?.steps.length ?? 0") == 2, page)
    until(lambda: page.evaluate("tokenoscope.store.cards.every((card) => !card.stale)"), page)
    page.locator(".ts-loop").scroll_into_view_if_needed()
    page.evaluate(SIGHT, True)
    page.wait_for_timeout(SHORTEST_FLIGHT_MS)
    page.evaluate(FLIGHTS)
    engine.let(1)
    until(lambda: page.evaluate("tokenoscope.store.run.steps.length") == 3, page)
    until(lambda: page.evaluate("window.flights.length") == 1, page)
    engine.let(30)


def test_the_rail_says_what_the_pass_read_and_took(ran):
    ran.evaluate("tokenoscope.selection.set({ step: 0 })")
    read = ran.evaluate("tokenoscope.store.run.steps[0].n")
    expect(ran.locator("[data-goes-to=passes] .ts-rail-value")).to_have_text(f"{read} read, 80.0 ms")
