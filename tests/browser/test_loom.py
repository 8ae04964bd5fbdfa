"""The loom in a browser: what is pointed at is said, what is pressed opens beside it, and playing climbs layers."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, Position, expect

from tests.app.fakes_engine import FakeEngine, timed
from tests.browser.pages import hold_clock, play_until, scroll_to, settle, until
from tests.browser.plain import Plain, finished

pytestmark = pytest.mark.cards("")

FRONT = "tokenoscope.store.loom.front"
FRAMES = "async (n) => { while (n-- > 0) await new Promise((done) => requestAnimationFrame(done)); }"
OVER = ".ts-loom-over"
INSPECTOR = ".ts-inspector"


@pytest.fixture
def page(look: Callable[..., Page]) -> Page:
    page = look(timed(finished()), "step=3", width=1440, height=900)
    page.wait_for_function("tokenoscope.store.loom.geometry && tokenoscope.store.run.lens")
    return page


def middle(page: Page, token: int, level: int) -> Position:
    """Where a cell is, in the picture."""
    box = page.evaluate("([token, level]) => tokenoscope.store.loom.geometry.cell(token, level)", [token, level])
    return {"x": box["x"] + box["w"] / 2, "y": box["y"] + box["h"] / 2}


def test_a_cell_that_is_pointed_at_is_named_and_one_that_is_pressed_is_opened(page: Page):
    place = middle(page, 2, 3)
    page.locator(OVER).hover(position=place)
    expect(page.locator(".ts-loom-readout")).to_contain_text("position 2")
    expect(page.locator(".ts-loom-readout")).to_contain_text("after layer 2")
    page.locator(OVER).click(position=place)
    expect(page.locator(f"{INSPECTOR} .ts-loom-crumb")).to_contain_text("layer 2")
    at = page.evaluate("tokenoscope.selection.at")
    assert (at["token"], at["layer"], at["step"]) == (2, 2, 3)
    expect(page.locator(".ts-caption[aria-pressed=true]")).to_contain_text("Guess")


def test_a_head_that_rests_on_the_first_token_is_not_said_to_look_elsewhere(page: Page):
    looks = page.evaluate("""() => {
        const { run } = tokenoscope.store;
        const found = {};
        for (let layer = 0; layer < run.nLayers; layer += 1) {
            for (let head = 0; head < run.nHeads; head += 1) {
                const row = [...run.row(layer, head, 7)].map((byte) => (byte / 255) ** 2);
                const best = Math.max(...row.slice(1, -1));
                const which = row[0] > best + 0.01 ? "first" : row[0] < best - 0.01 ? "other" : "";
                if (best > 0.12) found[which] = { layer, head };
            }
        }
        return [found.first, found.other];
    }""")
    for place, words in zip(looks, ("attends most to the first token", "looks back at"), strict=True):
        page.evaluate("at => tokenoscope.selection.set({ step: 3, token: 7, ...at })", place)
        expect(page.locator(f"{INSPECTOR} .ts-loom-title")).to_contain_text(words)
        expect(page.locator(".ts-caption").nth(1)).to_contain_text(words)


def test_a_head_of_the_map_is_previewed_and_chosen(page: Page):
    heads = page.locator(".ts-head-map")
    heads.scroll_into_view_if_needed()
    box = heads.bounding_box()
    assert box
    width = box["width"]
    place: Position = {"x": width * 2.5 / page.evaluate("tokenoscope.store.run.nLayers"), "y": 16}
    heads.hover(position=place)
    page.wait_for_function("tokenoscope.selection.at.layer === 2 && tokenoscope.selection.at.head === 1")
    expect(page.locator(f"{INSPECTOR} .ts-loom-crumb")).to_contain_text("layer 2 › head 1")
    page.mouse.move(300, 20)
    page.wait_for_function("tokenoscope.selection.at.layer !== 2")
    heads.click(position=place)
    page.mouse.move(300, 20)
    page.wait_for_function("tokenoscope.selection.base.layer === 2 && tokenoscope.selection.base.head === 1")


def test_each_caption_opens_its_part(page: Page):
    for title, said in (
        ("Read", "counted from 0"),
        ("Look back", "head"),
        ("Guess", "layer"),
        ("Choose", "choice"),
        ("Keep and repeat", "cache"),
    ):
        caption = page.locator(".ts-caption").filter(has=page.locator("b", has_text=title))
        caption.click()
        expect(caption).to_have_attribute("aria-pressed", "true")
        expect(page.locator(f"{INSPECTOR} .ts-loom-crumb")).to_contain_text(said)


def test_playing_climbs_the_layers_and_a_key_goes_on_from_another_step(page: Page):
    hold_clock(page)
    page.get_by_label("playback speed").select_option(label="60× slower")
    page.locator(".ts-play").click()
    play_until(page, f"{FRONT}?.level > 0.5", ms=20)
    expect(page.locator(".ts-loom-line")).to_have_text(re.compile("only .* is read"))
    expect(page.locator(".ts-loom-output")).to_contain_text("If it stopped here")
    page.keyboard.press("ArrowRight")
    play_until(page, f"tokenoscope.store.loom.playedStep === 4 && {FRONT}?.level > -0.9", ms=20)
    page.keyboard.press(" ")
    held = page.evaluate(f"{FRONT}?.level")
    assert held is not None
    assert held < 3
    page.evaluate("letPass(1000)")
    page.evaluate(FRAMES, 12)
    assert page.evaluate(f"{FRONT}?.level") == held


def test_while_a_pass_climbs_the_rest_of_the_page_is_left_as_it_is(page: Page):
    hold_clock(page)
    page.locator(".ts-play").click()
    play_until(page, f"{FRONT}?.level > -0.9", ms=5)
    page.evaluate("""() => {
        const { loom, rail } = tokenoscope.store;
        const painted = { rail: 0, loom: 0 };
        for (const [name, each] of [["rail", rail], ["loom", loom]]) {
            const paint = each.paint.bind(each);
            each.paint = (state) => { painted[name] += 1; paint(state); };
        }
        window.painted = painted;
    }""")
    for _ in range(8):
        page.evaluate("letPass(5)")
        page.evaluate(FRAMES, 1)
    assert page.evaluate("tokenoscope.selection.at.step") == 3
    painted = page.evaluate("window.painted")
    assert painted["rail"] == 0
    assert painted["loom"] > 5
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.ts-crumbs').textContent.startsWith('Step 4')")


def test_with_less_motion_steps_are_shown_whole(page: Page):
    page.emulate_media(reduced_motion="reduce")
    page.evaluate("tokenoscope.selection.set({ step: 0 })")
    page.locator(".ts-play").click()
    page.wait_for_function("tokenoscope.selection.at.step > 0")
    assert page.evaluate("tokenoscope.store.loom.front") is None


WATCHED = "[...new Set(window.watched)]"


def watch(house: Plain, go: Callable[..., Page], *, reduced: bool = False) -> tuple[Page, FakeEngine]:
    """A new run that has come to its step 3, in a page that notes every step that is shown."""
    engine = house.use(FakeEngine(seconds=None))
    engine.timed = True
    page = go(house)
    page.emulate_media(reduced_motion="reduce" if reduced else "no-preference")
    hold_clock(page)
    page.evaluate("""() => {
        window.watched = [];
        tokenoscope.selection.onChange(() => window.watched.push(tokenoscope.selection.at.step));
    }""")
    page.locator("#run").click()
    engine.let(1)
    until(lambda: page.evaluate("tokenoscope.store.run?.steps.length") == 1, page)
    engine.let(3)
    until(lambda: page.evaluate("tokenoscope.store.run.steps.length") == 4, page)
    return page, engine


def test_a_new_run_is_watched_step_by_step_and_then_waited_for(house: Plain, go: Callable[..., Page]):
    page, engine = watch(house, go)
    play_until(page, "tokenoscope.store.transport.waiting")
    assert page.evaluate(WATCHED) == [0, 1, 2, 3]
    expect(page.get_by_role("button", name="Jump to now")).to_be_disabled()
    engine.let(2)
    play_until(page, "tokenoscope.selection.at.step === 5")
    assert page.evaluate(WATCHED) == [0, 1, 2, 3, 4, 5]
    engine.let(30)
    play_until(page, "!tokenoscope.store.transport.watching")
    assert page.evaluate(WATCHED) == list(range(16))
    expect(page.get_by_role("button", name="Jump to now")).to_be_hidden()


def test_a_run_that_was_watched_to_its_end_is_played_again_from_the_prompt_by_one_press(
    house: Plain, go: Callable[..., Page]
):
    page, engine = watch(house, go)
    engine.let(30)
    play_until(page, "!tokenoscope.store.transport.watching")
    assert page.evaluate("tokenoscope.selection.at.step") == 15
    play = page.locator(".ts-play")
    expect(play).to_have_accessible_name("Replay from start")
    play.click()
    play_until(page, f"tokenoscope.selection.at.step === 0 && {FRONT}?.level > 1")
    expect(play).to_have_accessible_name("Pause the replay")
    expect(page.locator("#prompt textarea")).to_be_in_viewport()
    play_until(page, "tokenoscope.selection.at.step === 3")
    play.click()
    expect(play).to_have_accessible_name("Play")
    page.keyboard.press("End")
    expect(play).to_have_accessible_name("Replay from start")


def test_one_who_jumps_to_now_sees_every_step_at_once(house: Plain, go: Callable[..., Page]):
    page, engine = watch(house, go)
    engine.let(4)
    until(lambda: page.evaluate("tokenoscope.store.run.steps.length") == 8, page)
    page.get_by_role("button", name="Jump to now").click()
    assert page.evaluate("tokenoscope.selection.at.step") == 7
    assert page.evaluate(WATCHED) != list(range(8))
    engine.let(1)
    until(lambda: page.evaluate("tokenoscope.selection.at.step") == 8, page)
    assert page.evaluate("[tokenoscope.store.loom.front, tokenoscope.selection.paced]") == [None, False]
    engine.let(30)


def test_one_who_pauses_stays_there_while_the_run_goes_on(house: Plain, go: Callable[..., Page]):
    page, engine = watch(house, go)
    page.locator(".ts-play").click()
    stays = page.evaluate("tokenoscope.selection.at.step")
    engine.let(2)
    until(lambda: page.evaluate("tokenoscope.store.run.steps.length") == 6, page)
    assert page.evaluate("tokenoscope.selection.at.step") == stays
    page.evaluate("letPass(1000)")
    page.evaluate(FRAMES, 3)
    assert page.evaluate("tokenoscope.selection.at.step") == stays
    page.locator(".ts-play").click()
    play_until(page, "tokenoscope.selection.at.step === 5")
    engine.let(30)


def test_with_less_motion_a_new_run_is_shown_as_it_comes(house: Plain, go: Callable[..., Page]):
    page, engine = watch(house, go, reduced=True)
    assert page.evaluate("tokenoscope.selection.at.step") == 3
    assert page.evaluate("tokenoscope.store.loom.front") is None
    engine.let(30)


def test_the_caption_of_what_is_played_is_marked(page: Page):
    page.evaluate("""() => {
        window.marked = [];
        const note = () => {
            const now = document.querySelector(".ts-caption[aria-pressed=true]")?.dataset.chapter;
            if (tokenoscope.store.loom.front && now !== window.marked.at(-1)) window.marked.push(now);
            requestAnimationFrame(note);
        };
        note();
    }""")
    hold_clock(page)
    page.get_by_label("playback speed").select_option(label="20× slower")
    page.locator(".ts-play").click()
    play_until(page, "tokenoscope.selection.at.step === 4", ms=20)
    page.locator(".ts-play").click()
    told = page.evaluate("window.marked")
    assert told[: told.index("keep") + 1][-5:] == ["read", "look", "guess", "choose", "keep"]


def test_a_failed_self_check_is_said_above_the_picture(look: Callable[..., Page]):
    run = timed(finished())
    checks = tuple(
        replace(each, passed=False, detail="logits are off") if each.name == "parity" else each
        for each in run.model.checks
    )
    assert not all(each.passed for each in checks)
    page = look(replace(run, model=replace(run.model, checks=checks)), "step=3", width=1440, height=900)
    expect(page.locator(".ts-loom-warning")).to_have_text(re.compile("not be what the model computes.*logits are off"))
    expect(page.locator(".ts-loom-warning")).to_be_in_viewport(ratio=1)
    sound = look(run, "step=3", width=1440, height=900)
    expect(sound.locator(".ts-loom-warning")).to_be_hidden()


def test_passes_that_read_everything_again_say_so(look: Callable[..., Page]):
    run = timed(finished())
    steps = [
        replace(each, kind="reread", first=0, n_tokens=each.stop, kv_bytes=0) if at else replace(each, kv_bytes=0)
        for at, each in enumerate(run.steps)
    ]
    page = look(replace(run, steps=tuple(steps)), "step=3", width=1440, height=900)
    captions = page.locator(".ts-story")
    expect(captions).to_contain_text("Read again: 8 tokens go through")
    expect(captions).to_contain_text("keeps no cache")
    expect(captions).not_to_contain_text("Prefill")
    expect(captions).not_to_contain_text("Decode")


def test_the_table_has_the_numbers_of_the_column(page: Page):
    page.locator(".ts-loom-table summary").click()
    rows = page.locator(".ts-loom-table tbody tr")
    expect(rows).to_have_count(page.evaluate("tokenoscope.store.run.nLayers") + 1)
    page.get_by_role("button", name="previous token").click()
    expect(page.locator(".ts-loom-table .ts-note")).to_contain_text(
        f"Token {page.evaluate('tokenoscope.selection.at.token')}"
    )


def test_at_every_width_the_picture_has_room_of_its_own(page: Page):
    for width, height in (
        (390, 844),
        (600, 900),
        (601, 900),
        (760, 900),
        (761, 900),
        (853, 480),
        (1001, 700),
        (1920, 1080),
    ):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function("width => tokenoscope.store.loom.width() <= width", arg=width)
        settle(page)
        picture, side = (page.locator(each).bounding_box() for each in (".ts-loom-picture", ".ts-loom-side"))
        assert picture and side
        assert picture["height"] >= 220, width
        assert side["y"] >= picture["y"] + picture["height"] or side["x"] >= picture["x"] + picture["width"], width
        drawn = page.evaluate("[tokenoscope.store.loom.geometry.width, tokenoscope.store.loom.geometry.height]")
        assert drawn == pytest.approx([picture["width"], picture["height"]], abs=1.5), width
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


def test_on_a_phone_what_was_tapped_is_told_on_a_sheet_above_the_transport(look: Callable[..., Page]):
    page = look(timed(finished()), "step=3", width=390, height=844)
    page.wait_for_function("tokenoscope.store.loom.geometry && tokenoscope.store.run.lens")
    bar = page.locator(".ts-player-bar")
    expect(bar).to_be_in_viewport(ratio=1)
    page.locator(OVER).click(position=middle(page, 5, 3))
    sheet = page.locator(INSPECTOR)
    expect(sheet).to_be_in_viewport(ratio=1)
    expect(sheet.locator(".ts-loom-crumb")).to_contain_text("layer 2")
    top, box = sheet.bounding_box(), bar.bounding_box()
    assert top and box and top["y"] + top["height"] <= box["y"] + 1
    row = middle(page, 5, 3)["y"] + page.locator(OVER).evaluate("(e) => e.getBoundingClientRect().top")
    assert 0 < row < top["y"]
    sheet.get_by_role("button", name="Close").click()
    expect(sheet).not_to_have_class(re.compile("ts-sheet"))


def test_on_a_phone_a_replay_from_the_start_is_in_sight_from_the_start(look: Callable[..., Page]):
    page = look(timed(finished("word " * 20, n_new=20)), "step=19", width=390, height=844)
    page.wait_for_function("tokenoscope.store.loom.geometry")
    page.emulate_media(reduced_motion="no-preference")
    hold_clock(page)
    row = "tokenoscope.store.loom.windowY(tokenoscope.store.run.steps[19].last)"
    page.evaluate(f"scrollBy(0, {row} - 400)")
    assert page.evaluate("tokenoscope.store.loom.windowY(0)") < 0
    page.locator(".ts-play").click()
    play_until(page, f"tokenoscope.selection.at.step === 0 && {FRONT}?.level > 0")
    assert 0 < page.evaluate("tokenoscope.store.loom.windowY(0)") < 500


def test_on_a_phone_the_row_that_is_played_stays_in_sight(look: Callable[..., Page]):
    page = look(timed(finished(n_new=40)), "step=1", width=390, height=844)
    page.wait_for_function("tokenoscope.store.loom.geometry")
    page.emulate_media(reduced_motion="no-preference")
    hold_clock(page)
    row = "(tokenoscope.store.loom.windowY(tokenoscope.store.run.steps[tokenoscope.selection.at.step].last))"
    page.evaluate(f"scrollBy(0, {row} - 300)")
    page.get_by_label("playback speed").select_option(label="2 per second")
    page.locator(".ts-play").click()
    for step in (10, 20, 30):
        play_until(page, f"tokenoscope.selection.at.step === {step} && {FRONT}?.level > 1", ms=100)
        assert 60 <= page.evaluate(row) <= 700
    scroll_to(page, 0)  # who looks elsewhere is left there
    play_until(page, f"tokenoscope.selection.at.step === 34 && {FRONT}?.level > 1", ms=100)
    assert page.evaluate("scrollY") == 0


def test_all_that_is_drawn_takes_the_colours_of_another_theme(page: Page):
    canvases = page.locator(".ts-loom-stage canvas:visible")
    pixels = "(all) => all.map((each) => each.toDataURL())"
    expect(canvases).to_have_count(3)  # the cells, what lies over them, the heads in little
    light = canvases.evaluate_all(pixels)
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function("tokenoscope.store.loom.state?.colours.card === '#191d25' && !tokenoscope.store.loom.rest")
    assert [one == other for one, other in zip(light, canvases.evaluate_all(pixels), strict=True)] == [False] * 3
