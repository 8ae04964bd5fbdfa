"""An exported page in a real Chromium, without a network: all pictures follow one selection, and no text runs."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from model.records.trace import Trace
from tests.fakes import fake_trace
from tests.viz.framed import HOSTILE, words
from viz import export, markup, theme
from viz.wire import parts, slices

pytestmark = pytest.mark.browser

WIDER = """
    [...document.querySelectorAll('.ts-player, .ts-player *, .ts-card, .ts-card *')]
      .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5
        && !e.parentElement.closest('.ts-scroll, .ts-code, .ts-token-text'))
      .map((e) => `${e.tagName}.${e.className}`)"""  # containment hides them from scrollWidth
Theme = Literal["light", "dark"]
SIZES = ((1440, 900, "light"), (1280, 640, "dark"), (390, 844, "light"))
CARDS = ("output", "tokens", "embeddings", "passes", "attention", "kv-cache", "next-token", "layers")


@pytest.fixture
def show(browser: Browser, tmp_path: Path, opened_cards: str) -> Iterator[Callable[..., Page]]:
    """Opens a run's page from a file; at the end nothing may have gone wrong or been asked of any network."""
    wrong: list[str] = []
    pages: list[Page] = []

    def open_page(
        trace: Trace,
        *,
        width: int = 1280,
        height: int = 640,
        theme: Theme = "light",
        charts: bool = False,
        light: bool = True,
    ) -> Page:
        (tmp_path / "page.html").write_text(
            export.page(trace, charts=export.charts(trace) if charts else (), light=light), "utf-8"
        )
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
        pages.append(page)
        page.add_init_script(opened_cards)
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("request", lambda asked: wrong.append(f"request: {asked.url}") if outside(asked.url) else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector('#scope[data-ready="1"]')
        settle(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert wrong == []


def outside(url: str) -> bool:
    return not url.startswith(("file:", "data:", "about:", "blob:"))


def settle(page: Page) -> None:
    """Wait until what was asked for is drawn."""
    page.evaluate("""new Promise((done) => {
        const look = () => { // cards out of sight are drawn when the browser is idle
            if (tokenoscope.store.cards.some((card) => card.stale)) setTimeout(look, 10);
            else setTimeout(done);
        };
        requestAnimationFrame(() => requestAnimationFrame(look));
    })""")


def at(page: Page) -> dict[str, int]:
    return page.evaluate("tokenoscope.selection.at")


def drawn(page: Page) -> dict[str, str]:
    """Which place each card shows."""
    cards = "[...document.querySelectorAll('.ts-card[data-view]:not([hidden])')].map((card) => card.dataset)"
    return {card["view"]: card["at"] for card in page.evaluate(f"{cards}.map((data) => ({{ ...data }}))")}


def test_the_page_opens_on_the_first_pass_with_all_pictures(show: Callable[..., Page]):
    trace = fake_trace()
    page = show(trace)
    assert set(drawn(page)) == set(CARDS)
    assert page.get_attribute("#scope", "data-frames") == str(len(parts.all_parts(trace)))
    assert "Step 0 of 0–3" in page.inner_text(".ts-crumbs")
    assert "counted from 0" in page.inner_text(".ts-crumbs .ts-from-0")
    assert at(page)["step"] == 0
    for name in CARDS:
        canvases = page.locator(f".ts-card-{name} canvas:visible")
        for i in range(canvases.count()):
            painted = "(c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((byte) => byte > 0)"
            assert canvases.nth(i).evaluate(painted)


def test_keys_move_the_selection_and_every_picture_follows(show: Callable[..., Page]):
    page = show(fake_trace())
    began = at(page)
    for key, name, by in (("ArrowRight", "step", 1), ("ArrowLeft", "step", -1)):
        before = at(page)[name]
        page.keyboard.press(key)
        assert at(page)[name] == before + by
    page.evaluate("tokenoscope.selection.set({ layer: 1, head: 1 })")
    for key, name, by in (("ArrowUp", "layer", 1), ("ArrowDown", "layer", -1), ("]", "head", 1), ("[", "head", -1)):
        before = at(page)[name]
        page.keyboard.press(key)
        assert at(page)[name] == before + by
    page.keyboard.press("End")
    assert at(page)["step"] == 3
    settle(page)
    assert set(drawn(page).values()) == {f"3/1/1/{at(page)['token']}"}
    assert "Step 3 of 0–3" in page.inner_text(".ts-crumbs")
    page.keyboard.press("Home")
    assert at(page)["step"] == began["step"]


def test_layers_heads_and_tokens_bear_their_index_as_in_the_code(show: Callable[..., Page]):
    page = show(fake_trace())
    page.evaluate("tokenoscope.selection.set({ step: 2, layer: 1, head: 3 })")
    settle(page)
    crumbs = page.inner_text(".ts-crumbs")
    assert all(each in crumbs for each in ("Step 2 of 0–3", "layer 1", "head 3", "token 6"))
    assert page.locator(".ts-stepper-value").all_inner_texts() == ["layer 1 of 0\u20133", "head 3 of 0\u20135"]
    assert "(token 6) attends" in page.inner_text(".ts-looks-title")
    assert page.inner_text(".ts-card-tokens .ts-readout").startswith("Token 6 (of 0\u20138): ")
    levels = page.locator(".ts-level-name").all_inner_texts()
    assert levels == [*(f"layer {i}" for i in (3, 2, 1, 0)), "input"]
    assert page.inner_text(".ts-level.ts-current .ts-level-name") == "layer 1"
    for canvas in (".ts-card-attention .ts-map", ".ts-grid-canvas"):
        assert "layer 1, head 3" in (page.get_attribute(canvas, "aria-label") or "")
    assert "counted from 0" in page.inner_text(".ts-card-attention")
    page.keyboard.press("?")
    assert "counted from 0" in page.inner_text(".ts-help")


@pytest.mark.cards("tokens")
def test_a_click_locks_a_hover_previews_and_escape_unlocks(show: Callable[..., Page]):
    page = show(fake_trace())
    chips = page.locator(".ts-strip .ts-chip")
    chips.nth(1).hover()
    assert at(page)["token"] == 1
    chips.nth(2).click()
    assert at(page)["token"] == 2
    chips.nth(0).hover()
    assert at(page)["token"] == 2
    page.keyboard.press("Escape")
    chips.nth(1).hover()
    assert at(page)["token"] == 1
    page.mouse.move(1, 1)
    assert at(page)["token"] == 2


def test_a_written_token_leads_to_the_pass_that_chose_it(show: Callable[..., Page]):
    trace = fake_trace()
    page = show(trace)
    page.locator(".ts-text .ts-word.ts-is-generated").nth(1).click()
    settle(page)
    assert at(page)["step"] == 1
    assert markup.visible(trace.tokens[6]) in page.inner_text(".ts-headline")


@pytest.mark.cards("")
def test_space_plays_and_pauses_and_the_sheet_lists_the_keys(show: Callable[..., Page]):
    page = show(fake_trace())
    page.select_option(".ts-select", label="as recorded")
    page.locator(".ts-loom-line").click()
    page.keyboard.press(" ")
    page.locator('.ts-axis[aria-valuenow="3"]').wait_for()
    page.locator('.ts-play[aria-pressed="false"]').wait_for()
    page.keyboard.press("?")
    assert page.locator(".ts-help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(".ts-help").is_visible()


def test_the_numbers_are_those_of_the_record(show: Callable[..., Page]):
    trace = fake_trace()
    page = show(trace)
    page.evaluate("tokenoscope.selection.set({ step: 2, layer: 1, head: 3 })")
    for card in ("attention", "kv-cache", "next-token"):
        page.locator(f".ts-card-{card} > .ts-details > summary").click()
    settle(page)
    shown = page.locator(".ts-card-attention tbody tr td:last-child").all_inner_texts()
    exact = trace.pattern(1, 3)[6, :7]
    assert [float(each) for each in shown] == pytest.approx(exact.tolist(), abs=0.0045)
    held = page.locator(".ts-card-kv-cache tbody tr td:nth-child(5)").all_inner_texts()
    assert [int(each.replace(",", "")) for each in held] == [step.kv_bytes for step in trace.steps]
    first = page.locator(".ts-card-next-token tbody tr").first.locator("td").all_inner_texts()
    best = trace.choices[2].candidates[0]
    assert first[3] == str(best.id)
    assert float(first[4]) == pytest.approx(best.score, rel=1e-3)


def words_of(page: Page, card: str) -> str:
    return page.inner_text(f".ts-card-{card}")


@pytest.mark.cards("attention")
def test_eight_bit_weights_are_told_as_such(show: Callable[..., Page]):
    page = show(fake_trace())
    page.locator(".ts-card-attention .ts-details summary").click()
    settle(page)
    said = page.locator(".ts-card-attention .ts-looks + .ts-readout").inner_text()
    assert re.search(r"\u2248 \d", said)
    assert not re.search(r"\d\.\d\d%", words_of(page, "attention"))
    assert "weight, from 8 bits" in page.inner_text(".ts-card-attention thead").lower()
    assert "all that this page holds" in words_of(page, "attention")


@pytest.mark.cards("attention")
def test_with_a_server_the_numbers_are_exact_and_say_so(show: Callable[..., Page]):
    trace = fake_trace()
    page = show(trace)
    page.evaluate("tokenoscope.selection.set({ step: 3, layer: 1, head: 3 })")
    serve = "bytes => { tokenoscope.store.slices.server = { live: true, get: async () => new Uint8Array(bytes) }; }"
    page.evaluate(serve, list(slices.row(trace, 1, 3, 7)))
    page.locator(".ts-card-attention .ts-details summary").click()
    weights = page.locator(".ts-card-attention tbody tr td:last-child")
    page.get_by_text("weight, exact").wait_for(timeout=3000)
    expect(weights).to_have_count(8)  # the row of the step that was left stands there a moment longer
    assert [float(each) for each in weights.all_inner_texts()] == pytest.approx(
        trace.pattern(1, 3)[7, :8].tolist(), rel=6e-4
    )


@pytest.mark.cards("attention")
@pytest.mark.parametrize("kind", ["plain", "window, cap and sink", "mask"])
def test_the_attention_code_gives_the_row_that_is_shown(
    show: Callable[..., Page], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torch = pytest.importorskip("torch")
    trace = fake_trace()
    if kind == "mask":
        hidden = np.where(np.eye(8, dtype=bool) | np.eye(8, k=-2, dtype=bool), 0, np.finfo(np.float32).min)
        trace = replace(trace, masks=hidden[None].astype(np.float32), rules=(replace(trace.rules[0], mask=0),) * 4)
    elif kind != "plain":
        trace = replace(
            trace,
            rules=(replace(trace.rules[0], window=3, softcap=1.5),) * 4,
            sinks=np.ones((4, 6), dtype=np.float32),
        )
    page = show(trace)
    page.evaluate("tokenoscope.selection.set({ step: 3, layer: 1, head: 3 })")
    page.locator(".ts-card-attention .ts-details summary").click()
    settle(page)
    trace.save(tmp_path / "run.trace")
    monkeypatch.chdir(tmp_path)
    named: dict[str, Any] = {}
    exec(page.inner_text(".ts-card-attention code"), named)
    exact = torch.tensor(trace.pattern(1, 3)[7])
    torch.testing.assert_close(named["weights"], exact)
    assert ("sink" in page.inner_text(".ts-card-attention .ts-sheet")) == (kind == "window, cap and sink")


@pytest.mark.cards("attention")
def test_with_a_learned_sink_no_row_is_said_to_sum_to_all(show: Callable[..., Page]):
    plain, sinks = fake_trace(), np.ones((4, 6), dtype=np.float32)
    assert "Weights sum to 100%" in words_of(show(plain), "attention")
    said = words_of(show(replace(plain, sinks=sinks)), "attention")
    assert "Weights sum to 100%" not in said
    assert "learned sink" in said


@pytest.mark.cards("kv-cache")
def test_the_cache_of_a_model_with_a_window_says_what_was_measured(show: Callable[..., Page]):
    """Layers 0 and 2 keep 3 tokens after a pass, as the library does for a window of 4."""
    plain = fake_trace()
    rules = tuple(replace(rule, window=4 if i % 2 == 0 else None) for i, rule in enumerate(plain.rules))
    per_token = plain.steps[0].kv_bytes // 4 // 5
    steps = tuple(replace(s, kv_bytes=per_token * 2 * (3 + s.first + s.n_tokens)) for s in plain.steps)
    page = show(replace(plain, rules=rules, steps=steps))
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    settle(page)
    said = words_of(page, "kv-cache")
    assert f"+ {theme.size(2 * per_token)}" in said
    assert "written by it" not in said.lower()
    assert "2 of 4 layers attend to a window of 4 tokens" in said
    assert "exactly what was measured" in said
    assert "window" not in words_of(show(plain), "kv-cache")


@pytest.mark.cards("attention")
def test_a_layer_that_could_not_be_fetched_says_why_and_is_asked_for_again(show: Callable[..., Page]):
    page = show(fake_trace(words(300, "p"), (" a", " b"), d_vocab=1000))
    page.evaluate("""() => {
        const scope = tokenoscope.store;
        window.asks = 0;
        scope.run.layers.clear();
        const gone = Object.assign(new Error("This run is no longer kept."), { name: "Gone" });
        const get = async () => { asks += 1; throw gone; };
        scope.slices.server = { live: true, get };
        scope.redraw();
    }""")
    page.get_by_text("This run is no longer kept.", exact=True).wait_for(timeout=3000)
    page.evaluate("tokenoscope.store.redraw()")
    settle(page)
    assert page.evaluate("asks") == 1
    again = "() => { tokenoscope.store.redraw(); return asks > 1; }"
    page.wait_for_function(again, polling=700, timeout=15_000)


def test_hostile_text_is_inert_and_whole(show: Callable[..., Page]):
    trace = fake_trace(HOSTILE, HOSTILE[::-1])
    page = show(trace)
    page.locator(".ts-card-tokens .ts-details summary").click()
    settle(page)
    shown = page.locator(".ts-card-tokens tbody tr td:nth-child(2)").all_text_contents()
    assert shown == [markup.visible(token) for token in trace.tokens]
    for _ in trace.steps:
        page.keyboard.press("ArrowRight")
        settle(page)
    assert page.locator("script").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize(("width", "height", "theme"), [pytest.param(*SIZES[0], marks=pytest.mark.long), *SIZES[1:]])
def test_nothing_overflows_and_no_text_is_small(show: Callable[..., Page], width: int, height: int, theme: Theme):
    page = show(fake_trace(words(20, "p"), words(40, "g")), width=width, height=height, theme=theme)
    for summary in page.locator("summary:visible").all():
        summary.click()
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(WIDER) == []
    page.set_viewport_size({"width": 360, "height": 740})
    settle(page)
    for _ in range(50):  # what is out of sight, and a chart, take their new width when the window rests
        if not page.evaluate(WIDER):
            break
        page.wait_for_timeout(100)
    assert page.evaluate(WIDER) == []
    small = """[...document.querySelectorAll('#scope *')].filter((e) => e.checkVisibility()
        && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())
        && parseFloat(getComputedStyle(e).fontSize) < 14).map((e) => e.className)"""
    assert page.evaluate(small) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(each) for each in re.findall(r"\d+", ground)[:3]]
    assert (sum(levels) < 120) == (theme == "dark")


@pytest.mark.cards("attention")
def test_the_first_tokens_sink_leaves_the_colours_by_a_switch(show: Callable[..., Page]):
    page = show(fake_trace())
    assert page.locator("#ts-sink").is_checked()
    assert "outside the first column" in page.inner_text(".ts-card-attention")
    page.locator("#ts-sink").uncheck()
    settle(page)
    assert "the highest weight in this map" in page.inner_text(".ts-card-attention")


@pytest.mark.cards("")
def test_charts_and_bertviz_draw_without_a_network(show: Callable[..., Page]):
    page = show(fake_trace(HOSTILE, ("a", "b")), charts=True)
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    for name in ("head", "model"):
        page.locator(f"iframe[title='bertviz {name} view']").scroll_into_view_if_needed()
        page.frame_locator(f"iframe[title='bertviz {name} view']").locator("svg line").first.wait_for(state="attached")
    heads = page.frame_locator("iframe[title='bertviz head view']")
    assert heads.locator("svg text").count() >= len(HOSTILE)
    model = page.frame_locator("iframe[title='bertviz model view']")
    assert model.locator("svg > g").count() == 4 * 6
    model.locator("svg > g").nth(7).locator("rect").last.click()
    model.get_by_text("Layer 1, Head 1", exact=True).wait_for()
    assert model.locator(".token").count() == 2 * (len(HOSTILE) + 1)


@pytest.mark.cards("attention")
def test_a_long_run_shows_the_layers_that_came_along_and_says_which_did_not(
    show: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
):
    trace = fake_trace(words(270, "p"), ("a", "b"), d_vocab=1000)
    monkeypatch.setattr(export, "_LAYER_BYTES", 1)
    page = show(trace)
    held = page.evaluate("[...tokenoscope.store.run.layers.keys()]")
    assert len(held) == 1
    page.evaluate(f"tokenoscope.selection.set({{ layer: {held[0]} }})")
    settle(page)
    assert page.locator(".ts-looks .ts-look:visible").count() == 270
    page.evaluate(f"tokenoscope.selection.set({{ layer: {(held[0] + 1) % 4} }})")
    settle(page)
    assert "not of this layer" in page.inner_text(".ts-card-attention .ts-empty")
    assert page.locator(".ts-card-attention .ts-map").is_hidden()
    assert "three bands" in page.inner_text(".ts-card-attention")


@pytest.mark.cards("")
def test_a_whole_page_has_what_some_pictures_unfold(show: Callable[..., Page]):
    trace = fake_trace()
    page = show(trace, light=False)
    held = page.evaluate("[[...tokenoscope.store.run.vectors.keys()], [...tokenoscope.store.run.logits.keys()]]")
    assert held == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert page.evaluate("tokenoscope.store.slices.plotly().then((found) => found.version)")
    assert (
        page.evaluate("""async () => {
        const chart = document.createElement("div");
        document.body.append(chart);
        const plotly = await tokenoscope.store.slices.plotly();
        await plotly.newPlot(chart, [{ x: [1, 2], y: [3, 4], mode: "markers" }]);
        return chart.querySelectorAll(".point").length;
    }""")
        == 2
    )


@pytest.mark.cards("")
def test_a_light_page_goes_without(show: Callable[..., Page]):
    page = show(fake_trace())
    assert page.evaluate("tokenoscope.store.slices.plotly()") is None
    assert "This page does not include queries" in page.evaluate("tokenoscope.store.slices.vectors(1).why")


def test_a_notebook_shows_the_page_in_its_frame(browser: Browser):
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.set_content(export.notebook_html(fake_trace(HOSTILE, ("a", "b"))))
    inside = page.frame_locator("iframe")
    inside.locator('#scope[data-ready="1"]').wait_for()
    inside.locator(".ts-play").click()
    inside.locator('.ts-axis[aria-valuenow="1"]').wait_for()
    page.close()
    assert wrong == []
