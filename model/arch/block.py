"""The parts of a layer in the order in which they ran, and where the input of each came from."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn

from model.arch.positions import tensors
from model.records.trace import Part
from model.texts import phrase

Reads = Literal["stream", "branch", "part"]
_ACTIVATIONS = ("activation", "elu", "silu", "swish", "mish", "tanh", "sigmoid")  # in the name of a class


class BlockProbe:
    """Watches layer 0 through one pass. Its hooks must come before others that stand on the same modules."""

    def __init__(self, layer: nn.Module, config: Any) -> None:
        self._layer = layer
        self._scale = getattr(config, "residual_multiplier", None) or 1.0  # Granite's
        self._entered = torch.empty(0)
        self._given: list[torch.Tensor] = []  # what modules gave so far that is as wide as the stream
        self._began: dict[str, tuple[Reads, int]] = {}  # where each module's input came from, and its width
        self._gave: dict[str, int] = {}

    def hooks(self) -> Iterator[tuple[Callable[..., Any], Callable[..., None]]]:
        """What to attach: pairs of a register method and its hook."""
        yield _before(self._layer), self._enter
        for name, module in self._layer.named_modules():
            if name:
                if _is_part(module):
                    yield _before(module), self._beginning(name)
                yield module.register_forward_hook, self._ending(name)

    def parts(self) -> tuple[Part, ...]:
        """Every module that ran and has weights of its own, or nothing inside it, in the order in which they began."""
        return tuple(
            _part(name, self._layer.get_submodule(name), reads, d_in, self._gave[name])
            for name, (reads, d_in) in self._began.items()
            if name in self._gave
        )

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._entered = tensors((args, kwargs))[0].clone()

    def _beginning(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in self._began and (found := tensors((args, kwargs))):
                self._began[name] = (self._source(found[0]), found[0].shape[-1])

        return hook

    def _ending(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if found := tensors(output):
                self._gave.setdefault(name, found[0].shape[-1])
                if found[0].numel() == self._entered.numel():
                    self._given.append(found[0].clone())

        return hook

    def _source(self, taken: torch.Tensor) -> Reads:
        """Number for number: the layer's own input, that plus what one module gave, or something else."""
        if taken.numel() != self._entered.numel():
            return "part"
        taken = taken.reshape(self._entered.shape)
        if torch.equal(taken, self._entered):
            return "stream"
        added = (self._entered + each.reshape(taken.shape) * self._scale for each in self._given)
        return "branch" if any(torch.equal(taken, each) for each in added) else "part"


def block_note(layers: Sequence[nn.Module], parts: Sequence[Part]) -> str:
    """In words: which layers are built differently from layer 0, and which of its weights no part shows."""
    notes = []
    first = _build(layers[0])
    others = [place for place, layer in enumerate(layers) if _build(layer) != first]
    if others:
        named = ", ".join(map(str, others[:8])) + (", ..." if len(others) > 8 else "")
        notes.append(
            phrase(
                "{n} of the {n_layers} layers differ from layer 0 ({named}).",
                n=len(others),
                n_layers=len(layers),
                named=named,
            )
        )
    held, shown = sum(each.numel() for each in layers[0].parameters()), sum(part.n_parameters for part in parts)
    if held != shown:
        notes.append(
            phrase(
                "Of layer 0's {held:,} parameters, {unseen:,} stand in modules that did not run by themselves, such "
                "as experts that no token of the probe was sent to.",
                held=held,
                unseen=held - shown,
            )
        )
    return " ".join(notes)


def _build(layer: nn.Module) -> list[tuple[Any, ...]]:
    """What a layer is made of: the classes of its modules and the shapes of their weights."""
    return [
        (name, type(module), [(key, value.shape) for key, value in module.named_parameters(recurse=False)])
        for name, module in layer.named_modules()
    ]


def _before(module: nn.Module) -> Callable[..., Any]:
    return lambda hook: module.register_forward_pre_hook(hook, with_kwargs=True)


# Dropout does something only while a model learns.
_DOES_NOTHING = (nn.Identity, nn.modules.dropout._DropoutNd)  # pyright: ignore[reportPrivateUsage]


def _is_part(module: nn.Module) -> bool:
    if any(True for _ in module.parameters(recurse=False)):
        return True
    return not isinstance(module, _DOES_NOTHING) and not any(True for _ in module.children())


def _part(name: str, module: nn.Module, reads: Reads, d_in: int, d_out: int) -> Part:
    own = dict(module.named_parameters(recurse=False))
    weight = own.get("weight")
    shape = None if weight is None else tuple(weight.shape)
    if shape is not None and type(module).__name__ == "Conv1D":  # of the GPT-2 family, which keeps it transposed
        shape = shape[::-1]
    return Part(
        name=name,
        kind=_kind(module),
        module=type(module).__name__,
        weight=shape,
        bias=own.get("bias") is not None,
        n_parameters=sum(each.numel() for each in own.values()),
        reads=reads,
        d_in=d_in,
        d_out=d_out,
    )


def _kind(module: nn.Module) -> Literal["norm", "linear", "activation", "rotary", "other"]:
    name = type(module).__name__.lower()
    if isinstance(module, nn.Linear) or name == "conv1d":
        return "linear"
    if "norm" in name:
        return "norm"
    if "rotary" in name:
        return "rotary"
    own = any(True for _ in module.parameters(recurse=False))
    return "activation" if not own and any(word in name for word in _ACTIVATIONS) else "other"
