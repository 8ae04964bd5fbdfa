"""How long the page draws when a person scrubs: `python -m bench.page` prints a table, and the load of the machine.

A run of 128 tokens of a model of 30 layers and 9 heads, made of random numbers, in a page of its own in Chromium. For
each step to the next pass: the script's own drawing, and the whole frame in which the browser draws it.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from tests.conftest import CHROMIUM, CHROMIUM_ARGS
from tests.fakes import fake_trace
from viz import export

_PROMPT, _WRITTEN, _ROUNDS = 64, 65, 5  # 128 positions are read: nobody reads the last token
_SCRUB = """async (rounds) => {
  const { store, selection } = window.tokenoscope;
  const script = [], frame = [];
  for (let round = 0; round <= rounds; round += 1) {
    for (let step = 0; step < store.run.steps.length; step += 1) {
      await new Promise((done) => requestAnimationFrame(done));
      let began = 0;
      selection.set({ step });
      await new Promise((done) => requestAnimationFrame((frameBegan) => {
        began = frameBegan;  // the page has drawn in this frame, before us
        const channel = new MessageChannel();  // its message is handled after this frame was painted
        channel.port1.onmessage = done;
        channel.port2.postMessage(0);
      }));
      if (round === 0) continue;  // warm-up
      script.push(store.drawMs);
      frame.push(performance.now() - began);
    }
  }
  return { script, frame };
}"""


def main() -> int:
    """Measure and print. Returns 0."""
    trace = fake_trace(
        tuple(f" p{i}" for i in range(_PROMPT)),
        tuple(f" g{i}" for i in range(_WRITTEN)),
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        d_head=64,
        d_vocab=1000,
    )
    print(f"{trace.n_fed} positions, 30 layers x 9 heads, {len(trace.steps)} passes, {_ROUNDS} rounds of scrubbing")
    print(f"load of the machine, 1 minute: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    print("| window | what | p50 ms | p95 ms | p99 ms |\n|---|---|---|---|---|")
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
        browser.close()
    return 0


def _report(page: Page, window: str) -> None:
    measured = page.evaluate(_SCRUB, _ROUNDS)
    for what, name in (("script", "drawing in script"), ("frame", "the frame: script, style, layout, paint")):
        p50, p95, p99 = np.percentile(measured[what], (50, 95, 99))
        print(f"| {window} | {name} | {p50:.1f} | {p95:.1f} | {p99:.1f} |")


if __name__ == "__main__":
    sys.exit(main())
