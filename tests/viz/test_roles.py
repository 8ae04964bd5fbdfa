"""What a head is said to do is what it did: measured on patterns whose answer is known by hand."""

from dataclasses import replace

import numpy as np
import pytest

from model.errors import NotShown
from model.records.trace import Trace
from tests.fakes import fake_trace
from viz.wire import roles
from viz.wire.roles import CLASSES, WORDS

SENTENCE = ("a", "b", "c", "d", "a", "b", "c", "d", "d", "a", "b", "e", "f", "a", "c", "d", "g")


def looking(monkeypatch: pytest.MonkeyPatch, trace: Trace, look) -> roles.Roles:
    """The roles of a run in which head h of layer l, at position p, has the weights that `look(p)` gives by key."""

    def pattern_at(self: Trace, positions: np.ndarray, *, layer: int, head: int | None = None) -> np.ndarray:
        rows = np.zeros((self.model.n_heads, len(positions), int(positions[-1]) + 1), np.float32)
        for row, position in enumerate(positions.tolist()):
            for key, weight in look(position).items():
                rows[:, row, key] += weight
        return rows

    monkeypatch.setattr(Trace, "pattern_at", pattern_at)
    return roles.measure(trace)


def earlier(position: int) -> list[int]:
    """Earlier places of the same token, the token before left out."""
    return [k for k in range(1, position - 1) if SENTENCE[k] == SENTENCE[position]]


def following(position: int) -> list[int]:
    """Places that follow an earlier same token."""
    return [k + 1 for k in range(position - 2) if SENTENCE[k] == SENTENCE[position] and k + 1 not in earlier(position)]


def last_or_first(places: list[int]) -> int:
    return places[-1] if places else 0


@pytest.mark.parametrize(
    ("word", "kind", "look"),
    [
        ("first token", "first", lambda p: {0: 1.0}),
        ("first token", "first", lambda p: {0: 0.92, p: 0.08}),
        ("previous token", "previous", lambda p: {p - 1: 1.0}),
        ("previous token", "previous", lambda p: {0: 0.8, p - 1: 0.15, p: 0.05}),
        ("itself", "itself", lambda p: {p: 1.0}),
        ("itself", "itself", lambda p: {0: 0.7, p: 0.2, p - 1: 0.1}),
        ("same token before", "same", lambda p: {last_or_first(earlier(p)): 1.0}),
        ("after the same token", "after", lambda p: {last_or_first(following(p)): 1.0}),
        ("spread", "other", lambda p: dict.fromkeys(range(p + 1), 1 / (p + 1))),
        ("first token", "first", lambda p: {0: 0.85, 1: 0.15 if p > 2 else 0, p: 0 if p > 2 else 0.15}),
        ("first token", "first", lambda p: {0: 0.88, p - 1: 0.08, p: 0.04}),
        ("spread", "first", lambda p: {p - 2: 0.25, p - 1: 0.2, p: 0.2, 0: 0.35 if p > 2 else 0.6}),
    ],
)
def test_a_head_is_named_for_where_it_looks(monkeypatch: pytest.MonkeyPatch, word: str, kind: str, look):
    found = looking(monkeypatch, fake_trace(SENTENCE, (" x",)), look)
    assert {WORDS[each] for each in found.word.ravel()} == {word}
    np.testing.assert_allclose(found.shares.sum(axis=-1), 1, atol=1e-6)
    mean = found.shares.mean(axis=(0, 1))
    if word != "spread":
        assert CLASSES[0 if kind == "first" else int(mean[1:].argmax()) + 1] == kind
        assert (mean[0] >= 0.5) or kind != "first"


def test_shares_are_means_and_each_weight_counts_once(monkeypatch: pytest.MonkeyPatch):
    found = looking(monkeypatch, fake_trace(SENTENCE, (" x",)), lambda p: dict.fromkeys(range(p + 1), 1 / (p + 1)))
    rows = range(2, len(SENTENCE))
    each = np.array([1 / (p + 1) for p in rows])
    same, after = (np.array([len(where(p)) for p in rows]) for where in (earlier, following))
    expected = [each.mean(), each.mean(), each.mean(), (each * same).mean(), (each * after).mean()]
    np.testing.assert_allclose(found.shares[2, 3], [*expected, 1 - sum(expected)], rtol=1e-5)
    assert (found.rows, found.rows_same, found.rows_after) == (len(rows), (same > 0).sum(), (after > 0).sum())
    possible = [(each * same)[same > 0].mean(), (each * after)[after > 0].mean()]
    np.testing.assert_allclose(found.possible[2, 3], possible, rtol=1e-5)


def test_one_repeated_token_is_no_habit(monkeypatch: pytest.MonkeyPatch):
    trace = fake_trace((*"abcdefgh", "c"), (" x",))
    found = looking(monkeypatch, trace, lambda p: {2: 1.0} if p == 8 else dict.fromkeys(range(p), 1 / p))
    assert found.rows_same == 1
    assert found.possible[0, 0, 0] == pytest.approx(1)
    assert {WORDS[each] for each in found.word.ravel()} == {"spread"}


def test_what_a_learned_sink_takes_is_nobodys(monkeypatch: pytest.MonkeyPatch):
    trace = replace(fake_trace(SENTENCE, (" x",)), sinks=np.zeros((4, 6), np.float32))
    found = looking(monkeypatch, trace, lambda p: {p: 0.3})
    np.testing.assert_allclose(found.shares.sum(axis=-1), 0.3, rtol=1e-6)
    assert {WORDS[each] for each in found.word.ravel()} == {"itself"}
    found = looking(monkeypatch, trace, lambda p: {p - 1: 0.05})
    assert {WORDS[each] for each in found.word.ravel()} == {"learned sink"}


def test_a_long_run_measures_some_rows_and_says_how_many():
    trace = fake_trace(
        tuple(f" {i % 40}" for i in range(700)), (" x",), n_layers=2, n_heads=2, n_kv_heads=1, d_vocab=800
    )
    found = roles.measure(trace)
    assert found.rows == 256
    positions = np.unique(np.linspace(2, 699, 256).round().astype(int))
    pattern = trace.pattern(1, 1)
    exact = np.stack([pattern[p, [0, p - 1, p]] for p in positions]).mean(axis=0)
    np.testing.assert_allclose(found.shares[1, 1, :3], exact, rtol=1e-4)


def test_a_run_without_attention_or_with_two_tokens_has_no_roles():
    with pytest.raises(NotShown, match="third"):
        roles.measure(fake_trace(("a", "b"), (" x",)))
    with pytest.raises(NotShown, match="attention"):
        roles.measure(replace(fake_trace(), queries=None, keys=None, values=None, rules=()))
