"""The page in a real browser, with the fake engine: what a person does, sees and gets back."""

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.app.fakes_engine import FakeEngine
from tests.fakes import fake_trace
from viz import frames
from viz.markup import ASSETS
from viz.pages.form import EXAMPLES

SIZES = ((1440, 900), (1280, 640), (390, 844))
HOSTILE = (
    "<img src=x onerror=window.pwned=1> <script>window.pwned=2</script> ${window.pwned=3} {{window.pwned=4}} `${1}` "
    "\\u0041 </script> \u202eright\u202c عربي 👩\u200d👩\u200d👧 javascript:window.pwned=5 <!-- ' \" &amp; --> "
) + "x" * 400


PROMPT = "document.querySelector('#prompt textarea').value"


def frames_held(page: Page) -> int:
    return int(page.locator(".ts-scope-root").get_attribute("data-frames") or 0)


def until(holds: Callable[[], bool], page: Page, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, page.locator("#status").inner_text()
        page.wait_for_timeout(20)


def run_to_the_end(page: Page, prompt: str | None = None) -> str | None:
    """Press Run, wait for the end; returns the id of the run that is shown."""
    before = page.locator(".ts-scope-root").get_attribute("data-run")
    if prompt is not None:
        page.locator("#prompt textarea").fill(prompt)
    page.locator("#run").click()
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Done: "))
    until(lambda: page.locator(".ts-scope-root").get_attribute("data-run") != before, page)
    return page.locator(".ts-scope-root").get_attribute("data-run")


def open_settings(page: Page) -> None:
    """Unfold the settings. Gradio sets fields to their values once more just after they appear; nobody is that fast."""
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Seed").wait_for()
    page.wait_for_timeout(300)


def step_shown(page: Page) -> int:
    return page.evaluate("window.tokenoscope.selection.at.step")


def test_frames_arrive_while_the_run_goes_on(serve, visit):
    served = serve(FakeEngine(seconds=None))
    page = visit(served.url)
    page.locator("#run").click()
    for held in (2, 3, 4):
        served.engine.let(1)
        until(lambda held=held: frames_held(page) == held, page)
        assert served.engine.runs[0].state == "running"
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Running: token 3 of at most 16"))
    served.engine.let(30)
    expect(page.locator(".ts-run-text")).to_have_text("Done: 16 tokens written, as many as asked.")
    until(lambda: frames_held(page) == 22, page)  # head, 16 passes, end, heads, units, map, lens


def test_scrubbing_asks_the_server_for_nothing(serve, visit):
    page = visit(serve().url)
    run_to_the_end(page)
    until(lambda: frames_held(page) == 22, page)
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


def test_pause_step_resume_and_stop_by_their_buttons(serve, visit):
    served = serve(FakeEngine(seconds=0.1))
    page = visit(served.url)
    page.locator("#run").click()
    page.locator("#pause").click()
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Paused"))
    held = served.engine.runs[0].n_steps
    page.locator("#step").click()
    expect(page.locator(".ts-run-text")).to_have_text(re.compile(f"^Paused: token {held + 1} of"))
    assert served.engine.runs[0].n_steps == held + 1
    page.locator("#resume").click()
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Running"))
    page.locator("#stop").click()
    expect(page.locator(".ts-run-text")).to_have_text(re.compile(r"^Stopped after \d+ tokens?\."))
    for button in ("#pause", "#step", "#stop"):
        expect(page.locator(button)).to_be_disabled()


def test_a_program_that_stops_answering_is_told_where_the_run_stands(serve, visit):
    served = serve(FakeEngine(seconds=None))
    page = visit(served.url)
    page.locator("#run").click()
    served.engine.let(2)
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Running: token 2"))
    expect(page.locator(".ts-spoken")).to_have_text("Running.")
    page.evaluate("() => { window.kept = fetch; window.fetch = () => Promise.reject(new TypeError('gone')); }")
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Cut off: the program does not answer"))
    expect(page.locator("body")).to_have_attribute("data-model", "silent")
    expect(page.locator(".ts-progress")).to_be_hidden()
    for button in ("#pause", "#step", "#stop"):
        expect(page.locator(button)).to_be_disabled()
    page.evaluate("() => { window.fetch = window.kept; }")
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Running: token 2"))
    expect(page.locator("#stop")).to_be_enabled()


def test_the_end_says_why_and_that_the_lens_is_on_its_way(serve, visit):
    page = visit(serve().url)
    said = page.evaluate("""async () => {
        const { sentence } = await import("/gradio_api/tokenoscope/assets/js/page.js?words");
        const end = { source: "live", state: "done", n_steps: 3, max_new_tokens: 9, eta_s: null, place: 0 };
        return [["end of sequence", true], ["end of sequence", false], ["length", true], ["", true]]
            .map(([ended, done]) => sentence({ ...end, ended, done }));
    }""")
    assert said == [
        "Done: 3 tokens written; the model wrote its end mark.",
        "Done: 3 tokens written; the model wrote its end mark. Adding the logit lens…",
        "Done: 3 tokens written, as many as asked.",
        "Done: 3 tokens written.",
    ]


def test_a_notice_that_a_newer_one_overtook_is_forgotten(serve, visit):
    page = visit(serve().url)
    said = page.evaluate("""async () => {
        const notice = (seq, n_steps) => ({ id: "x", source: "live", ready: 0, done: false, state: "running", place: 0,
            eta_s: null, n_steps, max_new_tokens: 9, message: "", refusal: "", seq });
        const { connect } = await import("/gradio_api/tokenoscope/assets/js/page.js?again");
        const props = { value: notice(5, 5) };
        let changed = () => {};
        await connect({ element: document.createElement("div"), base: "/gradio_api/tokenoscope", props,
            trigger: () => {}, watch: (_, fn) => { changed = fn; }, version: "again" });
        const texts = [];
        for (const [seq, n_steps] of [[7, 7], [6, 6], [8, 8]]) {
            props.value = notice(seq, n_steps);
            changed();
            texts.push(document.querySelector(".ts-run-text").textContent);
        }
        return texts;
    }""")
    assert [text.split()[2] for text in said] == ["7", "7", "8"]


def test_a_refusal_stands_beside_the_form_and_the_run_and_the_form_stay(serve, visit):
    page = visit(serve().url)
    shown = run_to_the_end(page)
    page.locator("#prompt textarea").fill("  ")
    page.locator("#chat input").check()
    page.locator("#run").click()
    alert = page.locator("#form").get_by_role("alert")
    expect(alert).to_contain_text("prompt is empty")
    expect(alert).to_be_in_viewport()
    assert page.locator(".ts-scope-root").get_attribute("data-run") == shown
    assert page.locator("#chat input").is_checked()
    assert page.locator("#prompt textarea").input_value() == "  "
    run_to_the_end(page, "It works again")
    expect(page.locator(".ts-refusal")).to_have_text("")


def test_the_form_survives_a_reload(serve, visit):
    page = visit(serve(names=("fake-1k", "other")).url)
    page.locator("#prompt textarea").fill("Mine,\nin two lines 🌍")
    page.locator("#chat input").check()
    open_settings(page)
    page.get_by_label("number input for Temperature").fill("0.7")
    page.get_by_label("number input for New tokens").fill("7")
    page.get_by_label("Seed").fill("11")
    page.locator("h1").click()
    page.wait_for_function("(localStorage.getItem('tokenoscope-form') ?? '').includes('11')")
    page.reload()
    page.wait_for_selector('.ts-scope-root[data-ready="1"]', state="attached")
    expect(page.locator("#prompt textarea")).to_have_value("Mine,\nin two lines 🌍")
    expect(page.locator("#chat input")).to_be_checked()
    open_settings(page)
    expect(page.get_by_label("number input for Temperature")).to_have_value("0.7")
    expect(page.get_by_label("number input for New tokens")).to_have_value("7")
    expect(page.get_by_label("Seed")).to_have_value("11")


def test_what_the_browser_kept_cannot_break_the_form(serve, visit):
    page = visit(serve(names=("fake-1k", "other")).url)
    for kept in ('{"model": "gone", "prompt": 5, "seed": null, "temperature": "x"}', "not json"):
        page.evaluate("kept => localStorage.setItem('tokenoscope-form', kept)", kept)
        page.reload()
        page.wait_for_selector('.ts-scope-root[data-ready="1"]', state="attached")
        expect(page.locator("#prompt textarea")).to_have_value(EXAMPLES[0].prompt)
    run_to_the_end(page)


def test_an_example_fills_the_form(serve, visit):
    served = serve()
    page = visit(served.url)
    page.get_by_role("button", name="A question").click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("^Why is the sky blue"))
    expect(page.locator("#chat input")).to_be_checked()
    page.get_by_role("button", name="Facts").click()
    expect(page.locator("#chat input")).not_to_be_checked()


