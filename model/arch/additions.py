"""What each layer adds to the residual stream in one pass, module by module: heard as it runs, proved by its sum."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from model.arch.anatomy import Anatomy, attached, hidden, is_linear, layer_input
from model.arch.attention_calls import watched
from model.arch.frozen_norm import FrozenNorm, frozen
from model.arch.own_attention import OwnAttention, OwnCall
from model.arch.positions import tensors
from model.arch.rounding import CLOSE, epsilon, share

_MOST = 16  # modules of a layer among which those that sum to what it adds are searched, the outermost first
_TOGETHER = 3  # of them at most
_NORM_ROUNDINGS = 4  # of a norm's sums, of its weight, and of what it took
_MLP = re.compile(r"mlp|moe|ffn|feed_?forward|expert|(^|\.)fc2$")  # in the path of a module
_MIXER = re.compile(r"mamba|conv|linear_?att|delta|recurrent|rwkv", re.IGNORECASE)  # in its path or its class


@dataclass(slots=True, eq=False)
class Heard:
    """One layer in one pass, at the last position that the pass read."""

    entered: torch.Tensor  # the residual stream [M] as the layer took it, and below as it gave it
    left: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    took: dict[str, torch.Tensor] = field(default_factory=dict)  # by module: a row of its first input, of its output
    gave: dict[str, torch.Tensor] = field(default_factory=dict)
    attended: list[torch.Tensor] = field(
        default_factory=list
    )  # what each attention gave, before its projection: [H, E]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heads:
    """How a layer's heads reach the stream: a matrix reads them side by side, and a norm may follow."""

    attended: torch.Tensor  # [H, E], float64
    projection: nn.Module
    norm: FrozenNorm | None
    factor: float  # with which the layer adds what comes of it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Additions:
    """What one layer adds at one position: left = carried * entered + heads + mlp + other, float64 [M] each.

    With `told` off, no modules were found that sum to it, and all of it is `other`.
    """

    told: bool
    carried: float  # 1, but where a family scales the stream itself
    heads: Heads | None  # None: no attention, or one whose heads cannot be told apart
    mlp: torch.Tensor
    other: torch.Tensor  # of a mixer without heads, or of what is not known
    attends: bool  # whether the layer ran attention


