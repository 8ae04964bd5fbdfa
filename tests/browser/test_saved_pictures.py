"""Each picture saved from itself: a drawing, an image at print size, its numbers; in the app and from a saved page."""

import csv
import io
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from model.records.trace import Trace
from tests.browser.pages import no_overflow, serious_faults, too_small, until
from tests.browser.plain import finished
from tests.fakes import fake_trace
from tests.fakes_measured import fake_measurement
from tests.fakes_serving import fake_batching
from viz.export import page as page_of

pytestmark = pytest.mark.cards("")

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = "tokenoscope.store.cards.every((card) => !card.stale)"
OPENED = f"(name) => {{ tokenoscope.store.rail?.open(name); return {DRAWN}; }}"


def menu(page: Page, name: str) -> Locator:
    """The control of a card, or of the loom, opened; the card is, too."""
    if name != "loom":
        page.wait_for_function(OPENED, arg=name)
    found = page.locator(".ts-loom-says > .ts-save" if name == "loom" else f'[data-view="{name}"] > .ts-save')
    opener = found.locator(".ts-save-open")
    if opener.get_attribute("aria-expanded") == "false":
        opener.click()
    return found


def saved(page: Page, name: str, kind: str) -> tuple[str, bytes]:
    """The name and the bytes of a file that is made of this picture."""
    button = menu(page, name).locator(f"[data-kind={kind}]")
    with page.expect_download() as download:
        button.click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def drawing(page: Page, name: str) -> ET.Element:
    return ET.fromstring(saved(page, name, "svg")[1])


def texts(root: ET.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


def rows(page: Page, name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(saved(page, name, "csv")[1].decode("utf-8-sig"), newline="")))


def size_of(root: ET.Element) -> tuple[int, int]:
    return int(root.get("width", "")), int(root.get("height", ""))


def colours_of(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


def dots_an_inch(png: bytes) -> float:
    at = png.index(b"pHYs")
    return struct.unpack(">I", png[at + 4 : at + 8])[0] * 0.0254


@pytest.fixture
def trace() -> Trace:
    return finished()


@pytest.fixture
def page(look: Callable[..., Page], trace: Trace) -> Page:
    page = look(trace, "step=3&layer=1&head=2", width=1440, height=900)
    page.wait_for_function("tokenoscope.store.loom.geometry && tokenoscope.store.run.lens")
    page.wait_for_function(DRAWN)
    return page


@pytest.fixture
def from_file(visit: Callable[..., Page], tmp_path: Path) -> Callable[..., Page]:
    """Opens the saved page of a record from a file; nothing may be asked of anybody, and its policy must hold."""

    def open_page(record: object) -> Page:
        (tmp_path / "saved.html").write_text(page_of(record), encoding="utf-8")  # pyright: ignore[reportArgumentType]
        page = visit(None, width=1280, height=800)
        page.goto((tmp_path / "saved.html").as_uri())
        page.wait_for_selector('#scope[data-ready="1"]')
        return page

    return open_page


def test_a_card_and_the_loom_are_drawings_that_say_what_they_show(page: Page, trace: Trace):
    for name, words in {
        "loom": ["three", "four", "The next token, out of 400"],
        "attention": ["causal mask", "attends to (column) →"],
        "passes": ["tokens read", "The loop"],
        "layers": ["The guess after each layer", *page.locator("[data-view=layers] svg text").all_text_contents()],
        "tokens": [token.text.strip() for token in trace.tokens],
        "kv-cache": ["Bytes after each pass"],
    }.items():
        file, svg = saved(page, name, "svg")
        assert file == f"tokenoscope-{name}-step3.svg"
        root = ET.fromstring(svg)
        said = texts(root)
        joined = " ".join(said)
        assert f"fake-1k, prompt “{trace.prompt}”" in joined, name
        assert "Step 3 of 0–15, layer 1, head 2, token 7" in joined, name
        for word in words:
            assert word in joined, (name, word)
        assert (
            said[0]
            == page.locator(".ts-loom-line" if name == "loom" else f"[data-view={name}] .ts-title").first.inner_text()
        )


def test_on_a_phone_the_loom_says_what_the_pass_is_and_no_name_lies_over_a_token(look: Callable[..., Page]):
    page = look(fake_trace(n_layers=24), "step=2&layer=0&token=5", width=390, height=844)
    page.wait_for_function("tokenoscope.store.loom.geometry && tokenoscope.store.run.lens")
    words = {each.text or "": each for each in drawing(page, "loom").iter(f"{SVG}text")}
    assert any(re.match("Decode: one token, .*; reads [0-9]+ from the cache", text) for text in words)
    assert "cache" in words
    arcs = [float(each.get("x", 0)) for text, each in words.items() if "%" in text and each.get("text-anchor")]
    assert min(arcs) > page.evaluate("tokenoscope.store.loom.geometry.low") + 14  # half of a name


def test_own_canvases_are_shapes_and_words_and_no_pictures_of_them(page: Page):
    for name, paths in {"loom": 100, "passes": 50, "kv-cache": 30, "next-token": 10}.items():
        root = drawing(page, name)
        assert len(list(root.iter(f"{SVG}path"))) > paths, name
        assert list(root.iter(f"{SVG}image")) == [], name
    for name in ("attention", "embeddings", "layers"):  # of numbers, a pixel each: enlarged as squares
        maps = list(drawing(page, name).iter(f"{SVG}image"))
        assert [each.get("image-rendering") for each in maps] == ["pixelated"] * len(maps) != [], name


def test_the_parts_of_a_card_stand_where_they_stand_on_the_screen(page: Page):
    root = drawing(page, "kv-cache")
    width, _ = size_of(root)
    body = page.locator("[data-view=kv-cache] .ts-body").bounding_box()
    assert body is not None
    assert width == pytest.approx(body["width"] + 48, abs=2)
    nested = [each for each in root.iter(f"{SVG}g") if each.find(f"{SVG}svg") is not None]
    canvases = page.locator("[data-view=kv-cache] .ts-body canvas:visible")
    assert len(nested) == canvases.count() > 1
    for i, group in enumerate(nested):
        box = canvases.nth(i).bounding_box()
        assert box is not None
        x, y = map(float, re.findall(r"[\d.]+", group.get("transform", "")))
        assert x == pytest.approx(box["x"] - body["x"], abs=1)
        assert y == pytest.approx(box["y"] - body["y"], abs=1)


@pytest.mark.cards
def test_saving_leaves_the_screen_as_it_was(page: Page):
    pixels = "[...document.querySelectorAll('.ts-loom-stage canvas, .ts-card canvas')].map((each) => each.toDataURL())"
    menu(page, "layers")
    before = page.evaluate(pixels)
    for name in ("layers", "loom", "kv-cache"):
        drawing(page, name)
    assert page.evaluate(pixels) == before
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-view=layers]")).to_have_attribute("data-at", re.compile("^4/"))


