"""What the page promises, measured in a real browser: how soon, how fast, for whom, at every size.

Times are taken several times and the best try is judged, and a bound is stretched by how slow the machine is just then:
it is shared, and what another program takes is no fault of the page. A frame needs more than one processor, so a plain
page, drawn by the same browser in turn with ours, says how slow frames are. `python -m bench.page` prints the plain
numbers.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.app.fakes_engine import FakeEngine
from tests.browser.pages import no_overflow, run_to_the_end, serious_faults, settle, too_small, until
from tests.fakes import fake_trace
from viz import export
from viz.markup import ASSETS

SIZES = ((1440, 900), (1280, 640), (390, 844), (1920, 1080), (1024, 768))
VIEWS = ("output", "tokens", "embeddings", "passes", "attention", "layers", "next-token", "kv-cache")
TRIES = 4
COUNTED, COUNTED_S = 2_000_000, 0.06  # a loop of Python, and its seconds on the machine that the bounds are meant for

# When the first picture of the run was painted, and when the page's load event was over, in ms of the page's clock.
FIRST_SIGHT = """
window.firstSight = new Promise((done) => {
  const look = () => {
    const line = document.querySelector('.ts-loom-line');
    const isDrawn = line?.textContent && line.checkVisibility() && window.tokenoscope.store.loom.geometry;
    if (!isDrawn) { requestAnimationFrame(look); return; }
    const channel = new MessageChannel();  // its message is handled after this frame was painted
    const [navigation] = performance.getEntriesByType('navigation');
    channel.port1.onmessage = () => done(performance.now() - navigation.loadEventEnd);
    channel.port2.postMessage(0);
  };
  requestAnimationFrame(look);
});
"""

# Wall-clock times in ms at which a frame with one more pass of the newest run had been painted.
PAINTS = """() => {
  window.paints = [];
  const old = window.tokenoscope.store.run;
  const look = () => {
    const { run } = window.tokenoscope.store;
    const n = run === old ? 0 : run.steps.length;
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      while (window.paints.length < n) window.paints.push(performance.timeOrigin + performance.now());
    };
    channel.port2.postMessage(0);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""

# For each event of this kind, from its own time stamp to the end of the frame that shows what it changed.
WATCH = """(kind) => {
  window.waits = [];
  window.scripts = [];
  window.addEventListener(kind, (event) => {
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        window.waits.push(performance.now() - event.timeStamp);
        window.scripts.push(window.tokenoscope.store.drawMs);
      };
      channel.port2.postMessage(0);
    });
  }, { capture: true });
}"""

# A page that does nothing but what a frame costs: a key makes it compute a little and draw each of its boxes anew.
YARDSTICK = """<style>
  i { display: inline-block; width: 26px; height: 14px; margin: 1px; background: #dde }
  .on i { background: #246; color: #fff }
</style>
<body><script>
  for (let i = 0; i < 1200; i += 1) document.body.append(document.createElement("i"));
  for (const [i, box] of document.querySelectorAll("i").entries()) box.textContent = i;
  window.tokenoscope = { store: { drawMs: 0 } };
  const act = () => requestAnimationFrame(() => {
    const began = performance.now();
    for (let i = 0, sum = 0; i < 400000; i += 1) sum += Math.sqrt(i);
    document.body.classList.toggle("on");
    window.tokenoscope.store.drawMs = performance.now() - began;
  });
  window.addEventListener("keydown", act);
</script>"""
# The aim is 33 ms here too: with every card open, on two processors and without a graphics card, 52 to 79 were measured
# at 1.2 to 1.6 times the yardstick, by old scripts and new ones alike. This bound keeps it from becoming worse.
PAINTED_MS = 75
YARDSTICK_MS = 25  # its wait, 95th percentile, on the machine that the bounds are meant for


class ClockedEngine(FakeEngine):
    """Notes when each pass was over."""

    def __init__(self, seconds: float) -> None:
        self.passed: list[float] = []
        super().__init__(seconds=seconds)

    def _passed(self) -> bool:
        passed = super()._passed()
        if passed:
            self.passed.append(time.time() * 1000)
        return passed


def crowding() -> float:
    """How much longer a computation takes than on the machine that the bounds are meant for, alone on it; at least 1.

    By the clock on the wall: a host that lends less of its processor slows this too, which no time of a thread shows.
    """
    began, total = time.perf_counter(), 0
    for each in range(COUNTED):
        total += each
    return max(1.0, (time.perf_counter() - began) / COUNTED_S)


class Yardstick:
    """How slow frames are just now, by the plain page."""

    def __init__(self, page: Page, path: Path) -> None:
        path.write_text(YARDSTICK, encoding="utf-8")
        page.goto(path.as_uri())
        page.evaluate(WATCH, "keydown")
        self._page = page

    def press(self) -> None:
        self._page.bring_to_front()  # a browser draws the tab in front alone
        scrub(self._page)

    def slowness(self) -> float:
        """How much longer its frames took since the last question than on the machine meant; at least 1."""
        waits = self._page.evaluate("window.waits.splice(0)")
        return max(1.0, float(np.percentile(waits, 95)) / YARDSTICK_MS)


def within(
    measure: Callable[[], dict[str, float]], bounds: dict[str, float], slowness: Callable[[], float] = crowding
) -> None:
    """Some try keeps every bound, in ms, stretched by the slowness before and after; else all of them are shown.

    Waits are stretched by more: where frames take longer than keys are apart, each key waits for those before it, too.
    """
    tries = []
    for _ in range(TRIES):
        before = crowding()
        measured = measure()
        stretch = max(before, slowness())
        tries.append({**measured, "slowness": stretch})
        if all(measured[name] <= bound * stretch ** (1.5 if name == "waits" else 1) for name, bound in bounds.items()):
            return
    raise AssertionError(f"wanted {bounds}, measured {tries}")


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 128 positions, 30 layers and 9 heads, as a page of its own."""
    trace = fake_trace(
        tuple(f" p{i}" for i in range(64)),
        tuple(f" g{i}" for i in range(65)),
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        d_head=64,
        d_vocab=1000,
    )
    path = tmp_path_factory.mktemp("long") / "page.html"
    path.write_text(export.page(trace, light=True), encoding="utf-8")
    return path


@pytest.mark.alone
def test_a_recorded_run_is_in_sight_within_a_second_of_the_load_event(serve, visit):
    served = serve(recorded=ASSETS / "recorded", ready=False)
    late = "new Promise((_, fail) => setTimeout(() => fail('never in sight'), 15000))"

    def measure() -> dict[str, float]:
        page = visit(None)
        page.add_init_script(FIRST_SIGHT)
        page.goto(served.url)
        seen = page.evaluate(f"Promise.race([window.firstSight, {late}])")
        page.close()
        return {"first sight": seen}

    within(measure, {"first sight": 1000})


@pytest.mark.alone
def test_a_pass_is_painted_within_a_tenth_of_a_second_of_its_end(house, go):
    def measure() -> dict[str, float]:
        engine = ClockedEngine(seconds=0.07)
        house.use(engine)
        page = go(house)
        page.evaluate(PAINTS)
        page.locator("#run").click()
        page.wait_for_function("window.paints.length === 16", timeout=20_000)
        delays = np.array(page.evaluate("window.paints")) - np.array(engine.passed[:16])
        page.close()  # tabs of one browser share six connections
        return {"painted": float(np.percentile(delays, 95))}

    within(measure, {"painted": 100})


def scrub(page: Page) -> None:
    """Keys as fast as a keyboard repeats one that is held."""
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "]", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
        page.wait_for_timeout(33)


def hover(page: Page) -> None:
    box = page.locator(".ts-axis").bounding_box()
    assert box is not None
    for i in range(8):
        page.mouse.move(box["x"] + box["width"] * (i + 0.5) / 8, box["y"] + 12)
        page.wait_for_timeout(33)


@pytest.mark.alone
def test_what_a_key_or_the_pointer_changes_is_drawn_in_8_ms(long_page, visit, tmp_path):
    """With every card open, each in sight in its turn, and then the loom: the longest way."""
    page = visit(None, width=1440, height=900)
    page.goto(long_page.as_uri())
    page.wait_for_selector('#scope[data-ready="1"]')
    yardstick = Yardstick(visit(None, width=1440, height=900), tmp_path / "plain.html")
    for kind, act, painted in (("keydown", scrub, PAINTED_MS), ("pointermove", hover, 33)):
        page.evaluate(WATCH, kind)
        within(partial(measure, page, yardstick, act), {"scripts": 8, "waits": painted}, yardstick.slowness)


def measure(page: Page, yardstick: Yardstick, act: Callable[[Page], None]) -> dict[str, float]:
    """What nineteen of twenty events took at most, in ms: the scripts alone, and until their frame was painted."""
    page.evaluate("window.waits.length = window.scripts.length = 0")
    for place in [".ts-loom", *(f"[data-view={view}]" for view in VIEWS)]:
        yardstick.press()
        page.bring_to_front()
        page.locator(place).evaluate("(card) => card.scrollIntoView({ block: 'start' })")
        settle(page)
        act(page)
        act(page)
    page.wait_for_timeout(100)
    measured = page.evaluate("({ waits: window.waits, scripts: window.scripts })")
    assert len(measured["waits"]) >= 8 * 2 * 6
    return {name: float(np.percentile(each, 95)) for name, each in measured.items()}


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_every_picture_fits_at_every_size_and_axe_finds_no_serious_fault(serve, visit, theme):
    page = visit(serve().url, theme=theme, width=1440, height=900)
    run_to_the_end(page)
    page.wait_for_function("tokenoscope.store.run.lens")
    for width, height in SIZES if theme == "dark" else SIZES[:3]:
        page.set_viewport_size({"width": width, "height": height})
        for view in VIEWS:
            card = page.locator(f"[data-view={view}]")
            card.scroll_into_view_if_needed()
            assert card.bounding_box()["height"] > 120, (view, width)
        until(lambda: no_overflow(page), page)
        assert too_small(page) == [], width
        if width == 1440 or (width == 390 and theme == "dark"):
            assert serious_faults(page) == [], width


@pytest.mark.cards("")
def test_a_person_without_a_mouse_runs_a_prompt_and_looks_at_every_picture(serve, visit):
    page = visit(serve().url, width=1440, height=900)
    tab_to(page, "#prompt textarea")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("only keys are used here")
    tab_to(page, "#run")
    page.keyboard.press("Enter")
    expect(page.locator(".ts-run-text")).to_have_text("Done: 16 tokens written, as many as requested.")
    page.wait_for_function("tokenoscope.store.run.lens")
    for view in VIEWS:
        tab_to(page, f"[data-goes-to={view}]", "Tab" if view == VIEWS[0] else "Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator(f"[data-view={view}] .ts-title")).to_be_in_viewport()
        at = page.evaluate("({ ...tokenoscope.selection.at })")
        page.keyboard.press("ArrowLeft")
        until(lambda at=at: page.evaluate("tokenoscope.selection.at.step") == at["step"] - 1, page)
        tab_to(page, f"[data-view={view}] .ts-details > summary")
        page.keyboard.press("Enter")
        expect(page.locator(f"[data-view={view}] .ts-details table")).to_be_visible()
        page.keyboard.press("Enter")
    page.keyboard.press("?")
    expect(page.locator(".ts-help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".ts-help")).to_be_hidden()


def tab_to(page: Page, selector: str, key: str = "Tab") -> None:
    """Press Tab, or go back by Shift and Tab, until this has the focus."""
    for _ in range(400):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} never came to {selector}")
