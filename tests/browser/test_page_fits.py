"""The page in a real browser fits every window, can be read, and keeps what a person looks at."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import no_overflow, open_settings, run_to_the_end

SIZES = ((1440, 900), (1280, 640), (390, 844))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_is_legible_and_has_its_first_picture_in_sight(look, theme):
    page = look(theme=theme)
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        expect(page.locator("#prompt textarea")).to_be_in_viewport(ratio=1)
        expect(page.locator("#run")).to_be_in_viewport(ratio=1)
        assert no_overflow(page), width
        if width > 860:
            box = page.locator(".ts-board").bounding_box()
            assert box is not None
            assert box["y"] < height / 4
            assert box["width"] > width * 0.68
    open_settings(page)
    page.get_by_label("Seed").wait_for()
    assert page.evaluate(LEGIBLE) == []
    assert no_overflow(page)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_the_player_stays_in_sight_while_the_page_scrolls_and_so_does_the_rail_where_there_is_room(
    serve, visit, width, height
):
    page = visit(serve().url, width=width, height=height)
    run_to_the_end(page, "Some words that are " + "W" * 60 + " long and not to be broken apart " * 6)
    for down in (0.4, 0.7):
        page.evaluate("(down) => scrollTo(0, document.documentElement.scrollHeight * down)", down)
        page.wait_for_function("scrollY > innerHeight * 0.8")
        bar = page.locator(".ts-player-bar").bounding_box()
        assert bar is not None
        assert 0 <= bar["y"] < 20
        assert bar["height"] <= height / 4
        expect(page.locator(".ts-play")).to_be_in_viewport(ratio=1)
        if width > 860:
            expect(page.locator(".ts-rail-row").last).to_be_in_viewport(ratio=1)
        assert no_overflow(page)


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
  for (const e of document.querySelectorAll("#header *, #form *")) {
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


def test_another_run_keeps_the_layer_and_head_that_were_chosen(look):
    page = look()
    looked = page.evaluate("(({ layer, head }) => [layer, head])(tokenoscope.selection.at)")
    other = [(looked[0] + 1) % 4, (looked[1] + 2) % 6]
    page.evaluate("([layer, head]) => tokenoscope.selection.set({ layer, head })", other)
    run_to_the_end(page, "Two words")
    assert page.evaluate("(({ layer, head }) => [layer, head])(tokenoscope.selection.at)") == other


def test_what_scrolls_under_a_resting_pointer_is_not_previewed(look):
    """Browsers send a pointer event when the page has scrolled, at the place on the screen where the pointer rests."""
    page = look(width=1440, height=900)
    page.wait_for_function("tokenoscope.store.run.lens && document.querySelector('.ts-grid-canvas').clientWidth > 100")
    page.locator(".ts-grid-canvas").evaluate("grid => grid.scrollIntoView({ block: 'center' })")
    page.evaluate("""() => document.addEventListener("pointermove", (event) => {
        if (event.isTrusted) window.lastPlace = { screenX: event.screenX, screenY: event.screenY };
    })""")
    page.mouse.move(5, 5)
    page.wait_for_timeout(300)
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
