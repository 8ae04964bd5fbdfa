"""What tests of the page share: a run brought to its end, settings unfolded, and whether all fits the window."""

import re
import time
from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.patience import PATIENCE_S

PROMPT = "document.querySelector('#prompt textarea').value"


def frames_held(page: Page) -> int:
    return int(page.locator(".ts-board").get_attribute("data-frames") or 0)


# Two frames, so that what was asked for is drawn and its layout has told those that watch it; then all that is left.
SETTLED = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const { store } = tokenoscope;
  for (let left = 2; left > 0 || store.frame || store.cards.some((card) => card.stale); left -= 1) await frame();
}"""


def settle(page: Page) -> None:
    """Wait until the board has drawn what was asked for."""
    page.evaluate(SETTLED)


# A smooth scroll that is under way can move the page once more after a test has scrolled it.
RESTS_AT = """async (y) => {
  for (let rested = 0; rested < 5; rested = Math.abs(scrollY - y) < 1 ? rested + 1 : 0) {
    scrollTo({ top: y, behavior: "instant" });
    await new Promise((done) => requestAnimationFrame(done));
  }
}"""


def scroll_to(page: Page, y: int) -> None:
    """Scroll the page, and wait until it rests there."""
    page.evaluate(RESTS_AT, y)


# The page's clock stands still until a test lets time pass, so that no slow machine misses what is played.
HELD_CLOCK = """() => {
  let now = performance.now();
  performance.now = () => now;
  window.letPass = (ms) => { now += ms; };
}"""
PLAYED = """async ([expression, ms]) => {
  const holds = new Function(`return ${expression}`);
  for (let frames = 0; !holds(); frames += 1) {
    if (frames > 2000) throw new Error(`never: ${expression}`);
    window.letPass(ms);
    await new Promise((done) => requestAnimationFrame(done));
  }
}"""


def hold_clock(page: Page) -> None:
    page.evaluate(HELD_CLOCK)


def play_until(page: Page, holds: str, ms: float = 50) -> None:
    """Let so much time pass from frame to frame until an expression holds in the page, whose clock is held."""
    page.evaluate(PLAYED, [holds, ms])


def until(holds: Callable[[], bool], page: Page) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, page.locator("#status, .ts-crumbs").first.inner_text()
        page.wait_for_timeout(20)


def run_to_the_end(page: Page, prompt: str | None = None) -> str | None:
    """Press Run, wait for the end; returns the id of the run that is shown."""
    before = page.locator(".ts-board").get_attribute("data-run")
    if prompt is not None:
        page.locator("#prompt textarea").fill(prompt)
    page.locator("#run").click()
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Done: "))
    until(lambda: page.locator(".ts-board").get_attribute("data-run") != before, page)
    return page.locator(".ts-board").get_attribute("data-run")


def unfold(page: Page, name: str) -> None:
    """Open a part of the form that is folded up, where it is not open yet."""
    button = page.locator(".ts-popover button[aria-expanded]", has_text=name)
    if button.get_attribute("aria-expanded") == "false":
        button.click()


def open_settings(page: Page) -> None:
    """Unfold the settings."""
    unfold(page, "Settings")
    page.get_by_label("Seed").wait_for()


def step_shown(page: Page) -> int:
    return page.evaluate("window.tokenoscope.selection.at.step")


def no_overflow(page: Page) -> bool:
    """Nothing reaches beyond the window's right edge, whether it could be scrolled to or is cut off."""
    return page.evaluate("""document.documentElement.scrollWidth <= innerWidth
        && [...document.querySelectorAll("#header, #top, #form, #main, .ts-board, .ts-card")]
            .every((part) => part.getBoundingClientRect().right <= innerWidth)""")


def serious_faults(page: Page, inside: str = "html") -> list[str]:
    """What axe-core calls serious or critical there, with the first elements it names."""
    found = Axe().run(page, context=inside).response["violations"]
    return [
        f"{fault['id']}: {[node['html'][:120] + node['failureSummary'][-180:] for node in fault['nodes'][:3]]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def too_small(page: Page) -> list[str]:
    """Text of the pictures that is smaller than 14 px."""
    return page.evaluate("""() => [...document.querySelectorAll(".ts-scope *")]
        .filter((e) => [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
        .filter((e) => e.checkVisibility() && !e.closest(".ts-hidden, .js-plotly-plot"))
        .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 14)
        .map((e) => `${e.className} ${e.textContent.slice(0, 30)} ${getComputedStyle(e).fontSize}`)""")
