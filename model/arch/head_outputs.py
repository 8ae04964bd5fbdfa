"""Finds what a layer's heads give: the matrix that reads it, and the part of the layer that is its MLP.

A matrix is found by its input, which equals what attention gave, number for number: the heads side by side.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from model.arch.own_attention import OwnCall


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOutputs:
    """What a layer's heads give, as its output projection is given it: [..., H * E], the first head's first."""

    projection: nn.Module
    n_heads: int
    width: int  # E, of what one head gives

    def columns(self, head: int) -> slice:
        """Where one head's numbers stand."""
        return slice(head * self.width, (head + 1) * self.width)


class HeadProbe:
    """Compares what attention gave with what each matrix of the same layer is then called with."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers
        self._given: torch.Tensor | None = None  # by the attention that ran last: [n, H, E]
        self._found: dict[int, HeadOutputs] = {}

    def attend(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run an attention that goes through the library's interface, and keep what it gives."""
        result = original(*args, **kwargs)
        self._given = result[0][0] if result[0].ndim == 4 else None
        return result

    def attend_own(self, call: OwnCall) -> None:
        """Keep what an attention gave that its family computed itself."""
        self._given = call.output

    def hooks(self) -> Iterator[tuple[Callable[..., Any], Callable[..., None]]]:
        """Pairs of a module's register method and the hook, for the probing pass."""
        for place, layer in enumerate(self._layers):
            yield layer.register_forward_pre_hook, self._forget
            for module in layer.modules():
                weight = getattr(module, "weight", None)
                if isinstance(weight, torch.Tensor) and weight.ndim == 2:
                    yield module.register_forward_pre_hook, self._compare(place)

    def found(self) -> tuple[HeadOutputs | None, ...]:
        """Of each layer; None where attention gives nothing that a matrix then reads as it stands."""
        return tuple(self._found.get(place) for place in range(len(self._layers)))

    def _forget(self, *_: Any) -> None:
        self._given = None

    def _compare(self, place: int) -> Callable[..., None]:
        def compare(module: nn.Module, args: tuple[Any, ...]) -> None:
            given = self._given
            if given is None or place in self._found or not args or args[0].numel() != given.numel():
                return
            if torch.equal(args[0].reshape(-1), given.reshape(-1)):
                self._found[place] = HeadOutputs(projection=module, n_heads=given.shape[1], width=given.shape[2])

        return compare


def mlp_of(
    layer: nn.Module, parts: Sequence[str] | None, ran: Sequence[str], heads: HeadOutputs | None
) -> nn.Module | None:
    """The part of a layer that is not its attention's, of the two that add up to what it adds; None if not told apart.

    `ran` are the layer's children in the order in which they were done. Attention's part is the first of the two that
    was done once the output projection was: the attention itself, or a norm after it.
    """
    if parts is None or len(parts) != 2 or heads is None:
        return None
    holding = next((name for name in ran if heads.projection in set(layer.get_submodule(name).modules())), None)
    if holding is None:
        return None
    after = [name for name in ran[ran.index(holding) :] if name in parts]
    others = [name for name in parts if name != after[0]] if after else []
    return layer.get_submodule(others[0]) if others else None
