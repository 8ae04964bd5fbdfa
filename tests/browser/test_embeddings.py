"""Embeddings, in a real browser: the vector's numbers, the position's angles, the map, the nearest neighbours."""

import math
import re

import pytest
from playwright.sync_api import Page, expect

from model.records.trace import Trace
from tests.browser.pages import settle, until
from tests.browser.plain import finished
from tests.fakes import fake_trace

pytestmark = pytest.mark.cards("embeddings")

CLICK = "(point) => document.querySelector('.ts-map-chart').emit('plotly_click', { points: [{ customdata: point }] })"
CODE_OF = ("output", "tokens", "embeddings", "passes")


@pytest.fixture
def ran(look) -> Page:
    page = look()
    page.wait_for_function("tokenoscope.store.run.embeddings")
    page.locator("[data-view=embeddings]").scroll_into_view_if_needed()
    page.evaluate("tokenoscope.selection.set({ token: 2 })")
    return page


def has_map(page: Page) -> None:
    page.wait_for_function("document.querySelector('.ts-map-chart')?.data?.length === 5")


def rested(page: Page) -> None:
    """Wait until the names on the map stand where they stay: twelve frames in one place."""
    page.evaluate("""async () => {
        const names = () => [...document.querySelectorAll(".ts-map-chart .textpoint text")];
        const places = () => names().map((each) => each.getBoundingClientRect().x).join();
        for (let [last, same] = ["", 0]; same < 12; ) {
            await new Promise((done) => requestAnimationFrame(done));
            same = places() === last ? same + 1 : 0;
            last = places();
        }
    }""")


