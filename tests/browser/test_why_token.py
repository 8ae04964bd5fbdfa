"""Why a step chose its token, on the page: what is asked for, what comes, and which head took what from where."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model.requests.attribution import Attribute
from model.requests.run import Run
from tests.app.fakes_engine import UNEXPLAINED
from tests.app.served import Served
from tests.browser.pages import no_overflow, run_to_the_end, serious_faults, settle
from tests.browser.plain import Plain, finished, plain
from tests.browser.test_run_board import run
from tests.fakes_attributed import fake_attribution
from viz.export import page as page_of
from viz.wire import recorded
from viz.wire.parts import all_parts

pytestmark = pytest.mark.cards("why-token")

CARD = ".ts-card-why-token, [data-view=why_token]"
LIST = f"{CARD} >> select"
GO = f"{CARD} >> .ts-why-ask .ts-button"
SAID = f"{CARD} >> .ts-why-waits"
SUM = f"{CARD} >> .ts-why > .ts-why-said"
BARS = ".ts-why-waterfall .ts-why-bar"
TOOK = ".ts-why-sources"


@pytest.fixture
def ran(house: Plain, go: Callable[..., Page]) -> tuple[Page, str]:
    """A page with a finished run of its own, looked at at step 2, and its id."""
    page = go(house)
    record = run(page)
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    page.locator(CARD).scroll_into_view_if_needed()
    expect(page.locator(SAID)).to_have_text("Explain runs this step again and measures every part.")
    return page, record


def signed(text: str) -> float:
    return float(text.replace("\u2212", "-"))


def test_a_press_explains_the_step_and_the_parts_end_at_the_sum(house: Plain, ran: tuple[Page, str]) -> None:
    page, record = ran
    rival = int(page.locator(LIST).input_value())
    page.locator(GO).click()
    expect(page.locator(SUM)).to_contain_text(" logits")
    asked = house.engine.asked[-1]
    assert asked == Attribute(run=record, step=2, rival_id=rival)
    own = page.evaluate("tokenoscope.store.run.steps[2].choices[0].candidates.map(({ id }) => id)")
    assert rival in own and rival != page.evaluate("tokenoscope.store.run.steps[2].choices[0].id")
    n_layers = page.evaluate("tokenoscope.store.run.nLayers")
    expect(page.locator(BARS)).to_have_count(3 + 2 * n_layers)
    last = page.evaluate("tokenoscope.page.reasons.found.values().next().value.parts.at(-1).to")
    total = page.evaluate("tokenoscope.page.reasons.found.values().next().value.about.total")
    assert last == pytest.approx(total, abs=1e-6)
    expect(page.locator(GO)).to_be_hidden()
    assert page.evaluate("tokenoscope.store.run.id") == record, "the run is still the one that is shown"
    expect(page.locator(".ts-refusal")).to_have_text("")


def test_another_rival_is_asked_for_by_itself_and_what_came_is_kept(house: Plain, ran: tuple[Page, str]) -> None:
    page, _ = ran
    first = page.locator(LIST).input_value()
    page.locator(GO).click()
    expect(page.locator(SUM)).to_contain_text(" logits")
    page.locator(LIST).select_option(index=2)
    expect(page.locator(f"{CARD} >> .ts-why")).to_be_hidden()
    page.locator(GO).click()
    expect(page.locator(SUM)).to_be_visible()
    n_asked = len(house.engine.asked)
    page.locator(LIST).select_option(first)
    expect(page.locator(SUM)).to_be_visible()
    page.evaluate("tokenoscope.selection.set({ step: 3 })")
    expect(page.locator(f"{CARD} >> .ts-why")).to_be_hidden()
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    expect(page.locator(SUM)).to_be_visible()
    assert len(house.engine.asked) == n_asked


def test_a_head_that_is_pressed_says_what_it_took_from_where(ran: tuple[Page, str]) -> None:
    page, _ = ran
    page.locator(GO).click()
    expect(page.locator(TOOK)).to_contain_text("Layer 2, head 1 added \u22122.00 logits towards")
    pressed = page.locator(".ts-why-head").nth(1)
    pressed.click()
    expect(pressed).to_have_attribute("aria-pressed", "true")
    rows = page.locator(f"{TOOK} .ts-why-value").all_inner_texts()
    assert sum(map(signed, rows)) == pytest.approx(signed(pressed.locator("strong").inner_text()), abs=0.05)
    page.locator(".ts-why-heads").focus()
    step = page.evaluate("tokenoscope.selection.at.step")
    before = page.locator(f"{TOOK} .ts-why-said").inner_text()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f"{TOOK} .ts-why-said")).not_to_have_text(before)
    assert page.evaluate("tokenoscope.selection.at.step") == step, "the map's own arrows step nothing else"


@pytest.mark.cards("")
def test_the_press_beside_the_loom_opens_the_card_and_explains(house: Plain, go: Callable[..., Page]) -> None:
    page = go(house, width=1440, height=900)
    run(page)
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    page.wait_for_function("tokenoscope.page.reasons.why(tokenoscope.store.run) === ''")
    settle(page)
    page.locator(".ts-loom-why").click()
    expect(page.locator(SUM)).to_contain_text(" logits")
    asked = house.engine.asked[-1]
    assert isinstance(asked, Attribute) and asked.step == 2
    expect(page.locator("[data-goes-to=why-token]")).to_contain_text("against")


def test_a_refusal_stands_where_it_was_asked(house: Plain, ran: tuple[Page, str]) -> None:
    page, _ = ran
    page.evaluate(f"tokenoscope.selection.set({{ step: {UNEXPLAINED} }})")
    page.locator(GO).click()
    expect(page.locator(SAID)).to_contain_text("The logits of fake-1k cannot be split over its parts")
    expect(page.locator(GO)).to_be_enabled()
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    expect(page.locator(SAID)).not_to_contain_text("cannot be split")
    page.evaluate("document.body.dataset.model = 'loading'")
    expect(page.locator(SAID)).to_contain_text("After that, the steps of this run can be explained")
    expect(page.locator(GO)).to_be_disabled()


def test_a_recorded_run_is_run_here_first_and_then_explained(tmp_path: Path, go: Callable[..., Page]) -> None:
    (tmp_path / "1-made-up.frames").write_bytes(b"".join(all_parts(finished())))
    with plain(recorded.load(tmp_path)) as server:
        page = go(server)
        page.wait_for_function("tokenoscope.store.run?.lens")
        page.evaluate("tokenoscope.selection.set({ step: 2 })")
        expect(page.locator(SAID)).to_contain_text("This is a recording: its prompt is run again here first.")
        page.locator(GO).click()
        expect(page.locator(SUM)).to_contain_text(" logits")
        first, then = server.engine.asked
        assert isinstance(first, Run) and isinstance(then, Attribute)
        assert then.step == 2 == page.evaluate("tokenoscope.selection.at.step")
        page.evaluate("localStorage.clear()")
        page.goto("about:blank")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_a_saved_page_of_it_works_by_itself(visit: Callable[..., Page], tmp_path: Path, width: int, theme: str) -> None:
    (tmp_path / "why.html").write_text(page_of(fake_attribution()), encoding="utf-8")
    page = visit(None, width=width, height=844)
    page.goto((tmp_path / "why.html").as_uri())
    page.wait_for_selector('#scope[data-ready="1"]')
    page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", theme == "dark")
    expect(page.locator(BARS)).to_have_count(3 + 2 * 4)
    page.locator(".ts-why-head").nth(2).click()
    expect(page.locator(TOOK)).to_contain_text(re.compile("Layer \\d, head \\d added"))
    assert no_overflow(page) and serious_faults(page) == []
    heights = page.locator(".ts-why-head").evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().height)")
    assert min(heights) >= 40


def test_few_words_stand_before_the_picture(ran: tuple[Page, str]) -> None:
    page, _ = ran
    page.locator(GO).click()
    expect(page.locator(SUM)).to_be_visible()
    lead = page.locator(f"{CARD} >> .ts-sentence").first.inner_text()
    assert len(lead.removesuffix("more").split()) <= 15
    assert page.locator(SAID).inner_text() == ""


def test_the_app_explains_by_gradios_own_event(serve: Callable[..., Served], visit: Callable[..., Page]) -> None:
    served = serve()
    page = visit(served.url)
    record = run_to_the_end(page, "Some words of mine")
    page.wait_for_function("tokenoscope.store.run?.lens")
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    settle(page)
    expect(page.locator(GO)).to_be_enabled()
    page.locator(GO).click()
    expect(page.locator(SUM)).to_contain_text(" logits")
    asked = served.engine.asked[-1]
    assert isinstance(asked, Attribute) and (asked.run, asked.step) == (record, 2)
