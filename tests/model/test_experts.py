"""Of a mixture of experts the record says which of them each token was sent to, and with what weight, as they ran."""

from typing import Any

import numpy as np
import pytest
import torch

from model import Trace, fork, trace
from tests.tiny import shared

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18]
NEW = 4
MIXTURES = ["ernie4_5_moe", "glm4_moe", "gpt_oss", "granitemoe", "jamba", "laguna", "mixtral", "qwen3_next"]


@pytest.mark.parametrize("family", MIXTURES)
def test_the_chosen_experts_and_their_weights_are_those_that_ran(family: str) -> None:
    """They are compared with what the library's own run hands to the class of its experts."""
    hooked = shared(family)
    run = trace(hooked, PROMPT, max_new_tokens=NEW)
    assert run.expert_ids is not None and run.expert_weights is not None
    seen: dict[str, list[tuple[torch.Tensor, ...]]] = {}

    def keep(name: str) -> Any:
        return lambda _, args: seen.setdefault(name, []).append(tuple(each.clone() for each in args[1:3]))

    experts = [(name, each) for name, each in hooked.model.named_modules() if type(each).__name__.endswith("Experts")]
    handles = [each.register_forward_pre_hook(keep(name)) for name, each in experts]
    hooked.model.generate(torch.tensor([PROMPT]), max_new_tokens=NEW, do_sample=False)
    for handle in handles:
        handle.remove()
    assert run.model.n_experts == {type(each): each.num_experts for _, each in experts}.popitem()[1]
    with_experts = [layer for layer in range(run.model.n_layers) if run.expert_ids[layer, 0, 0] >= 0]
    assert len(with_experts) == len(seen) > 0
    for layer, calls in zip(with_experts, seen.values(), strict=True):
        ids, weights = (torch.cat(each).numpy() for each in zip(*calls, strict=True))
        assert np.array_equal(run.expert_ids[layer], ids) and np.array_equal(run.expert_weights[layer], weights)
    for layer in set(range(run.model.n_layers)) - set(with_experts):
        assert np.all(run.expert_ids[layer] == -1) and not run.expert_weights[layer].any()


def test_a_model_without_experts_records_none() -> None:
    run = trace(shared(), PROMPT, max_new_tokens=2)
    assert run.expert_ids is None and run.expert_weights is None
    assert run.model.n_experts == 0


def test_they_are_in_the_file_and_in_a_fork(tmp_path: Any) -> None:
    hooked = shared("mixtral")
    run = trace(hooked, PROMPT, max_new_tokens=NEW)
    run.save(tmp_path / "run.trace")
    opened = Trace.open(tmp_path / "run.trace")
    other = fork(hooked, run, step=2, token_id=run.choices[2].id)
    assert run.expert_ids is not None and run.expert_weights is not None
    for each in (opened, other):
        assert each.expert_ids is not None and np.array_equal(each.expert_ids, run.expert_ids)
        assert each.expert_weights is not None and np.array_equal(each.expert_weights, run.expert_weights)
