"""The card Attention in a real browser: what a row unfolds to adds up, and heads are found by what they mostly do."""

import json
import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from model.records.trace import Trace
from tests.browser.pages import settle
from tests.browser.plain import finished
from tests.fakes import fake_trace
from viz.wire import roles, slices

pytestmark = pytest.mark.cards("attention")

AT = "window.tokenoscope.selection.at"
LINES = ".ts-keys-table tbody tr:visible"
PLACE = {"layer": 1, "head": 4}


@pytest.fixture
def opened(look) -> Callable[..., tuple[Page, Trace]]:
    """A finished run, looked at from its newest token, with the card in sight."""

    def open_run(**size: int) -> tuple[Page, Trace]:
        page = look(**({"width": 1440, "height": 900} | size))
        page.evaluate("at => tokenoscope.selection.set({ step: Infinity, ...at })", PLACE)
        page.locator(".ts-card-attention").scroll_into_view_if_needed()
        shows(page, **PLACE)
        return page, finished()

    return open_run


def shows(page: Page, **place: int) -> None:
    """Wait until the card shows this place."""
    page.wait_for_function(
        """(wanted) => {
            const { at } = document.querySelector(".ts-card-attention").dataset;
            const [step, layer, head, token] = (at ?? "").split("/");
            const shown = { step, layer, head, token };
            return Object.entries(wanted).every(([name, value]) => Number(shown[name]) === value);
        }""",
        arg=place,
    )


def unfold(page: Page) -> None:
    page.get_by_role("button", name="Unfold this row").click()
    page.locator(LINES).first.wait_for()


