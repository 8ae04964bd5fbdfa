"""Runs by the library alone, and by how much they differ where the device itself does not repeat bit for bit."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from model.arch.placement import home


def untraced(model: Any, ids: Sequence[int], n_new: int) -> torch.Tensor:
    """The logits of the library's own greedy run on these ids: float32 [steps, V]."""
    plain = model.generate(
        torch.tensor([list(ids)], device=home(model)),
        max_new_tokens=n_new,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        stop_strings=None,
        use_cache=True,  # as runs are made: a folder may say false
        output_logits=True,
        return_dict_in_generate=True,
    )
    return torch.cat([each.float() for each in plain.logits])


def spread(runs: Sequence[torch.Tensor]) -> float:
    """The most by which two of these runs of the same ids differ, as a share of the largest logit."""
    return max(gap(one, other) for one, other in itertools.combinations(runs, 2))


def gap(one: torch.Tensor, other: torch.Tensor) -> float:
    """By how much two runs differ, as a share of the largest logit, up to the step after which they read other tokens.

    Shapes: [steps, V] each.
    """
    n = min(len(one), len(other))
    apart = (one[:n].argmax(dim=-1) != other[:n].argmax(dim=-1)).nonzero()
    n = int(apart[0]) + 1 if len(apart) else n
    return float((one[:n] - other[:n]).abs().max() / other[:n].abs().max())
