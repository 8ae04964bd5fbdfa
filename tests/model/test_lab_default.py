"""The lab on the default model: its routes agree, and a published result holds."""

from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Trace, ablate, patch, steer, sweep, trace
from model.capture.sites import head_site

FACT = "The capital of France is Paris. The capital of Italy is"
OTHER = "The capital of Italy is Rome. The capital of France is"
CLOSE = 1e-4  # of the largest logit
N_REPEATED = 20  # random tokens, then the same again
N_STRONGEST = 8

pytestmark = pytest.mark.long


def test_a_head_left_out_by_a_hook_and_by_its_weights_is_the_same(default_model: HookedModel) -> None:
    run = trace(default_model, FACT, max_new_tokens=3, additions=False)
    found = ablate(default_model, run, heads=((23, 4),), additions=False)
    site = head_site(default_model, 23, 4)
    weight: Any = site.module.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[:, site.columns] = 0
        other = trace(default_model, FACT, max_new_tokens=3, additions=False)
    finally:
        with torch.no_grad():
            weight.copy_(before)
    assert [each.id for each in found.tokens] == [each.id for each in other.tokens]
    np.testing.assert_allclose(found.logits, other.logits, atol=1e-5 * float(np.abs(other.logits).max()))
    assert np.array_equal(ablate(default_model, run, additions=False).logits, run.logits)
    none = steer(default_model, run, 12, np.ones(default_model.card.d_model), 0, additions=False)
    assert np.array_equal(none.logits, run.logits)


def test_a_sweeps_effects_are_those_of_ablations(default_model: HookedModel) -> None:
    run = trace(default_model, FACT, max_new_tokens=1, additions=False)
    found = sweep(default_model, run, 0)
    slack = CLOSE * float(np.abs(run.logits).max())
    for layer, head in ((0, 0), (7, 5), (16, 0), (23, 4), (29, 1)):
        other = ablate(default_model, run, heads=((layer, head),), additions=False).logits[0]
        own = found.difference - float(other[found.token_id] - other[found.rival_id])
        assert float(found.effect[layer, head]) == pytest.approx(own, abs=slack)


def test_one_head_brings_the_capital_of_another_country(default_model: HookedModel) -> None:
    clean, corrupt = (trace(default_model, prompt, max_new_tokens=1, additions=False) for prompt in (FACT, OTHER))
    assert (clean.text, corrupt.text) == (" Rome", " Paris")
    heads, stream = patch(default_model, clean, corrupt, "heads"), patch(default_model, clean, corrupt)
    layer, head, share = heads.strongest(1)[0]
    assert (layer, head) == (23, 4) and share > 0.5
    last = clean.n_prompt - 1
    assert stream.recovered[29, last] > 0.9 > 0.1 > abs(stream.recovered[0, last])


def repeated(hooked: HookedModel, seed: int) -> tuple[Trace, int]:
    """A run of random tokens that are read twice, but for the last: and the token that a copy would write."""
    first = np.random.default_rng(seed).choice(np.arange(1000, 40_000), N_REPEATED, replace=False).tolist()
    return trace(hooked, [*first, *first[:-1]], max_new_tokens=1, additions=False), first[-1]


def matching(run: Trace) -> np.ndarray:
    """How much each head looks from a repeated token to the one after its first occurrence: [L, H], on average."""
    back, after = N_REPEATED + np.arange(N_REPEATED - 1), 1 + np.arange(N_REPEATED - 1)
    return run.pattern_rows(0, run.n_fed)[:, :, back, after].mean(-1)


@pytest.mark.parametrize("seed", range(3))
def test_without_its_induction_heads_it_does_not_copy(default_model: HookedModel, seed: int) -> None:
    """On random tokens that repeat, the heads that look at what came after the token's first occurrence copy it.

    Without the eight of the largest prefix-matching score the copy's logit falls, and its log probability by far more
    than without eight other heads. Source: Olsson et al. 2022, "In-context Learning and Induction Heads" (the score,
    "prefix matching", and the ablations of argument 3).
    """
    run, copy = repeated(default_model, seed)
    scores = matching(run)
    order = [divmod(int(each), scores.shape[1]) for each in np.argsort(-scores.ravel())]
    assert run.choices[0].id == copy and run.choices[0].probability > 0.5 and scores[order[0]] > 0.7

    def change(heads: list[tuple[int, int]]) -> tuple[float, float]:
        """Of the copy: logit, and log probability in nats."""
        found = ablate(default_model, run, heads=heads, additions=False)
        logs = [torch.tensor(each.logits[0]).log_softmax(-1)[copy] for each in (found, run)]
        return float(found.logits[0][copy] - run.logits[0][copy]), float(logs[0] - logs[1])

    others = [order[int(at)] for at in np.random.default_rng(seed).permutation(np.arange(40, len(order)))[:N_STRONGEST]]
    without, beside = change(order[:N_STRONGEST]), change(others)
    assert without[0] < beside[0] and without[0] < -2 and without[1] < -5 and without[1] < 3 * beside[1]
