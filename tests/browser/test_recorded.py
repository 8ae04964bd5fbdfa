"""Recorded runs and more pictures in a real browser: shown first, said to be so, inert."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.pages import PROMPT, frames_held, no_overflow, run_to_the_end, until
from tests.fakes import fake_trace
from viz.markup import ASSETS
from viz.wire import parts


def test_a_recorded_run_is_shown_first_and_says_so(serve, visit, tmp_path):
    recorded = parts.all_parts(fake_trace())
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
    page.locator(".ts-more-pictures > summary").press("Enter")  # a click just after scrolling may go elsewhere
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
    page.locator(".ts-more-pictures > summary").press("Enter")
    expect(page.locator(".ts-more-pictures")).to_contain_text("Press Run")
    assert page.locator(".ts-more-picture:visible").count() == 0