def test_settings_reach_the_run(serve, visit):
    served = serve()
    page = visit(served.url)
    open_settings(page)
    page.get_by_label("number input for Temperature").fill("0.7")
    page.get_by_label("number input for New tokens").fill("3")
    page.get_by_label("Seed").fill("11")
    run_to_the_end(page)
    _, settings = served.engine.asked[0]
    assert (settings.temperature, settings.max_new_tokens, settings.seed) == (0.7, 3, 11)


def test_an_emptied_number_is_refused_by_name(serve, visit):
    page = visit(serve().url)
    open_settings(page)
    page.get_by_label("Seed").fill("")
    page.locator("#run").click()
    expect(page.locator("#form").get_by_role("alert")).to_contain_text("Seed is empty")


def test_a_second_visitor_sees_the_queue_and_gets_a_turn_when_the_first_tab_closes(serve, visit):
    served = serve(FakeEngine(seconds=0.05))
    ann, bob, eve = visit(served.url), visit(served.url), visit(served.url)
    open_settings(ann)
    ann.get_by_label("number input for New tokens").fill("200")
    ann.locator("#run").click()
    expect(ann.locator(".ts-run-text")).to_have_text(re.compile("^Running"))
    bob.locator("#run").click()
    expect(bob.locator(".ts-run-text")).to_have_text(re.compile("^Waiting: yours is next"))
    eve.locator("#run").click()
    expect(eve.locator(".ts-run-text")).to_have_text(re.compile("^Waiting: 2 runs before yours"))
    ann.close()
    until(lambda: served.engine.runs[0].state == "stopped", bob)
    expect(bob.locator(".ts-run-text")).to_have_text("Done: 16 tokens written, as many as asked.")


