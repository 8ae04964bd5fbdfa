"""Heads as lines between tokens, drawn by bertviz: fetched when they are asked for, in frames that reach nothing."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import no_overflow, until
from tests.browser.plain import finished

pytestmark = pytest.mark.cards("attention")

HOSTILE = "<img src=x onerror=parent.pwned=1></script> <script>top.pwned=2</script> {{x}} ${top.pwned=3}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_heads_are_drawn_when_asked_for_and_their_text_is_inert(look, theme):
    page = look(finished(HOSTILE), theme=theme, width=390, height=844)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/view/" in request.url else None)
    page.locator(".ts-more-pictures > summary").press("Enter")  # a click just after scrolling may go elsewhere
    pictures = page.locator(".ts-more-picture")
    expect(pictures).to_have_count(2)
    assert asked == []
    for picture in pictures.all():
        picture.get_by_role("button").press("Enter")  # a click just after scrolling may still go to a frame beside it
        expect(picture.get_by_role("button")).to_be_disabled()
        assert picture.locator("iframe").get_attribute("sandbox") == "allow-scripts"
        lines = picture.frame_locator("iframe").frame_locator("iframe").locator("svg line")
        lines.first.wait_for(state="attached")
        assert picture.frame_locator("iframe").locator("img, script[src=x]").count() == 0
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
    assert all("without_first=1" in each for each in asked)
    page.get_by_label("leave the first token out", exact=True).press("Space")
    expect(again).to_have_text("Drawn: layer 1")
    until(lambda: [("without_first" in each) for each in asked[-2:]] == [False, False], page)


def test_a_recorded_run_has_them_too_and_says_how_coarse_they_are(plain_server, go):
    page = go(plain_server, width=1440, height=900)
    page.wait_for_selector(".ts-board[data-run]")
    page.locator(".ts-more-pictures > summary").press("Enter")
    expect(page.locator(".ts-more-pictures > .ts-note")).to_contain_text("off by at most 0.4 percentage points")
    heads = page.locator("[data-picture=head_view]")
    heads.get_by_role("button").press("Enter")
    heads.frame_locator("iframe").frame_locator("iframe").locator("svg line").first.wait_for(state="attached")
