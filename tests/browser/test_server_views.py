"""More pictures of a run, drawn in Python: fetched when they are asked for, in frames that reach nothing."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import no_overflow
from tests.browser.plain import finished

HOSTILE = "<img src=x onerror=parent.pwned=1></script> <script>top.pwned=2</script> {{x}} ${top.pwned=3}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_more_pictures_are_drawn_when_asked_for_and_their_text_is_inert(look, theme):
    page = look(finished(HOSTILE), theme=theme, width=390, height=844)
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
