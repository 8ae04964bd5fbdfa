"""Long runs in a browser: columns of the logit lens that come when they are looked at, a word that is searched for."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from model.records.trace import Trace
from tests.app.fakes_engine import without_columns
from tests.browser.pages import no_overflow, serious_faults
from tests.browser.plain import Plain
from tests.fakes import fake_trace
from viz import export

pytestmark = pytest.mark.cards("")

OVER, READOUT, SEARCH = ".ts-loom-over", ".ts-loom-readout", ".ts-search-input"
NEWEST = 24
ASKED = "performance.getEntriesByType('resource').map((e) => e.name).filter((name) => name.includes('/slice/lens/'))"


@cache
def words(n: int) -> tuple[str, ...]:
    """Tokens of which every seventh reads "fox", and others are their own numbers."""
    return tuple(" fox" if i % 7 == 3 else f" w{i}" for i in range(n))


@cache
def long_run(n: int = 600, new: int = 4) -> Trace:
    """A run as it is after its end: only the newest columns of its lens are there."""
    texts = words(n + new)
    ids = {word: 10 + i for i, word in enumerate(dict.fromkeys(texts))}
    made = fake_trace(texts[:n], texts[n:], n_heads=2, d_vocab=1000, token_ids=ids)
    return without_columns(replace(made, texts={**made.texts, **{i: word for word, i in ids.items()}}), NEWEST)


@pytest.fixture
def asked(look: Callable[..., Page]) -> tuple[Page, list[str]]:
    """A long run, shown wide, and the columns that its page asks for."""
    page = look(long_run(), "step=3", width=1900, height=900)
    found: list[str] = []

    def note(request: Request) -> None:
        if "/slice/lens/" in request.url:
            found.append(request.url.rsplit("/", 1)[1])

    page.on("request", note)
    page.wait_for_function("tokenoscope.store.loom.geometry")
    assert page.evaluate(ASKED) == []  # of this page: a request of the one before may still reach the engine
    return page, found


def place_of(page: Page, token: int, level: int = 2) -> tuple[float, float]:
    """Where a cell is in the window."""
    box = page.evaluate("([token, level]) => tokenoscope.store.loom.geometry.cell(token, level)", [token, level])
    around = page.locator(OVER).bounding_box()
    assert around
    return around["x"] + box["x"] + box["w"] / 2, around["y"] + box["y"] + box["h"] / 2


def point(page: Page, *tokens: int) -> None:
    """Move a pointer over cells of these tokens, faster than it could rest on one but the last."""
    page.evaluate(
        """([tokens, level]) => {
            const { geometry } = tokenoscope.store.loom, over = document.querySelector(".ts-loom-over");
            const around = over.getBoundingClientRect();
            for (const token of tokens) {
                const box = geometry.cell(token, level);
                const [clientX, clientY] = [around.left + box.x + box.w / 2, around.top + box.y + box.h / 2];
                over.dispatchEvent(new PointerEvent("pointermove", { pointerType: "mouse", clientX, clientY }));
            }
        }""",
        [tokens, 2],
    )


def has_column(token: int) -> str:
    return f"tokenoscope.store.run.lensPlace(0, {token}) !== null"


def test_what_a_pointer_rests_on_is_computed_and_said_and_asked_for_once(asked: tuple[Page, list[str]]):
    page, urls = asked
    point(page, 90, 96, 102)
    expect(page.locator(READOUT)).to_contain_text("Coming: computed when it is looked at.")
    page.wait_for_function("tokenoscope.store.run.columns.size > 24")
    expect(page.locator(READOUT)).to_contain_text("would predict")
    assert urls == ["102"]
    point(page, 300)
    page.wait_for_function("tokenoscope.store.run.columns.size > 25")
    point(page, 102)
    expect(page.locator(READOUT)).to_contain_text("would predict")
    assert urls == ["102", "300"]


def test_columns_with_words_come_by_themselves_and_no_others(asked: tuple[Page, list[str]]):
    page, urls = asked
    page.evaluate("tokenoscope.selection.set({ token: 200 })")
    page.wait_for_function(has_column(200))
    wide = page.evaluate("tokenoscope.store.loom.geometry.columns.flatMap((column, i) => column.wide ? [i] : [])")
    assert {199, 200, 201} <= set(wide)
    for token in wide:
        page.wait_for_function(f"{token} >= tokenoscope.store.run.nRead || {has_column(token)}")
    assert {int(each) for url in urls for each in url.split(",")} <= set(wide)


def test_a_refusal_is_said_and_it_is_asked_again(visit: Callable[..., Page], house: Plain):
    house.models.ready = False  # the model is not loaded now
    page = visit(None, width=1900, height=900, missing=True)
    page.goto(f"{house.url}/#record={house.keep(long_run())}&step=3&token=200")
    page.wait_for_function("window.tokenoscope?.store.loom?.geometry")
    page.locator(OVER).hover(position={"x": 300, "y": 300})
    expect(page.locator(READOUT)).to_contain_text("is not loaded now")
    house.models.ready = True
    expect(page.locator(READOUT)).to_contain_text("would predict")


@pytest.mark.cards("layers")
def test_the_card_of_the_lens_has_the_list_of_a_column_that_is_there(asked: tuple[Page, list[str]]):
    page, _ = asked
    card = page.locator(".ts-card-layers")
    expect(card.locator(".ts-level")).to_have_count(5)
    expect(card.locator(".ts-lens-map")).to_be_hidden()
    page.evaluate("tokenoscope.selection.set({ token: 200 })")
    page.wait_for_function(has_column(200))
    expect(card.locator(".ts-lens-title")).to_contain_text("token 200")
    expect(card.locator(".ts-level-guess").first).not_to_have_text("–")


def test_tokens_around_a_narrow_column_are_said(asked: tuple[Page, list[str]]):
    page, _ = asked
    page.mouse.move(*place_of(page, 255))
    token = page.evaluate("tokenoscope.store.loom.pointed.token")
    expect(page.locator(f"{READOUT} mark")).to_have_text(words(600)[token])
    expect(page.locator(".ts-loom-around")).to_have_text(f"…{''.join(words(600)[token - 4 : token + 5])}…")
    page.mouse.move(*place_of(page, 602))
    expect(page.locator(".ts-loom-around")).to_have_count(0)


def test_a_word_is_found_by_keys_and_walked_over(asked: tuple[Page, list[str]]):
    page, _ = asked
    page.evaluate("tokenoscope.selection.set({ token: 100 })")
    page.keyboard.press("/")
    field, said = page.locator(SEARCH), page.locator(".ts-search-said")
    expect(field).to_be_focused()
    page.keyboard.type("FOX w4")
    places = [i for i in range(602) if words(603)[i] == " fox" and words(603)[i + 1].startswith(" w4")]
    expect(said).to_have_text(f"{len(places)} places")
    page.keyboard.press("Enter")
    chosen = "tokenoscope.selection.base.token"
    after = [i for i in places if i > 100]
    assert page.evaluate(chosen) == after[0]
    expect(said).to_have_text(f"{len(places) - len(after) + 1} of {len(places)}")
    field.fill("fox")
    first = page.evaluate(chosen)
    page.keyboard.press("Enter")
    assert page.evaluate(chosen) == first + 7
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    assert page.evaluate(chosen) == first - 7
    page.keyboard.press("ArrowLeft")  # moves in the field
    assert page.evaluate(chosen) == first - 7
    field.fill("zebra")
    expect(said).to_have_text("not found")
    page.keyboard.press("Escape")
    expect(page.locator(OVER)).to_be_focused()
    assert field.input_value() == ""
    assert page.evaluate("tokenoscope.store.loom.search.marked.size") == 0


def test_places_that_were_found_are_marked_at_the_foot(asked: tuple[Page, list[str]]):
    page, _ = asked
    pixels = """() => {
        const { x, w, y } = tokenoscope.store.loom.geometry.chip(101);
        const base = document.querySelector(".ts-loom-base"), ratio = base.width / base.clientWidth;
        return [...base.getContext("2d").getImageData((x + w / 2 - 4) * ratio, (y - 3) * ratio, 8, 3).data].join();
    }"""
    before = page.evaluate(pixels)
    page.locator(SEARCH).fill("fox")
    expect(page.locator(".ts-search-said")).to_have_text("86 places")
    page.wait_for_function(f"(before) => ({pixels})() !== before", arg=before)
    page.locator(SEARCH).fill("")
    page.wait_for_function(f"(before) => ({pixels})() === before", arg=before)


def test_a_short_run_has_no_search_and_its_key_does_nothing(look: Callable[..., Page]):
    page = look()
    expect(page.locator(SEARCH)).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator(SEARCH)).not_to_be_focused()


def test_on_a_phone_a_found_token_comes_in_sight(look: Callable[..., Page]):
    page = look(long_run(), "step=3", width=390, height=844)
    page.wait_for_function("tokenoscope.store.loom.geometry")
    page.locator(SEARCH).fill("w571")
    page.get_by_role("button", name="next place").click()
    page.wait_for_function(has_column(571))
    y = place_of(page, 571)[1]
    assert 0 < y < 844 * 0.7
    assert no_overflow(page)
    assert page.locator(".ts-search button:visible").evaluate_all(
        "(all) => all.every((e) => e.offsetHeight >= 40 && e.offsetWidth >= 40)"
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_search_can_be_read_by_everybody(look: Callable[..., Page], theme: str):
    page = look(long_run(), "step=3", width=1440, height=900)
    page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
    page.locator(SEARCH).fill("fox")
    assert serious_faults(page, ".ts-loom-says") == []


def test_a_saved_page_says_which_columns_it_has(visit: Callable[..., Page], tmp_path: Path):
    path = tmp_path / "long.html"
    path.write_text(export.page(long_run(), light=True), "utf-8")
    page = visit(None, width=1900, height=900)
    page.goto(path.as_uri())
    page.wait_for_function("window.tokenoscope?.store.loom.geometry")
    page.evaluate("tokenoscope.selection.set({ step: 3 })")
    page.mouse.move(*place_of(page, 100))
    expect(page.locator(READOUT)).to_contain_text("Not in this saved page: of runs of more than 512 tokens")
    page.mouse.move(*place_of(page, 602))
    expect(page.locator(READOUT)).to_contain_text(re.compile("would predict"))
