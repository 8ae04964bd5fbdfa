"""How many bytes a KV cache takes, from the tensors that it holds."""

from collections.abc import Iterator
from typing import Any

import torch

_STATES = ("conv_states", "recurrent_states")  # as the library's LinearAttentionCacheLayerMixin names them


def cache_bytes(cache: Any) -> int:
    """Size of a KV cache in bytes, summed over the tensors that it holds: keys and values, or what stands for them."""
    if cache is None:
        return 0
    beside = {name: held for name, held in vars(cache).items() if name != "layers"}
    return sum(_by_layer(cache)) + _bytes_of(beside)


def bytes_where_unlike(cache: Any) -> tuple[int, ...]:
    """Bytes that each layer of a KV cache holds, where layers differ: latents, indexes and states count as they are."""
    sizes = _by_layer(cache)
    return sizes if len(set(sizes)) > 1 else ()


def state_bytes_by_layer(cache: Any) -> tuple[int, ...]:
    """Of those, the bytes of states, which a recurrent layer keeps in place of keys and values: () if none does."""
    states = ([getattr(layer, name, None) for name in _STATES] for layer in getattr(cache, "layers", ()))
    sizes = tuple(_bytes_of(each) for each in states)
    return sizes if any(sizes) else ()


def _by_layer(cache: Any) -> tuple[int, ...]:
    return tuple(_bytes_of(vars(layer)) for layer in getattr(cache, "layers", ()))


def _bytes_of(held: Any) -> int:
    tensors = {id(each): each for each in _tensors_in(held) if each.ndim > 1}  # others count and point
    return sum(each.numel() * each.element_size() for each in tensors.values())


def _tensors_in(held: Any) -> Iterator[torch.Tensor]:
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, dict | list | tuple):
        for each in held.values() if isinstance(held, dict) else held:
            yield from _tensors_in(each)
