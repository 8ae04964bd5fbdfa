"""Every Python view draws from the record alone, keeps hostile text inert, and says why where it can't."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.records import Trace
from tests.fakes import fake_trace
from tests.viz.test_frames import HOSTILE
from viz import markup
from viz.view import Selection, View, all_views, html
from viz.views.embeddings import principal

VIEWS = {each.name: each for each in all_views()}


@pytest.fixture(scope="module")
def hostile() -> Trace:
    return fake_trace(HOSTILE, ("a", "b"))


def test_views_are_found_with_their_title_and_their_docstring_as_caption():
    assert {"passes", "embedding_map", "head_view"} <= VIEWS.keys()
    for each in VIEWS.values():
        assert each.title
        assert each.caption.endswith(".")
        assert "\n" not in each.caption


@pytest.mark.parametrize("shown", VIEWS.values(), ids=VIEWS.keys())
def test_a_view_draws_and_no_text_ends_a_script(shown: View, hostile: Trace):
    page = html(shown, hostile, Selection(layer=1, token=2))
    opened = len(re.findall(r"<script", page))
    assert opened == len(re.findall(r"</script>", page))
    assert "<script>alert(1)" not in page
    assert shown.title in page


def test_a_view_without_its_arrays_says_why():
    whole = fake_trace()
    trace = replace(whole, resid=None)
    shown = VIEWS["embedding_map"]
    assert shown.missing(whole) is None
    reason = shown.missing(trace)
    assert reason is not None
    assert "resid" in reason
    assert markup.text(reason) in html(shown, trace, Selection())


def test_passes_stand_where_and_as_long_as_they_were_measured():
    trace = fake_trace()
    figure: Any = VIEWS["passes"].draw(trace, Selection())
    prefill, decode = figure.data
    assert list(prefill.x) == [trace.steps[0].seconds]
    assert list(decode.x) == [step.seconds for step in trace.steps[1:]]
    assert list(decode.base) == pytest.approx([0.08, 0.13, 0.18])


def test_principal_components_keep_distances_of_a_plane_and_say_their_share():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(20, 2)) * [5, 1]
    turned = plane @ np.linalg.qr(rng.normal(size=(16, 16)))[0][:2]
    points, shares = principal(turned + 3)
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points[None], axis=-1), apart, atol=1e-9)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] > 0.8


def test_one_token_has_a_place_too():
    points, shares = principal(np.ones((1, 8), dtype=np.float32))
    assert points.tolist() == [[0, 0]]
    assert shares.tolist() == [0, 0]


def test_labels_of_a_chart_hold_no_tags(hostile: Trace):
    figure: Any = VIEWS["embedding_map"].draw(hostile, Selection())
    said = [text for trace in figure.data for text in (*trace.text, *trace.customdata)]
    assert said
    assert not [text for text in said if "<" in text]
    assert any("&lt;script&gt;" in text for text in said)


def test_bertviz_gets_this_layer_without_a_network(hostile: Trace):
    page = VIEWS["head_view"].draw(hostile, Selection(layer=1))
    assert 'sandbox="allow-scripts"' in page
    assert "default-src &#x27;none&#x27;" in page
    assert "<script src" not in page
    assert "&lt;script src" not in page
    assert str(round(float(hostile.pattern(1, 0)[5, 1]), 3)) in page
