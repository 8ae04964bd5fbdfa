"""How far honest numbers may be off: by what the precision in which a model computes rounds away."""

import torch
from torch import nn

CLOSE = 1e-5  # of the largest number of a row: what sums in float32 miss by, in whichever order they are added up


def epsilon(model: nn.Module) -> float:
    """The step between 1 and the next number, of the shortest precision among a model's weights.

    A result is off by at most half of it, as a share of its size: 0.4% in bfloat16, 0.05% in float16.
    """
    return max((torch.finfo(each.dtype).eps for each in model.parameters() if each.is_floating_point()), default=0.0)


def share(epsilon: float, n_roundings: float) -> float:
    """What may be missed after so many roundings, as a share of the size; float32 rounds away less than CLOSE."""
    return max(CLOSE, n_roundings * epsilon / 2)
