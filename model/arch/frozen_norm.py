"""A norm as the linear map that it was in one pass: its scale is taken from that pass and held fixed."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenNorm:
    """norm(x) = gain * x + bias, or gain * (x - mean of x) + bias where it is centred; float64 [M] each.

    It is exact for the x of the pass that it was taken from. A part of that x goes through it alone, and the parts
    still sum to the whole.
    """

    gain: torch.Tensor  # its weight times the scale of the pass
    bias: torch.Tensor
    centred: bool

    def before(self, direction: torch.Tensor) -> torch.Tensor:
        """The direction as it was before the norm: it counts x as `direction` counts norm(x), but for the bias."""
        turned = self.gain * direction
        return turned - turned.mean() if self.centred else turned


def frozen(norm: nn.Module, took: torch.Tensor, gave: torch.Tensor, allowed: float) -> FrozenNorm | None:
    """The map that a norm was in a pass: what it took and gave, float64 [M]; None if it is of no known form.

    RMS norms and layer norms, whose weight may be kept less 1, are told apart by which of them gives what it gave, to
    within `allowed`, a share of the largest number.
    """
    own = {name: each.detach().cpu().double() for name, each in norm.named_parameters() if each.shape == took.shape}
    bias = own.pop("bias", torch.zeros_like(took))
    weights = [way for each in own.values() for way in (each, 1 + each)] or [torch.ones_like(took)]
    fits = [_fit(weight, bias, centred, took, gave) for weight in weights for centred in (False, True)]
    missed, found = min(fits, key=lambda each: each[0])
    return found if missed <= allowed else None


def _fit(
    weight: torch.Tensor, bias: torch.Tensor, centred: bool, took: torch.Tensor, gave: torch.Tensor
) -> tuple[float, FrozenNorm]:
    """The map with the scale that fits best, and by how much it misses, as a share of the largest number."""
    shape = weight * (took - took.mean() if centred else took)
    scale = (shape @ (gave - bias)) / (shape @ shape).clamp_min(1e-300)
    missed = (scale * shape + bias - gave).abs().max() / gave.abs().max().clamp_min(1e-300)
    return float(missed), FrozenNorm(gain=scale * weight, bias=bias, centred=centred)