def test_hostile_prompts_are_inert_and_whole(serve, visit):
    page = visit(serve().url)
    for text in (HOSTILE, "${window.pwned=6}", "{{constructor}}", "\x00\x07 nul"):
        run_to_the_end(page, text)
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.querySelectorAll('.ts-scope-root img, .ts-scope-root script').length") == 0
        held = page.evaluate("window.tokenoscope.store.run.tokens.filter(t => !t.generated).map(t => t.text).join('')")
        assert held == page.locator("#prompt textarea").input_value()
        assert no_overflow(page)


def test_a_recorded_run_is_shown_first_and_says_so(serve, visit, tmp_path):
    recorded = frames.all_frames(fake_trace())
    (tmp_path / "paris.frames").write_bytes(b"".join(recorded))
    page = visit(serve(recorded=tmp_path, ready=False).url)
    until(lambda: frames_held(page) == len(recorded), page)
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Showing a recorded run"))
    expect(page.locator(".ts-model-text")).to_have_text(re.compile("40%"))


def test_each_recorded_run_can_be_looked_at_and_no_words_are_lost(serve, visit):
    page = visit(serve(recorded=ASSETS / "runs").url)
    chips = page.locator(".ts-recorded button")
    prompt = page.locator("#prompt textarea")
    expect(chips).to_have_count(len(list((ASSETS / "runs").glob("*.frames"))))
    for chip in chips.all():
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "true")
        page.wait_for_function(
            f"tokenoscope.store.run.head.prompt === {PROMPT} && tokenoscope.store.run.end && tokenoscope.store.run.lens"
        )
        assert page.evaluate("tokenoscope.store.run.frames === tokenoscope.store.run.steps.length + 6")
        assert page.evaluate("tokenoscope.store.run.head.settings.chat") == page.locator("#chat input").is_checked()
        expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Showing a recorded run"))
    prompt.fill("My own words")
    chips.first.click()
    expect(chips.first).to_have_attribute("aria-pressed", "true")
    expect(prompt).to_have_value("My own words")


