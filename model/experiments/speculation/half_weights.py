"""Linear layers whose weights are held in float16 and multiplied in float32, where this processor is faster that way.

A draft need not compute as its model does, only tell its own probabilities truly. Its file holds float16, so half the
bytes are read and nothing is lost but the rounding of sums.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_TRIES = 5


class HalfLinear(nn.Module):
    """x [..., d_in] -> [..., d_out] in float32, by weights [d_out, d_in] packed in float16 for this processor."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(x, self._packed)


def halved(module: nn.Module) -> None:
    """Put a HalfLinear in the place of every linear layer in a module."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child.bias is None:
                setattr(parent, name, HalfLinear(child.weight.detach()))


def pays(weight: Tensor) -> bool:
    """Whether one row is multiplied faster with half weights than with these; never where there is no such product."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    try:
        half = HalfLinear(weight)
        x = weight.new_ones(1, weight.shape[1])
        half(x)
    except (RuntimeError, AttributeError, NotImplementedError):  # a processor or a build of torch without it
        return False
    turns = [(_seconds(half, x), _seconds(functional.linear, x, weight)) for _ in range(_TRIES)]
    return min(one for one, _ in turns) < min(other for _, other in turns)


def _seconds(product: Callable[..., Any], *given: Tensor) -> float:
    started = time.perf_counter()
    product(*given)
    return time.perf_counter() - started
