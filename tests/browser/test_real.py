"""The whole program once: the real default model, loaded behind the page, run in a real browser."""

import dataclasses
import re

import pytest
from playwright.sync_api import expect

from app import HostedModels, loader, make_store
from model.limits import Limits
from model.records.trace import Trace
from tests.app.served import serving
from tests.browser.pages import open_settings

pytestmark = pytest.mark.cards("")


def test_the_default_model_goes_on_from_a_prompt_on_the_page(default_folder, visit, tmp_path):
    limits = dataclasses.replace(Limits.from_environment(), models=())
    store = make_store(limits, tmp_path)
    models = HostedModels(limits, loader(limits, store))
    with serving(models, limits, tmp_path, store) as (url, _):
        page = visit(url)
        expect(page.locator(".ts-model-text")).to_have_text(
            re.compile(r"^Ready: SmolLM2-135M-Instruct, 30 layers × 9 heads, \w+, float32$"), timeout=60_000
        )
        page.locator("#prompt textarea").fill("The capital of France is")
        open_settings(page)
        page.get_by_label("number input for New tokens").fill("8")
        page.locator("#run").click()
        expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Done: "), timeout=60_000)
        page.wait_for_function("window.tokenoscope.store.record?.lens", timeout=60_000)
        with page.expect_download() as download:
            page.get_by_role("link", name="trace file").click()
        download.value.save_as(tmp_path / "run.trace")
        trace = Trace.open(tmp_path / "run.trace")
        assert trace.text.startswith(" Paris")
        held = page.evaluate("""() => {
            const run = window.tokenoscope.store.record;
            return {text: run.tokens.map((t) => t.text).join(""), kv: run.steps.at(-1).kvBytes,
                    row: Array.from(run.row(3, 2, run.nRead - 1)), best: run.steps[0].choices[0].candidates[0]};
        }""")
        assert held["text"] == "".join(token.text for token in trace.tokens)
        assert held["kv"] == trace.steps[-1].kv_bytes == 2 * 30 * 3 * 64 * 4 * trace.n_fed
        exact = trace.pattern(3, 2)[-1]
        assert max(abs((byte / 255) ** 2 - weight) for byte, weight in zip(held["row"], exact, strict=True)) < 0.004
        best = trace.choices[0].candidates[0]
        assert held["best"]["id"] == best.id
        assert held["best"]["probability"] == pytest.approx(best.probability, rel=1e-6)
        page.close()  # before the app ends, which it would miss
    models.close()