def test_a_refusal_leaves_the_chosen_recorded_run_and_a_run_of_ones_own_takes_its_place(serve, visit):
    page = visit(serve(recorded=ASSETS / "runs").url)
    second = page.locator(".ts-recorded button").nth(1)
    second.click()
    name = sorted((ASSETS / "runs").glob("*.frames"))[1].stem
    until(lambda: page.locator(".ts-scope-root").get_attribute("data-run") == name, page)
    page.locator("#prompt textarea").fill(" ")
    page.locator("#run").click()
    expect(page.locator(".ts-refusal")).to_contain_text("prompt is empty")
    assert page.locator(".ts-scope-root").get_attribute("data-run") == name
    own = run_to_the_end(page, "My own words")
    second.click()
    until(lambda: page.locator(".ts-scope-root").get_attribute("data-run") == name, page)
    page.get_by_role("button", name="your run").click()
    until(lambda: page.locator(".ts-scope-root").get_attribute("data-run") == own, page)
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Done: "))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_more_pictures_are_drawn_when_asked_for_and_their_text_is_inert(serve, visit, theme):
    page = visit(serve().url, theme=theme, width=390, height=844)
    run_to_the_end(
        page, "<img src=x onerror=parent.pwned=1></script> <script>top.pwned=2</script> {{x}} ${top.pwned=3}"
    )
    page.wait_for_function("tokenoscope.store.run.lens")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/view/" in request.url else None)
    page.get_by_text("More pictures").click()
    pictures = page.locator(".ts-more-picture")
    expect(pictures).to_have_count(4)
    assert asked == []
    for picture in pictures.all():
        picture.get_by_role("button").press("Enter")  # a click just after scrolling may still go to a frame beside it
        expect(picture.get_by_role("button")).to_be_disabled()
        assert picture.locator("iframe").get_attribute("sandbox") == "allow-scripts"
    charts = (
        page.frame_locator("[data-picture=passes] iframe"),
        page.frame_locator("[data-picture=embedding_map] iframe"),
    )
    expect(charts[0].locator(".barlayer .point")).to_have_count(16)
    expect(charts[1].locator(".scatterlayer .point")).to_have_count(
        page.evaluate("tokenoscope.store.run.embeddings.ids.length")
    )
    heads = page.frame_locator("[data-picture=head_view] iframe").frame_locator("iframe")
    heads.locator("svg line").first.wait_for(state="attached")
    for chart in charts:
        assert chart.locator("img, script[src=x]").count() == 0
    page.wait_for_function(
        "[...document.querySelectorAll('.ts-more-picture iframe')].every((f) => f.clientHeight > 200)"
    )
    assert page.evaluate("window.pwned") is None
    assert no_overflow(page)
    page.evaluate("tokenoscope.selection.set({ layer: 1 })")
    again = page.locator("[data-picture=head_view]").get_by_role("button")
    expect(again).to_have_text("Draw layer 1")
    again.press("Enter")
    expect(again).to_have_text("Drawn: layer 1")


def test_a_recorded_run_says_that_more_pictures_need_a_run_of_ones_own(serve, visit):
    page = visit(serve(recorded=ASSETS / "runs").url)
    page.get_by_text("More pictures").click()
    expect(page.locator(".ts-more-pictures")).to_contain_text("Press Run")
    assert page.locator(".ts-more-picture:visible").count() == 0


def test_run_waits_for_a_model_that_is_still_loading(serve, visit):
    served = serve(ready=False)
    page = visit(served.url)
    page.locator("#run").click()
    expect(page.locator(".ts-message")).to_have_text(re.compile("starts by itself.*40%"))
    served.models.ready = True
    expect(page.locator(".ts-run-text")).to_have_text(re.compile("^Done: "))
    expect(page.locator(".ts-model-text")).to_have_text(re.compile("^Ready: fake-1k, 4 layers"))


