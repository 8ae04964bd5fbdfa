"""How far honest numbers may be off: by what the precision in which a model computes rounds away."""

import torch
from torch import nn

from model.texts import phrase

CLOSE = 1e-5  # of the largest number of a row: what sums in float32 miss by, in whichever order they are added up


def epsilon(model: nn.Module) -> float:
    """The step between 1 and the next number, of the shortest precision among a model's weights.

    A result is off by at most half of it, as a share of its size: 0.4% in bfloat16, 0.05% in float16.
    """
    return max(map(_step, model.parameters()), default=0.0)


def _step(weight: torch.Tensor) -> float:
    """0 for a weight of 8 bits: it is widened before it is computed with."""
    return torch.finfo(weight.dtype).eps if weight.is_floating_point() and weight.element_size() > 1 else 0.0


def share(epsilon: float, n_roundings: float) -> float:
    """What may be missed after so many roundings of a short precision, as a share of the size; in float32, CLOSE."""
    return max(CLOSE, n_roundings * epsilon / 2) if epsilon > CLOSE else CLOSE


def why_texts_differ(model: nn.Module) -> str | None:
    """Why a pass over several texts or tokens may choose otherwise than one over a single token, in a short precision;
    None in float32, whose rounding next to never decides.
    """
    step = epsilon(model)
    if step <= CLOSE:
        return None
    return phrase(
        "The model computes in {dtype}, which rounds by up to {share:.2g}%, and a pass of another shape rounds "
        "otherwise: where two tokens are nearly as likely, it may choose the other one.",
        dtype=next(str(each.dtype).removeprefix("torch.") for each in model.parameters() if _step(each) == step),
        share=100 * step / 2,
    )
