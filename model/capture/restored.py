"""A KV cache rebuilt from the keys and values that a run recorded, so that its prefix need not be computed again."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from model.texts import phrase

_PLAIN = (DynamicLayer, DynamicSlidingWindowLayer)  # hold keys and values of tokens as attention reads them, no more
_HOLDS = {
    "DynamicIndexedLayer": phrase("an index beside keys and values"),
    "DummyLayer": phrase("no keys and values of its own"),
    "LinearAttentionLayer": phrase("a state that sums up the text, not keys and values of tokens"),
}


class NotRestorable(Exception):
    """What a run records does not make this cache; the message says why."""


def restore(
    cache: Any,
    keys: np.ndarray | None,
    values: np.ndarray | None,
    *,
    like: torch.Tensor,
    homes: Mapping[int, torch.device] = MappingProxyType({}),
) -> None:
    """Fill an empty cache, as the library made it for its model, with what the first S positions of a run left in it.

    Shapes: keys float32 [L, G, S, D] after the model's rotation and norms, values [L, G, S, E], as a Trace holds them.
    `like`: a tensor with the model's dtype and device; `homes`: the devices of layers that are elsewhere. The record
    holds float32, which represents every number of a shorter dtype exactly. A layer with a window keeps the latest of
    them, as it does in a run.
    Raises: NotRestorable, if the record does not hold all that this cache does.
    """
    layers = getattr(cache, "layers", ())
    if keys is None or values is None:
        raise NotRestorable(phrase("the run holds no keys and values of this model"))
    for place, layer in enumerate(layers):
        if type(layer) not in _PLAIN:
            kind = type(layer).__name__
            held = _HOLDS.get(kind) or phrase("what a {kind} holds", kind=kind)
            raise NotRestorable(phrase("the cache of layer {layer} holds {what}", layer=place, what=held))
    if len(layers) != len(keys):
        raise NotRestorable(
            phrase(
                "the run holds keys and values of {n_keys} layers, but the cache has {n_layers}",
                n_keys=len(keys),
                n_layers=len(layers),
            )
        )
    own_keys, own_values = (torch.tensor(each).to(like.device, like.dtype) for each in (keys, values))
    for place in range(len(layers)):
        home = homes.get(place, like.device)
        cache.update(own_keys[place, None].to(home), own_values[place, None].to(home), place)