def test_a_finished_run_can_be_kept(serve, visit):
    page = visit(serve().url)
    expect(page.locator(".ts-keep")).to_be_hidden()
    run_to_the_end(page)
    for link, name in (("web page", "run.html"), ("trace file", "run.trace")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        assert download.value.suggested_filename == name
        assert download.value.failure() is None


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_is_legible_and_has_its_first_picture_in_sight(serve, visit, theme):
    page = visit(serve().url, theme=theme)
    run_to_the_end(page)
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        expect(page.locator("#prompt textarea")).to_be_in_viewport(ratio=1)
        expect(page.locator("#run")).to_be_in_viewport(ratio=1)
        assert no_overflow(page), width
        if width > 860:
            box = page.locator(".ts-scope-root").bounding_box()
            assert box is not None
            assert box["y"] < height / 4
            assert box["width"] > width * 0.68
    open_settings(page)
    page.get_by_label("Seed").wait_for()
    assert page.evaluate(LEGIBLE) == []
    assert no_overflow(page)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_the_player_stays_in_sight_while_the_page_scrolls_and_so_does_the_rail_where_there_is_room(
    serve, visit, width, height
):
    page = visit(serve().url, width=width, height=height)
    run_to_the_end(page, "Some words that are " + "W" * 60 + " long and not to be broken apart " * 6)
    for down in (0.4, 0.7):
        page.evaluate("(down) => scrollTo(0, document.documentElement.scrollHeight * down)", down)
        page.wait_for_function("scrollY > innerHeight * 0.8")
        bar = page.locator(".ts-player-bar").bounding_box()
        assert bar is not None
        assert 0 <= bar["y"] < 20
        assert bar["height"] <= height / 4
        expect(page.locator(".ts-play")).to_be_in_viewport(ratio=1)
        if width > 860:
            expect(page.locator(".ts-rail-row").last).to_be_in_viewport(ratio=1)
        assert no_overflow(page)


def no_overflow(page: Page) -> bool:
    """Nothing reaches beyond the window's right edge, whether it could be scrolled to or is cut off."""
    return page.evaluate("""document.documentElement.scrollWidth <= innerWidth
        && [...document.querySelectorAll("#header, #form, #main, .ts-scope-root, .ts-card")]
            .every((part) => part.getBoundingClientRect().right <= innerWidth)""")


# Text of the form and header that is smaller than 14 px or has less contrast than 4.5 to the ground behind it.
LEGIBLE = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const channel = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const e of document.querySelectorAll("#header *, #form *")) {
    const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(".ts-spoken, svg, [data-testid=status-tracker]")) continue;
    const { color, fontSize } = getComputedStyle(e);
    const [more, less] = [light(rgb(color)), light(ground(e))].sort((a, b) => b - a);
    const contrast = (more + 0.05) / (less + 0.05);
    if (parseFloat(fontSize) < 14 || contrast < 4.5) {
      faults.push(`${e.tagName} "${e.textContent.trim().slice(0, 20)}" ${fontSize} ${contrast.toFixed(2)}`);
    }
  }
  return faults;
}"""


def test_another_run_keeps_the_layer_and_head_that_were_chosen(serve, visit):
    page = visit(serve().url)
    run_to_the_end(page)
    looked = page.evaluate("(({ layer, head }) => [layer, head])(tokenoscope.selection.at)")
    other = [(looked[0] + 1) % 4, (looked[1] + 2) % 6]
    page.evaluate("([layer, head]) => tokenoscope.selection.set({ layer, head })", other)
    run_to_the_end(page, "Two words")
    assert page.evaluate("(({ layer, head }) => [layer, head])(tokenoscope.selection.at)") == other


def test_what_scrolls_under_a_resting_pointer_is_not_previewed(serve, visit):
    """Browsers send a pointer event when the page has scrolled, at the place on the screen where the pointer rests."""
    page = visit(serve().url, width=1440, height=900)
    run_to_the_end(page)
    page.wait_for_function("tokenoscope.store.run.lens && document.querySelector('.ts-grid-canvas').clientWidth > 100")
    page.locator(".ts-grid-canvas").evaluate("grid => grid.scrollIntoView({ block: 'center' })")
    page.evaluate("""() => document.addEventListener("pointermove", (event) => {
        if (event.isTrusted) window.lastPlace = { screenX: event.screenX, screenY: event.screenY };
    })""")
    page.mouse.move(5, 5)
    page.wait_for_timeout(300)
    event = """(by) => {
        const grid = document.querySelector(".ts-grid-canvas");
        const box = grid.getBoundingClientRect();
        const [clientX, clientY] = [box.x + box.width * 0.6, box.y + box.height * 0.6];
        const place = { ...lastPlace, screenX: lastPlace.screenX + by, clientX, clientY };
        for (const name of ["pointerover", "pointermove"]) {
            grid.dispatchEvent(new PointerEvent(name, { bubbles: true, pointerType: "mouse", ...place }));
        }
        return tokenoscope.selection.hovered !== null;
    }"""
    assert page.evaluate(event, 0) is False
    assert page.evaluate(event, 3) is True