def numbers(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?\d+(?:\.\d+)?", text.replace("\u2212", "-"))]


def test_the_server_is_asked_for_a_layer_only_when_a_row_is_unfolded(opened):
    page, _ = opened()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/vectors/" in request.url else None)
    page.locator(".ts-card-attention .ts-map").hover()
    page.evaluate("tokenoscope.selection.set({ layer: 2 })")
    shows(page, layer=2)
    page.evaluate("tokenoscope.selection.set({ layer: 1 })")
    shows(page, layer=1)
    page.wait_for_timeout(300)  # a slice is asked for when the selection has rested
    assert asked == []
    unfold(page)
    for head in (0, 5):
        page.evaluate("head => tokenoscope.selection.set({ head })", head)
        shows(page, head=head)
    assert [url.rsplit("/", 2)[1:] for url in asked] == [["vectors", "1"]]


def test_an_unfolded_row_has_the_runs_own_numbers_and_they_add_up(opened):
    page, trace = opened()
    unfold(page)
    token = page.evaluate(AT)["token"]
    layer, head = PLACE["layer"], PLACE["head"]
    query, keys = trace.queries[layer, head, token], trace.keys[layer, head // 3, : token + 1]
    values, weights = trace.values[layer, head // 3, : token + 1], trace.pattern(layer, head)[token, : token + 1]

    strongest = page.locator(LINES).all_inner_texts()
    assert 8 <= len(strongest) <= 10
    assert any("itself" in line for line in strongest)
    assert any("first" in line for line in strongest)
    assert sum(_shares(page)) == 10_000

    page.get_by_role("button", name="Show all").click()
    expect(page.locator(LINES)).to_have_count(token + 1)
    expect(page.locator(".ts-keys-table .ts-rest")).to_be_hidden()
    assert sum(_shares(page)) == 10_000
    expect(page.locator(".ts-keys-table .ts-sum .ts-weight-cell")).to_have_text("100.00%")
    order = np.argsort(-weights, kind="stable")
    lines = page.locator(LINES).evaluate_all("rows => rows.map(row => [...row.cells].slice(1).map(c => c.textContent))")
    byte = np.array(page.evaluate(f"Array.from(tokenoscope.store.run.row({layer}, {head}, {token}))"))
    for key, (raw, score, _, weight, taken) in zip(order, lines, strict=True):
        assert numbers(raw)[0] == pytest.approx(keys[key] @ query, abs=0.006)
        assert numbers(score)[0] == pytest.approx(keys[key] @ query * trace.rules[layer].scaling, abs=6e-4)
        assert numbers(weight)[0] / 100 == pytest.approx(weights[key], abs=1.1e-4)
        assert numbers(weight)[0] / 100 == pytest.approx((byte[key] / 255) ** 2, abs=0.0046)
        assert float(taken) == pytest.approx(weights[key] * np.linalg.norm(values[key]), rel=0.006)
    handed_on = page.locator(".ts-handed .ts-vector-note").inner_text()
    assert numbers(handed_on)[0] == pytest.approx(np.linalg.norm(weights @ values), rel=6e-4)
    expect(page.locator(".ts-unfolded")).to_contain_text("at 32 bits")


def test_bars_start_at_one_place_and_tokens_of_one_text_have_their_positions(opened):
    page, _ = opened()
    token = page.evaluate(AT)["token"]
    page.evaluate("""() => {
        const { store } = window.tokenoscope;
        store.run.tokens[3] = { ...store.run.tokens[3], text: store.run.tokens[1].text };
        store.run.id += "again";
        store.redraw();
    }""")
    unfold(page)
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(LINES)).to_have_count(token + 1)
    lefts = page.locator(".ts-key-track:visible").evaluate_all("all => all.map(each => each.getBoundingClientRect().x)")
    assert max(lefts) - min(lefts) < 0.5, lefts
    named = re.findall(r"\(token (\d+)\)", " ".join(page.locator(LINES).all_inner_texts()))
    assert {int(each) for each in named} >= {1, 3}
    assert len(named) < token + 1


CUT = """() => {
    const box = document.querySelector(".ts-keys").getBoundingClientRect();
    const wrong = [];
    for (const cell of document.querySelectorAll(".ts-keys :is(th, td)")) {
        if (!cell.checkVisibility() || !cell.textContent) continue;
        const edge = cell.getBoundingClientRect();
        for (const part of [cell, ...cell.querySelectorAll(".ts-key-which")]) {
            if (part === cell && cell.querySelector(".ts-key-name")) continue; // a token's text may end in an ellipsis
            const range = document.createRange();
            range.selectNodeContents(part);
            const text = range.getBoundingClientRect();
            const inside = text.left >= edge.left - 0.5 && text.right <= Math.min(edge.right, box.right) + 0.5;
            if (!inside) wrong.push(`${cell.textContent}: ${text.left}-${text.right} in ${edge.left}-${edge.right}`);
        }
    }
    return wrong;
}"""


@pytest.mark.parametrize("width", [390, 1280, 1440])
def test_no_number_of_an_unfolded_row_is_cut(opened, width):
    page, _ = opened(width=width)
    page.evaluate("""() => {
        const { store } = window.tokenoscope;
        const parts = [["\\ufffd", "20f09f9088"], ["\\ufffd", "e4bd"], [" incomprehensibilities of", "20696e"]];
        store.run.tokens.forEach((token, i) => {
            const [text, hex] = parts[i % 3];
            store.run.tokens[i] = { ...token, text, hex };
        });
        store.run.id += "bytes";
        store.redraw();
    }""")
    unfold(page)
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".ts-keys-table")).to_contain_text("byte")
    settle(page)
    assert page.evaluate(CUT) == []


def test_the_tokens_have_the_colours_of_the_map_on_its_square_root_scale_and_their_own_numbers(opened):
    page, _ = opened()
    expect(page.locator(".ts-map-pane .ts-note")).to_contain_text("half-way: a square-root scale")
    expect(page.locator(".ts-looks-title")).to_contain_text("on its square-root scale")
    layer, head = PLACE["layer"], PLACE["head"]
    rows = f"(_, p) => Array.from(tokenoscope.store.run.row({layer}, {head}, p))"
    byte = page.evaluate(f"Array.from({{ length: tokenoscope.store.run.nRead }}, {rows})")
    token = page.evaluate(AT)["token"]
    most = max(weight for row in byte for weight in row[1:])
    chips = page.locator(".ts-look:visible")
    expect(chips).to_have_count(token + 1)
    ground = page.evaluate("Array.from(tokenoscope.store.colours.scale)")
    shown = chips.evaluate_all("""all => all.map(each => [getComputedStyle(each).backgroundColor,
        each.querySelector(".ts-look-share").textContent])""")
    for key, (colour, share) in enumerate(shown):
        weight = (byte[token][key] / 255) ** 2
        if weight >= 0.01:
            assert numbers(share)[0] == pytest.approx(100 * weight, rel=0.05)
        if key:
            word = ground[round(255 * min(1, byte[token][key] / most))]
            assert numbers(colour) == pytest.approx([word >> shift & 255 for shift in (0, 8, 16)], abs=2)
    expect(chips.first).to_have_class(re.compile("ts-left-out"))
    page.get_by_label("leave the first token out of the colours").uncheck()
    expect(chips.first).not_to_have_class(re.compile("ts-left-out"))


