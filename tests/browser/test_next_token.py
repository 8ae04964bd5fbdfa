"""The card of the next token: its arithmetic is that of the library's own processors, and the card says what ran."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.app.fakes_engine import whole_trace
from tests.browser.pages import settle, until
from tests.js.test_sampling import NEUTRAL, ran
from viz.wire import slices

pytestmark = pytest.mark.cards("next-token")


@pytest.fixture
def page(house: Any, go: Any) -> Page:
    return go(house)


CARD = ".ts-card-next-token"


@pytest.fixture
def card(look: Any) -> Page:
    """A page with a run on it, and this card in sight."""
    page = look()
    page.locator(CARD).scroll_into_view_if_needed()
    expect(page.locator(f"{CARD} .ts-headline")).not_to_be_empty()
    settle(page)
    return page


def turn(page: Page, knob: str, value: float) -> None:
    page.locator(f"#ts-knob-{knob}").evaluate(
        "(e, value) => { e.value = value; e.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def test_the_bars_and_the_rest_add_up_to_the_whole_vocabulary(card: Page) -> None:
    shares = card.locator(f"{CARD} .ts-chances").first.locator("li:visible .ts-bar-number").all_inner_texts()
    assert sum(float(re.sub("[^0-9.]", "", each)) for each in shares) == pytest.approx(100, abs=0.5)
    expect(card.locator(f"{CARD} .ts-rest:visible")).to_contain_text("40 others")
    expect(card.locator(f"{CARD} .ts-headline")).to_contain_text("over all 400 tokens of the vocabulary")


def test_the_headline_says_the_chance_as_the_model_said_it_and_the_one_that_was_drawn_from(card: Page) -> None:
    raw, drawn = card.evaluate("""async () => {
        const { percent } = await import("/gradio_api/tokenoscope/assets/js/core/format.js");
        const [choice] = tokenoscope.store.run.steps[tokenoscope.selection.at.step].choices;
        return [choice.probability, choice.runners[0].probability].map(percent);
    }""")
    headline = card.locator(f"{CARD} .ts-headline")
    expect(headline).to_contain_text(f"raw probability {raw}")
    expect(headline).to_contain_text(f"It was drawn with probability {drawn}, after temperature 0.8, top-k 50.")
    expect(card.locator(f"{CARD} .ts-chances").first.locator(".ts-chosen .ts-bar-number")).to_have_text(f"✓ {drawn}")


def test_what_a_person_chose_is_said_to_be_neither_drawn_nor_the_likeliest(look: Any) -> None:
    run = whole_trace("a b c", 3)
    choices = [replace(each, chosen_by="person", draw=()) for each in run.steps[1].choices]
    steps = (run.steps[0], replace(run.steps[1], choices=tuple(choices)), *run.steps[2:])
    page = look(replace(run, steps=steps), "step=1")
    expect(page.locator(f"{CARD} .ts-headline")).to_contain_text("A person chose it.")
    expect(page.locator(CARD)).to_contain_text("A person chose this token: nothing was drawn here")
    expect(page.locator(CARD)).not_to_contain_text("taken as the most likely")
    expect(page.locator(CARD)).not_to_contain_text("the most likely token is taken")


def test_a_stage_is_previewed_by_the_pointer_and_kept_by_a_click_or_a_key(card: Page) -> None:
    rows = card.locator(f"{CARD} .ts-flow").first.locator(".ts-flow-row:visible")
    words = card.locator(f"{CARD} .ts-stage-words").first
    expect(rows).to_have_count(3)
    rows.nth(1).hover()
    expect(words).to_contain_text("Temperature 0.8")
    card.mouse.move(1, 1)
    expect(words).to_contain_text("Top-k 50")
    expect(rows.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(card.locator(f"{CARD} .ts-rest:visible")).to_contain_text("40 others")
    rows.nth(0).press("Enter")
    expect(words).to_contain_text("The model’s own probabilities")
    expect(rows.nth(0)).to_have_attribute("aria-pressed", "true")


def test_where_nothing_was_cut_the_whole_vocabulary_is_not_counted_again(card: Page) -> None:
    rows = card.locator(f"{CARD} .ts-flow").first.locator(".ts-flow-row:visible")
    assert rows.locator(".ts-flow-left").all_inner_texts() == ["all 400", "", "50 left"]
    words = card.locator(f"{CARD} .ts-stage-words").first
    rows.nth(0).click()
    expect(words).to_contain_text("All 400 tokens can be chosen.")
    rows.nth(1).click()
    expect(words).to_contain_text("Temperature 0.8")
    expect(words).not_to_contain_text("400")
    expect(card.locator(CARD)).not_to_contain_text("400 of 400")


def test_the_race_is_told_with_the_numbers_that_ran(card: Page) -> None:
    ran = card.evaluate("tokenoscope.store.run.steps[tokenoscope.selection.at.step].choices[0].runners")
    lanes = card.locator(f"{CARD} .ts-lane")
    expect(lanes).to_have_count(len(ran))
    times = [float(each) for each in lanes.locator("strong").all_inner_texts()]
    assert times == pytest.approx([each["time"] for each in ran], rel=0.06)
    ways = """() => [...document.querySelectorAll(".ts-runner")].map((e) => 1
        + new DOMMatrix(getComputedStyle(e).transform).e / e.getBoundingClientRect().width)"""
    arrived = pytest.approx([ran[0]["time"] / each["time"] for each in ran], abs=0.01)
    until(lambda: card.evaluate(ways) == arrived, card)  # the race begins when it comes in sight
    card.get_by_role("button", name="Replay the race").click()
    running = "document.querySelector('.ts-runner').getAnimations().map((each) => each.effect.getTiming().duration)"
    assert all(each <= 400 for each in card.evaluate(running))
    card.emulate_media(reduced_motion="reduce")
    until(lambda: card.evaluate(running) == [], card)
    card.get_by_role("button", name="Replay the race").click()
    assert card.evaluate(running) == []


LANES = """async (runners) => {
    const { Race } = await import("/gradio_api/tokenoscope/assets/js/views/next_token/race.js");
    const race = new Race();
    race.clear();
    const choice = { runners, stages: [], candidates: [{ ...runners[1] }] };
    race.keep({ named: (each) => each }, choice, 50);
    race.draw({ named: (each) => each }, choice, 50);
    const sums = [...race.lanes.children].map((lane) => lane.querySelector(".ts-lane-sum").textContent);
    return [sums, race.story.textContent];
}"""


def runner(wait: float, probability: float, name: str) -> dict[str, Any]:
    return {"id": ord(name), "text": name, "wait": wait, "probability": probability, "time": wait / probability}


def test_the_race_rounds_to_three_digits_and_tells_times_apart_that_would_look_alike(page: Page) -> None:
    rng = np.random.default_rng(5)
    fields = [
        [runner(0.01216, 0.0004034, "a"), runner(1.6e-6, 1.57e-8, "b"), runner(3.1, 0.001, "c")],
        [runner(0.02430, 0.0236, "a"), runner(0.1530, 0.14800, "b"), runner(3.1, 0.001, "c")],
    ]
    for _ in range(60):
        waits, chances = rng.exponential(size=6) * 10 ** rng.uniform(-4, 1), rng.dirichlet(np.full(6, 0.3)) + 1e-5
        drawn = [runner(w, p, name) for w, p, name in zip(waits, chances, "abcdef", strict=True)]
        drawn[1] |= {"wait": drawn[0]["time"] * 1.0003 * drawn[1]["probability"], "time": drawn[0]["time"] * 1.0003}
        fields.append(sorted(drawn, key=lambda each: each["time"]))
    for field in fields:
        lanes, story = page.evaluate(LANES, field)
        times = [lane.split(" ≈ ")[1] for lane in lanes]
        assert len(set(times)) == len(times), "runners that tie on screen have arrived one before the other"
        for lane, each in zip(lanes, field, strict=True):
            said, time = lane.split(" ≈ ")
            for shown, exact in zip(said.split(" ÷ "), (each["wait"], 100 * each["probability"]), strict=True):
                assert number(shown) == pytest.approx(exact, rel=5.1e-3)
                assert len(counted_digits(shown)) == 3 or number(shown) >= 1000, lane
            assert number(time) == pytest.approx(each["time"], rel=5.1e-3)
            assert len(counted_digits(time)) >= 3
        assert lanes[0] in story
    assert page.evaluate(LANES, fields[0])[0][:2] == ["0.0122 ÷ 0.0403% ≈ 30.1", "1.60e−6 ÷ 1.57e−6% ≈ 102"]


def number(shown: str) -> float:
    return float(re.sub("[%,]", "", shown).replace("−", "-"))


def counted_digits(shown: str) -> str:
    return re.sub("^0+", "", re.sub("[.,%]", "", shown.split("e")[0]))


# Numbers in columns whose text is wider than its column: [class, text, pixels too wide].
NUMBERS = ".ts-lane-sum, .ts-bar-number, .ts-flow-did, .ts-flow-left, .ts-level-number"
TOO_WIDE = """(numbers) => [...document.querySelectorAll(numbers)]
    .filter((e) => e.textContent && e.checkVisibility()).flatMap((e) => {
        const text = document.createRange();
        text.selectNodeContents(e);
        const [inner, outer] = [text.getBoundingClientRect(), e.getBoundingClientRect()];
        const over = Math.max(inner.right - outer.right, outer.left - inner.left);
        return over > 0.5 ? [[e.className, e.textContent, over]] : [];
    })"""


@pytest.mark.parametrize("width", [390, 1440])
def test_every_number_of_a_step_fits_its_column(plain_server: Any, go: Any, width: int) -> None:
    page = go(plain_server, width=width, height=900)
    page.wait_for_selector(".ts-board[data-run]")
    for button, prompt in (("A fact", "The capital"), ("A story", "Once upon")):
        page.locator(".ts-recorded button", has_text=button).evaluate("button => button.click()")
        page.wait_for_function(
            "begins => tokenoscope.store.run?.end && tokenoscope.store.run.head.prompt.startsWith(begins)", arg=prompt
        )
        page.locator(CARD).scroll_into_view_if_needed()
        for step in range(page.evaluate("tokenoscope.store.run.steps.length")):
            page.evaluate(
                """(step) => {
                const { store, selection } = tokenoscope;
                selection.set({ step });
                const state = { run: store.run, at: selection.at, step: store.run.steps[step], colours: store.colours };
                for (const card of store.cards) card.draw(state);
            }""",
                step,
            )
            assert page.evaluate(TOO_WIDE, NUMBERS) == [], (button, step)


def test_a_bar_is_as_long_as_its_share_of_the_whole_track(card: Page) -> None:
    shown = card.evaluate("""() => {
        const bars = [...document.querySelectorAll(".ts-chosen-panes .ts-bar:not([hidden])")];
        const wide = (bar, part) => bar.querySelector(part).getBoundingClientRect().width;
        return bars.map((bar) => [parseFloat(bar.querySelector(".ts-bar-number").textContent.replace("✓", "")),
            wide(bar, ".ts-bar-fill"), wide(bar, ".ts-bar-track")]);
    }""")
    assert len(shown) > 5
    for share, fill, track in shown:
        assert fill == pytest.approx(max(1, track * share / 100), abs=0.6)


def test_on_a_phone_the_marks_of_the_runs_own_settings_touch_no_words(look: Any) -> None:
    page = look(width=390, height=844)
    page.locator(".ts-what-if summary").press("Enter")
    expect(page.locator(".ts-what-if .ts-readout")).to_contain_text("could have been drawn")
    boxes = """(names) => names.map((name) => [...document.querySelectorAll(name)].map((e) => {
        const { left, right, top, bottom } = e.getBoundingClientRect();
        return [left, right, top, bottom];
    }))"""
    said = ".ts-knob label, .ts-knob-does, .ts-knob-own, .ts-what-if .ts-legend > span"
    marks, words = page.evaluate(boxes, [".ts-knob-mark", said])
    assert len(marks) == 5
    for left, right, top, bottom in marks:
        assert not [each for each in words if each[0] < right and left < each[1] and each[2] < bottom and top < each[3]]


def test_what_if_asks_for_the_scores_when_it_is_opened_and_redraws_without_asking_again(card: Page) -> None:
    asked: list[str] = []
    card.on("request", lambda request: asked.append(request.url) if "/logits/" in request.url else None)
    card.evaluate("tokenoscope.selection.set({ step: 4 })")
    card.wait_for_timeout(300)
    assert asked == []
    card.locator(".ts-what-if summary").press("Enter")
    said = card.locator(".ts-what-if .ts-readout")
    expect(said).to_contain_text("was drawn")
    expect(said).to_contain_text("could have been drawn")
    assert [url.rsplit("/", 1)[1] for url in asked] == ["4"]
    scores = np.array(card.evaluate("Array.from(tokenoscope.store.run.logits.get(4).scores)"), np.float32)
    seen = card.evaluate("tokenoscope.store.run.tokens.slice(0, 9).map((token) => token.id)")
    turn(card, "temperature", 1.5)
    turn(card, "topK", 3)
    stages = ran(scores, seen, {**NEUTRAL, "temperature": 1.5, "topK": 3}).stages
    shown = card.locator(".ts-what-if .ts-chances li:visible .ts-bar-number").all_inner_texts()
    wanted = [100 * each.probability for each in stages[-1].candidates]
    assert [float(re.sub("[^0-9.]", "", each)) for each in shown] == pytest.approx(wanted, abs=0.06)
    assert len(asked) == 1
    assert card.locator(".ts-what-if .ts-ghost:visible").count() > 0


def test_scores_kept_at_16_bits_are_told_as_such(card: Page) -> None:
    small = slices.logits(whole_trace("One two three four five", 16), 4, small=True)
    card.evaluate("bytes => tokenoscope.store.run.feed(new Uint8Array(bytes))", list(small))
    card.evaluate("tokenoscope.selection.set({ step: 4 })")
    card.locator(".ts-what-if summary").press("Enter")
    note = card.locator(".ts-what-if .ts-note", has_text="the model did not run again")
    expect(note).to_contain_text("kept at 16 bits in this recording")
    card.evaluate("tokenoscope.selection.set({ step: 5 })")
    expect(note).not_to_contain_text("16 bits")


@pytest.mark.cards
def test_the_code_runs_on_the_trace_and_gives_the_numbers_that_are_shown(
    card: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = whole_trace("One two three four five", 16)
    whole.save(tmp_path / "run.trace")
    monkeypatch.chdir(tmp_path)
    card.evaluate("tokenoscope.selection.set({ step: 4 })")
    for name in (CARD, ".ts-card-kv-cache"):
        card.locator(f"{name} > .ts-details > summary").press("Enter")
        code = card.locator(f"{name} code")
        expect(code).to_contain_text("i = 4 " if name == CARD else "Trace.open")
        named: dict[str, Any] = {}
        exec(code.inner_text(), named)
        if name == CARD:
            stages = ran(whole.logits[4], [], {**NEUTRAL, "temperature": 0.8, "topK": 50}).stages
            assert named["scores"].softmax(-1).max() == pytest.approx(stages[-1].candidates[0].probability, rel=1e-5)
    said = capsys.readouterr().out
    assert f"worked out: {whole.steps[-1].kv_bytes}" in said
    assert "TopKLogitsWarper 50 left" in said


def test_the_sliders_stay_where_they_are_on_another_step_and_go_back_by_reset(card: Page) -> None:
    card.evaluate("tokenoscope.selection.set({ step: 2 })")
    card.locator(".ts-what-if summary").press("Enter")
    expect(card.locator(".ts-what-if .ts-readout")).to_contain_text("could have been drawn")
    reset = card.get_by_role("button", name="Reset to this run")
    expect(reset).to_be_disabled()
    card.locator("#ts-knob-topK").focus()
    card.keyboard.press("Home")
    card.keyboard.press("ArrowRight")
    assert card.evaluate("tokenoscope.selection.at.step") == 2
    number = card.get_by_label("top-k, as a number")
    expect(number).to_have_value("1")
    card.evaluate("tokenoscope.selection.set({ step: 3 })")
    expect(card.locator(".ts-what-if .ts-flow-row:visible").last).to_contain_text("1 left")
    expect(number).to_have_value("1")
    number.fill("12")
    card.evaluate("tokenoscope.store.redraw()")  # as when late numbers arrive
    card.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    number.press("Enter")
    expect(card.locator(".ts-what-if .ts-flow-row:visible").last).to_contain_text("12 left")
    reset.click()
    expect(number).to_have_value("50")
    expect(card.locator(".ts-what-if .ts-flow-row:visible").last).to_contain_text("50 left")
