"""Follows attention that a family computes itself, operation by operation, from its scores to what it gives.

Falcon, Bloom, MPT, GPT-J and some others do not ask the library's interface. While a pass is followed, a product of
queries and keys is known by where it goes: into a softmax, whose weights then meet the values. What else is done to the
scores is done to a tensor of zeros beside them: scores = scaling * query . key + mask, and the mask is what the model
added, ALiBi's distances included. The operations themselves run as they would.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_PRODUCTS = ("matmul", "__matmul__", "bmm", "baddbmm")
_SCALINGS = ("mul", "__mul__", "__rmul__", "__imul__", "mul_", "div", "__truediv__", "__itruediv__", "div_")
_OTHERS = (  # that are done to scores and change nothing else
    *("add", "__add__", "__radd__", "__iadd__", "add_", "masked_fill", "masked_fill_", "where", "max", "maximum"),
    *("view", "reshape", "to", "type", "float", "contiguous"),
)
_AS_GOOD_AS_NOTHING = 1e-3  # of the lowest number: a mask of it that was scaled hides as well


@dataclass(frozen=True, kw_only=True)
class OwnCall:
    """One attention as it ran: query [H, n, D], key [G, K, D], value [G, K, E], output [n, H, E].

    scores = scaling * query . key + mask, where the mask is [1, H or 1, n, K], or None, and then causal.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scaling: float
    mask: torch.Tensor | None
    output: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class _Scores:
    query: torch.Tensor
    key: torch.Tensor
    scaling: float
    added: torch.Tensor  # of the scores' shape at this moment


class OwnAttention(TorchFunctionMode):
    """Inside, every attention that is computed with plain operations is handed to the listener.

    What cannot be followed is not handed over; the pass goes on as it would.
    """

    def __init__(self, listener: Callable[[OwnCall], None]) -> None:
        super().__init__()
        self._quiet = False  # while the library's own function runs
        self._listener = listener
        self._scores: dict[
            int, tuple[torch.Tensor, _Scores]
        ] = {}  # by id of the tensor, which is kept so that it stays
        self._weights: dict[int, tuple[torch.Tensor, _Scores]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._quiet and isinstance(result, torch.Tensor):
            try:
                self._follow(func, getattr(func, "__name__", ""), args, kwargs or {}, result)
            except Exception:  # noqa: BLE001  (an operation of another form than any known: the self-check misses it)
                self.forget()
        return result

    def left_out(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the library's own function, which somebody else listens to."""
        self._quiet = True
        try:
            return original(*args, **kwargs)
        finally:
            self._quiet = False

    def forget(self) -> None:
        """What was followed so far led nowhere."""
        self._scores.clear()
        self._weights.clear()

    def _follow(self, func: Any, name: str, args: Any, kwargs: dict[str, Any], result: torch.Tensor) -> None:
        given = next((at for at, each in enumerate(args) if id(each) in self._scores), None)
        if name == "scaled_dot_product_attention":
            self._hand_over_fused(*args, **kwargs, output=result)
        elif args and id(args[0]) in self._weights:
            self._follow_weights(name, args, result)
        elif name in _PRODUCTS:
            self._begin(name, args, kwargs, result)
        elif given is not None and name == "softmax":
            self._weights[id(result)] = result, self._scores[id(args[given])][1]
        elif given is not None and name in (*_SCALINGS, *_OTHERS) and result.numel() == args[given].numel():
            self._follow_scores(func, name, args, kwargs, given, result)

    def _begin(self, name: str, args: Any, kwargs: dict[str, Any], result: torch.Tensor) -> None:
        left, right = args[-2:] if len(args) > 1 else (kwargs.get("batch1"), kwargs.get("batch2"))
        if name == "baddbmm":
            left, right = kwargs.get("batch1", left), kwargs.get("batch2", right)
        if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor) or min(left.ndim, right.ndim) < 3:
            return
        added = torch.zeros_like(result)
        scaling = 1.0
        if name == "baddbmm":
            scaling = float(kwargs.get("alpha", 1))
            added = added + args[0] * kwargs.get("beta", 1)
        query, key = left.reshape(-1, *left.shape[-2:]), right.transpose(-1, -2).flatten(0, -3)
        self._scores[id(result)] = result, _Scores(query=query, key=key, scaling=scaling, added=added)

    def _follow_scores(
        self, func: Any, name: str, args: Any, kwargs: dict[str, Any], given: int, result: torch.Tensor
    ) -> None:
        """Do to what was added what was done to the scores."""
        if given > 0 and ((name.endswith("_") and not name.endswith("__")) or name.startswith("__i")):
            return  # it changed another tensor in place, and would again
        scores = self._scores[id(args[given])][1]

        def done_to(tensor: torch.Tensor) -> torch.Tensor:
            return func(*args[:given], tensor, *args[given + 1 :], **kwargs)

        scaling = scores.scaling
        if name in _SCALINGS:
            factor = done_to(torch.ones((), dtype=torch.float64))
            if factor.numel() != 1:  # not one number for all
                return
            scaling *= float(factor)
        followed = replace(scores, scaling=scaling, added=done_to(scores.added.clone()))
        self._scores[id(result)] = result, followed

    def _follow_weights(self, name: str, args: Any, result: torch.Tensor) -> None:
        weights, scores = self._weights[id(args[0])]
        if name not in _PRODUCTS:
            if result.numel() == weights.numel():
                self._weights[id(result)] = result, scores
            return
        value = args[1]
        n_heads, count, n_keys = scores.query.shape[0], scores.query.shape[1], scores.key.shape[1]
        self._listener(
            OwnCall(
                query=scores.query,
                key=scores.key,
                value=value.reshape(-1, *value.shape[-2:]),
                scaling=scores.scaling,
                mask=_mask(scores.added.reshape(1, n_heads, count, n_keys)),
                output=result.reshape(n_heads, count, -1).transpose(0, 1),
            )
        )
        self.forget()

    def _hand_over_fused(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        *,
        output: torch.Tensor,
        scale: float | None = None,
        **_: Any,
    ) -> None:
        self._listener(
            OwnCall(
                query=query[0],
                key=key[0],
                value=value[0],
                scaling=query.shape[-1] ** -0.5 if scale is None else scale,
                mask=attn_mask,
                output=output[0].transpose(0, 1),
            )
        )


def _mask(added: torch.Tensor) -> torch.Tensor:
    """What was added to the scores [1, H, n, K], once where it is the same for all heads."""
    lowest = torch.finfo(added.dtype).min
    added = added.masked_fill(added < lowest * _AS_GOOD_AS_NOTHING, lowest)
    return added[:, :1] if bool((added == added[:, :1]).all()) else added
