"""Experts: which of them each token is sent to, for models that have them, and no picture for the others."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from model.records.trace import Trace
from tests.browser.pages import no_overflow, serious_faults
from tests.browser.plain import finished
from tests.fakes import fake_trace

pytestmark = pytest.mark.cards("experts")

CARD = ".ts-card-experts"
N, CHOSEN = 8, 2
NAMES = 78  # px, left of the cells


def mixture() -> Trace:
    """A run of a model of 4 layers with 8 experts each, but for its first layer, which has none."""
    run, rng = fake_trace(), np.random.default_rng(3)
    shape = (run.model.n_layers, run.n_fed)
    ids = np.stack([rng.permutation(N)[:CHOSEN] for _ in range(shape[0] * shape[1])]).reshape(*shape, CHOSEN)
    weights = rng.dirichlet([1.0] * CHOSEN, shape)
    ids[0], weights[0] = -1, 0
    return replace(
        run,
        model=replace(run.model, n_experts=N),
        expert_ids=ids.astype(np.int32),
        expert_weights=weights.astype(np.float32),
    )


def test_a_model_without_experts_has_no_such_picture(look: Callable[..., Page]) -> None:
    page = look(finished())
    expect(page.locator("[data-goes-to=experts]")).to_be_hidden()
    expect(page.locator(CARD)).to_be_hidden()


def test_the_experts_of_each_token_are_those_of_the_record(look: Callable[..., Page]) -> None:
    run = mixture()
    assert run.expert_ids is not None and run.expert_weights is not None
    page = look(run, "step=1&layer=2&token=3", width=1280, height=900)
    said = page.locator(f"{CARD} .ts-readout")
    ids, weights = run.expert_ids[2, 3], run.expert_weights[2, 3]
    order = np.argsort(-weights)
    named = ", ".join(f"expert {ids[i]} ({_percent(weights[i])})" for i in order)
    expect(said).to_have_text(f"Layer 2 sends token 3 \u201c\u2423France\u201d to {named}.")
    page.locator(f"{CARD} .ts-details summary").click()
    rows = page.locator(f"{CARD} .ts-details tbody tr")
    expect(rows).to_have_count(run.n_fed * CHOSEN)
    page.evaluate("tokenoscope.selection.set({ layer: 0 })")
    expect(said).to_have_text("Layer 0 has no experts: its MLP works on every token.")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.09995 else f"{100 * share:.2f}%"


def test_a_click_on_either_map_selects_the_token_or_the_layer(look: Callable[..., Page]) -> None:
    run = mixture()
    page = look(run, "step=4&layer=1&token=1", width=1280, height=900)
    tokens, loads = (page.locator(f"{CARD} canvas").nth(i) for i in (0, 1))
    box = tokens.bounding_box()
    assert box is not None
    column = min((box["width"] - NAMES - 2) / run.n_fed, 72)
    tokens.click(position={"x": NAMES + 2.5 * column, "y": 20})
    assert page.evaluate("tokenoscope.selection.at.token") == 2
    loads.click(position={"x": 200, "y": 4 + 24 * 3 + 8})
    assert page.evaluate("tokenoscope.selection.at.layer") == 3


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_it_fits_and_axe_finds_no_serious_fault(look: Callable[..., Page], width: int, theme: str) -> None:
    page = look(mixture(), "step=4&layer=1", width=width, height=844, theme=theme)
    expect(page.locator(f"{CARD} canvas").first).to_be_visible()
    assert no_overflow(page)
    assert serious_faults(page) == []