def test_pointing_at_a_square_says_its_number(ran):
    found = ran.evaluate("""(() => {
        const { embeddings: e, tokens } = tokenoscope.store.run;
        const row = e.pointOf.get(tokens[2].id);
        return { vector: Array.from(e.vectors.subarray(row * e.width, (row + 1) * e.width)), width: e.width };
    })()""")
    canvas = ran.locator(".ts-vector-box canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    side = 18
    columns = round(box["width"] / side)
    for index in (0, 5, columns + 3):
        if index >= found["width"]:
            continue
        ran.mouse.move(box["x"] + (index % columns + 0.5) * side, box["y"] + (index // columns + 0.5) * side)
        shown = f"{found['vector'][index]:.3f}".replace("-", "−")
        expect(ran.locator(".ts-vector-said").first).to_have_text(f"number {index}: {shown}")
    length = math.sqrt(sum(number**2 for number in found["vector"]))
    expect(ran.locator(".ts-card-embeddings")).to_contain_text(f"length is {float(f'{length:.4g}'):g}")


def test_the_first_hand_stands_at_the_angle_of_the_position(ran):
    tip = """([position]) => {
        const { cos, sin, pairs } = tokenoscope.store.run.embeddings;
        const canvas = document.querySelector('[aria-label*="dials"]');
        const ratio = devicePixelRatio;
        const columns = Math.min(pairs, Math.ceil(pairs / Math.ceil(pairs / Math.floor(canvas.clientWidth / 34))));
        const side = Math.min(52, canvas.clientWidth / columns);
        const angle = Math.atan2(sin[position * pairs], cos[position * pairs]);
        const far = (side / 2 - 2) * 0.6;
        const dark = (turn) => {
            const [x, y] = [side / 2 + Math.sin(turn) * far, side / 2 - Math.cos(turn) * far];
            const at = [x, y].map((each) => Math.round(each * ratio));
            return canvas.getContext('2d').getImageData(...at, 1, 1).data[0] < 120;
        };
        return [dark(angle), dark(angle + 2.1), dark(angle - 2.1)];
    }"""
    for position in (2, 3):
        ran.evaluate("(token) => tokenoscope.selection.set({ token })", position)
        expect(ran.locator('[aria-label*="dials"]')).to_have_attribute(
            "aria-label", re.compile(f"position {position}:")
        )
        settle(ran)
        assert ran.evaluate(tip, [position]) == [True, False, False]
    assert ran.locator(".ts-card-embeddings").inner_text().count("only on how far apart") == 1


def test_a_click_on_a_point_of_the_run_selects_its_token(ran):
    ran.locator(".ts-map-holder").scroll_into_view_if_needed()
    has_map(ran)
    assert "of the variance" in ran.locator(".ts-map-chart").inner_text()
    ran.evaluate("document.querySelector('.ts-map-chart').emit('plotly_click', { points: [{ customdata: 0 }] })")
    selected = ran.evaluate(
        "[tokenoscope.store.run.tokens[tokenoscope.selection.at.token].id, tokenoscope.selection.locked]"
    )
    assert selected == [ran.evaluate("tokenoscope.store.run.embeddings.ids[0]"), True]
    neighbour = ran.evaluate("tokenoscope.store.run.embeddings.own")
    before = ran.evaluate("tokenoscope.selection.at")
    ran.evaluate(CLICK, neighbour)
    assert ran.evaluate("tokenoscope.selection.at") == before


def test_the_map_moves_its_mark_when_the_selection_rests_and_only_for_another_token(ran):
    ran.locator(".ts-map-holder").scroll_into_view_if_needed()
    has_map(ran)
    rested(ran)
    ran.evaluate("""() => {
        window.calls = 0;
        for (const name of ["restyle", "react"]) {
            const kept = Plotly[name];
            Plotly[name] = (...given) => { window.calls += 1; return kept(...given); };
        }
        for (const token of [0, 1, 2, 3, 1]) tokenoscope.selection.set({ token });
    }""")
    assert ran.evaluate("window.calls") == 0
    until(lambda: ran.evaluate("window.calls") == 1, ran)
    mark = ran.evaluate("(({ data }) => [data[3].x[0], data[3].y[0]])(document.querySelector('.ts-map-chart'))")
    place = ran.evaluate("""(({ embeddings: e, tokens }) => { const i = e.pointOf.get(tokens[1].id);
        return [e.xy[i * 2], e.xy[i * 2 + 1]]; })(tokenoscope.store.run)""")
    assert mark == pytest.approx(place)
    ran.evaluate("tokenoscope.selection.set({ layer: 2 })")
    ran.wait_for_timeout(250)
    assert ran.evaluate("window.calls") == 1


def test_names_on_the_map_do_not_overlap_and_the_selected_one_is_there(ran):
    ran.locator(".ts-map-holder").scroll_into_view_if_needed()
    has_map(ran)
    rested(ran)
    boxes = ran.evaluate("""[...document.querySelectorAll('.ts-map-chart .scatterlayer .textpoint text')]
        .map((text) => { const b = text.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; })""")
    assert len(boxes) > 1
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert not any(
            left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in boxes[:i]
        )


def test_no_name_on_the_map_lies_on_a_mark_of_the_run(ran):
    ran.locator(".ts-map-holder").scroll_into_view_if_needed()
    has_map(ran)
    rested(ran)
    over = ran.evaluate("""() => {
        const boxes = (what) => [...document.querySelectorAll(`.ts-map-chart .scatterlayer ${what}`)]
            .map((each) => each.getBoundingClientRect());
        const marks = [1, 2].flatMap((i) => boxes(`.trace:nth-child(${i + 1}) .points > path`));
        const names = boxes(".textpoint text");
        const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1
            && b.top < a.bottom - 1;
        return [marks.length, names.length, names.filter((name) => marks.some((mark) => meet(name, mark))).length];
    }""")
    assert over[0] > 2
    assert over[1] > 2
    assert over[2] == 0


def test_the_nearest_neighbours_are_listed_with_their_cosines(ran):
    near = ran.evaluate("""(() => {
        const { embeddings: e, tokens } = tokenoscope.store.run;
        const row = e.pointOf.get(tokens[2].id);
        return Array.from(e.cosine.subarray(row * e.kept, (row + 1) * e.kept));
    })()""")
    expect(ran.locator(".ts-near .ts-bar-number")).to_have_text([f"cosine {cosine:.3f}" for cosine in near])


def test_without_the_chart_library_the_list_is_there_and_the_card_says_so(house, go):
    page = go(house)
    page.route("**/plotly.js", lambda route: route.fulfill(status=200, content_type="text/javascript", body=""))
    page.evaluate("record => { location.hash = `#record=${record}` }", house.keep(finished()))
    page.locator(".ts-near li").first.wait_for(state="attached")
    page.locator(".ts-near").scroll_into_view_if_needed()
    expect(page.locator(".ts-map-holder")).to_contain_text("The chart library could not be loaded")


SHOWN_MAP = """() => {
    const chart = document.querySelector(".ts-map-chart");
    const seen = chart.checkVisibility({ visibilityProperty: true }) && chart.dataset.run;
    return seen ? chart.dataset.run : null;
}"""


def test_the_map_is_of_the_run_that_is_shown_or_blank_however_late_the_library_comes(house, go):
    one, other = house.keep(finished()), house.keep(finished("six seven eight nine", 8))
    page = go(house)  # on no record: the library is not asked for before it is waited for
    waiting = []
    page.route("**/plotly.js", lambda route: waiting.append(route))
    page.evaluate("id => { location.hash = `#record=${id}&card=embeddings`; }", one)
    page.wait_for_function("tokenoscope.store.run?.embeddings")
    page.locator(".ts-card-embeddings").scroll_into_view_if_needed()
    until(lambda: len(waiting) == 1, page)
    expect(page.locator(".ts-map-holder .ts-empty")).to_have_text("Loading the chart library…")
    page.evaluate("id => { location.hash = `#record=${id}&card=embeddings`; }", other)
    page.wait_for_function("id => tokenoscope.store.run?.id === id && tokenoscope.store.run.embeddings", arg=other)
    assert page.evaluate(SHOWN_MAP) is None
    waiting[0].continue_()
    page.wait_for_function(f"id => ({SHOWN_MAP})() === id", arg=other)
    expect(page.locator(".ts-map-holder .ts-empty")).to_be_hidden()
    page.evaluate(f"""() => {{
        window.wrong = 0;
        const look = () => {{
            const shown = ({SHOWN_MAP})();
            const card = document.querySelector(".ts-card-embeddings");
            if (shown && card.dataset.run && shown !== card.dataset.run) window.wrong += 1;
            requestAnimationFrame(look);
        }};
        look();
    }}""")
    page.evaluate("id => { location.hash = `#record=${id}&card=embeddings`; }", one)
    page.wait_for_function(f"id => ({SHOWN_MAP})() === id", arg=one)
    assert page.evaluate("window.wrong") == 0


def test_a_chart_library_that_never_comes_is_given_up(house, go):
    page = go(house)
    page.route("**/plotly.js", lambda route: None)
    page.clock.install()
    page.reload()
    page.evaluate("id => { location.hash = `#record=${id}&card=embeddings`; }", house.keep(finished()))
    page.wait_for_function("tokenoscope.store.run?.embeddings")
    page.locator(".ts-card-embeddings").scroll_into_view_if_needed()
    note = page.locator(".ts-map-holder .ts-empty")
    expect(note).to_have_text("Loading the chart library…")
    page.clock.fast_forward(31_000)
    expect(note).to_contain_text("could not be loaded")
    expect(note.get_by_role("button", name="Try again")).to_be_visible()


def test_before_the_vectors_have_come_a_sentence_stands_there(house, go):
    page = go(house, f"#record={house.keep(fake_trace(), beside=False)}")
    card = page.locator("[data-view=embeddings]")
    expect(card.locator(".ts-empty").first).to_contain_text("added just after a run has ended")
    expect(card.locator(".ts-panes")).to_be_hidden()


def test_the_code_under_the_card_runs_on_the_kept_run(look, tmp_path, monkeypatch, capsys):
    page = look()
    page.wait_for_function("tokenoscope.store.run.embeddings")
    with page.expect_download() as download:
        page.get_by_role("link", name="trace file").click()
    download.value.save_as(tmp_path / "run.trace")
    assert Trace.open(tmp_path / "run.trace").steps
    monkeypatch.chdir(tmp_path)
    for name in CODE_OF:
        page.evaluate("name => tokenoscope.store.rail.open(name)", name)
        card = page.locator(f"[data-view={name}]")
        card.locator(".ts-details summary").click()
        expect(card.locator(".ts-table td").first).to_be_visible()
        exec(card.locator(".ts-code").inner_text(), {})
        assert capsys.readouterr().out.strip(), name