@pytest.fixture
def recorded(plain_server, go) -> Callable[..., Page]:
    """The recorded run of the stock example, with the card in sight: 30 layers, real words."""

    def open_run(**size: int) -> Page:
        page = go(plain_server, **size)
        page.wait_for_function("window.tokenoscope?.store.run?.lens")
        page.locator(".ts-card-attention[data-at]").scroll_into_view_if_needed()
        return page

    return open_run


@pytest.mark.parametrize("width", [390, 1440])
def test_a_click_on_a_token_and_a_step_move_nothing_below(recorded, width):
    page = recorded(width=width, height=900)
    top = "document.querySelector('.ts-grid-canvas').offsetTop"
    tops = set()
    for step in range(page.evaluate("tokenoscope.store.run.steps.length")):
        page.evaluate("step => tokenoscope.selection.set({ step })", step)
        shows(page, step=step)
        settle(page)
        tops.add(page.evaluate(top))
    for token in (8, 3):
        page.locator(".ts-look:visible").nth(token).click()
        shows(page, token=token)
        page.locator(".ts-look:visible").nth(2).hover()
        settle(page)
        tops.add(page.evaluate(top))
    assert len(tops) == 1, tops


def test_fingers_find_squares_that_they_can_hit_and_the_selected_one_in_sight(recorded):
    page = recorded(width=390, height=844)
    for layer in (29, 0):
        page.evaluate("layer => tokenoscope.selection.set({ layer })", layer)
        shows(page, layer=layer)
        settle(page)
        left, cell = page.evaluate(
            """(layer) => {
            const grid = document.querySelector(".ts-grid-canvas");
            const cell = (grid.clientWidth - 48) / tokenoscope.store.run.nLayers;
            return [46 + layer * cell - grid.parentElement.scrollLeft, cell];
        }""",
            layer,
        )
        assert cell >= 24
        assert 0 <= left <= 390 - 2 * 12 - cell
    expect(page.locator(".ts-grid-words")).to_contain_text("scrolls sideways")


def _shares(page: Page) -> list[int]:
    """The weights that are shown, those of the tokens left out together, in hundredths of a percent."""
    cells = page.locator(".ts-keys-table :is(tbody tr, .ts-rest):visible .ts-weight-cell").all_inner_texts()
    return [round(numbers(cell)[0] * 100) for cell in cells]


def test_the_worked_example_follows_the_line_that_is_pointed_at_and_a_click_keeps_it(opened):
    page, _ = opened()
    unfold(page)
    token = page.evaluate(AT)["token"]
    score = page.locator(".ts-row-stages li").first
    said = []
    for i in (2, 4):
        page.locator(LINES).nth(i).hover()
        expect(page.locator(LINES).nth(i)).to_have_class(re.compile("ts-key-pointed"))
        raw = page.locator(LINES).nth(i).locator("td").first.inner_text()
        products = score.locator(".ts-vector-note").last.inner_text()
        assert numbers(products)[0] == pytest.approx(numbers(raw)[0], abs=0.006)
        said.append(score.inner_text())
    assert said[0] != said[1]
    page.locator(LINES).nth(4).locator("button").click()
    page.locator(LINES).nth(2).hover()
    page.locator(".ts-card-attention .ts-title").hover()
    expect(page.locator(LINES).nth(4)).to_have_class(re.compile("ts-key-pointed"))
    assert page.evaluate("tokenoscope.selection.locked")
    page.keyboard.press("Escape")
    page.locator(".ts-card-attention .ts-title").click()
    expect(page.locator(LINES).nth(4)).not_to_have_class(re.compile("ts-key-pointed"))
    assert page.evaluate(AT)["token"] == token


def test_vectors_kept_small_are_said_to_be(opened):
    page, trace = opened()
    page.evaluate(
        "bytes => tokenoscope.store.run.feed(new Uint8Array(bytes))", list(slices.vectors(trace, 1, small=True))
    )
    unfold(page)
    expect(page.locator(".ts-unfolded")).to_contain_text("kept at 16 bits in this recording")
    cells = page.locator(".ts-keys-table .ts-weight-cell:visible").all_inner_texts()
    assert all(re.search(r"(^|\s)\d+\.\d%$", cell) for cell in cells), cells
    assert sum(_shares(page)) == 10_000


