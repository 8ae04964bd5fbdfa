"""How long the page draws: `python -m bench.page` prints one table, and the load of the machine.

Scrubbing, pointing and replay: a run of 128 tokens of a model of 30 layers and 9 heads, made of random numbers, in a
page of its own in Chromium. Beside a live model: the app with its default model, which writes 64 tokens meanwhile. A
task takes longer where other work shares the processor: what it computes itself stands in a row of its own.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from tests.app.fakes_engine import timed
from tests.conftest import CHROMIUM, CHROMIUM_ARGS
from tests.fakes import fake_trace
from viz import export

ROOT = Path(__file__).parents[1]
_PROMPT, _WRITTEN, _ROUNDS = 64, 65, 5  # 128 positions are read: nobody reads the last token
_LIVE = 64  # tokens
_LONG = 50  # ms
_START_S = 120
_TIMED = """(act) => new Promise((done) => requestAnimationFrame(() => {
  let began = 0;
  const acted = performance.now();
  act();
  const script = performance.now() - acted;
  requestAnimationFrame((frameBegan) => {
    began = frameBegan;  // the page has drawn in this frame, before us
    const channel = new MessageChannel();  // its message is handled after this frame was painted
    channel.port1.onmessage = () => done([script + window.tokenoscope.store.drawMs, performance.now() - began]);
    channel.port2.postMessage(0);
  });
}))"""
_SCRUB = f"""async (rounds) => {{
  const timed = {_TIMED};
  const {{ store, selection }} = window.tokenoscope;
  const found = [];
  for (let round = 0; round <= rounds; round += 1) {{
    for (let step = 0; step < store.run.steps.length; step += 1) {{
      const took = await timed(() => selection.set({{ step }}));
      if (round > 0) found.push(took);  // the first one warms up
    }}
  }}
  return found;
}}"""
_HOVER = f"""async (rounds) => {{
  const timed = {_TIMED};
  const {{ loom }} = window.tokenoscope.store;
  const over = loom.over;
  const found = [];
  for (let round = 0; round <= rounds; round += 1) {{
    for (let i = 0; i < 60; i += 1) {{
      const box = over.getBoundingClientRect();
      const clientX = box.left + box.width * (0.1 + 0.8 * i / 60);
      const clientY = box.top + box.height * (0.15 + 0.6 * ((i * 7) % 60) / 60);
      const moved = new PointerEvent("pointermove", {{ bubbles: true, pointerType: "mouse", clientX, clientY }});
      const took = await timed(() => over.dispatchEvent(moved));
      if (round > 0) found.push(took);
    }}
  }}
  return found;
}}"""
_REPLAY = """async (seconds) => {
  const { transport, selection } = window.tokenoscope.store;
  selection.set({ step: 0 });
  transport.start();
  const found = [];
  const began = performance.now();
  for (let last = began; last - began < 1000 * seconds; ) {
    const now = await new Promise((done) => requestAnimationFrame(done));
    found.push(now - last);
    last = now;
  }
  transport.pause();
  return found.slice(5);
}"""
_TASK = "ThreadControllerImpl::RunTask"  # a task, as Chromium's own tracing names it


def main() -> int:
    """Measure and print. Returns 0."""
    trace = timed(
        fake_trace(
            tuple(f" p{i}" for i in range(_PROMPT)),
            tuple(f" g{i}" for i in range(_WRITTEN)),
            n_layers=30,
            n_heads=9,
            n_kv_heads=3,
            d_head=64,
            d_vocab=1000,
        )
    )
    print(f"{trace.n_fed} positions, 30 layers x 9 heads, {len(trace.steps)} passes, {_ROUNDS} rounds")
    print(f"load of the machine, 1 minute: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    print("| window | what, in ms | p50 | p95 | p99 | most |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "page.html"
        page_file.write_text(export.page(trace), encoding="utf-8")
        installed = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
        browser = playwright.chromium.launch(executable_path=installed, args=CHROMIUM_ARGS)
        for width, height in ((1440, 900), (390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(page_file.as_uri())
            page.wait_for_selector('#scope[data-ready="1"]')
            _report(page, f"{width}x{height}")
            page.close()
        _report_live(browser)
        browser.close()
    return 0


def _report(page: Page, window: str) -> None:
    for what, script in (("scrubbing", _SCRUB), ("pointing at cells", _HOVER)):
        scripts, frames = np.array(page.evaluate(script, _ROUNDS)).T
        _row(window, f"{what}: script", scripts)
        _row(window, f"{what}: the frame, with style, layout and paint", frames)
    _row(window, "replay, 20 times slower: from frame to frame", np.array(page.evaluate(_REPLAY, 4)))


def _report_live(browser: Browser) -> None:
    with _app() as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.wait_for_function("document.querySelector('.ts-model-text')?.textContent.startsWith('Ready')", timeout=0)
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("number input for New tokens").fill(str(_LIVE))
        page.keyboard.press("Tab")
        browser.start_tracing(page=page, categories=["toplevel"])
        page.locator("#run").click()
        page.wait_for_function("document.querySelector('.ts-run-text').textContent.startsWith('Done')", timeout=0)
        took, computed = _tasks(json.loads(browser.stop_tracing())["traceEvents"])
        n = page.evaluate("tokenoscope.store.run.nRead")
        _row("1440x900", f"beside a live model, {n} positions: tasks ({(took > _LONG).sum()} over 50 ms)", took)
        _row("1440x900", f"the same in processor time ({(computed > _LONG).sum()} over 50 ms)", computed)
        page.close()


def _tasks(events: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The tasks of the page's main thread, in ms: how long each took, and how long a processor worked on it."""
    names = [each for each in events if each.get("name") == "thread_name"]
    mains = {(each["pid"], each["tid"]) for each in names if each["args"]["name"] == "CrRendererMain"}
    tasks = [each for each in events if each.get("name") == _TASK and (each["pid"], each["tid"]) in mains]
    took = np.array([(each["dur"], each["tdur"]) for each in tasks if each["ph"] == "X"]) / 1000
    return took[:, 0], took[:, 1]


@contextmanager
def _app() -> Iterator[str]:
    """The app on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    program = subprocess.Popen(
        [sys.executable, str(ROOT / "app.py"), "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        ends = time.monotonic() + _START_S
        while time.monotonic() < ends:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        program.terminate()
        program.wait()


def _row(window: str, what: str, values: np.ndarray) -> None:
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    print(f"| {window} | {what} | {p50:.1f} | {p95:.1f} | {p99:.1f} | {values.max():.1f} |")


if __name__ == "__main__":
    sys.exit(main())
