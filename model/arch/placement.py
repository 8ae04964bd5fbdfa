"""Where a model's weights lie: on one device, spread over several, or elsewhere until they are read.

A model that is larger than one device is spread by accelerate. Its hooks move numbers from device to device, and fetch
weights that lie on the CPU or the disk for the time of a module's own call; between calls these are on torch's device
"meta", which holds no numbers. Source: accelerate, `dispatch_model`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from model.texts import phrase

DISK = "disk"
_OFF = ("cpu", DISK)  # where weights wait that a device fetches


def spread_over(model: Any) -> Mapping[str, Any]:
    """Which part of a model lies where, of a model that is spread; empty for one that is on one device."""
    placed = getattr(model, "hf_device_map", None) or {}
    return placed if len(set(placed.values())) > 1 or DISK in placed.values() else {}


def home(model: Any) -> torch.device:
    """The device that token ids are handed to, and on which logits come back."""
    if not (placed := spread_over(model)):
        return model.device
    return torch.device(next((each for each in placed.values() if each not in _OFF), "cpu"))


def layer_homes(model: Any) -> dict[int, torch.device]:
    """On which device each layer of a spread model computes, and so keeps its keys and values; else nothing."""
    hooked = [module for module in model.modules() if hasattr(module, "_hf_hook")] if spread_over(model) else []
    found = [(getattr(each, "layer_idx", None), getattr(each._hf_hook, "execution_device", None)) for each in hooked]
    return {layer: torch.device(place) for layer, place in found if isinstance(layer, int) and place is not None}


def same_numbers(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether these hold the same numbers, on whatever devices."""
    return one.shape == other.shape and torch.equal(one, other.to(one.device))


def fetches_weights(model: Any) -> bool:
    """Whether a pass fetches weights from elsewhere, which takes longer than to compute with them."""
    places = {str(each) for each in spread_over(model).values()}
    return DISK in places or ("cpu" in places and places != {"cpu"})


def devices_in_words(model: Any) -> str:
    """The device of a model, or the devices that it is spread over with what lies on each."""
    if not (placed := spread_over(model)):
        return str(model.device)
    sizes: defaultdict[str, int] = defaultdict(int)
    for name, weight in weights(model):
        part = max((part for part in placed if part in ("", name) or name.startswith(f"{part}.")), key=len)
        sizes[_name(placed[part])] += weight.numel() * weight.element_size()
    order = sorted(sizes, key=lambda place: (place == DISK, place == "cpu", place))
    return ", ".join(phrase("{place} ({size})", place=place, size=_size(sizes[place])) for place in order)


def weights(model: Any) -> list[tuple[str, nn.Parameter]]:
    """Every parameter once, by name, with its shape. The numbers of those that lie elsewhere are not there."""
    found = list(model.named_parameters())
    if not spread_over(model):
        return found
    tied = model.all_tied_weights_keys  # accelerate makes two of a weight that two parts share, once it has fetched it
    return [(name, weight) for name, weight in found if tied.get(name, name) == name]


def whole_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter once, by name, with its numbers: those that lie elsewhere are fetched, one module's at a time."""
    for name, weight in weights(model):
        path, _, own = name.rpartition(".")
        yield name, whole_weight(model.get_submodule(path), own) if weight.is_meta else weight


def whole_weight(module: nn.Module, name: str = "weight") -> torch.Tensor:
    """A module's own parameter with its numbers, which may lie elsewhere while the module is not called."""
    weight: torch.Tensor = getattr(module, name)
    if not weight.is_meta:
        return weight
    from accelerate.utils import align_module_device

    with align_module_device(module):
        return getattr(module, name)


def _name(place: Any) -> str:
    return f"cuda:{place}" if isinstance(place, int) else str(place)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
