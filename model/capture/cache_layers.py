"""Compressed KV caches: layers for the transformers library's own cache, quantised or with fewer tokens."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from model.records.cache import CacheKind
from model.texts import listed, phrase

GROUP = 16  # tokens that are quantised together

_WORDS = {
    "DynamicSlidingWindowLayer": phrase("only a window of the latest tokens in some layers"),
    "DummyLayer": phrase("no cache of their own in some layers"),
}


def compressed_cache(n_layers: int, kind: CacheKind, sink: int, window: int, dropped: tuple[int, ...]) -> Cache:
    """An empty cache of this kind for a model with n_layers layers."""
    if kind in ("int8", "int4"):
        return Cache(layers=[Quantised(8 if kind == "int8" else 4) for _ in range(n_layers)])
    gone = torch.tensor(dropped, dtype=torch.long)

    def stays(at: torch.Tensor, seen: int) -> torch.Tensor:
        if kind == "dropped":
            return ~torch.isin(at, gone)
        return (at < sink) | (at >= seen - window)

    return Cache(layers=[Evicting(stays) for _ in range(n_layers)])


def takes_cache(model: Any) -> bool:
    """Whether a pass can be given the keys and values of earlier ones; a family that can't reads all tokens again."""
    return "past_key_values" in inspect.signature(model.forward).parameters


def odd_layers(model: Any) -> str:
    """In words, what a model's cache holds instead of every token's keys and values; empty if it holds all of them."""
    if not takes_cache(model):
        return phrase("nothing of what it has read")
    if not model._supports_default_dynamic_cache():
        return phrase("a state of its own")
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    kinds = sorted({type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer})
    return listed([_WORDS.get(kind, phrase("a {kind} in some layers", kind=kind)) for kind in kinds])


class Evicting(DynamicLayer):
    """Keys and values of the tokens that stay; the others leave the tensors after the pass that last read them.

    `stays(at, seen)` says which of the positions `at` stay when `seen` tokens have been read. Keys carry their own
    positions, so those that are left need no change; the length that the layer reports counts all tokens read, and
    the next token gets the position that it has in the text.
    """

    def __init__(self, stays: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
        super().__init__()
        self._stays, self._seen = stays, 0
        self._at = torch.empty(0, dtype=torch.long)  # positions that are held

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the keys and values of a pass's tokens [B, G, T, D]; returns all that it attends to [B, G, S, D]."""
        keys, values = super().update(key_states, value_states)
        seen = self._seen + key_states.shape[2]
        at = torch.cat([self._at, torch.arange(self._seen, seen)])
        stays = self._stays(at, seen)
        if not bool(stays.all()):
            kept = stays.nonzero()[:, 0].to(keys.device)
            self.keys, self.values = keys[:, :, kept], values[:, :, kept]
        self._at, self._seen = at[stays], seen
        return keys, values

    def get_seq_length(self) -> int:
        """Tokens read so far: the position of the next one."""
        return self._seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys the next pass attends to, and the offset that lets it see all of them."""
        held = len(self._at)
        return held + query_length, self._seen - held


class Quantised(DynamicLayer):
    """Keys and values in codes of 8 or 4 bits, each pass's own and the latest incomplete group in full precision.

    When a group of 16 tokens is complete it is quantised and its full precision let go: affine, the smallest number
    of a row and the step between two codes kept beside it in float16; keys by channel over the tokens of the group,
    values by token over the channels of the head. Two codes of 4 bits share a byte. A pass works on numbers that are
    unpacked for it and let go after it.

    Why so: on the default model, three prompts of 55 to 63 tokens and 32 new ones, the mean KL at 4 bits was 0.12 to
    0.36 nats for symmetric codes by token and head, 0.08 to 0.22 for affine ones, and 0.003 to 0.012 for this; nearly
    all of the damage was the keys', whose few large channels stretch the steps of every other. Groups of 32 tokens
    were no better, and hold more tokens in full.
    Source: Liu et al. 2024, KIVI, section 3.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self._bits, self._seen = bits, 0
        self.packed_keys: list[torch.Tensor] = []  # codes, lowest numbers and steps
        self.packed_values: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the keys and values of a pass's tokens [B, G, T, D]; returns all that it attends to [B, G, S, D].

        The pass's own are returned in full precision.
        """
        full_keys, full_values = super().update(key_states, value_states)
        keys = self._with_packed(self.packed_keys, full_keys)
        values = self._with_packed(self.packed_values, full_values)
        complete = full_keys.shape[2] // GROUP * GROUP
        if complete:
            append(self.packed_keys, pack(_groups(full_keys[:, :, :complete], GROUP), self._bits, over=-2))
            append(self.packed_values, pack(_groups(full_values[:, :, :complete], 1), self._bits, over=-1))
            self.keys, self.values = full_keys[:, :, complete:].clone(), full_values[:, :, complete:].clone()
        self._seen += key_states.shape[2]
        return keys, values

    def _with_packed(self, packed: list[torch.Tensor], full: torch.Tensor) -> torch.Tensor:
        if not packed:
            return full
        return torch.cat([unpack(packed, self._bits, full.shape[-1]).flatten(2, 3).to(full.dtype), full], dim=2)

    def get_seq_length(self) -> int:
        """Tokens read so far."""
        return self._seen


def pack(rows: torch.Tensor, bits: int, *, over: int) -> list[torch.Tensor]:
    """Quantise: codes, and the lowest number and the step of each row along axis `over`. See `unpack`.

    Shapes: rows [B, G, groups, tokens, D] -> codes uint8 [B, G, groups, tokens, D], or half of D, rounded up, where
    two codes share a byte; lowest and step float16, 1 along `over`.
    """
    rows = rows.float()
    low = rows.amin(dim=over, keepdim=True).half()
    step = ((rows.amax(dim=over, keepdim=True) - low.float()) / (2**bits - 1)).half()
    step = step.clamp_min(2**-24)  # the smallest float16: rows that are all alike have no steps
    codes = ((rows - low.float()) / step.float()).round().clamp(0, 2**bits - 1).to(torch.uint8)
    if bits == 4:
        codes = torch.nn.functional.pad(codes, (0, codes.shape[-1] % 2))
        codes = codes[..., 0::2] | codes[..., 1::2] << 4
    return [codes, low, step]


def unpack(packed: list[torch.Tensor], bits: int, width: int) -> torch.Tensor:
    """The numbers that the codes stand for: float32 [B, G, groups, tokens, width]."""
    codes, low, step = packed
    if bits == 4:
        codes = torch.stack([codes & 15, codes >> 4], dim=-1).flatten(-2)[..., :width]
    return codes * step.float() + low.float()


def append(packed: list[torch.Tensor], new: list[torch.Tensor]) -> None:
    """Add groups to those that are held: each tensor [B, G, groups, ...], joined along axis 2."""
    packed[:] = [torch.cat(pair, dim=2) for pair in zip(packed, new, strict=True)] if packed else new


def _groups(rows: torch.Tensor, size: int) -> torch.Tensor:
    return rows.unflatten(2, (-1, size))
