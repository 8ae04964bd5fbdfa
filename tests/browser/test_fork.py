"""A run continued on the page from a step with another token: what is offered, what is asked for, what comes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model.requests.fork import Fork
from model.requests.run import Run
from tests.app.fakes_engine import FakeEngine, forked_trace
from tests.app.served import Served
from tests.browser.pages import run_to_the_end, scroll_to, serious_faults, settle
from tests.browser.plain import Plain, finished, plain
from tests.browser.test_own_runs import NAMES, shows
from tests.browser.test_run_board import SHOWN, run
from viz import export
from viz.wire import recorded
from viz.wire.parts import all_parts

pytestmark = pytest.mark.cards("next-token")

CARD = ".ts-card-next-token"
BARS = f"{CARD} .ts-pressable .ts-bar-press:enabled:visible"
GO = f"{CARD} .ts-fork-go"
SAID = f"{CARD} .ts-fork-said"
FIELD = f"{CARD} .ts-fork-field"


@pytest.fixture
def ran(house: Plain, go: Callable[..., Page]) -> tuple[Page, str]:
    """A page with a finished run of its own, looked at at step 3, and its id."""
    page = go(house)
    record = run(page)
    page.evaluate("tokenoscope.selection.set({ step: 3 })")
    page.locator(CARD).scroll_into_view_if_needed()
    expect(page.locator(SAID)).to_contain_text("the run continues from step 3")
    return page, record


def other(page: Page) -> int:
    """Which of the candidates is not the one that was chosen."""
    chosen = page.locator(BARS).evaluate_all("(all) => all.findIndex((e) => e.closest('.ts-chosen'))")
    return 1 if chosen == 0 else 0


@pytest.mark.cards("")
def test_a_candidate_beside_the_loom_continues_the_run_and_the_chosen_one_opens_its_card(
    house: Plain, go: Callable[..., Page]
) -> None:
    page = go(house, width=1440, height=900)
    run(page)
    page.evaluate("tokenoscope.selection.set({ step: 3 })")
    settle(page)
    expect(page.locator(CARD)).to_be_hidden()
    page.locator(".ts-likely-chosen .ts-likely-press").click()  # it would be the same run
    expect(page.locator(SAID)).to_contain_text("the fork repeats the same run")
    assert not any(isinstance(each, Fork) for each in house.engine.asked)
    scroll_to(page, 0)
    other = page.locator(".ts-likely:not(.ts-likely-chosen) .ts-likely-press").first
    token = page.evaluate("tokenoscope.store.run.steps[3].choices[0].candidates[1].id")
    other.click()
    page.wait_for_function("tokenoscope.store.run.head.origin && tokenoscope.store.run.end")
    asked = house.engine.asked[-1]
    assert isinstance(asked, Fork)
    assert (asked.step, asked.token_id) == (3, token)
    assert page.evaluate("[tokenoscope.selection.at.step, scrollY]") == [3, 0]


def test_a_candidate_is_pressed_and_the_run_goes_on_from_it_beside_the_old_one(
    house: Plain, ran: tuple[Page, str]
) -> None:
    page, record = ran
    go = page.locator(GO)
    expect(go).to_be_disabled()
    at = other(page)
    page.locator(BARS).nth(at).click()
    expect(page.locator(BARS).nth(at)).to_have_attribute("aria-pressed", "true")
    name = page.locator(BARS).nth(at).locator(".ts-bar-name").inner_text()
    expect(go).to_have_text(f"Continue from here with “{name}”")
    expect(page.locator(SAID)).to_contain_text("up to 16 new tokens in total. It uses this run’s settings")
    go.click()
    page.wait_for_function(f"id => {SHOWN} !== id && tokenoscope.store.run.end", arg=record)
    asked = house.engine.asked[-1]
    assert isinstance(asked, Fork)
    assert (asked.run, asked.step) == (record, 3)
    assert page.evaluate("tokenoscope.store.run.steps[3].choices[0].id") == asked.token_id
    assert page.evaluate("tokenoscope.selection.at.step") == 3, "it opens where it was forked"
    expect(page.locator(NAMES)).to_have_text(["One two three four five"] * 2)
    expect(page.locator(".ts-own-what").first).to_have_text(f"shown, 16 tokens, forked at step 3 with {name}")
    expect(page.locator(".ts-crumbs")).to_contain_text("forked at step 3")
    expect(page.locator(f"{CARD} .ts-headline")).to_contain_text("A person chose it.")
    line = page.locator(f"{CARD} .ts-fork-origin")
    expect(line).to_contain_text(f"at step 3: a person chose “{name}” in place of")
    expect(line).to_contain_text("8 positions were not recomputed")
    expect(line).to_contain_text("220 ms saved")
    line.get_by_role("button", name="Show the original run").click()
    shows(page, record)
    expect(line).to_be_hidden()


def test_keys_reach_every_candidate_by_one_stop_and_left_and_right_still_step(ran: tuple[Page, str]) -> None:
    page, _ = ran
    bars = page.locator(BARS)
    assert bars.evaluate_all("(all) => all.filter((e) => e.tabIndex === 0).length") == 1
    bars.first.focus()
    page.keyboard.press("ArrowDown")
    expect(bars.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(bars.last).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(bars.first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press(" ")
    expect(bars.first).to_have_attribute("aria-pressed", "false")
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("tokenoscope.selection.at.step === 4")
    expect(page.locator(GO)).to_be_disabled()
    page.keyboard.press("ArrowLeft")
    expect(bars.first).to_have_attribute("aria-pressed", "true")


def test_any_token_is_named_by_its_text_and_a_refusal_stands_beside_the_form_and_here(
    house: Plain, ran: tuple[Page, str]
) -> None:
    page, record = ran
    page.locator(BARS).first.click()
    page.locator(FIELD).fill(" Rome")
    expect(page.locator(BARS).first).to_have_attribute("aria-pressed", "false")
    expect(page.locator(GO)).to_contain_text("Rome")
    page.locator(FIELD).fill("nonsense")
    page.locator(FIELD).press("Enter")
    expect(page.locator(".ts-refusal")).to_contain_text("token is 'nonsense'; fake-1k has no such token")
    expect(page.locator(SAID)).to_contain_text("has no such token")
    assert page.evaluate(SHOWN) == record
    expect(page.locator(NAMES)).to_have_count(1)
    page.locator(FIELD).fill(" Rome")
    page.locator(GO).click()
    page.wait_for_function(f"id => {SHOWN} !== id", arg=record)
    asked = house.engine.asked[-1]
    assert isinstance(asked, Fork) and (asked.token, asked.token_id) == (" Rome", None)
    expect(page.locator(".ts-refusal")).to_have_text("")
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Done: 16 tokens"))


def test_the_token_that_was_chosen_gives_the_same_run_and_a_fork_can_be_forked(
    house: Plain, ran: tuple[Page, str]
) -> None:
    page, record = ran
    page.locator(f"{CARD} .ts-pressable .ts-chosen .ts-bar-press").click()
    expect(page.locator(SAID)).to_have_text("This token was chosen at step 3: the fork repeats the same run.")
    page.locator(GO).click()
    page.wait_for_function(f"id => {SHOWN} !== id && tokenoscope.store.run.lens", arg=record)
    expect(page.locator(f"{CARD} .ts-fork-origin")).to_contain_text(re.compile("a person chose “.+” again"))
    fork = page.evaluate(SHOWN)
    page.evaluate("tokenoscope.selection.set({ step: 6 })")
    page.locator(FIELD).fill(" again")
    page.locator(GO).click()
    page.wait_for_function(f"id => {SHOWN} !== id", arg=fork)
    assert house.engine.asked[-1] == Fork(run=fork, step=6, token=" again")
    expect(page.locator(NAMES)).to_have_count(3)


def test_it_is_not_offered_while_the_run_goes_on_or_no_model_is_there(house: Plain, go: Callable[..., Page]) -> None:
    engine = house.use(FakeEngine(seconds=None))
    page = go(house)
    page.locator("#run").click()
    engine.let(3)
    expect(page.locator(SAID)).to_contain_text("This run is not finished")
    expect(page.locator(GO)).to_be_hidden()
    engine.let(30)
    expect(page.locator(GO)).to_be_visible()
    page.evaluate("document.body.dataset.model = 'loading'")
    expect(page.locator(SAID)).to_contain_text("The model is being loaded")
    expect(page.locator(GO)).to_be_hidden()


def test_in_a_saved_page_nobody_can_continue_a_run(house: Plain, visit: Callable[..., Page], tmp_path: Path) -> None:
    trace = finished(n_new=4)
    fork = forked_trace(trace, Fork(run="a.trace", step=1, token=" Rome"))
    (tmp_path / "page.html").write_text(export.page(fork))
    page = visit(None)
    page.unroute("**/*")
    page.goto((tmp_path / "page.html").as_uri())
    expect(page.locator(f"{CARD} .ts-fork-origin")).to_contain_text("Forked from “a.trace” at step 1")
    expect(page.locator(f"{CARD} .ts-fork-parent")).to_have_count(0)
    expect(page.locator(f"{CARD} .ts-fork")).to_have_count(0)
    expect(page.locator(f"{CARD} .ts-bar-press")).to_have_count(0)


def test_a_recorded_run_is_run_again_here_first_and_not_forked_where_it_goes_on_otherwise(
    shipped: Plain, go: Callable[..., Page]
) -> None:
    page = go(shipped)
    page.wait_for_function("tokenoscope.store.run?.lens")
    prompt, settings = page.evaluate("(({ prompt, settings }) => [prompt, settings])(tokenoscope.store.run.head)")
    page.locator(CARD).scroll_into_view_if_needed()
    page.locator(BARS).nth(other(page)).click()
    expect(page.locator(SAID)).to_contain_text("This is a recording: its prompt is run again here first.")
    page.locator(GO).click()
    expect(page.locator(SAID)).to_contain_text("Run here, the prompt produced different tokens")
    (asked,) = shipped.engine.asked
    assert asked == Run(prompt=prompt, **settings), "the recording's own settings, not the form's"


def test_a_recorded_run_that_goes_on_the_same_here_is_forked(tmp_path: Path, go: Callable[..., Page]) -> None:
    (tmp_path / "1-made-up.frames").write_bytes(b"".join(all_parts(finished())))
    with plain(recorded.load(tmp_path)) as server:
        page = go(server)
        page.wait_for_function("tokenoscope.store.run?.lens")
        page.evaluate("tokenoscope.selection.set({ step: 2 })")
        page.locator(FIELD).fill(" Rome")
        page.locator(GO).click()
        page.wait_for_function("tokenoscope.store.run?.head.origin")
        first, then = server.engine.asked
        assert isinstance(first, Run) and isinstance(then, Fork)
        assert (then.step, then.token) == (2, " Rome")
        expect(page.locator(NAMES)).to_have_count(2)
        expect(page.locator(f"{CARD} .ts-fork-said")).not_to_contain_text("recorded prompt")
        page.evaluate("localStorage.clear()")
        page.goto("about:blank")


def test_the_form_has_no_faults_that_axe_finds_and_fits_a_phone(house: Plain, go: Callable[..., Page]) -> None:
    fork = forked_trace(finished(), Fork(run="a.trace", step=3, token=" Rome"))
    page = go(house, f"#record={house.keep(fork)}&step=3", width=390, height=844)
    page.wait_for_selector(".ts-board[data-run]")
    page.locator(CARD).scroll_into_view_if_needed()
    page.locator(BARS).first.click()
    assert serious_faults(page, CARD) == []
    heights = page.locator(BARS).evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().height)")
    assert len(heights) > 5 and min(heights) >= 40
    for each in (GO, FIELD):
        box = page.locator(each).bounding_box()
        assert box is not None and box["height"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= 390


@pytest.mark.parametrize("names", [("fake-1k",), ("fake-1k", "other")], ids=["one model", "a choice of models"])
def test_the_app_continues_a_run_by_gradios_own_event(
    serve: Callable[..., Served], visit: Callable[..., Page], names: tuple[str, ...]
) -> None:
    served = serve(names=names)
    page = visit(served.url)
    record = run_to_the_end(page, "Some words of mine")
    page.wait_for_function("tokenoscope.store.run?.lens")
    page.evaluate("tokenoscope.selection.set({ step: 2 })")
    page.locator(FIELD).fill(" Rome")
    page.locator(GO).click()
    page.wait_for_function("tokenoscope.store.run?.head.origin")
    asked = served.engine.asked[-1]
    assert asked == Fork(run=str(record), step=2, token=" Rome", model=names[0] if len(names) > 1 else None)
    expect(page.locator(NAMES)).to_have_text(["Some words of mine"] * 2)
    page.locator(FIELD).fill("nonsense")
    expect(page.locator(GO)).to_be_enabled()
    page.locator(GO).click()
    expect(page.locator("#status").get_by_role("alert")).to_contain_text("has no such token")


def test_what_no_picture_asks_for_is_refused_in_words(serve: Callable[..., Served], visit: Callable[..., Page]) -> None:
    page = visit(serve().url)
    page.evaluate("tokenoscope.page.link.ask('measure', { prompt: 'a' })")
    expect(page.locator(".ts-refusal")).to_contain_text("this page has no experiment 'measure'")
    page.evaluate("tokenoscope.page.link.ask('fork', { run: 5, step: 'x' })")
    expect(page.locator(".ts-refusal")).to_contain_text("must be a name")
    page.evaluate("tokenoscope.page.link.ask('fork', 7)")
    expect(page.locator(".ts-refusal")).to_contain_text("with such values")
