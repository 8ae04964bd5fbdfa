"""The board of runs on a plain page: a run as it goes on, what is left of it, and what is never shown as another's."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.app.fakes_engine import FakeEngine
from tests.browser.pages import frames_held, settle, step_shown, until
from tests.browser.plain import Plain, finished

pytestmark = pytest.mark.cards("output")

SHOWN = "document.querySelector('.ts-board').dataset.run"
LINE = ".ts-run-text"


def run(page: Page, prompt: str | None = None) -> str:
    """Press Run, wait for the end and its lens; returns the id of the run that is shown."""
    before = page.evaluate(SHOWN)
    if prompt is not None:
        page.locator("#prompt textarea").fill(prompt)
    page.locator("#run").click()
    page.wait_for_function(f"before => {SHOWN} !== before && tokenoscope.store.run?.lens", arg=before)
    expect(page.locator(LINE)).to_have_text(re.compile("^Done: "))
    return page.evaluate(SHOWN)


def test_parts_arrive_while_the_run_goes_on(house: Plain, go):
    engine = house.use(FakeEngine(seconds=None))
    page = go(house)
    page.locator("#run").click()
    for held in (2, 3, 4):
        engine.let(1)
        until(lambda held=held: frames_held(page) == held, page)
        assert engine.state(0) == "running"
    expect(page.locator(LINE)).to_have_text(re.compile("^Running: token 3 of at most 16"))
    engine.let(30)
    expect(page.locator(LINE)).to_have_text("Done: 16 tokens written, as many as requested.")
    until(lambda: frames_held(page) == 22, page)  # head, 16 passes, end, heads, units, map, lens


def test_after_run_is_pressed_the_keys_are_the_boards(house: Plain, go):
    page = go(house)
    run(page)
    assert page.evaluate("document.activeElement.matches('.ts-board')")
    page.keyboard.press("Home")
    until(lambda: step_shown(page) == 0, page)
    page.keyboard.press("ArrowRight")
    until(lambda: step_shown(page) == 1, page)
    shown = page.evaluate(SHOWN)
    page.keyboard.press("Space")
    expect(page.locator(".ts-player [aria-pressed]").first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    assert page.evaluate(SHOWN) == shown
    field = page.locator("#prompt textarea")
    field.fill("six seven eight")
    field.press("Control+Enter")
    page.wait_for_function(f"before => {SHOWN} !== before && tokenoscope.store.run?.lens", arg=shown)
    assert page.evaluate("tokenoscope.store.run.head.prompt") == "six seven eight"
    assert page.evaluate("document.activeElement.matches('textarea')")


def test_step_begins_a_run_where_none_is_going_and_holds_it(house: Plain, go):
    engine = house.use(FakeEngine(seconds=0.6))
    page = go(house)
    page.locator("#step").click()
    expect(page.locator(LINE)).to_have_text(re.compile("^Paused: "))
    held = engine.jobs[0].status.done
    assert (held, len(engine.jobs)) == (1, 1)
    page.locator("#step").click()
    expect(page.locator(LINE)).to_have_text(re.compile(f"^Paused: token {held + 1} of"))
    page.locator("#stop").click()


def test_scrubbing_asks_the_server_for_nothing(look):
    page = look()
    last = step_shown(page)
    asked: list[str] = []
    page.on("request", lambda request: None if request.url.endswith("/model") else asked.append(request.url))
    page.locator("h1").click()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    until(lambda: step_shown(page) == last - 10, page)
    page.keyboard.press("Home")
    until(lambda: step_shown(page) == 0, page)
    assert asked == []


def test_pause_step_resume_and_stop_by_their_buttons(house: Plain, go):
    engine = house.use(FakeEngine(seconds=0.6))  # so that it is not over before Stop
    page = go(house)
    page.locator("#run").click()
    expect(page.locator(LINE)).to_have_text(re.compile("^Running"))
    page.locator("#pause").click()
    expect(page.locator(LINE)).to_have_text(re.compile("^Paused"))
    held = engine.jobs[0].status.done
    page.locator("#step").click()
    expect(page.locator(LINE)).to_have_text(re.compile(f"^Paused: token {held + 1} of"))
    assert engine.jobs[0].status.done == held + 1
    page.locator("#resume").click()
    expect(page.locator(LINE)).to_have_text(re.compile("^Running"))
    page.locator("#stop").click()
    expect(page.locator(LINE)).to_have_text(re.compile(r"^Stopped after \d+ tokens?\."))
    for button in ("#pause", "#stop"):
        expect(page.locator(button)).to_be_disabled()
    expect(page.locator("#step")).to_be_enabled()  # it begins the next run


def test_what_is_pinned_is_unpinned_by_a_button_and_by_a_key_that_the_help_names(look):
    page = look()
    unpin = page.get_by_role("button", name="Unpin", exact=True)
    expect(unpin).to_be_hidden()
    for press in (unpin.click, lambda: page.keyboard.press("Escape")):
        page.locator(".ts-loom-over").click(position={"x": 200, "y": 120})
        assert page.evaluate("tokenoscope.selection.locked") is True
        expect(unpin).to_have_attribute("title", re.compile("is pinned.*Esc"))
        press()
        expect(unpin).to_be_hidden()
        assert page.evaluate("tokenoscope.selection.locked") is False
    page.keyboard.press("?")
    help_sheet = page.get_by_role("dialog")
    expect(help_sheet.get_by_role("row", name="Esc")).to_have_text(re.compile("unpin the selection"))
    expect(help_sheet).to_contain_text("A click or a tap pins the selection")
    assert "lock" not in page.evaluate("document.body.innerText").lower().replace("block", "")


def test_a_program_that_stops_answering_is_told_where_the_run_stands(house: Plain, go):
    engine = house.use(FakeEngine(seconds=None))
    page = go(house)
    page.locator("#run").click()
    engine.let(2)
    expect(page.locator(LINE)).to_have_text(re.compile("^Running: token 2"))
    expect(page.locator(".ts-spoken")).to_have_text("Running.")
    ask_again = "document.dispatchEvent(new CustomEvent('tokenoscope-model', { detail: '' }))"  # not in five seconds
    page.evaluate("() => { window.kept = fetch; window.fetch = () => Promise.reject(new TypeError('gone')); }")
    page.evaluate(ask_again)
    expect(page.locator(LINE)).to_have_text(re.compile("^Connection lost: the program does not answer"))
    expect(page.locator("body")).to_have_attribute("data-model", "silent")
    expect(page.locator(".ts-board > .ts-empty")).to_contain_text("the pictures stay as they are")
    expect(page.locator(".ts-progress")).to_be_hidden()
    for button in ("#pause", "#step", "#stop"):
        expect(page.locator(button)).to_be_disabled()
    page.evaluate("() => { window.fetch = window.kept; }")
    page.evaluate(ask_again)
    expect(page.locator(LINE)).to_have_text(re.compile("^Running: token 2"))
    expect(page.locator(".ts-board > .ts-empty")).to_be_hidden()
    expect(page.locator("#stop")).to_be_enabled()


def test_a_press_that_a_newer_one_overtook_is_forgotten(look, house: Plain):
    page = look()
    newer, older = house.keep(finished("newer words")), house.keep(finished("older words"))
    take = "([id, press]) => tokenoscope.page.take({ id, experiment: 'run', refusal: '', press })"
    page.evaluate(take, [newer, 7])
    page.wait_for_function(f"id => {SHOWN} === id", arg=newer)
    page.evaluate(take, [older, 6])
    page.evaluate("tokenoscope.page.take({ id: null, experiment: 'run', refusal: 'not heard', press: 5 })")
    expect(page.locator(".ts-refusal")).to_have_text("")
    assert page.evaluate("id => tokenoscope.page.held.has(id)", older) is False


def test_a_run_waits_for_a_model_that_is_still_loading(house: Plain, go):
    house.models.use(house.engine, ready=False)
    page = go(house)
    page.locator("#run").click()
    expect(page.locator(LINE)).to_have_text(re.compile("40%"))
    expect(page.locator("#stop")).to_be_enabled()
    house.models.ready = True
    expect(page.locator(LINE)).to_have_text(re.compile("^Done: "))
    expect(page.locator(".ts-model-text")).to_have_text(re.compile("^Ready: fake-1k, 4 layers"))


def test_a_run_that_never_began_leaves_the_one_before_and_says_so(house: Plain, go):
    page = go(house)
    shown = run(page)
    house.models.use(house.engine, ready=False)
    page.locator("#run").click()
    expect(page.locator(LINE)).to_have_text(re.compile("40%"))
    page.locator("#stop").click()
    expect(page.locator(".ts-message")).to_have_text("Stopped before it started. What was shown before stays.")
    expect(page.locator(LINE)).to_have_text("")  # "Done" of the run before would be taken for this one's
    assert page.evaluate(SHOWN) == shown
    house.models.ready = True
    assert run(page) != shown


def test_a_run_that_fails_says_why_and_keeps_what_it_wrote(house: Plain, go):
    page = go(house)
    house.engine.fail_with = ValueError("a bug")
    page.locator("#run").click()
    expect(page.locator(".ts-refusal")).to_contain_text("An internal error occurred")
    expect(page.locator(LINE)).to_have_text(re.compile("^Ended after"))
    house.engine.fail_with = None
    run(page)
    expect(page.locator(".ts-refusal")).to_have_text("")


def test_a_finished_run_can_be_kept(house: Plain, go):
    page = go(house)
    expect(page.locator(".ts-keep")).to_be_hidden()
    run(page)
    for link, name in (("web page", "run.html"), ("trace file", "run.trace")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        assert download.value.suggested_filename == name
        assert download.value.failure() is None


def test_a_run_of_ones_own_is_shown_again_after_a_visit_elsewhere(house: Plain, go):
    page = go(house)
    own = run(page, "words of my own")
    page.goto(f"{house.url}/measure")
    page.goto(house.url)
    page.wait_for_function(f"id => {SHOWN} === id", arg=own)
    expect(page.locator(LINE)).to_have_text(re.compile("^Done: 16"))


def test_another_run_keeps_the_layer_and_head_that_were_chosen(house: Plain, go):
    page = go(house)
    run(page)
    looked = page.evaluate("(({ layer, head }) => [layer, head])(tokenoscope.selection.at)")
    other = [(looked[0] + 1) % 4, (looked[1] + 2) % 6]
    page.evaluate("([layer, head]) => tokenoscope.selection.set({ layer, head })", other)
    run(page, "Two words")
    assert page.evaluate("(({ layer, head }) => [layer, head])(tokenoscope.selection.at)") == other


def test_keys_work_wherever_the_focus_is_but_not_where_somebody_types(look):
    page = look()
    for place in ("#run", "h1", ".ts-play", ".ts-rail-row >> nth=2", "#chat input"):
        page.evaluate("tokenoscope.selection.set({ step: 5, layer: 1, head: 1 })")
        page.locator(place).focus() if place != "h1" else page.evaluate("document.activeElement.blur()")
        for key in ("ArrowLeft", "ArrowUp", "]"):
            page.keyboard.press(key)
        at = page.evaluate("tokenoscope.selection.at")
        assert (at["step"], at["layer"], at["head"]) == (4, 2, 2), place
    page.locator("#prompt textarea").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("[]? ")
    assert step_shown(page) == 4
    assert "[]? " in page.locator("#prompt textarea").input_value()
    expect(page.locator(".ts-help")).to_be_hidden()


def test_ctrl_and_enter_run_the_form_also_while_somebody_types(house: Plain, go):
    page = go(house)
    page.locator("#prompt textarea").fill("typed words")
    page.keyboard.press("ControlOrMeta+Enter")
    page.wait_for_function("tokenoscope.store.run?.head.prompt === 'typed words'")


def test_a_page_that_grows_taller_is_not_drawn_again_and_one_that_grows_wider_is(look):
    """Each card that is drawn for the first time makes the page taller: all cards would begin anew with it."""
    page = look()
    settle(page)
    page.evaluate("""() => {
        const { store } = tokenoscope;
        const draw = store.drawWhole.bind(store);
        window.drawn = 0;
        store.drawWhole = (...given) => { window.drawn += 1; draw(...given); };
        store.element.style.minHeight = "9000px";
    }""")
    page.wait_for_function("document.documentElement.scrollHeight > 9000")
    settle(page)
    assert page.evaluate("window.drawn") == 0
    page.set_viewport_size({"width": 1100, "height": 640})
    page.wait_for_function("window.drawn > 0")


@pytest.mark.cards
def test_the_player_stays_in_sight_while_the_page_scrolls(look):
    for width, height in ((1440, 900), (390, 844)):
        page = look(finished("Some words that are " + "W" * 60 + " long and not to be broken apart " * 6), width=width)
        page.set_viewport_size({"width": width, "height": height})
        for down in (0.4, 0.7):
            page.evaluate("(down) => scrollTo(0, document.documentElement.scrollHeight * down)", down)
            page.wait_for_function("scrollY > innerHeight * 0.8")
            bar = page.locator(".ts-player-bar").bounding_box()
            assert bar is not None
            assert 0 <= bar["y"] < 60  # of a wide window the words stand above it
            assert bar["y"] + bar["height"] <= height / 4
            expect(page.locator(".ts-play")).to_be_in_viewport(ratio=1)


def test_a_shipped_run_is_shown_first_while_the_model_loads_and_says_so(shipped: Plain, go):
    shipped.models.use(shipped.engine, ready=False)
    page = go(shipped)
    page.wait_for_function("tokenoscope.store.run?.lens")
    expect(page.locator(LINE)).to_have_text(re.compile("^Showing a recorded run"))
    expect(page.locator(".ts-model-text")).to_have_text(re.compile("40%"))
    expect(page.locator(".ts-keep")).to_be_hidden()


def test_each_shipped_run_can_be_looked_at_and_no_words_are_lost(shipped: Plain, go):
    page = go(shipped)
    chips = page.locator(".ts-recorded button")
    prompt = page.locator("#prompt textarea")
    prompt.fill("")
    expect(chips).to_have_count(sum(kept.standing.experiment == "run" for kept in shipped.store.shipped()))
    for chip in chips.all():
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "true")
        page.wait_for_function("""tokenoscope.store.run.head.prompt === document.querySelector('#prompt textarea').value
            && tokenoscope.store.run.end && tokenoscope.store.run.lens""")
        assert page.evaluate("tokenoscope.store.run.frames === tokenoscope.store.run.steps.length + 6")
        assert page.evaluate("tokenoscope.store.run.head.settings.chat") == page.locator("#chat input").is_checked()
        expect(page.locator(LINE)).to_have_text(re.compile("^Showing a recorded run"))
    prompt.fill("My own words")
    chips.first.click()
    expect(chips.first).to_have_attribute("aria-pressed", "true")
    expect(prompt).to_have_value("My own words")


def test_a_refusal_leaves_the_chosen_shipped_run_and_a_run_of_ones_own_takes_its_place(shipped: Plain, go):
    page = go(shipped)
    second = page.locator(".ts-recorded button").nth(1)
    second.click()
    name = shipped.store.shipped()[1].id
    page.wait_for_function(f"name => {SHOWN} === name", arg=name)
    page.locator("#prompt textarea").fill(" ")
    page.locator("#run").click()
    expect(page.locator(".ts-refusal")).to_contain_text("prompt is empty")
    assert page.evaluate(SHOWN) == name
    own = run(page, "My own words")
    expect(page.locator(".ts-refusal")).to_have_text("")
    second.click()
    page.wait_for_function(f"name => {SHOWN} === name", arg=name)
    expect(page.locator(LINE)).to_have_text(re.compile("^Showing a recorded run"))
    page.locator(".ts-own-look").click()
    page.wait_for_function(f"own => {SHOWN} === own", arg=own)
    expect(page.locator(LINE)).to_have_text(re.compile("^Done: "))


def test_what_an_earlier_run_left_is_dimmed_until_the_new_one_has_something_to_show(house: Plain, go):
    engine = house.use(FakeEngine(seconds=None))
    page = go(house, f"#record={house.keep(finished())}")
    page.wait_for_selector(".ts-board[data-run]")
    board = page.locator(".ts-board")
    page.locator("#run").click()
    expect(board).to_have_class(re.compile("ts-before"))
    engine.let(1)
    expect(board).not_to_have_class(re.compile("ts-before"))
    engine.let(30)
