"""The card of the KV cache: bytes that were measured beside bytes that the shape says, and areas that are to scale."""

import re
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, Position, expect

from tests.browser.pages import settle
from tests.fakes import fake_trace

pytestmark = pytest.mark.cards("kv-cache")

BYTES = re.compile(r"([\d.]+) (bytes|kB|MB|GB|TB)")
UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@pytest.fixture
def page(look: Any) -> Page:
    page = look(width=1440, height=900)
    page.locator(".ts-card-kv-cache").scroll_into_view_if_needed()
    expect(page.locator(".ts-card-kv-cache .ts-saving-number").first).to_contain_text("B")
    return page


def held(page: Page, step: int) -> int:
    return page.evaluate("step => tokenoscope.store.run.steps[step].kvBytes", step)


def size(text: str) -> float:
    found = BYTES.search(text)
    assert found is not None, text
    return float(found[1]) * UNITS[found[2]]


def test_the_card_and_the_rail_say_the_bytes_of_the_pass_that_is_looked_at(page: Page) -> None:
    for step in (0, 7):
        page.evaluate("step => tokenoscope.selection.set({ step })", step)
        fact = page.locator(".ts-card-kv-cache .ts-fact-value").first
        expect(page.locator(".ts-card-kv-cache")).to_have_attribute("data-at", re.compile(f"^{step}/"))
        assert size(fact.inner_text()) == pytest.approx(held(page, step), rel=0.005)
        rail = page.locator('.ts-rail-row[data-goes-to="kv-cache"] .ts-rail-value')
        said = fact.inner_text().partition(" ")[0]
        expect(rail).to_have_text(re.compile(f"^{re.escape(said)} "))  # drawn when the selection rests
        assert fact.inner_text().startswith(rail.inner_text())
        assert fact.inner_text().endswith(f" {held(page, step):,} bytes")
        expect(page.locator(".ts-card-kv-cache .ts-facts")).to_contain_text("exactly equal")


def test_the_last_written_token_is_said_not_to_be_in_the_cache(page: Page) -> None:
    steps, read, written = page.evaluate(
        "(({ steps, nRead, tokens }) => [steps.length, nRead, tokens.length])(tokenoscope.store.run)"
    )
    card = page.locator(".ts-card-kv-cache")
    page.evaluate("step => tokenoscope.selection.set({ step })", steps - 1)
    expect(card).to_contain_text(f"The cache holds {read} of {written} tokens: no pass has read the last one.")
    page.evaluate("step => tokenoscope.selection.set({ step })", steps - 2)
    expect(card).not_to_contain_text("no pass has read the last one")


def test_without_shared_heads_it_would_be_larger_by_the_heads(page: Page) -> None:
    bars = page.locator(".ts-card-kv-cache .ts-saving")
    has, would = (size(each.inner_text()) for each in bars.all())
    assert would / has == pytest.approx(3, rel=0.01)  # 6 query heads over 2 key/value heads
    widths = [each.bounding_box() for each in page.locator(".ts-card-kv-cache .ts-heads").all()]
    assert widths[0] is not None and widths[1] is not None
    assert widths[1]["width"] / widths[0]["width"] == pytest.approx(3, rel=0.02)


def test_longer_texts_and_more_users_are_drawn_to_scale(page: Page) -> None:
    cells = page.locator(".ts-card-kv-cache .ts-scale-cell")
    expect(cells).to_have_count(9)
    per_token = held(page, 0) / page.evaluate("tokenoscope.store.run.steps[0].n")
    areas = page.evaluate("""() => [...document.querySelectorAll(".ts-area .ts-square-cache")]
        .map((e) => e.getBoundingClientRect().width ** 2)""")
    wanted = [users * tokens * per_token for users in (1, 8, 64) for tokens in (1024, 8192, 131072)]
    assert [size(each.inner_text()) for each in cells.all()] == pytest.approx(wanted, rel=0.005)
    assert [each / areas[-1] for each in areas] == pytest.approx([each / wanted[-1] for each in wanted], rel=0.02)
    cells.nth(8).hover()
    expect(page.locator(".ts-card-kv-cache .ts-scale-box + .ts-readout")).to_contain_text(
        "64 users with 131,072 tokens"
    )
    assert all("*" in each.inner_text() for each in cells.all()), "the made-up model's context is 512 tokens"


def test_pointing_at_a_cell_says_what_is_kept_there_and_a_click_stays(page: Page) -> None:
    page.evaluate("tokenoscope.selection.set({ step: 9, layer: 0 })")
    cells = page.locator(".ts-card-kv-cache canvas:visible").nth(1)
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    assert box is not None
    column = min(22, (box["width"] - 68) / page.evaluate("tokenoscope.store.run.nRead"))
    at: Position = {"x": 64 + 2.5 * column, "y": box["height"] * 0.9}
    cells.hover(position=at)
    said = page.locator(".ts-card-kv-cache").get_by_text(
        re.compile("^Layer 3 keeps 2 keys of .* and 2 values of .* for token 2")
    )
    expect(said).to_be_visible()
    assert page.evaluate("tokenoscope.selection.locked") is False
    cells.click(position=at)
    page.mouse.move(2, 2)
    expect(said).to_be_visible()
    page.keyboard.press("Escape")
    assert page.evaluate("tokenoscope.selection.locked") is False


def test_nothing_is_cut_off_at_any_width(page: Page) -> None:
    for name in ("kv-cache", "next-token"):
        page.evaluate("name => tokenoscope.store.rail.open(name)", name)
        for width in (360, 640, 900, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            settle(page)
            wide = page.evaluate(
                """(name) => {
                const card = document.querySelector(`.ts-card-${name}`);
                const edge = card.getBoundingClientRect().right;
                return [...card.querySelectorAll("*")].filter((e) => e.checkVisibility() && !e.closest("canvas")
                    && e.getBoundingClientRect().right > edge).map((e) => `${e.tagName}.${e.className}`);
            }""",
                name,
            )
            assert wide == [], (name, width)


def test_a_layer_with_a_state_says_so_and_keeps_no_token_by_itself(look: Any) -> None:
    run = fake_trace()
    unlike = [(6000, 512 * step.stop, 0, 512 * step.stop) for step in run.steps]
    steps = tuple(
        replace(step, layer_bytes=sizes, state_bytes=(6000, 0, 0, 0), kv_bytes=sum(sizes))
        for step, sizes in zip(run.steps, unlike, strict=True)
    )
    page = look(replace(run, steps=steps), "step=1&layer=0&token=2", width=1280, height=900)
    card = page.locator(".ts-card-kv-cache")
    expect(card).to_contain_text("Bytes of each layer after this pass")
    expect(card).to_contain_text("Layer 0 keeps a state of 6.00 kB: each token is worked into it")
    expect(card).to_contain_text("1 of 4 layers keeps a state.")
    expect(card).to_contain_text("Layer 0 keeps no keys and values: token 2")
    page.evaluate("tokenoscope.selection.set({ layer: 2 })")
    expect(card).to_contain_text("The cache holds nothing for layer 2.")
    page.evaluate("tokenoscope.selection.set({ layer: 1 })")
    expect(card).to_contain_text(f"Layer 1 keeps {512 * run.steps[1].stop / 1000:.2f} kB.")


def test_layers_that_are_alike_need_no_picture_of_each(page: Page) -> None:
    expect(page.get_by_text("Bytes of each layer after this pass")).to_be_hidden()