class Hearing:
    """Hears one pass of a model; afterwards `layers` holds what each layer took and gave."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.layers: list[Heard] = []
        self._anatomy = anatomy
        self._own = OwnAttention(self._attend_own) if anatomy.own_attention else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Around the pass."""
        self.layers.clear()
        with attached(list(self._hooks())), watched(self._attend), self._own or nullcontext():
            yield

    def _hooks(self) -> Iterator[tuple[Callable[..., Any], Callable[..., None]]]:
        for layer in dict.fromkeys(self._anatomy.layers):
            yield lambda hook, layer=layer: layer.register_forward_pre_hook(hook, with_kwargs=True), self._enter
            for name, module in layer.named_modules():
                if name:
                    yield lambda hook, m=module: m.register_forward_hook(hook, with_kwargs=True), self._hears(name)
            yield layer.register_forward_hook, self._leave

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._own is not None:
            self._own.forget()
        self.layers.append(Heard(entered=_last(layer_input(args, kwargs))))

    def _leave(self, _: nn.Module, __: Any, output: Any) -> None:
        self.layers[-1].left = _last(hidden(output))

    def _hears(self, name: str) -> Callable[..., None]:
        def hear(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            for rows, found in (
                (self.layers[-1].took, tensors((args, kwargs))),
                (self.layers[-1].gave, tensors(output)),
            ):
                if found and found[0].ndim:
                    rows[name] = _last(found[0])

        return hear

    def _attend(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs) if self._own is None else self._own.left_out(original, *args, **kwargs)
        self.layers[-1].attended.append(result[0][0, -1].clone())
        return result

    def _attend_own(self, call: OwnCall) -> None:
        self.layers[-1].attended.append(call.output[-1].clone())


def additions(model: Any, anatomy: Anatomy, place: int, heard: Heard) -> Additions:
    """What a layer added in a pass, by what made it. Nothing is taken from a name: modules count whose outputs sum to
    what was added, heads that stand side by side in what a matrix took; only an MLP may be known by what it is called.
    """
    layer, step = anatomy.layers[place], epsilon(model)
    entered, left = _exact(heard.entered), _exact(heard.left)
    outermost_first = sorted(heard.gave, key=lambda name: name.count("."))
    gave = {name: _exact(heard.gave[name]) for name in outermost_first if heard.gave[name].shape == entered.shape}
    summed = _summed(entered, left, gave, step)
    if summed is None:
        zero = torch.zeros_like(entered)
        return Additions(
            told=False, carried=1.0, heads=None, mlp=zero, other=left - entered, attends=bool(heard.attended)
        )
    carried, members = summed
    heads, of_heads = _heads(layer, heard, members, share(step, _NORM_ROUNDINGS))
    mlp, other = torch.zeros_like(entered), torch.zeros_like(entered)
    for name, factor in members.items():
        if name != of_heads:
            (mlp if _is_mlp(anatomy, place, heard, name) else other).add_(factor * gave[name])
    return Additions(told=True, carried=carried, heads=heads, mlp=mlp, other=other, attends=bool(heard.attended))


def _summed(
    entered: torch.Tensor, left: torch.Tensor, gave: dict[str, torch.Tensor], step: float
) -> tuple[float, dict[str, float]] | None:
    """The modules whose outputs sum to what a layer added, each with its factor: 1, else one for each that fits.

    Of sets that fit, the one that misses least: in a short precision several may be within its rounding.
    """
    distinct: dict[str, torch.Tensor] = {}
    for name, row in gave.items():
        if len(distinct) < _MOST and not any(torch.equal(row, other) for other in distinct.values()):
            distinct[name] = row
    sets = [names for n in range(1, _TOGETHER + 1) for names in itertools.combinations(distinct, n)]
    if not sets:
        return None
    added = left - entered
    allowed = CLOSE * added.abs().max() + 4 * step * (entered.abs() + left.abs())

    def missed(names: Sequence[str]) -> torch.Tensor:
        return ((added - torch.stack([distinct[name] for name in names]).sum(0)).abs() / allowed).max()

    best = min(sets, key=missed)
    if missed(best) <= 1:
        return 1.0, dict.fromkeys(best, 1.0)
    return _scaled(entered, left, distinct, sets, allowed)


def _scaled(
    entered: torch.Tensor,
    left: torch.Tensor,
    gave: dict[str, torch.Tensor],
    sets: Sequence[tuple[str, ...]],
    allowed: torch.Tensor,
) -> tuple[float, dict[str, float]] | None:
    """The same where a family multiplies what it adds, as Granite does, or the stream: factors by least squares."""
    for stays in (True, False):
        for names in sets:
            rows = torch.stack([gave[name] for name in names] + ([] if stays else [entered]), dim=1)
            wanted = left - entered if stays else left
            factors = torch.linalg.lstsq(rows, wanted[:, None]).solution[:, 0]
            if bool(((rows @ factors - wanted).abs() <= allowed).all()):
                told = factors.tolist()
                return (1.0 if stays else told[-1]), dict(zip(names, told, strict=False))
    return None


def _heads(
    layer: nn.Module, heard: Heard, members: dict[str, float], allowed: float
) -> tuple[Heads | None, str | None]:
    """The layer's heads, and which of the modules that sum to what it adds is theirs."""
    if len(heard.attended) != 1:
        return None, None
    attended = heard.attended[0]
    for name, took in heard.took.items():
        module = layer.get_submodule(name)
        if not is_linear(module) or took.numel() != attended.numel() or not torch.equal(took, attended.flatten()):
            continue
        for member, factor in members.items():
            found, norm = _reaches(layer, heard, heard.gave[name], member, allowed)
            if found:
                return Heads(attended=_exact(attended), projection=module, norm=norm, factor=factor), member
    return None, None


def _reaches(
    layer: nn.Module, heard: Heard, projected: torch.Tensor, member: str, allowed: float
) -> tuple[bool, FrozenNorm | None]:
    """Whether a module gives what was projected from the heads: as it is, or through a norm, which is returned."""
    gave, took = heard.gave[member], heard.took.get(member)
    if torch.equal(gave, projected):
        return True, None
    if took is None or not torch.equal(took, projected):
        return False, None
    norm = frozen(layer.get_submodule(member), _exact(took), _exact(gave), allowed)
    return norm is not None, norm


def _is_mlp(anatomy: Anatomy, place: int, heard: Heard, name: str) -> bool:
    """Whether a module holds the matrix after an MLP's units, or a mixture's experts, or is called an MLP, or is a norm
    after such a one.
    """
    layer = anatomy.layers[place]
    units = {each for each in (anatomy.unit_outputs[place], anatomy.experts[place]) if each is not None}

    def holds(other: str) -> bool:
        module = layer.get_submodule(other)
        if "norm" in other or any(_MIXER.search(each) for each in (other, type(module).__name__)):
            return False  # a mixer's last matrix may be as wide as an MLP's
        return bool(_MLP.search(other)) or not units.isdisjoint(module.modules())

    took = heard.took.get(name)
    made = (gave for other, gave in heard.gave.items() if other != name and holds(other))
    return holds(name) or (took is not None and any(torch.equal(gave, took) for gave in made))


def _last(rows: torch.Tensor) -> torch.Tensor:
    """The row of the last position, copied: some families go on to write into what a module gave."""
    return rows.detach().reshape(-1, rows.shape[-1])[-1].clone()


def _exact(row: torch.Tensor) -> torch.Tensor:
    return row.cpu().double()
