"""The attention of a long run in a browser: its map comes pooled and says so, and a press shows exact weights."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Position, expect

from model.records.trace import Trace
from tests.browser.pages import no_overflow, serious_faults, settle
from tests.browser.plain import Plain
from tests.fakes import fake_trace
from viz import export

pytestmark = pytest.mark.cards("attention")

CARD, MAP = ".ts-card-attention", ".ts-long-map"
HELD = "tokenoscope.store.run.maps.get('1/2')"
N = 700


@cache
def long_run() -> Trace:
    """A run of 701 read tokens, whose maps are sent in cells of 3 by 3."""
    return fake_trace(tuple(f" w{i}" for i in range(N)), (" new0", " new1"), d_vocab=1000)


@pytest.fixture
def opened(look: Callable[..., Page]) -> Callable[..., Page]:
    def open_run(**size: int) -> Page:
        page = look(long_run(), "step=1&layer=1&head=2&token=700", **({"width": 1440, "height": 900} | size))
        page.locator(CARD).scroll_into_view_if_needed()
        page.wait_for_function(f"{HELD} && tokenoscope.store.run.row(1, 2, 700) && tokenoscope.store.run.little")
        settle(page)
        return page

    return open_run


def place(page: Page, row: float, key: float, row0: int = 0, key0: int = 0, n: int = N + 1) -> Position:
    """Where a token's row meets a key on the map, in its own pixels."""
    side = page.locator(MAP).evaluate("map => map.clientWidth - 3 - 98")
    return {"x": 98 + (key - key0 + 0.5) * side / n, "y": 72 + (row - row0 + 0.5) * side / n}


def zoomed(page: Page, row: int, key: int) -> tuple[int, int]:
    """Press a place, wait for the exact weights; returns the first row and key that are drawn."""
    page.locator(MAP).click(position=place(page, row, key))
    expect(page.locator(".ts-long-legend")).to_contain_text("Exact: tokens")
    found = re.search(r"Exact: tokens (\d+)–\d+ attend to tokens (\d+)–", page.locator(".ts-long-legend").inner_text())
    assert found
    return int(found[1]), int(found[2])


def test_the_map_is_pooled_and_says_so_and_no_whole_layer_is_fetched(opened: Callable[..., Page]):
    page = opened()
    assert page.evaluate("[...tokenoscope.store.run.maps.keys()]") == ["1/2"]
    assert page.evaluate("Boolean(tokenoscope.store.run.row(1, 2, 700) && tokenoscope.store.run.little)")
    assert page.evaluate("tokenoscope.store.run.layers.size") == 0
    expect(page.locator(".ts-long-legend")).to_contain_text("Each square is the largest of 3 × 3 tokens.")
    expect(page.locator(".ts-grid-words")).to_contain_text("22 of its rows, evenly spread")
    expect(page.locator(f"{CARD} .ts-looks .ts-look:visible")).to_have_count(N + 1)
    page.locator(MAP).hover(position=place(page, 601, 301))
    said = page.locator(".ts-one-weight").inner_text()
    assert "Tokens 600–602 attend to tokens 300–302" in said
    weight = long_run().pattern(1, 2)[600:603, 300:303].max()
    assert float(re.findall(r"([\d.]+)%", said)[0]) == pytest.approx(100 * weight, abs=0.45)
    page.get_by_label("leave the first token out of the colours").uncheck()
    page.locator(MAP).hover(position=place(page, 601, 1))
    first = long_run().pattern(1, 2)[600:603, :3].max()
    said = page.locator(".ts-one-weight").inner_text()
    assert float(re.findall(r"([\d.]+)%", said)[0]) == pytest.approx(100 * first, abs=0.45)


