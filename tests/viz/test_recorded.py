"""Runs that come with the app: what is read from the bytes that are sent of them."""

from dataclasses import asdict

import numpy as np
import pytest

from model.errors import NotShown
from tests.fakes import fake_trace
from tests.viz.framed import big
from viz.wire import parts, recorded


def test_a_run_that_comes_with_the_app_says_where_its_tokens_look():
    trace = fake_trace()
    run = recorded.Recorded(name="1-a", experiment="run", frames=tuple(parts.all_parts(trace)))
    looks = recorded.looks(run)
    assert [asdict(each) for each in looks.tokens] == [asdict(each) for each in trace.tokens[: trace.n_fed]]
    assert (looks.n_layers, looks.n_heads) == (trace.model.n_layers, trace.model.n_heads)
    for layer in range(looks.n_layers):
        np.testing.assert_allclose(looks.rows(layer, 6), trace.pattern_rows(0, 6, layer=layer), atol=0.004)
        others = looks.without_first().rows(layer, 6)
        assert not others[:, 1:, 0].any() and others[:, 0, 0].all()
        np.testing.assert_array_equal(others[:, :, 1:], looks.rows(layer, 6)[:, :, 1:])
    long = recorded.Recorded(name="2-b", experiment="run", frames=tuple(parts.all_parts(big(300, 2))))
    with pytest.raises(NotShown, match="does not include its attention"):
        recorded.looks(long)
