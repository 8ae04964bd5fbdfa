"""What the loom says stands in its place, whatever the tokens and the shares are."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page

from model.records.trace import Trace
from tests.browser.plain import finished

pytestmark = pytest.mark.cards("")


def lengthy(run: Trace) -> Trace:
    """The same run with tokens of fourteen letters and shares of a random model."""
    steps = []
    for step in run.steps:
        choices = tuple(
            replace(
                each,
                probability=0.0000388,
                candidates=tuple(replace(one, probability=0.0000388) for one in each.candidates),
            )
            for each in step.choices
        )
        steps.append(replace(step, choices=choices))
    tokens = tuple(replace(each, text=" Neurologically") if each.generated else each for each in run.tokens)
    return replace(run, steps=tuple(steps), tokens=tokens)


@pytest.mark.parametrize("width", [1600, 1440, 390])
def test_captions_and_shares_are_never_cut(look: Callable[..., Page], width: int) -> None:
    page = look(lengthy(finished()), "step=9", width=width, height=900)
    cut = """(name) => [...document.querySelectorAll(name)].filter((e) =>
        e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"""
    assert page.evaluate(cut, ".ts-caption") == []
    assert page.evaluate(cut, ".ts-likely-share") == []
    assert page.locator(".ts-likely-share").first.inner_text() == "<0.1%"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_pointing_at_a_pass_in_the_bar_says_what_it_read_wrote_and_took(look: Callable[..., Page]) -> None:
    page = look(finished(), "step=0", width=1440, height=900)
    bar = page.locator(".ts-player-bar canvas")
    box = bar.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 6, box["y"] + box["height"] / 2)
    last = page.evaluate("tokenoscope.store.run.steps.length - 1")
    page.wait_for_function("(e) => e.title.includes('(recorded)')", arg=bar.element_handle())
    said = bar.get_attribute("title") or ""
    assert said.startswith(f"Step {last} of") and "wrote" in said and "took" in said
