"""Attention that a family computes itself, without the library's interface, is recorded as it ran."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import Trace, fork, load, trace
from model.errors import BadTrace
from tests.tiny import shared, tiny_model, tiny_tokenizer

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18]
OWN = ["bloom", "codegen", "falcon", "falcon, alibi", "gpt_neo", "gpt_neox_japanese", "gptj", "mpt", "xglm"]
N_HEADS = 4


@pytest.mark.parametrize("family", OWN)
def test_its_patterns_are_the_models_own(family: str) -> None:
    model = tiny_model(family)
    model.config._attn_implementation = "eager"  # Falcon also has a fused form, which gives no patterns
    hooked = load(model=model, tokenizer=tiny_tokenizer())
    assert hooked.card.reason_against("parity") is None and hooked.card.reason_against("attention") is None
    run = trace(hooked, PROMPT, max_new_tokens=3)
    with torch.no_grad():
        own = model(torch.tensor([[t.id for t in run.tokens[:-1]]]), output_attentions=True, use_cache=False).attentions
    for layer, weights in enumerate(own):
        assert np.abs(run.pattern_rows(0, run.n_fed, layer=layer) - weights[0].numpy()).max() <= 1e-5


@pytest.mark.parametrize("family", ["bloom", "falcon, alibi", "mpt"])
def test_what_alibi_adds_falls_with_the_distance(family: str, tmp_path: Path) -> None:
    """By a step of its own for each head, in all layers alike. Source: Press et al. 2022, section 3."""
    run = trace(shared(family), PROMPT, max_new_tokens=3)
    assert run.masks is not None and run.masks.shape == (N_HEADS, run.n_fed, run.n_fed)
    for head, row in enumerate(run.masks[:, -1]):
        steps = np.diff(row)
        assert np.abs(steps - steps[0]).max() <= 1e-2 * steps[0] and steps[0] > 0, (head, steps)
    slopes = run.masks[:, -1, 1] - run.masks[:, -1, 0]
    assert np.allclose(slopes[1:] / slopes[:-1], 2 ** (-8 / N_HEADS), rtol=1e-2)
    run.save(tmp_path / "run.trace")
    opened = Trace.open(tmp_path / "run.trace")
    assert np.array_equal(opened.pattern(1, 2), run.pattern(1, 2))
    assert np.array_equal(opened.pattern_rows(3, 7, layer=1)[2], run.pattern_rows(3, 7, layer=1, head=2))


def test_a_fork_takes_the_masks_over() -> None:
    hooked = shared("bloom")
    run = trace(hooked, PROMPT, max_new_tokens=4)
    assert run.masks is not None
    other = fork(hooked, run, step=2, token_id=run.choices[2].id)
    assert other.origin is not None and other.origin.n_replayed == 0
    assert other.masks is not None and np.array_equal(other.masks, run.masks)
    assert np.array_equal(other.logits, run.logits)


def test_a_rule_whose_heads_have_no_mask_is_refused() -> None:
    run = trace(shared("bloom"), PROMPT, max_new_tokens=2)
    with pytest.raises(BadTrace, match="names mask 1; there are 4"):
        replace(run, rules=(replace(run.rules[0], mask=1), *run.rules[1:]))


def test_falcon_with_alibi_is_shown_in_its_fused_form_and_without_a_rotation() -> None:
    """It hands its layers a rotation that they do not use."""
    card = shared("falcon, alibi").card
    assert card.attention == "sdpa" and card.reason_against("attention") is None
    assert "ALiBi" in (card.reason_against("positions") or "")


def test_nothing_follows_the_operations_of_others() -> None:
    trace(shared("bloom"), PROMPT, max_new_tokens=2)
    assert torch._C._len_torch_function_stack() == 0  # pyright: ignore[reportPrivateUsage]
    assert not shared("llama").anatomy.own_attention and shared("falcon").anatomy.own_attention


def test_scores_that_are_changed_in_another_way_are_not_shown() -> None:
    """The first GPT multiplies its scores by a tensor of ones and zeros."""
    assert "interface" in (shared("openai-gpt").card.reason_against("attention") or "")
