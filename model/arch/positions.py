"""How a model tells positions apart: by turning queries and keys, or by vectors that it learned; found as it runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from model.arch.placement import same_numbers, whole_weight

_MOST_OFFSET = 8  # rows before position 0 in a table of learned positions: OPT has two


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotary:
    """A model's own rotary module, with the call that made what layer 0 was given.

    Source: Su et al. 2021, RoFormer, section 3.2.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    layout: str  # how the F pairs stand in an answer: "halves" (twice in a row), "neighbours" (each twice), "whole"

    def answer(self, n: int) -> tuple[torch.Tensor, ...]:
        """The module's output for positions 0 to n-1, unchanged: see `layout`."""
        with torch.inference_mode():
            answer = self.module(
                *(_moved(each, n) for each in self.args),
                **{name: _moved(each, n) for name, each in self.kwargs.items()},
            )
        return tuple(tensors(answer))

    def angles(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine by which each pair of numbers is turned: float32 [n, F] each."""
        cos, sin = (each.reshape(n, -1).float() for each in _parts(self.answer(n)))
        width = cos.shape[-1]
        kept = {"halves": slice(width // 2), "neighbours": slice(0, width, 2), "whole": slice(width)}[self.layout]
        return cos[:, kept].cpu(), sin[:, kept].cpu()


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedPositions:
    """A table with a vector for each position, which is added to the token's own."""

    table: torch.Tensor
    offset: int  # rows before that of position 0

    def vectors(self, n: int) -> torch.Tensor:
        """The vectors of positions 0 to n-1: float32 [n, M]."""
        return self.table[self.offset : self.offset + n].detach().float().cpu()


class PositionProbe:
    """Watches one pass for what tells layer 0 where its tokens stand."""

    def __init__(self, model: nn.Module, layers: Sequence[nn.Module], embedding: nn.Module) -> None:
        inside = {module for layer in layers for module in layer.modules()}
        outside = [module for module in model.modules() if module not in inside]
        self._rotaries = [module for module in outside if "rotary" in type(module).__name__.lower()]
        self._tables = [module for module in outside if isinstance(module, nn.Embedding) and module is not embedding]
        self._first, self._embedding = layers[0], embedding
        self._calls: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any], tuple[torch.Tensor, ...]]] = []
        self._looked_up: list[tuple[Any, torch.Tensor]] = []
        self._given: list[torch.Tensor] = []
        self._words = torch.empty(0)

    def hooks(self) -> Iterator[tuple[Callable[..., Any], Callable[..., None]]]:
        """What to attach: pairs of a register method and its hook."""

        def rotate(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self._calls.append((module, args, kwargs, tuple(tensors(output))))

        def look_up(module: nn.Module, _: Any, output: torch.Tensor) -> None:
            self._looked_up.append((module, output.clone()))

        def embed(_: nn.Module, __: Any, output: torch.Tensor) -> None:
            self._words = output.clone()

        for module in self._rotaries:
            yield _with_kwargs(module), rotate
        for module in self._tables:
            yield module.register_forward_hook, look_up
        yield self._embedding.register_forward_hook, embed
        yield lambda hook: self._first.register_forward_pre_hook(hook, with_kwargs=True), self._enter_first

    def _enter_first(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._given = tensors((args, kwargs))

    def found(self, entered: torch.Tensor) -> Rotary | LearnedPositions | None:
        """What was found, given what entered layer 0: [1, n, M]."""
        n = entered.shape[1]
        for module, args, kwargs, answer in self._calls:
            if not any(_is_handed_on(answer[0], each) for each in self._given):
                continue
            if (layout := _layout(_parts(answer), n)) is not None:
                kept = {name: _shortened(each) for name, each in kwargs.items()}
                return Rotary(module=module, args=tuple(map(_shortened, args)), kwargs=kept, layout=layout)
        for module, vectors in self._looked_up:
            if self._words.numel() != entered.numel() or vectors.numel() != entered.numel():
                continue  # an embedding may be narrower than the stream, and be widened on its way
            if torch.equal(self._words + vectors.view_as(entered), entered):
                rows = vectors.reshape(n, -1)
                table = whole_weight(module)
                for offset in range(min(_MOST_OFFSET, len(table) - n) + 1):
                    if torch.equal(table[offset : offset + n], rows):
                        return LearnedPositions(table=table, offset=offset)
        return None


def tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in nested tuples, lists and tables."""
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [tensor for each in inner for tensor in tensors(each)]


def _is_handed_on(made: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether this tensor is what another module was given; of a spread model it is a copy on that one's device."""
    return made is given or (made.device != given.device and same_numbers(made, given))


def _with_kwargs(module: nn.Module) -> Callable[..., Any]:
    return lambda hook: module.register_forward_hook(hook, with_kwargs=True)


def _parts(answer: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Cosine and sine; some models keep the two as one complex number."""
    return (answer[0].real, answer[0].imag) if len(answer) == 1 and answer[0].is_complex() else answer


def _shortened(argument: Any) -> Any:
    """An argument to be kept: of hidden states, which are asked for their dtype and device only, one position."""
    return argument[..., :1, :].clone() if _is_stream(argument) else argument


def _is_stream(argument: Any) -> bool:
    return isinstance(argument, torch.Tensor) and argument.is_floating_point() and argument.ndim > 1


def _moved(argument: Any, n: int) -> Any:
    """An argument of the call that was seen, for positions 0 to n-1: position ids are its only whole numbers."""
    if not isinstance(argument, torch.Tensor) or argument.is_floating_point():
        return argument
    return torch.arange(n, device=argument.device, dtype=argument.dtype).expand(*argument.shape[:-1], n)


def _layout(answer: tuple[torch.Tensor, ...], n: int) -> str | None:
    """How the pairs stand in an answer for n positions, or None if it is no cosine and sine of each position."""
    if len(answer) != 2 or any(each.shape[:-1].numel() != n for each in answer):
        return None
    rows = torch.cat([each.reshape(n, -1).float() for each in answer])
    width = rows.shape[-1]
    if width % 2 == 0 and torch.allclose(rows[:, : width // 2], rows[:, width // 2 :], atol=1e-5):
        return "halves"
    return "neighbours" if width % 2 == 0 and torch.allclose(rows[:, ::2], rows[:, 1::2], atol=1e-5) else "whole"
