"""Every text that Python shows goes through the catalogue: in a made-up language, nothing is left in English."""

import json
import subprocess
import sys

import pytest

from tests.house.templates import ROOT
from tests.viz.pseudo import of_figure, of_html, unmarked


@pytest.mark.long
def test_in_another_language_nothing_is_left_in_english():
    ran = subprocess.run(
        [sys.executable, "-m", "tests.viz.pseudo"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == {}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("⟦tokens in the text⟧", []),
        ("⟦{n} of ⟦all⟧ texts⟧ 3 ms", []),
        ("⟦mean⟧ divergence", ["divergence"]),
        ("⟦token⟧ %{x:.2f}<extra>%{fullData.name}</extra>", []),
        ("Paris: ⟦likely⟧", []),
    ],
)
def test_what_stands_outside_of_marks_is_found(text: str, left: list[str]):
    assert unmarked(text, frozenset({"Paris"})) == left


def test_text_is_read_where_a_person_reads_it():
    assert of_html('<p title="one">two<script>three</script></p>') == ["one two"]
    figure = {
        "data": [{"name": "one", "mode": "lines"}],
        "layout": {"title": {"text": "two"}, "template": {"name": "x"}},
    }
    assert list(of_figure(figure)) == ["one", "two"]
