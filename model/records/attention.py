"""The attention pattern of any layer and head, rebuilt from the queries and keys that the run computed.

A run keeps queries and keys (they grow with the number of tokens) instead of maps (which grow with its square).
What else the model does to the scores is an `AttentionRule`, recorded from the very call that the model made.
"""

from dataclasses import dataclass

import numpy as np

from model.records.schema import added


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRule:
    """How one layer turns queries and keys into weights, as it was told to in this run."""

    scaling: float  # scores = query . key * scaling
    window: int | None  # a token sees itself and the window-1 tokens before it; None: all tokens before it
    softcap: float | None  # scores = softcap * tanh(scores / softcap); None: not capped
    mask: int | None  # which of the run's recorded masks replaces the causal rule; None: the causal rule holds
    n_kv_heads: int | None = added(None)  # of a layer that has fewer than others; each is held several times
    d_head: int | None = added(None)  # of a layer whose heads are narrower than others'; zeros fill them up
    mask_each_head: bool = added(False)  # `mask` is the first head's, and the others' follow it, as with ALiBi


def masks_of(rule: AttentionRule, masks: np.ndarray, n_heads: int) -> np.ndarray | None:
    """What a layer adds to its scores, of the run's masks [R, S, S]: [H or 1, S, S], or None where its rule says it."""
    if rule.mask is None:
        return None
    return masks[rule.mask : rule.mask + (n_heads if rule.mask_each_head else 1)]


def visible(rule: AttentionRule, positions: np.ndarray, n_keys: int) -> np.ndarray:
    """Which tokens the tokens at these positions may look at: bool [query, key]."""
    distance = positions[:, None] - np.arange(n_keys)[None, :]
    seen = distance >= 0
    return seen if rule.window is None else seen & (distance < rule.window)


def scores(queries: np.ndarray, keys: np.ndarray, rule: AttentionRule) -> np.ndarray:
    """How well each key answers each query, before the mask: float32 [..., query, key].

    Shapes: queries [..., query, d_head], keys [..., key, d_head]; what stands before them may broadcast.
    """
    raw = np.matmul(queries, np.swapaxes(keys, -1, -2)) * np.float32(rule.scaling)
    return raw if rule.softcap is None else np.float32(rule.softcap) * np.tanh(raw / np.float32(rule.softcap))


def pattern(
    queries: np.ndarray,
    keys: np.ndarray,
    rule: AttentionRule,
    *,
    positions: np.ndarray,
    sink: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """How much each token (row) looks back at each token (column): float32 [..., query, key], 0 where it may not look.

    Each row sums to 1, or to less where the layer has a sink, a learned score that takes the rest.

    Shapes: queries [..., query, d_head], keys [..., key, d_head]; positions [query], where each query stands;
    sink [...], one score a head; mask [..., query, key], what the model added to the scores, in place of the causal
    rule.
    Source: Vaswani et al. 2017, section 3.2.1; sinks: gpt-oss; soft cap: Gemma 2.
    """
    values = scores(queries, keys, rule)
    seen = visible(rule, positions, keys.shape[-2])
    if mask is not None:
        values = values + mask
        seen = mask > np.finfo(np.float32).min / 2
    values = np.where(seen, values, -np.inf)
    top = values.max(axis=-1, keepdims=True)
    if sink is not None:
        top = np.maximum(top, sink[..., None, None])
    weights = np.exp(values - top)
    total = weights.sum(axis=-1, keepdims=True)
    if sink is not None:
        total = total + np.exp(sink[..., None, None] - top)
    return weights / total
