"""Kept pages of served texts and of drafts: every tick and every round can be looked at, from a file alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model.records.batching import Batching
from model.records.speculation import Speculation
from model.records.trace import Settings
from tests.app.fakes_served import drafted
from tests.browser.pages import no_overflow, serious_faults
from tests.fakes_serving import PUT_BACK, fake_batching
from viz.export import page as page_of


@pytest.fixture
def kept(visit, tmp_path: Path) -> Callable[[Batching | Speculation], Page]:
    """Opens the kept page of a record."""

    def open_page(record: Batching | Speculation) -> Page:
        (tmp_path / "kept.html").write_text(page_of(record), encoding="utf-8")
        page = visit(None, width=1280, height=800)
        page.goto((tmp_path / "kept.html").as_uri())
        page.wait_for_selector(".ts-serving-bar:not([hidden])")
        return page

    return open_page


def step(page: Page, said: str) -> None:
    expect(page.locator(".ts-crumbs strong")).to_have_text(said)
    for card in page.locator(".ts-card:has([data-shown-at])").all():
        assert card.locator("[data-shown-at]:not([hidden])").count() == 1


def test_a_kept_page_of_served_texts_steps_over_its_ticks(kept):
    record = fake_batching()
    page = kept(record)
    step(page, f"Tick {PUT_BACK[0] + 1} of {len(record.ticks)}")  # where a text is put back
    page.keyboard.press("End")
    step(page, f"Tick {len(record.ticks)} of {len(record.ticks)}")
    page.keyboard.press("ArrowLeft")
    step(page, f"Tick {len(record.ticks) - 1} of {len(record.ticks)}")
    page.locator('[data-pick="tick=3"]').click()
    step(page, f"Tick 4 of {len(record.ticks)}")
    expect(page.locator('.ts-lanes [data-tick="3"]')).to_have_class("ts-picked-tick")
    expect(page.locator("[data-shown-at]:not([hidden]) .ts-told")).to_contain_text(f"{record.ticks[3].n_free} free")
    page.keyboard.press("ArrowRight")  # the column that was pressed has the focus
    step(page, f"Tick 5 of {len(record.ticks)}")
    page.locator('[data-pick="tick=3"]').press(" ")
    step(page, f"Tick 4 of {len(record.ticks)}")
    page.locator('[data-pick="request=1"]').press("Enter")
    step(page, f"Tick 4 of {len(record.ticks)}")
    expect(page.locator('.ts-lanes [data-request="1"]')).to_have_class("ts-picked-request")


def test_a_kept_page_of_drafts_steps_over_the_rounds_of_each(kept):
    record = drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit"))
    page = kept(record)
    first, second = (len(each.rounds) for each in record.attempts)
    step(page, f"Round 1 of {first}")
    page.locator('[data-pick="round=1"]:visible').click()
    step(page, f"Round 2 of {first}")
    expect(page.locator("[data-shown-at]:not([hidden]) .ts-told")).to_contain_text("prompt lookup, round 2 of")
    page.get_by_label("who drafts").select_option("early exit")
    step(page, f"Round 1 of {second}")
    expect(page.locator("[data-shown-at]:not([hidden]) .ts-told")).to_contain_text("early exit, round 1 of")
    expect(page.locator("[data-shown-at]:not([hidden]) .ts-subtitle")).to_contain_text("early exit:")


def test_a_kept_page_fits_and_axe_finds_no_serious_fault(kept):
    page = kept(fake_batching())
    for width, height in ((1440, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        assert no_overflow(page), width
        assert serious_faults(page) == []