def test_what_a_head_mostly_does_is_the_measured_word_with_its_shares(opened):
    page, trace = opened()
    found = roles.measure(trace)
    for layer, head in ((0, 0), (3, 1), (3, 2), (3, 5)):
        page.evaluate("at => tokenoscope.selection.set(at)", {"layer": layer, "head": head})
        shows(page, layer=layer, head=head)
        said = page.locator(".ts-does").inner_text()
        assert roles.WORDS[found.word[layer, head]] in said
        assert f"puts {100 * found.shares[layer, head, 0]:.0f}% on the first token" in said
        assert f"Mean over {found.rows} rows" in said
        first = 3 * (head // 3)
        assert f"Heads {first}\u2013{first + 2} share key/value head {head // 3}." in said
    counts = {
        name.rstrip("0123456789 \n"): int(re.findall(r"\d+", name)[0])
        for name in page.locator(".ts-head-words button").all_inner_texts()
    }
    expected = {word: int((found.word == i).sum()) for i, word in enumerate(roles.WORDS)}
    assert counts == {word: count for word, count in expected.items() if count}


def test_a_word_goes_through_its_heads_and_marks_them_in_the_grid_until_escape(opened):
    page, _ = opened()
    heads = """([word, layer]) => {
        const run = tokenoscope.store.run;
        run.heads.words[2] = "itself";
        run.heads.word.fill(6);
        for (const head of [0, 3]) run.heads.word[layer * run.nHeads + head] = 2;
        run.id += "again";
        tokenoscope.store.redraw();
    }"""
    page.evaluate(heads, ["itself", 2])
    button = page.locator(".ts-head-words button", has_text="itself")
    expect(button).to_have_text(re.compile("itself2$"))
    grid = "document.querySelector('.ts-grid-canvas').toDataURL()"
    plain = page.evaluate(grid)
    button.hover()
    page.wait_for_function(f"(plain) => {grid} !== plain", arg=plain)
    page.locator(".ts-card-attention .ts-title").hover()
    page.wait_for_function(f"(plain) => {grid} === plain", arg=plain)
    for place, head in (("1 of 2", 0), ("2 of 2", 3), ("1 of 2", 0)):
        button.click()
        expect(button).to_have_text(f"itself{place}")
        assert (page.evaluate(AT)["layer"], page.evaluate(AT)["head"]) == (2, head)
        assert page.evaluate("tokenoscope.selection.locked")
    page.locator(".ts-card-attention .ts-title").hover()
    expect(button).to_have_attribute("aria-pressed", "true")
    button.press("Escape")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(button).to_have_text("itself2")


def test_the_grid_and_the_map_are_moved_in_by_keys(opened):
    page, _ = opened()
    before = page.evaluate(AT)
    page.locator(".ts-grid-canvas").focus()
    for key, change in (
        ("ArrowRight", {"layer": 2}),
        ("ArrowDown", {"head": 5}),
        ("ArrowLeft", {"layer": 1}),
        ("ArrowUp", {"head": 4}),
    ):
        page.keyboard.press(key)
        assert page.evaluate(AT) | change == page.evaluate(AT)
    page.keyboard.press("Enter")
    assert page.evaluate("tokenoscope.selection.locked")
    page.keyboard.press("Escape")
    page.locator(".ts-card-attention .ts-map").focus()
    page.keyboard.press("ArrowUp")
    assert page.evaluate(AT) == before | {"token": before["token"] - 1}
    page.keyboard.press("ArrowLeft")
    name = page.evaluate(f"tokenoscope.store.run.tokens[{before['token'] - 2}].text.trim()")
    expect(page.locator(".ts-one-weight")).to_contain_text(name)


def test_the_map_the_row_and_the_grid_are_in_sight_together(opened):
    page, _ = opened()
    boxes = page.evaluate("""[".ts-attention-panes", ".ts-card-attention .ts-map", ".ts-looks", ".ts-grid-canvas"]
        .map((part) => document.querySelector(part).getBoundingClientRect().toJSON())""")
    panes, shown, looks, grid = boxes
    assert grid["bottom"] - panes["top"] <= 900 - 110, json.dumps(boxes)  # 110: what the player takes
    assert shown["width"] <= 420
    assert looks["left"] > shown["right"]


def test_the_rail_names_the_head(opened):
    page, _ = opened()
    row = page.locator(".ts-rail-row[data-goes-to=attention]")
    expect(row.locator(".ts-rail-value")).to_have_text("layer 1, head 4")
    painted = "(c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((byte) => byte > 0)"
    assert row.locator("canvas").evaluate(painted)


WRITTEN = """() => {
    const write = CanvasRenderingContext2D.prototype.fillText;
    window.written = new Map();
    CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        const at = this.getTransform();
        const drawn = window.written.get(this.canvas) ?? new Map();
        const upright = at.b === 0;
        drawn.set(`${text} ${upright ? "row" : "column"}`, upright ? place[1] : at.e / (window.devicePixelRatio || 1));
        window.written.set(this.canvas, drawn);
        return write.call(this, text, ...place);
    };
    tokenoscope.selection.set({ layer: 2 });
}"""


@pytest.mark.parametrize("width", [390, 1280, 1440])
def test_up_to_forty_tokens_every_row_and_column_of_the_map_has_its_name(look, width):
    page = look(finished(" ".join(f"w{i}" for i in range(23)), 16), width=width, height=900)
    page.locator(".ts-card-attention").scroll_into_view_if_needed()
    shows(page, token=page.evaluate(AT)["token"])
    page.evaluate(WRITTEN)
    drawn_names = "window.written.get(document.querySelector('.ts-card-attention .ts-map'))"
    page.wait_for_function(f"{drawn_names}?.size > 70")
    drawn = page.evaluate(f"[...{drawn_names}]")
    names = {f"w{i}" for i in range(23)}
    for way in ("row", "column"):
        places = {name.split()[0].strip("␣"): place for name, place in drawn if name.endswith(f" {way}")}
        assert names <= set(places), way
        placed = sorted(places[name] for name in names)
        assert min(b - a for a, b in pairwise(placed)) >= 14 - 0.01
    box = page.locator(".ts-card-attention .ts-map-box")
    if width == 390:
        expect(page.locator(".ts-map-pane .ts-note")).to_contain_text("scrolls sideways")
        box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        assert box.evaluate("box => box.scrollLeft") > 100
    if width == 1440:
        assert box.evaluate("box => box.scrollWidth <= box.clientWidth + 1")


def test_a_map_of_more_tokens_than_pixels_shows_the_highest_weight_of_each_square_and_says_so(look):
    read = tuple(f" w{i}" for i in range(254))
    page = look(fake_trace(read, (" new0", " new1"), d_vocab=400), "step=0&layer=1&head=4", width=390, height=844)
    page.locator(".ts-card-attention").scroll_into_view_if_needed()
    note = page.locator(".ts-map-pane .ts-note")
    expect(note).to_contain_text("each square shows the highest weight in it")
    rows, cells = (int(each) for each in re.findall(r"(\d+) rows on (\d+) lines", note.inner_text())[0])
    assert cells < rows
    assert cells <= page.locator(".ts-card-attention .ts-map").evaluate("map => map.width")
    wrong = page.evaluate(
        """async (cells) => {
        const { pooled } = await import("/gradio_api/tokenoscope/assets/js/views/attention/attention_pixels.js");
        const { run } = tokenoscope.store;
        const { bytes } = pooled(run, tokenoscope.selection.at, cells, false);
        const place = (token) => Math.floor(token * cells / run.nRead);
        let wrong = 0;
        for (let p = 0; p < run.nRead; p += 1) {
            run.row(1, 4, p).forEach((byte, key) => { wrong += bytes[place(p) * cells + place(key)] < byte; });
        }
        return wrong;
    }""",
        cells,
    )
    assert wrong == 0


def test_pointing_at_a_square_of_the_grid_previews_that_head(opened):
    page, _ = opened()
    grid = page.locator(".ts-grid-canvas")
    cell = page.evaluate("(document.querySelector('.ts-grid-canvas').clientWidth - 48) / tokenoscope.store.run.nLayers")
    grid.hover(position={"x": 46 + 2.5 * cell, "y": 24 + 1.5 * cell})
    shows(page, layer=2, head=1)
    expect(page.locator(".ts-card-attention .ts-stepper-value").nth(1)).to_contain_text("head 1 of")
    page.locator(".ts-card-attention .ts-title").hover()
    shows(page, **PLACE)
