"""What is asked for beside the frames, and the means that stand for the rows of long runs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.errors import BadSetting, NotShown
from model.records import attention
from model.records.attention import AttentionRule
from model.records.trace import Trace
from tests.fakes import fake_trace
from tests.viz.framed import big, words
from viz.wire import frames, packing, slices


def test_vectors_arrive_exactly_or_in_half_and_say_which():
    trace = fake_trace()
    exact_about, exact = packing.unpack(slices.vectors(trace, 2))
    about, half = packing.unpack(slices.vectors(trace, 2, small=True))
    assert (exact_about["bits"], about["bits"], about["layer"], about["n_fed"]) == (32, 16, 2, trace.n_fed)
    for name in ("queries", "keys", "values"):
        np.testing.assert_array_equal(exact[name], getattr(trace, name)[2])
        assert half[name].dtype == np.float16
        np.testing.assert_allclose(half[name], exact[name], rtol=1e-3, atol=1e-6)
    assert trace.keys is not None
    loud = packing.unpack(slices.vectors(replace(trace, keys=trace.keys * 1e6), 2, small=True))
    assert loud[0]["bits"] == 32
    assert loud[1]["keys"].dtype == loud[1]["queries"].dtype == np.float32
    with pytest.raises(BadSetting, match="0 to 3"):
        slices.vectors(trace, 4)
    with pytest.raises(NotShown):
        slices.vectors(replace(trace, queries=None, keys=None, values=None, rules=()), 0)


def test_logits_arrive_exactly_or_in_even_steps_and_say_which():
    trace = fake_trace()
    about, blobs = packing.unpack(slices.logits(trace, 1))
    assert about["bits"] == 32
    np.testing.assert_array_equal(blobs["logits"], trace.logits[1])
    about, blobs = packing.unpack(slices.logits(trace, 1, small=True))
    assert (about["bits"], about["index"], blobs["logits"].dtype) == (16, 1, np.uint16)
    low, high = about["low"], about["high"]
    assert (low, high) == (trace.logits[1].min(), trace.logits[1].max())
    made = low + (high - low) * blobs["logits"] / 65_535
    assert np.abs(made - trace.logits[1]).max() <= (high - low) / 65_535 * 0.51
    for odd in (np.where(np.arange(300) == 3, -np.inf, trace.logits), np.zeros_like(trace.logits)):
        about, blobs = packing.unpack(slices.logits(replace(trace, logits=odd.astype(np.float32)), 0, small=True))
        infinite = bool(np.isinf(odd).any())
        assert about["bits"] == (32 if infinite else 16)
        assert not blobs["logits"].any() or infinite
    with pytest.raises(BadSetting, match="0 to 3"):
        slices.logits(trace, 4)


def test_a_row_carries_float32_weights_and_the_scores_that_make_them():
    trace = fake_trace()
    about, blobs = packing.unpack(slices.row(trace, 2, 5, 6))
    assert (about["layer"], about["head"], about["position"]) == (2, 5, 6)
    np.testing.assert_allclose(blobs["weights"], trace.pattern(2, 5)[6, :7], rtol=1e-6)
    made = np.exp(blobs["scores"] - blobs["scores"].max())
    np.testing.assert_allclose(made / made.sum(), blobs["weights"], rtol=1e-5)
    with pytest.raises(BadSetting):
        slices.row(trace, 4, 0, 0)


def test_a_layer_asked_for_equals_what_the_steps_sent():
    trace = fake_trace()
    whole = packing.unpack(slices.layer(trace, 1))[1]["attention"]
    steps = [packing.unpack(frames.step(trace, i))[1]["attention"][1] for i in range(len(trace.steps))]
    np.testing.assert_array_equal(whole, np.concatenate(steps, axis=-1))


def test_a_long_run_sends_summaries_in_place_of_rows():
    trace = big(300, 2)
    about, blobs = packing.unpack(frames.step(trace, 0))
    assert "attention" not in blobs
    assert blobs["summary"].shape == (30, 9, 4)
    assert 0 < about["summary_rows"] <= 64
    _, blobs = packing.unpack(frames.step(trace, 1))
    pattern = trace.pattern(7, 4)[300].astype(np.float64)
    expected = [-(pattern * np.log(pattern)).sum(), pattern[0], pattern[299], pattern[300]]
    np.testing.assert_allclose(blobs["summary"][7, 4], expected, rtol=1e-5)
    assert len(frames.step(trace, 1)) <= 40_000


def summary_one_by_one(trace: Trace, layer: int, positions: list[int]) -> np.ndarray:
    """The plain way: every row by itself, each head with its own copy of the keys, in float64."""
    assert trace.queries is not None
    assert trace.keys is not None
    rule, found = trace.rules[layer], []
    for position in positions:
        keys = np.repeat(trace.keys[layer, :, : position + 1], trace.queries.shape[1] // trace.keys.shape[1], axis=0)
        rows = attention.pattern(
            trace.queries[layer, :, position : position + 1].astype(np.float64),
            keys.astype(np.float64),
            rule,
            positions=np.array([position]),
            sink=None if trace.sinks is None else trace.sinks[layer],
            mask=None
            if trace.masks is None or rule.mask is None
            else trace.masks[rule.mask, [position], : position + 1],
        )[:, 0]
        entropy = -(rows * np.log(np.where(rows > 0, rows, 1))).sum(-1)
        looked_at = rows[:, [0, max(position - 1, 0), position]]
        found.append(np.concatenate([entropy[:, None], looked_at], axis=-1))
    return np.mean(found, axis=0)


@pytest.mark.parametrize("kind", ["plain", "window and cap", "sinks", "masks"])
def test_a_summary_is_the_mean_of_its_rows_one_by_one(monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setattr(frames, "ROWS_UP_TO", 0)
    trace = fake_trace(words(90, "p"), (" a", " b"))
    rng = np.random.default_rng(1)
    if kind == "window and cap":
        trace = replace(trace, rules=(replace(trace.rules[0], window=5, softcap=1.5), *trace.rules[1:]))
    elif kind == "sinks":
        trace = replace(trace, sinks=rng.normal(size=(4, 6)).astype(np.float32))
    elif kind == "masks":
        drawn = np.where(np.tri(91, dtype=bool) & (rng.random((91, 91)) < 0.7) | np.eye(91, dtype=bool), 0, -3e38)
        trace = replace(trace, masks=drawn[None].astype(np.float32), rules=(replace(trace.rules[0], mask=0),) * 4)
    for i, positions in ((0, np.unique(np.linspace(0, 89, 64).round().astype(int)).tolist()), (1, [90])):
        about, blobs = packing.unpack(frames.step(trace, i))
        assert about["summary_rows"] == len(positions)
        plain = np.stack([summary_one_by_one(trace, layer, positions) for layer in range(4)])
        np.testing.assert_allclose(blobs["summary"], plain, rtol=1e-5, atol=1e-7)


def test_a_summary_takes_one_pass_a_layer(monkeypatch: pytest.MonkeyPatch):
    trace = big(300, 2)
    made = []

    pattern = attention.pattern

    def watched(queries: np.ndarray, keys: np.ndarray, rule: AttentionRule, **named: Any) -> np.ndarray:
        made.append(keys.nbytes)
        return pattern(queries, keys, rule, **named)

    monkeypatch.setattr(attention, "pattern", watched)
    frames.step(trace, 0)
    assert trace.keys is not None
    assert made == [trace.keys[0, :, :300].nbytes] * 30


@pytest.fixture(scope="module")
def long() -> Trace:
    """A run longer than one whose maps travel whole, and no multiple of a cell's size."""
    return fake_trace(words(610, "p"), (" a", " b"), d_vocab=1000)


