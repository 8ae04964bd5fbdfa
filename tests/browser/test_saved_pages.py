"""Saved pages of every kind: each tick and each round can be looked at, from a file alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model.records.trace import Settings
from tests.app.fakes_served import drafted
from tests.browser.pages import no_overflow, serious_faults, until
from tests.fakes_measured import fake_measurement, fake_trials
from tests.fakes_serving import PREEMPTED, fake_batching
from viz.export import page as page_of
from viz.view import Record


@pytest.fixture
def saved(visit, tmp_path: Path) -> Callable[[Record], Page]:
    """Opens the saved page of a record; nothing may be asked of anybody."""

    def open_page(record: Record, moment: str = "") -> Page:
        (tmp_path / "saved.html").write_text(page_of(record), encoding="utf-8")
        page = visit(None, width=1280, height=800)
        page.goto((tmp_path / "saved.html").as_uri() + moment)
        page.wait_for_selector('#scope[data-ready="1"]')
        return page

    return open_page


def step(page: Page, said: str) -> None:
    expect(page.locator(".ts-crumbs strong")).to_have_text(said)


def test_a_saved_page_of_served_texts_steps_over_its_ticks(saved):
    record = fake_batching()
    page = saved(record)
    n = len(record.ticks)
    step(page, f"Tick {PREEMPTED[0]} of 0–{n - 1}")  # where a text is preempted
    expect(page.locator(".ts-crumbs")).to_contain_text(f"read {record.ticks[PREEMPTED[0]].n_tokens} of at most")
    page.keyboard.press("End")
    step(page, f"Tick {n - 1} of 0–{n - 1}")
    page.keyboard.press("ArrowLeft")
    step(page, f"Tick {n - 2} of 0–{n - 1}")
    page.locator('[data-pick="tick=3"]').click()
    step(page, f"Tick 3 of 0–{n - 1}")
    expect(page.locator('.ts-lanes [data-tick="3"]')).to_have_class("ts-picked-tick")
    expect(page.locator("[data-view=blocks] .ts-told")).to_contain_text(f"{record.ticks[3].n_free_blocks} free")
    page.keyboard.press("ArrowRight")  # the column that was pressed has the focus
    step(page, f"Tick 4 of 0–{n - 1}")
    expect(page.locator("[data-view=blocks] .ts-told")).to_contain_text(f"{record.ticks[4].n_free_blocks} free")
    page.locator('[data-pick="tick=3"]').press(" ")
    step(page, f"Tick 3 of 0–{n - 1}")
    page.locator('[data-pick="request=1"]').press("Enter")
    step(page, f"Tick 3 of 0–{n - 1}")
    expect(page.locator('.ts-lanes [data-request="1"]')).to_have_class("ts-picked-request")
    expect(page.locator("[data-view=packed_attention] .ts-aside-line")).to_contain_text("one tick, layer and head")
    expect(page.locator("[data-view=packed_attention] .main-svg").first).to_be_visible()


def test_a_saved_page_of_drafts_steps_over_the_rounds_of_each(saved):
    record = drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit"))
    page = saved(record)
    first, second = (len(each.rounds) for each in record.attempts)
    step(page, f"Round 0 of 0–{first - 1}")
    page.locator('[data-pick="round=1"]:visible').click()
    step(page, f"Round 1 of 0–{first - 1}")
    shown = page.locator(".ts-told:visible")
    expect(shown).to_contain_text("prompt lookup, round 1:")
    page.get_by_label("drafting method").select_option("early exit")
    step(page, f"Round 0 of 0–{second - 1}")
    expect(shown).to_contain_text("early exit, round 0:")
    expect(page.locator(".ts-subtitle:visible").first).to_contain_text("early exit:")


@pytest.mark.parametrize(
    "make", [pytest.param(fake_measurement, marks=pytest.mark.long), fake_trials], ids=["measured", "tried"]
)
def test_a_saved_page_without_steps_has_all_its_pictures_in_light_and_dark(saved, make):
    page = saved(make())
    expect(page.locator(".ts-player")).to_be_hidden()
    expect(page.locator(".ts-bill")).to_have_count(0)
    expect(page.locator(".ts-origin")).to_be_visible()
    charts = page.locator(".js-plotly-plot")
    expect(charts.first.locator(".main-svg").first).to_be_visible()
    expect(page.locator(".ts-card .ts-empty")).to_have_count(0)
    ground = "() => JSON.stringify(document.querySelector('.js-plotly-plot').layout)"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark or light").click()
    page.wait_for_function(f"light => ({ground})() !== light", arg=light)


def test_a_saved_page_opens_at_the_moment_of_its_address(saved):
    record = fake_batching()
    page = saved(record, "#record=page&tick=5")
    step(page, f"Tick 5 of 0–{len(record.ticks) - 1}")


def test_a_saved_page_fits_and_axe_finds_no_serious_fault(saved):
    page = saved(fake_batching())
    for width, height in ((1440, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        until(lambda: no_overflow(page), page)
    assert serious_faults(page) == []
