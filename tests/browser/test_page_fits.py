"""The page in a real browser fits every window, can be read, and keeps what a person looks at."""

import pytest
from playwright.sync_api import expect

from tests.app.fakes_engine import FakeEngine
from tests.browser.pages import no_overflow, open_settings, run_to_the_end, until
from viz.markup import ASSETS

PHONE = (390, 844)
SIZES = ((1440, 900), (1280, 640), (853, 480), PHONE)


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_the_page_fits_is_legible_and_has_its_first_picture_in_sight(serve, visit, theme):
    page = visit(serve().url, theme=theme)
    run_to_the_end(page)
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        expect(page.locator("#prompt textarea")).to_be_in_viewport(ratio=1)
        expect(page.locator("#run")).to_be_in_viewport(ratio=1)
        until(lambda: no_overflow(page), page)
        if width > 760:
            expect(page.locator(".ts-loom-stage")).to_be_in_viewport(ratio=1)
            expect(page.locator(".ts-play")).to_be_in_viewport(ratio=1)
        if width > 860:
            box = page.locator(".ts-board").bounding_box()
            assert box is not None
            assert box["y"] < height / 4
            assert box["width"] > width * 0.68
    open_settings(page)
    page.get_by_label("Seed").wait_for()
    assert page.evaluate(LEGIBLE) == []
    assert no_overflow(page)


@pytest.mark.parametrize("width", [1440, 1280, 1024, 853])
def test_the_form_of_a_run_that_goes_on_keeps_to_one_row(serve, visit, width):
    """Its buttons lie over nothing, and nothing below them moves when they come."""
    engine = FakeEngine(seconds=None)
    page = visit(serve(engine).url, width=width, height=700)
    height = page.evaluate(BOTTOM, "#top")
    page.locator("#run").click()
    engine.let(2)
    expect(page.get_by_role("button", name="Pause the run")).to_be_visible()
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(BOTTOM, "#top") == pytest.approx(height, abs=1)
    engine.let(30)


OVERLAPS = """() => {
  const parts = [...document.querySelectorAll("#brand h1, #pages a, #prompt textarea, #form button")]
    .filter((e) => e.checkVisibility() && !e.closest(".ts-popover-body"));
  const boxes = parts.map((e) => [e.textContent || "prompt", e.getBoundingClientRect()]);
  const across = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1;
  const down = (a, b) => Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  return boxes.flatMap(([name, a], i) => boxes.slice(i + 1).filter(([, b]) => across(a, b) && down(a, b))
    .map(([other]) => `${name} over ${other}`));
}"""


def test_on_a_phone_the_picture_begins_in_the_upper_half_and_no_part_of_the_form_is_lost(serve, visit):
    """What stands above the board leaves it nearly three quarters of the screen, and a long prompt takes no more."""
    width, height = PHONE
    page = visit(serve(recorded=ASSETS / "recorded").url, width=width, height=height)
    prompt = page.locator("#prompt textarea")
    for words in ("The capital of France is Paris. The capital of Italy is", "word " * 100):
        prompt.fill(words)
        page.locator("h1").click()  # nothing of the form has the focus
        until(lambda: page.evaluate(BOTTOM, "#status") <= 0.28 * height, page)
        until(
            lambda: (
                page.evaluate("document.querySelector('.ts-loom-base').getBoundingClientRect().top") < 0.42 * height
            ),
            page,
        )
    assert no_overflow(page)
    for part in ("#run", "#pages a", "#form .ts-popover button[aria-expanded]"):
        for button in page.locator(part).all():
            expect(button).to_be_in_viewport(ratio=1)
            assert button.evaluate("(button) => button.getBoundingClientRect().height") >= 40, part
    prompt.focus()  # who writes sees more of it
    until(lambda: page.evaluate("document.querySelector('#prompt textarea').clientHeight") > 100, page)
    for name, inside in (
        ("Examples", "#examples button"),
        ("Settings", "#chat input"),
        ("Runs", ".ts-shipped-root button"),
    ):
        page.locator(".ts-popover button[aria-expanded]", has_text=name).click()
        expect(page.locator(inside).first).to_be_in_viewport()
        page.keyboard.press("Escape")


BOTTOM = "(selector) => document.querySelector(selector).getBoundingClientRect().bottom + scrollY"

# Text of the form and header that is smaller than 14 px or has less contrast than 4.5 to the ground behind it.
LEGIBLE = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const channel = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const e of document.querySelectorAll("#header *, #top *")) {
    const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(".ts-spoken, svg, [data-testid=status-tracker]")) continue;
    const { color, fontSize } = getComputedStyle(e);
    const [more, less] = [light(rgb(color)), light(ground(e))].sort((a, b) => b - a);
    const contrast = (more + 0.05) / (less + 0.05);
    if (parseFloat(fontSize) < 14 || contrast < 4.5) {
      faults.push(`${e.tagName} "${e.textContent.trim().slice(0, 20)}" ${fontSize} ${contrast.toFixed(2)}`);
    }
  }
  return faults;
}"""


@pytest.mark.cards("attention")
def test_what_scrolls_under_a_resting_pointer_is_not_previewed(look):
    """Browsers send a pointer event when the page has scrolled, at the place on the screen where the pointer rests."""
    page = look(width=1440, height=900)
    page.wait_for_function("tokenoscope.store.run.lens && document.querySelector('.ts-grid-canvas').clientWidth > 100")
    page.locator(".ts-grid-canvas").evaluate("grid => grid.scrollIntoView({ block: 'center' })")
    page.evaluate("""() => document.addEventListener("pointermove", (event) => {
        const { screenX, screenY } = event;
        if (event.isTrusted) window.lastPlace = { screenX, screenY, at: performance.now() };
    })""")
    page.mouse.move(5, 5)
    page.wait_for_function("window.lastPlace && performance.now() - window.lastPlace.at > 60")
    event = """(by) => {
        const grid = document.querySelector(".ts-grid-canvas");
        const box = grid.getBoundingClientRect();
        const [clientX, clientY] = [box.x + box.width * 0.6, box.y + box.height * 0.6];
        const place = { ...lastPlace, screenX: lastPlace.screenX + by, clientX, clientY };
        for (const name of ["pointerover", "pointermove"]) {
            grid.dispatchEvent(new PointerEvent(name, { bubbles: true, pointerType: "mouse", ...place }));
        }
        return tokenoscope.selection.hovered !== null;
    }"""
    assert page.evaluate(event, 0) is False
    assert page.evaluate(event, 3) is True