def test_the_strongest_square_is_drawn_in_the_strongest_colour(opened: Callable[..., Page]):
    page = opened()
    pattern = long_run().pattern(1, 2).copy()
    pattern[:, 0] = 0
    row, key = np.unravel_index(pattern.argmax(), pattern.shape)
    row, key = 3 * (row // 3) + 1, 3 * (key // 3) + 1
    colour = page.locator(MAP).evaluate(
        """(map, { x, y }) => [...map.getContext("2d")
            .getImageData(x * devicePixelRatio, y * devicePixelRatio, 1, 1).data]""",
        place(page, float(row), float(key)),
    )
    word = page.evaluate("tokenoscope.store.colours.scale[255]")
    assert colour[:3] == [word >> shift & 255 for shift in (0, 8, 16)]


def test_a_press_shows_the_exact_weights_around_it(opened: Callable[..., Page]):
    page = opened()
    row0, key0 = zoomed(page, 400, 200)
    assert (row0, key0) == (pytest.approx(400 - 128, abs=2), pytest.approx(200 - 128, abs=2))
    pattern = long_run().pattern(1, 2)
    for row, key in ((350, 201), (420, 150), (500, 320)):
        page.locator(MAP).hover(position=place(page, row, key, row0, key0, 256))
        said = page.locator(".ts-one-weight").inner_text()
        assert f"w{row}" in said
        assert f"w{key}" in said
        found = re.search(r"\(([\d.e−-]+)\)\.$", said)
        assert found, said
        assert float(found[1].replace("−", "-")) == pytest.approx(pattern[row, key], rel=1e-3)
    page.locator(MAP).click(position=place(page, 420, 150, row0, key0, 256))
    page.wait_for_function("tokenoscope.selection.at.token === 420 && tokenoscope.store.run.row(1, 2, 420)")
    page.get_by_role("button", name="Whole map").click()
    expect(page.locator(".ts-long-legend")).to_contain_text("Each square is the largest of 3 × 3 tokens.")


def test_a_token_that_was_searched_for_is_looked_at_closely(opened: Callable[..., Page]):
    page = opened()
    page.evaluate("tokenoscope.selection.set({ token: 300 })")  # as the search of the loom does
    page.get_by_role("button", name="Exact weights at the selected token").click()
    expect(page.locator(".ts-long-legend")).to_contain_text("Exact: tokens 172–427 attend to tokens 172–427.")
    page.locator(MAP).focus()
    page.keyboard.press("Escape")
    expect(page.locator(".ts-long-legend")).to_contain_text("the largest of 3 × 3 tokens")
    page.keyboard.press("Enter")
    expect(page.locator(".ts-long-legend")).to_contain_text("Exact: tokens")
    page.evaluate("tokenoscope.selection.set({ head: 3 })")  # the same part of another head
    page.wait_for_function("tokenoscope.store.run.mapParts.has('1/3/172/172')")
    expect(page.locator(".ts-long-legend")).to_contain_text("Exact: tokens 172–427")


def test_a_phone_draws_fewer_squares_and_says_of_how_many_tokens(opened: Callable[..., Page]):
    page = opened(width=390, height=844)
    legend = page.locator(".ts-long-legend")
    expect(legend).to_contain_text("Each square is the largest of")
    found = re.search(r"largest of (\d+) × \1 tokens", legend.inner_text())
    assert found
    assert int(found[1]) % 3 == 0
    side = page.locator(MAP).evaluate("map => (map.clientWidth - 101) * devicePixelRatio")
    assert -(-(N + 1) // int(found[1])) <= side
    assert no_overflow(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_card_can_be_read_by_everybody(opened: Callable[..., Page], theme: str):
    page = opened()
    page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
    settle(page)
    assert serious_faults(page, f"{CARD} .ts-map-pane") == []


def test_a_short_run_after_a_long_one_has_its_own_map(opened: Callable[..., Page], house: Plain):
    page = opened()
    short = house.keep(fake_trace())
    page.evaluate("(id) => { location.hash = `record=${id}&step=1`; }", short)
    page.wait_for_function("tokenoscope.store.run.nRead < 20")
    expect(page.locator(MAP)).to_have_count(0)
    expect(page.locator(f"{CARD} .ts-map")).to_be_visible()


def test_a_saved_page_has_pooled_maps_of_some_layers_and_says_so_of_others(
    visit: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "_POOLED_WEIGHTS", 1)
    path = tmp_path / "long.html"
    path.write_text(export.page(long_run(), light=True), "utf-8")
    page = visit(None, width=1440, height=900)
    page.goto(path.as_uri())
    page.wait_for_function("window.tokenoscope?.store.run?.little")
    held = page.evaluate("[...new Set([...tokenoscope.store.run.maps.keys()].map((key) => +key.split('/')[0]))]")
    assert len(held) == 1
    page.evaluate(f"tokenoscope.selection.set({{ step: 1, layer: {held[0]}, head: 2, token: 700 }})")
    page.locator(CARD).scroll_into_view_if_needed()
    expect(page.locator(".ts-long-legend")).to_contain_text("Each square is the largest of 3 × 3 tokens.")
    expect(page.locator(f"{CARD} .ts-looks .ts-look:visible")).to_have_count(N + 1)
    page.locator(MAP).click(position=place(page, 400, 200))
    expect(page.locator(f"{CARD} .ts-map-pane")).to_contain_text("no exact parts of the maps of long runs")
    page.evaluate(f"tokenoscope.selection.set({{ layer: {(held[0] + 1) % 4} }})")
    expect(page.locator(f"{CARD} .ts-map-pane")).to_contain_text("but not of this layer")
    expect(page.locator(MAP)).to_be_hidden()
