"""The page Beams, which is made from the fields of its request, and the tree that the server draws."""

from pathlib import Path

from playwright.sync_api import expect

from model.records.beams import BeamSearch
from tests.browser.pages import no_overflow, serious_faults, too_small

RECORDED = Path(__file__).parents[2] / "assets" / "recorded"


def test_it_opens_on_a_recorded_search_with_its_tree_and_its_form(serve, visit):
    page = visit(f"{serve(recorded=RECORDED).url}/beams")
    record = BeamSearch.open(RECORDED / "capitals.beams")
    expect(page.locator(".ts-beam-tree")).to_be_visible()
    expect(page.locator(".ts-beam")).to_have_count(record.ids.size)
    expect(page.locator(".ts-beam.ts-of-best")).to_have_count(record.answers[0].step + 1)
    expect(page.locator("#prompt textarea")).to_have_value(record.prompt)
    assert page.locator("#n_beams input[type=number]").input_value() == "4"
    assert page.locator(".ts-beam title").first.text_content().startswith(" Rome; 65.3%")
    assert not serious_faults(page)
    assert not too_small(page)


def test_on_a_phone_the_tree_scrolls_in_its_own_box(serve, visit):
    page = visit(f"{serve(recorded=RECORDED).url}/beams")
    page.set_viewport_size({"width": 390, "height": 844})
    box = page.locator(".ts-beam-scroll")
    expect(box).to_be_visible()
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert no_overflow(page)
