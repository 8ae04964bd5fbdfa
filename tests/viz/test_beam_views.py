"""The pictures of a beam search say what its record says."""

import re

import numpy as np
import pytest

from model import BeamSearch, search_beams
from model.records.beams import Answer
from tests.tiny import shared
from viz import markup
from viz.view import Selection, View
from viz.views.beams.glance import beams_glance
from viz.views.beams.passes import beam_tree
from viz.views.beams.whole_texts import beam_answers


@pytest.fixture(scope="module")
def searched() -> BeamSearch:
    return search_beams(shared("llama"), "w5 w37 w40 w8", n_beams=3, max_new_tokens=5)


def drawn(shown: View, record: BeamSearch) -> str:
    html = shown.draw(record, Selection())
    assert isinstance(html, str)
    return html


def made(answers: tuple[Answer, ...], **arrays: list[list[float]]) -> BeamSearch:
    """A search of two beams by hand: "a" and "b" after the prompt, then "c" and "d"."""
    kinds = {"parents": np.int32, "ids": np.int32, "scores": np.float32, "beams": np.int32}
    return BeamSearch(
        model=shared("llama").card,
        prompt="p",
        notes=(),
        chat=False,
        max_new_tokens=2,
        n_beams=2,
        length_penalty=1.0,
        early_stopping="false",
        tokens=(),
        texts={1: "a<b>", 2: " b", 3: " c", 4: " d"},
        answers=answers,
        **{name: np.array(value, dtype=kinds[name]) for name, value in arrays.items()},
    )


def two_passes() -> BeamSearch:
    """Greedy decoding takes "a", then "c": 0.6 x 0.5. The search finds "b", then "d": 0.4 x 0.9."""
    logs = np.log([[0.6, 0.4], [0.36, 0.3]])
    ends = (
        Answer(step=1, rank=0, score=float(logs[1][0] / 2), ended=False, text=" b d"),
        Answer(step=1, rank=1, score=float(logs[1][1] / 2), ended=False, text="a<b> c"),
    )
    return made(ends, parents=[[0, 0], [1, 0]], ids=[[1, 2], [4, 3]], scores=logs.tolist(), beams=[[0, 1], [-1, -1]])


def test_a_search_by_hand_is_told_in_numbers_and_words():
    searched = two_passes()
    html = drawn(beams_glance, searched)
    assert "\u00d71.20" in html  # 0.36 / 0.3
    assert "\u201cb d\u201d has won: 2 tokens, probability 36.0% as a whole." in html
    table = drawn(beam_answers, searched)
    assert "a&lt;b&gt; c (greedy decoding)" in table
    assert "30.0%" in table
    assert [searched.greedy(), searched.greedy_answer()] == [((0, 0), (1, 1)), 1]


def test_the_tree_has_a_box_for_each_beam_and_each_that_was_dropped_with_its_probability(searched):
    html = drawn(beam_tree, searched)
    n_boxes = len(re.findall(r'<g class="ts-beam[ "]', html))
    n_ranked, n_on = searched.ids.shape[1], searched.n_beams
    assert n_boxes == len(searched.ids) * min(n_ranked, 2 * n_on)
    by_hand = drawn(beam_tree, two_passes())
    shares = re.findall(r">([\d.]+)%<", by_hand)
    assert sorted(shares) == sorted(["60.0", "40.0", "90.0", "50.0"])
    assert by_hand.count("\u25a0") == 3  # two finished texts and the legend
    assert "<b>" not in by_hand
    assert by_hand.count("ts-of-greedy") == 2  # from "a" to "c", and the legend


def test_the_page_keeps_every_element_of_the_drawing_and_every_attribute(searched):
    source = (markup.ASSETS / "js" / "core" / "tables.js").read_text(encoding="utf-8")
    lists = [
        set(re.findall(r'"([\w-]+)"', line)) for line in source.splitlines() if re.match(r"const \w+ = .*\[", line)
    ]
    elements, attributes, shapes, kept = lists
    html = drawn(beam_tree, searched)
    svg = "".join(re.findall(r"<svg.*?</svg>", html))
    around = re.sub(r"<svg.*?</svg>", "", html)
    assert set(re.findall(r"<(\w+)", svg)) <= shapes
    assert set(re.findall(r' ([\w-]+)="', svg)) <= kept
    assert {each.upper() for each in re.findall(r"<(\w+)", around)} <= elements
    assert set(re.findall(r' ([\w-]+)="', around)) <= attributes


def test_a_search_that_is_under_way_has_no_winner():
    first = made((), parents=[[0, 0]], ids=[[1, 2]], scores=[[-0.5, -0.9]], beams=[[0, 1]])
    assert "no text is finished yet" in drawn(beams_glance, first)
    assert drawn(beam_tree, first).count('class="ts-beam ts-of-best"') == 0
