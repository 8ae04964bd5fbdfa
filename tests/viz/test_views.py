"""Every Python view draws from the record alone, keeps hostile text inert, and says why where it can't."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.records.trace import Trace
from model.requests.registry import EXPERIMENTS
from tests.fakes import MAP, fake_trace
from tests.viz.framed import HOSTILE, words
from viz import markup
from viz.view import Selection, View, html
from viz.views import all_views

VIEWS = {each.name: each for each in all_views()}


@pytest.fixture(scope="module")
def hostile() -> Trace:
    return fake_trace(HOSTILE, ("a", "b"))


def test_views_are_found_with_their_title_and_their_docstring_as_caption():
    assert {"passes", "embedding_map", "head_view", "model_view"} <= VIEWS.keys()
    for each in VIEWS.values():
        assert each.title
        assert each.caption.endswith(".")
        assert "\n" not in each.caption


def test_at_most_15_words_stand_before_a_picture():
    for kind in EXPERIMENTS:
        for each in all_views(kind.record):
            assert each.lead.endswith(".") and len(each.lead.split()) <= 15, each.lead


@pytest.mark.parametrize("shown", VIEWS.values(), ids=VIEWS.keys())
def test_a_view_draws_and_no_text_ends_a_script(shown: View, hostile: Trace):
    page = html(shown, hostile, Selection(layer=1, token=2))
    opened = len(re.findall(r"<script", page))
    assert opened == len(re.findall(r"</script>", page))
    assert "<script>alert(1)" not in page
    assert shown.title in page


def test_a_view_without_its_arrays_says_why():
    whole = fake_trace()
    trace = replace(whole, **dict.fromkeys(MAP))
    shown = VIEWS["embedding_map"]
    assert shown.missing(whole) is None
    reason = shown.missing(trace)
    assert reason is not None
    assert "embed_ids" in reason
    assert markup.text(reason) in html(shown, trace, Selection())


def test_passes_stand_where_and_as_long_as_they_were_measured():
    trace = fake_trace()
    figure: Any = VIEWS["passes"].draw(trace, Selection())
    prefill, decode = figure.data
    assert list(prefill.x) == [trace.steps[0].seconds]
    assert list(decode.x) == [step.seconds for step in trace.steps[1:]]
    assert list(decode.base) == pytest.approx([0.08, 0.13, 0.18])


def test_every_point_of_the_map_stands_where_the_record_has_it():
    trace = fake_trace()
    assert trace.embed_ids is not None
    assert trace.embed_xy is not None
    figure: Any = VIEWS["embedding_map"].draw(trace, Selection(token=6))
    drawn = {each.name: each for each in figure.data if each.name}
    own = list(dict.fromkeys(token.id for token in trace.tokens))
    assert [len(drawn[name].x) for name in ("neighbours", "prompt", "generated")] == [len(trace.embed_ids) - 9, 5, 4]
    prompt = [own.index(token.id) for token in trace.tokens[:5]]
    np.testing.assert_array_equal(np.stack([drawn["prompt"].x, drawn["prompt"].y], axis=1), trace.embed_xy[prompt])
    assert list(drawn["prompt"].customdata) == [f"token {t.id}: {markup.short(t)}" for t in trace.tokens[:5]]
    lines = [each for each in figure.data if each.mode == "lines"]
    assert trace.embed_near is not None
    ends = [(each.x[1], each.y[1]) for each in lines]
    assert ends == [tuple(trace.embed_xy[i]) for i in trace.embed_near[6]]
    assert {each.x[0] for each in lines} == {trace.embed_xy[6, 0]}


def test_labels_of_a_chart_hold_no_tags(hostile: Trace):
    figure: Any = VIEWS["embedding_map"].draw(hostile, Selection())
    said = [text for each in figure.data if each.name for text in (*each.text, *each.customdata)]
    assert said
    assert not [text for text in said if "<" in text]
    assert any("&lt;script&gt;" in text for text in said)


@pytest.mark.parametrize("name", ["head_view", "model_view"])
def test_bertviz_gets_its_layers_without_a_network(hostile: Trace, name: str):
    page = VIEWS[name].draw(hostile, Selection(layer=1))
    assert 'sandbox="allow-scripts"' in page
    assert "default-src &#x27;none&#x27;" in page
    assert "<script src" not in page
    assert "&lt;script src" not in page
    for layer in (1,) if name == "head_view" else range(4):
        assert str(round(float(hostile.pattern(layer, 0)[5, 1]), 3 if name == "head_view" else 2)) in page


def test_the_model_view_shows_as_many_tokens_as_draw_in_time():
    long = fake_trace(words(40, "p"), (" x",))
    wide = fake_trace(words(40, "p"), (" x",), n_layers=40, n_heads=40, n_kv_heads=8, d_head=2, lens=False)
    for trace, shown in ((long, 16), (wide, 6)):
        page = str(VIEWS["model_view"].draw(trace, Selection()))
        assert f" p{shown - 1}&quot;" in page.replace("\u2423", " ").replace("\\u2423", " ")
        assert f" p{shown}&quot;" not in page.replace("\u2423", " ").replace("\\u2423", " ")
    assert "16" in VIEWS["model_view"].caption
