"""The page in a real browser, with the fake engine: a run as it goes on, and what is left of it."""

import re

from playwright.sync_api import expect

from tests.app.fakes_engine import FakeEngine
from tests.browser.pages import frames_held, run_to_the_end, step_shown, until


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
        const { sentence } = await import("/gradio_api/tokenoscope/assets/js/board/page.js?words");
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
        const { connect } = await import("/gradio_api/tokenoscope/assets/js/board/page.js?again");
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
