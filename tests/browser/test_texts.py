"""In a language that puts each template in brackets, every sentence that the scripts make stands in brackets."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app.views_served import VIEWS
from tests.browser.plain import Plain, finished
from tests.browser.test_next_token import CARD, turn
from tests.browser.test_run_board import SHOWN
from viz import markup, views

CATALOGUE = 'export const CATALOGUE = { get: (key) => "\u27e6" + key + "\u27e7" };'
LINE = ".ts-run-text"
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"

# What a canvas writes, with the view that it belongs to, or its own name.
WATCH = """(() => {
    window.painted = new Map();
    const write = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        window.painted.set(String(text), this.canvas.closest("[data-view]")?.dataset.view ?? this.canvas.className);
        return write.call(this, text, ...rest);
    };
})();"""

# Texts of a model or a person, identifiers, code, and what comes from Python.
OTHERS = [
    ".ts-token-text, bdi, code, pre, option, .ts-text, .ts-reads, .ts-way-bytes, .ts-block-code, .ts-row-bytes",
    ".ts-model-line, .ts-measured-notes, .ts-recorded button, .ts-model-text",
    ".ts-more-picture :is(h3, .ts-sentence, p)",
    ".ts-board:not([data-experiment=run]) .ts-card:not(.ts-bill, .ts-origin, .ts-empty-card) *",
    ".ts-own-name, .ts-model-note",
    ".ts-card-embeddings .js-plotly-plot :is(.textpoint, .hoverlayer)",
]
OF_TICK = ".ts-board:not([data-experiment=run]) .ts-crumbs span"  # around the words of Python, and a template

# All text and all attributes that are read or shown, outside the brackets of a template.
OUTSIDE = """async ([others, ofTick]) => {
    const { label } = await import("/gradio_api/tokenoscope/assets/js/core/format.js");
    const { word } = await import("/gradio_api/tokenoscope/assets/js/views/loom/ink.js");
    const plain = (text) => text.replace(/[\\d.,]+ ?(?:kB|MB|GB|TB|ms|min)\\b/g, "").replace(/\\b[0-9A-F]{2}\\b/g, "")
        .replace(/[\\w-]+(?:[._][\\w-]+)+/g, "").replace(/\\d[\\d.]*e[+−-]?\\d+/g, "");
    const bare = (text) => /\\p{L}{2,}/u.test(plain(text));
    const found = new Set();
    let depth = 0;
    const read = (text) => {
        let outside = "";
        for (const letter of text) {
            if (letter === "\u27e6") depth += 1;
            else if (letter === "\u27e7") depth -= 1;
            else if (!depth) outside += letter;
        }
        return outside;
    };
    const walk = (node) => {
        if (node instanceof Text) {
            if (node.parentElement.matches(ofTick)) return;
            const outside = read(node.data);
            if (bare(outside)) found.add(`${node.parentElement.className || node.parentElement.tagName}: ${outside}`);
            return;
        }
        if (!(node instanceof Element)) return;
        const other = node.matches(others);
        for (const name of ["aria-label", "aria-valuetext", "title", "placeholder"]) {
            const text = node.getAttribute(name) ?? "";
            if (!other && !text.includes("\u27e6") && bare(text)) found.add(`${name} of ${node.className}: ${text}`);
        }
        if (other) return;
        if (node.tagName === "text") { // it may be cut, its end bracket with it
            if (!node.textContent.includes("\u27e6") && bare(node.textContent)) found.add(`svg: ${node.textContent}`);
            return;
        }
        const before = depth;
        for (const child of node.childNodes) walk(child);
        if (["DIV", "SECTION", "P", "LI", "TD"].includes(node.tagName) && depth !== before) {
            found.add(`brackets that do not match: ${node.textContent}`);
            depth = before;
        }
    };
    const roots = ".ts-boards, .ts-runs-root, .ts-run-text, .ts-spoken, .ts-message, .ts-keep, "
        + ".ts-texts-root";
    for (const root of document.querySelectorAll(roots)) walk(root);
    const { run } = tokenoscope.store ?? {};
    const tokens = run ? [...run.tokens, ...[...run.texts].map(([id, text]) => run.named({ id, text }))] : [];
    const names = new Set(); // of tokens, cut anywhere
    for (const whole of tokens.flatMap((token) => [label(token, 60), word(token).text])) {
        let name = "";
        for (const letter of whole) names.add(name += letter);
    }
    const isName = (text) => names.has(text.replace(/ [\\d.]+%$/, "").replace(/…$/, ""));
    for (const [text, view] of window.painted ?? []) {
        const said = text.includes("\u27e6") || isName(text);
        if (!said && bare(text)) found.add(`canvas of ${view}: ${text}`);
    }
    return [...found];
}"""


def in_that_language() -> str:
    """The scripts of the page as one, with that catalogue."""
    own, other = (text.removeprefix("export ") for text in (markup.module_source(markup.CATALOGUE_MODULE), CATALOGUE))
    scripts = markup.bundle("board/page.js")
    assert scripts.count(own.strip()) == 1
    return scripts.replace(own.strip(), other)


@pytest.fixture
def bracketed(visit: Any) -> Any:
    """Opens a plain page in that language."""

    def open_page(server: Plain, path: str = "") -> Page:
        page = visit(None, width=1440, height=900)
        page.route(
            re.compile(r"/core/catalogue\.js"),
            lambda route: route.fulfill(body=CATALOGUE, content_type="text/javascript"),
        )
        page.route(
            re.compile(r"/bundles/page\.js"),
            lambda route: route.fulfill(body=in_that_language(), content_type="text/javascript"),
        )
        page.add_init_script(WATCH)
        page.goto(f"{server.url}/{path}")
        page.wait_for_selector('.ts-board[data-ready="1"]', state="attached")
        return page

    return open_page


def outside(page: Page) -> list[str]:
    return page.evaluate(OUTSIDE, [", ".join(OTHERS), OF_TICK])


def show_all(page: Page) -> None:
    """Draws every card, wherever it is, and every table of numbers."""
    page.evaluate("""() => {
        for (const each of document.querySelectorAll(".ts-details, .ts-more-pictures, .ts-what-if")) each.open = true;
        document.querySelector(".ts-unfold")?.click();
    }""")
    page.wait_for_function("""() => tokenoscope.store.cards.every((card) => !card.stale)
        && [...document.querySelectorAll(".ts-card:not([hidden]) .ts-details")]
            .every((each) => each.querySelector(".ts-sheet table"))""")


def test_every_sentence_of_a_run_is_a_template(plain_server: Plain, bracketed: Any) -> None:
    page = bracketed(plain_server)
    page.wait_for_selector(".ts-board[data-run]")
    page.wait_for_function("tokenoscope.store.run?.units && tokenoscope.store.run.embeddings")
    found: set[str] = set()
    for at in ({"step": 0, "token": 0}, {"step": 10_000, "layer": 2, "head": 1}):
        page.evaluate("at => tokenoscope.selection.set(at, { lock: true })", at)
        show_all(page)
        found.update(outside(page))
    assert sorted(found) == []
    assert page.evaluate("painted.has('\u27e6tokens read\u27e7') && painted.has('\u27e6after layer 29\u27e7')")
    assert len(re.findall("\u27e6", page.locator(".ts-boards").inner_text())) > 300


def test_every_sentence_of_a_made_up_run_is_a_template(house: Plain, bracketed: Any) -> None:
    page = bracketed(house, f"#record={house.keep(finished(), beside=False)}")
    page.wait_for_selector(".ts-board[data-run]")
    expect(page.locator(".ts-card-attention .ts-title")).to_have_text("\u27e6Attention\u27e7")
    show_all(page)
    assert outside(page) == []


def test_every_sentence_of_the_loom_is_a_template(house: Plain, bracketed: Any) -> None:
    page = bracketed(house, f"#record={house.keep(finished())}&step=4")
    page.wait_for_function("tokenoscope.store.run?.lens")
    found: set[str] = set()
    captions = page.locator(".ts-story .ts-caption")
    for i in range(captions.count()):
        captions.nth(i).click()
        page.evaluate(DRAWN)
        found.update(outside(page))
    page.set_viewport_size({"width": 1920, "height": 1000})  # where tokens go across, with a legend
    page.wait_for_function("painted.has('\u27e6cache\u27e7')")
    page.locator(".ts-loom-over").hover()
    expect(page.locator(".ts-loom-readout:not([hidden])").first).to_contain_text("\u27e6")
    page.evaluate("tokenoscope.selection.set({ step: 0 })")
    page.evaluate(DRAWN)
    found.update(outside(page))
    assert sorted(found) == []
    assert page.evaluate(
        "['tokens', 'cache', 'the token that came next'].every((text) => painted.has(`\u27e6${text}\u27e7`))"
    )


def test_every_sentence_of_the_own_runs_and_of_a_fork_is_a_template(house: Plain, bracketed: Any) -> None:
    page = bracketed(house)
    assert outside(page) == []
    page.locator("#run").click()
    page.wait_for_function("tokenoscope.store.run?.lens")
    record = page.evaluate(SHOWN)
    page.evaluate("tokenoscope.selection.set({ step: 3 })")
    show_all(page)
    expect(page.locator(".ts-what-if .ts-note").last).to_contain_text("\u27e6")
    bars = page.locator(f"{CARD} .ts-pressable .ts-bar-press:enabled:visible")
    field = page.locator(f"{CARD} .ts-fork-field")
    found: set[str] = set()

    def continued() -> None:
        page.locator(f"{CARD} .ts-fork-go").click()
        page.wait_for_function(f"id => {SHOWN} !== id && tokenoscope.store.run.lens", arg=record)
        # The tokens of the first run, which have been painted, are not held any more.
        page.evaluate("painted.clear(), tokenoscope.store.redraw()")

    for act in (
        bars.nth(0).click,
        bars.nth(1).click,
        lambda: turn(page, "temperature", 0),
        lambda: turn(page, "penalty", 1.5),
        lambda: field.fill(" Rome"),
        continued,
        page.locator('.ts-own-act[data-does="rename"]').first.click,
        lambda: page.keyboard.press("Escape"),
        lambda: page.evaluate("id => tokenoscope.page.runs.gone(id)", record),
        page.locator('.ts-own-act[data-does="remove"]').first.click,
    ):
        act()
        page.evaluate(DRAWN)
        found.update(outside(page))
    assert sorted(found) == []
    expect(page.locator(".ts-keep")).to_contain_text("\u27e6")
    expect(page.locator(".ts-own-out")).to_contain_text("\u27e6")


@pytest.mark.parametrize(
    ("path", "experiment"), [("measure", "cache"), ("serve", "speculate")], ids=["measure", "serve"]
)
def test_what_is_said_before_there_is_a_record_is_a_template(
    house: Plain, bracketed: Any, path: str, experiment: str
) -> None:
    page = bracketed(house, path)
    expect(page.locator(f"#board-{experiment} .ts-empty-card")).to_contain_text("\u27e6")
    assert outside(page) == []


@pytest.mark.parametrize(
    ("path", "button", "experiment"),
    [
        ("measure", "Measure", "measure"),
        ("measure", "Cache", "cache"),
        ("serve", "Serve", "serve"),
        ("serve#speculation", "Speculate", "speculate"),
    ],
)
def test_every_sentence_of_the_other_boards_is_a_template(
    house: Plain, bracketed: Any, monkeypatch: pytest.MonkeyPatch, path: str, button: str, experiment: str
) -> None:
    of = views.all_views
    monkeypatch.setattr(views, "all_views", lambda kind: tuple(VIEWS.get(kind, of(kind))))
    page = bracketed(house, path)
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator(LINE)).to_contain_text("Done:")
    board = page.locator(f"#board-{experiment}, .ts-board[data-experiment={experiment}]").first
    expect(board.locator(".ts-card").first).to_be_visible()
    assert outside(page) == []