IMAGES = ("loom", "attention", "embeddings", "output")


@pytest.mark.parametrize(
    ("theme", "names"),
    [
        ("light", IMAGES[:2]),
        pytest.param("light", IMAGES[2:], marks=pytest.mark.long),
        pytest.param("dark", IMAGES, marks=pytest.mark.long),
    ],
    ids=["light", "light, others", "dark"],
)
def test_an_image_has_three_pixels_for_one_of_the_screen_and_the_ground_of_the_card(
    page: Page, theme: str, names: tuple[str, ...]
):
    if theme == "dark":
        page.evaluate("document.body.classList.add('dark')")
        page.wait_for_function("tokenoscope.store.colours.card === '#191d25'")
        page.wait_for_function("tokenoscope.store.loom.state.colours === tokenoscope.store.colours")
        page.wait_for_function(DRAWN)
    for name in names:
        file, png = saved(page, name, "png")
        assert file == f"tokenoscope-{name}-step3.png"
        drawn = colours_of(png)
        width, height = size_of(drawing(page, name))
        assert drawn.shape == (3 * height, 3 * width, 3), name
        assert dots_an_inch(png) == pytest.approx(288, abs=0.1)
        assert tuple(drawn[3, 3]) == ((25, 29, 37) if theme == "dark" else (255, 255, 255)), name
        ground = (drawn == drawn[3, 3]).all(axis=2).mean()
        assert 0.2 < ground < 0.99, name
        body = drawn[drawn.shape[0] // 3 :]
        assert len(np.unique(body.reshape(-1, 3)[::97], axis=0)) > 8, name


def test_the_numbers_are_those_of_the_record(page: Page, trace: Trace):
    head, *cells = rows(page, "loom")
    assert head == ["position", "token", "after layer", "rank", "guess id", "guess", "probability"]
    assert trace.lens_ids is not None and trace.lens_probs is not None
    levels, n_read, kept = trace.lens_ids.shape
    assert len(cells) == levels * n_read * kept
    for position, token, layer, rank, guess, _, probability in cells:
        at = (0 if layer == "embedding" else int(layer) + 1, int(position), int(rank) - 1)
        assert token == trace.tokens[int(position)].text.replace(" ", "␣")
        assert int(guess) == trace.lens_ids[at]
        assert float(probability) == pytest.approx(trace.lens_probs[at], rel=1e-6)
    _, *cells = rows(page, "kv-cache")
    assert [int(row[4]) for row in cells] == [step.kv_bytes for step in trace.steps]
    _, *cells = rows(page, "output")
    assert [int(row[2]) for row in cells] == [choice.id for choice in trace.choices]
    head, *cells = rows(page, "attention")
    assert head[-1] == "weight, exact"
    assert [float(each[-1]) for each in cells] == pytest.approx(trace.pattern(1, 2)[7, :8].tolist(), rel=1e-3)


@pytest.mark.cards("passes")
def test_the_control_is_reached_by_keys_and_large_enough_for_fingers(page: Page):
    found = page.locator('[data-view="passes"] > .ts-save')
    opener = found.locator(".ts-save-open")
    opener.focus()
    page.keyboard.press("Enter")
    expect(opener).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Shift+Tab")
    expect(found.locator("[data-kind=csv]")).to_be_focused()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "tokenoscope-passes-step3.csv"
    page.keyboard.press("Escape")
    expect(found.locator("[data-kind=csv]")).to_be_hidden()
    expect(opener).to_be_focused()
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("loom", "passes"):
        for button in menu(page, name).locator("button").all():
            box = button.bounding_box()
            assert box is not None and box["height"] >= 40 and box["width"] >= 40, name
        until(lambda: no_overflow(page), page)
        assert serious_faults(page, '[data-view="passes"]' if name == "passes" else ".ts-loom") == []
    assert too_small(page) == []


def test_a_picture_that_cannot_be_saved_says_so(page: Page):
    page.evaluate("() => { HTMLCanvasElement.prototype.toBlob = (done) => done(null); }")
    found = menu(page, "passes")
    found.locator("[data-kind=png]").click()
    expect(found.locator(".ts-save-said")).to_have_text("This picture could not be saved.")
    assert found.get_attribute("aria-busy") is None


def test_a_saved_page_of_a_run_saves_its_pictures_from_a_file(from_file, trace: Trace):
    page = from_file(trace)
    until(lambda: page.evaluate("Boolean(tokenoscope.store.run?.lens && tokenoscope.store.loom.geometry)"), page)
    if not page.locator("[data-view=embeddings]").is_visible():
        page.locator(".ts-rail-row[data-goes-to=embeddings]").click()
    page.locator("[data-view=embeddings] .ts-map-holder").scroll_into_view_if_needed()
    page.locator(".ts-map-chart .main-svg").first.wait_for()
    until(lambda: page.evaluate(DRAWN), page)
    for name in ("loom", "embeddings"):
        root = drawing(page, name)
        assert any(trace.tokens[1].text.strip() in each for each in texts(root)), name
        drawn = colours_of(saved(page, name, "png")[1])
        assert drawn.shape[:2] == tuple(3 * side for side in reversed(size_of(root))), name
        assert len(np.unique(drawn.reshape(-1, 3)[::97], axis=0)) > 20, name
        assert len(rows(page, name)) > 5, name


@pytest.mark.cards
def test_a_chart_and_a_table_of_the_program_are_saved_from_a_file(from_file):
    page = from_file(fake_measurement())
    page.locator("[data-view=roofline] .main-svg").first.wait_for()
    root = drawing(page, "roofline")
    assert "operations a second" in texts(root)
    assert "main-svg" in [each.get("class") for each in root.iter(f"{SVG}svg")]  # as plotly itself draws it for files
    assert saved(page, "roofline", "svg")[0] == "tokenoscope-roofline.svg"
    shown = page.evaluate("""[...document.querySelector("[data-view=roofline] .js-plotly-plot")._fullData]
        .flatMap((trace) => [...trace.x].map((x, i) => [x, trace.y[i]]))""")
    head, *cells = rows(page, "roofline")
    assert head == ["trace", "x", "y", "z"]
    assert [[float(row[1]), float(row[2])] for row in cells] == shown
    page.locator("[data-view=terms] table").wait_for()
    table = rows(page, "terms")
    assert ["", "median", "slowest", "fastest"] in table
    assert len(table) == page.locator("[data-view=terms] tr").count()


def test_a_tick_is_named_as_on_the_screen(from_file):
    page = from_file(fake_batching())
    page.locator(".ts-lanes").wait_for()
    page.keyboard.press("Home")
    expect(page.locator(".ts-crumbs strong")).to_contain_text("Tick 0 of")
    file, svg = saved(page, "lanes", "svg")
    assert file == "tokenoscope-lanes-tick0.svg"
    assert any(each.startswith("Tick 0 of") for each in texts(ET.fromstring(svg)))