def test_a_long_run_sends_pooled_maps_in_place_of_layers(long: Trace):
    with pytest.raises(NotShown, match=r"611 tokens; .* at most 512"):
        slices.layer(long, 1)
    about, blobs = packing.unpack(slices.pooled(long, 1, 4))
    assert (about["layer"], about["head"], about["n_fed"], about["size"]) == (1, 4, 611, 3)
    cells = -(-611 // 3)
    assert blobs["map"].shape == (cells * (cells + 1) // 2,)
    whole = np.zeros((cells * 3, cells * 3), np.float32)
    whole[:611, :611] = long.pattern(1, 4)
    first, whole[:, 0] = whole[:, 0].reshape(cells, 3).max(axis=1), 0
    largest = whole.reshape(cells, 3, cells, 3).max(axis=(1, 3))
    np.testing.assert_array_equal(blobs["map"], packing.packed_rows(largest, 0))
    np.testing.assert_array_equal(blobs["first"], packing.to_bytes(first))


@pytest.mark.parametrize(("row", "key", "shape"), [(0, 0, (256, 256)), (300, 10, (256, 256)), (600, 400, (11, 211))])
def test_a_part_of_a_map_is_exact(long: Trace, row: int, key: int, shape: tuple[int, int]):
    about, blobs = packing.unpack(slices.part(long, 2, 3, row, key))
    assert (about["row"], about["key"]) == (row, key)
    assert blobs["weights"].shape == shape
    assert blobs["weights"].dtype == np.float32
    exact = long.pattern(2, 3)[row : row + 256, key : key + 256]
    np.testing.assert_allclose(blobs["weights"], exact, rtol=1e-5, atol=1e-9)
    for wrong in ((611, 0), (0, 611)):
        with pytest.raises(BadSetting, match=r"position 611 does not exist: this run has read 611 tokens"):
            slices.part(long, 2, 3, *wrong)


def test_the_rows_of_one_token_are_those_of_all_heads(long: Trace):
    about, blobs = packing.unpack(slices.rows(long, 2, 400))
    assert (about["layer"], about["position"]) == (2, 400)
    expected = [packing.to_bytes(long.pattern(2, head)[400, :401]) for head in range(6)]
    assert np.abs(blobs["attention"].astype(int) - np.array(expected)).max() <= 1  # where a sum rounds the other way
    with pytest.raises(BadSetting, match="position 611"):
        slices.rows(long, 2, 611)


def test_all_heads_in_little(long: Trace):
    about, blobs = packing.unpack(slices.little(long))
    assert about["n_fed"] == 611
    assert blobs["maps"].shape == (4, 6, 22, 22)
    assert blobs["first"].shape == (4, 6, 22)
    assert not np.triu(blobs["maps"][2, 3], 1).any()


def test_all_that_is_fetched_of_a_layer_of_a_long_run_is_small(long: Trace):
    whole = 6 * 611 * 612 // 2
    fetched = slices.pooled(long, 1, 4), slices.rows(long, 1, 610), slices.little(long)
    assert sum(map(len, fetched)) < whole / 10
