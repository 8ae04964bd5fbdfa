"""Captures a forward pass as it runs: queries, keys, values, the residual stream, the strongest MLP units.

A model runs the very attention that it would have run anyway: while a pass is watched, what it is called with is kept
on the way (`arch.attention_calls`), or followed where a family computes it itself (`arch.own_attention`). Between
passes a model carries no hooks, and the library is as it was.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from model.arch.anatomy import Anatomy, attached, expert_choice, hidden, layer_input
from model.arch.attention_calls import TAKES, in_float32, watched
from model.arch.hooks import Listener, overheard
from model.arch.own_attention import OwnAttention, OwnCall
from model.capture.buffers import FEW, Buffers, Keeping, stacked_layers
from model.capture.edits import Around
from model.errors import Cancelled
from model.records import attention
from model.records.attention import AttentionRule
from model.texts import phrase

_ROWS = 128  # of units searched at once
NO_EXPERTS = {"expert_ids": -1, "expert_weights": 0}  # of a layer that has none, among others that have
UNITS = 8  # strongest MLP units kept at each layer and position


@dataclass(frozen=True, slots=True, kw_only=True)
class Attended:
    """What one layer's attention gave in one pass: float32 [token, head, width]."""

    ran: torch.Tensor  # in the model's own precision
    exact: torch.Tensor | None  # of the same queries, keys and values, computed in float32; None where that fails


class Tracer:
    """Records the passes of one run, for all positions that the run can reach.

    With `outputs` on, what each layer's attention gave is kept too, for the self-check.
    """

    def __init__(
        self, anatomy: Anatomy, capacity: int, *, outputs: bool = False, buffers: Buffers | None = None
    ) -> None:
        self.buffers = buffers or Buffers(capacity, stream_stays=anatomy.stream_stays)
        self.rules: dict[int, AttentionRule] = {}
        self.outputs: dict[int, list[Attended]] | None = {} if outputs else None
        self.around: Around | None = None  # edits of the model, or what listens where they are made
        self.cancelled: Callable[[], bool] = lambda: False
        self.meanwhile: Sequence[Callable[[], None]] = ()  # what the host can do while a captured pass runs
        self._anatomy = anatomy
        self._n_layers = len(anatomy.layers)
        self.entered: list[
            float
        ] = []  # perf_counter at each layer's entrance in the latest pass, and at the last one's end
        self._first = self._count = 0
        self._own = OwnAttention(self._attend_own) if anatomy.own_attention else None  # which costs each operation
        self._layer = 0  # the one that the pass is in
        self._sinks: dict[int, torch.Tensor] = {}
        self._masks: dict[int, list[tuple[int, int, torch.Tensor]]] = {}
        self._last_mask: torch.Tensor | None = None
        self._told: list[tuple[int, torch.Tensor | None, int]] = []  # layer, mask and number of keys of each attention
        self._keeping_attention = Keeping(self.buffers, "queries", "keys", "values")
        self._keeping_stream = Keeping(self.buffers, "resid")
        self._keeping_experts = Keeping(self.buffers, *NO_EXPERTS)
        self._keeping_units = Keeping(self.buffers, "unit_values", "unit_ids")
        self._attended: set[int] = set()  # layers whose attention has run in this pass
        self._units_seen: dict[int, torch.Tensor] = {}

    def begin(self, first: int, count: int) -> None:
        """The pass that is watched reads `count` tokens from position `first` on; what was recorded of them goes."""
        self._first, self._count = first, count
        self.buffers.begin(first, count)
        if self.around is not None:
            self.around.begin(first, count)
        for layer, passes in self._masks.items():
            self._masks[layer] = [each for each in passes if each[0] < first]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record the forward pass inside the block, once `begin` has said what it reads.

        Raises: Cancelled, from within the pass, as soon as `cancelled()` says so.
        """
        self.entered = []
        try:
            leaves = [(self._anatomy.layers[-1].register_forward_hook, self._end)]
            edited = (
                nullcontext() if self.around is None else self.around.applied()
            )  # first: what is recorded is edited
            with edited, watched(self.attend), overheard(self._calls()), attached(leaves), self._own or nullcontext():
                yield
            with self._keeping_attention:
                self._keep_masks()
            self._keep_units()
            self.buffers.end(self._n_layers)
        finally:
            self._forget_own()
            for of_this_pass in (self._told, self._units_seen, self._attended):
                of_this_pass.clear()

    def check(self) -> None:
        """Raises: Cancelled, as soon as `cancelled()` says so."""
        if self.cancelled():
            raise Cancelled

    def keep(self, first: int, rows: Mapping[str, torch.Tensor]) -> None:
        """A pass that read one token from position `first` gave these rows, each of all layers: keep them.

        The rules of the layers are those that an earlier pass had.
        """
        self.entered = []
        self.begin(first, 1)
        for each in self.meanwhile:
            each()
        for name, of_all in rows.items():
            self.buffers.put_all(name, of_all)
        self.buffers.end(self._n_layers)

    def take_over(self, arrays: Mapping[str, np.ndarray], rules: Sequence[AttentionRule]) -> None:
        """Begin with what an earlier run recorded of its first positions, by the names of `records.Trace`."""
        for name, rows in arrays.items():
            if name not in ("sinks", "masks"):
                self.buffers.take_over(name, rows)
        self.rules = dict(enumerate(rules))
        if "sinks" in arrays:
            self._sinks = dict(enumerate(torch.tensor(arrays["sinks"])))
        for layer, rule in enumerate(rules):
            if rule.mask is not None:
                held = attention.masks_of(rule, arrays["masks"], arrays["queries"].shape[1])
                mask = self._shared(torch.tensor(held)[None])
                self._masks[layer] = [(0, mask.shape[2], mask)]

    def arrays(self, n_fed: int, *, own: bool = False) -> dict[str, np.ndarray]:
        """What was recorded of the first n_fed positions, by the names of `records.Trace`. See `Buffers.arrays`."""
        arrays = self.buffers.arrays(n_fed, own=own)
        for name, nothing in NO_EXPERTS.items():
            for layer in range(self._n_layers if name in arrays else 0):
                if self._anatomy.experts[layer] is None:
                    arrays[name][layer] = nothing
        if self._sinks:
            none = torch.full_like(next(iter(self._sinks.values())), -torch.inf)
            arrays["sinks"] = torch.stack([self._sinks.get(layer, none) for layer in range(self._n_layers)]).numpy()
        if self._masks:
            arrays["masks"] = self._mask_array(n_fed)
        return arrays

    def rules_in_order(self) -> tuple[AttentionRule, ...]:
        """Each layer's rule, from the first layer to the last."""
        keys, queries = self.buffers.shape("keys"), self.buffers.shape("queries")
        whole = {"n_kv_heads": keys[1] if keys else None, "d_head": queries[3] if queries else None}
        return tuple(_but_for(self.rules[layer], whole) for layer in sorted(self.rules))

    @property
    def entered_once(self) -> bool:
        """Whether the latest pass went through each layer once, so that `entered` has one time for each."""
        return len(self.entered) == self._n_layers + 1

    def first_nan(self) -> str | None:
        """The first place in the latest pass where the model computed NaN, in words; None if it computed none."""
        stream = self.buffers.latest("resid")
        if stream is None:
            return None
        bad = torch.isnan(stream).flatten(1).any(dim=1).nonzero()
        if not len(bad):
            return None
        layer = int(bad[0])
        return phrase("the embedding") if layer == 0 else phrase("layer {last}", last=layer - 1)

    def attend(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one layer's attention as the library would, and keep what went in, by whatever name it was given."""
        called = original if self._own is None else partial(self._own.left_out, original)
        result = called(*args, **kwargs)
        with self._keeping_attention:
            if len(args) == len(TAKES):  # as the library calls it, which takes no looking up
                _, query, key, value, mask = args
            else:
                told = dict(zip(TAKES, args, strict=False)) | kwargs
                query, key, value, mask = told["query"], told["key"], told["value"], told.get("attention_mask")
            self._require_first()
            self._keep_attention(self._layer, query, key, value, mask, kwargs)
            if self.outputs is not None:
                ran = result[0][0].float()
                exact = ran if query.dtype == torch.float32 else in_float32(original, args, kwargs)
                attended = Attended(ran=ran, exact=exact if exact is None or exact is ran else exact[0])
                self.outputs.setdefault(self._layer, []).append(attended)
        return result

    def _attend_own(self, call: OwnCall) -> None:
        """Keep one layer's attention that its family computed itself."""
        with self._keeping_attention:
            self._require_first()
            told = {"scaling": call.scaling}
            self._keep_attention(self._layer, call.query[None], call.key[None], call.value[None], call.mask, told)
            if self.outputs is not None:
                ran = call.output.float()
                exact = ran if call.query.dtype == torch.float32 else None
                self.outputs.setdefault(self._layer, []).append(Attended(ran=ran, exact=exact))

    def _forget_own(self) -> None:
        if self._own is not None:
            self._own.forget()

    def _require_first(self) -> None:
        """A layer holds one attention. Raises: ValueError, in the words of a reason to hide it, if it runs another."""
        if self._layer in self._attended:
            raise ValueError(phrase("layer {layer} runs attention more than once a pass", layer=self._layer))
        self._attended.add(self._layer)

    def _keep_attention(self, layer: int, query: Any, key: Any, value: Any, mask: Any, told: dict[str, Any]) -> None:
        count = self._count
        n_keys = key.shape[2]
        self._told.append((layer, mask, n_keys))
        if layer not in self.rules:
            self._learn(layer, query, key, told)
        key, value = _newest(key, count), _newest(value, count)
        if count <= FEW:
            waiting = self.buffers.waiting
            waiting["queries"][layer], waiting["keys"][layer], waiting["values"][layer] = query, key, value
        else:
            self._put("queries", layer, query)
            self._put("keys", layer, key)
            self._put("values", layer, value)

    def _keep_masks(self) -> None:
        """Keep the masks of this pass that say anything else than the rule of their layer.

        They are judged when the pass is over, and all at once: an accelerator is not waited for in each layer.
        """
        rules = {layer: self.rules[layer].window for layer, _, _ in self._told}
        masks = {(id(mask), rules[layer]): mask for layer, mask, _ in self._told if mask is not None}
        verdicts = [_is_causal(mask, self._first, self._count, window) for (_, window), mask in masks.items()]
        as_ruled = dict(zip(masks, _on_the_host(verdicts), strict=True))
        for layer, mask, n_keys in self._told:
            window = rules[layer]
            if mask is not None and not as_ruled[id(mask), window]:
                self._masks.setdefault(layer, []).append((self._first, n_keys, self._shared(mask)))
            elif mask is None and not self._sees_all(window, n_keys):
                every = torch.ones(1, 1, self._count, n_keys, dtype=torch.bool).tril(n_keys - self._count)
                self._masks.setdefault(layer, []).append((self._first, n_keys, self._shared(every)))

    def _sees_all(self, window: int | None, n_keys: int) -> bool:
        """Whether the causal rule, with a layer's window, says all where no mask was given: each query then sees every
        key that was given and is not after it.
        """
        stop = self._first + self._count
        return n_keys == (stop if window is None else min(stop, window))

    def _shared(self, mask: torch.Tensor) -> torch.Tensor:
        """The mask, or the one kept before it if they are alike: layers that add the same share one in the record."""
        last = self._last_mask
        alike = mask is last or (
            last is not None
            and last.shape == mask.shape
            and last.dtype == mask.dtype
            and torch.equal(last, mask.to(last.device))  # a model may be spread over several
        )
        self._last_mask = last if alike else mask
        return self._last_mask  # pyright: ignore[reportReturnType]  (not None, as one of the two)

    def _calls(self) -> Iterator[tuple[nn.Module, Listener]]:
        """Whose calls are overheard, and by whom."""
        for place, layer in enumerate(self._anatomy.layers):
            yield layer, self._entrance(place)
        for place, module in enumerate(self._anatomy.experts):
            if module is not None:
                yield module, self._experts(place)
        units = [module for module in self._anatomy.unit_outputs if module is not None]
        if len(units) == self._n_layers:  # else they are not shown
            for place, module in enumerate(units):
                yield module, self._units(place)

    def _entrance(self, layer: int) -> Listener:
        def hear(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.check()
            self._layer = layer  # what an attention module says of itself is not so where layers share one
            self._forget_own()
            self.entered.append(time.perf_counter())
            with self._keeping_stream:
                self._put_stream(layer, layer_input(args, kwargs))

        return hear

    def _end(self, _: nn.Module, __: Any, output: Any) -> None:
        self.entered.append(time.perf_counter())
        with self._keeping_stream:
            self._put_stream(self._n_layers, hidden(output))

    def _put_stream(self, layer: int, stream: torch.Tensor) -> None:
        if self._count <= FEW and self._anatomy.stream_stays:
            self.buffers.waiting["resid"][layer] = stream
        else:
            self._put("resid", layer, stream)

    def _experts(self, layer: int) -> Listener:
        def hear(args: tuple[Any, ...], _: dict[str, Any]) -> None:
            with self._keeping_experts:
                chosen = expert_choice(args)
                assert chosen is not None
                self._put("expert_ids", layer, chosen[0].int()[None])
                self._put("expert_weights", layer, chosen[1].float().clone()[None])

        return hear

    def _units(self, layer: int) -> Listener:
        def hear(args: tuple[Any, ...], _: dict[str, Any]) -> None:
            with self._keeping_units:
                if self._count == 1:  # few enough numbers to wait, and be searched for all layers at once
                    self._units_seen[layer] = args[0]
                else:
                    self._put_units(layer, args[0])

        return hear

    def _put_units(self, layer: int, units: torch.Tensor) -> None:
        values, ids = _strongest(units.reshape(self._count, -1))
        self._put("unit_values", layer, values[None])
        self._put("unit_ids", layer, ids[None])

    def _keep_units(self) -> None:
        """Search what has waited: in one go where all layers have as many units."""
        if not self._units_seen:
            return
        if (seen := stacked_layers(self._units_seen, self._n_layers)) is not None:
            values, ids = _strongest(seen.reshape(self._n_layers, self._count, -1))
            self.buffers.put_all("unit_values", values)
            self.buffers.put_all("unit_ids", ids)
        else:
            for layer, units in self._units_seen.items():
                self._put_units(layer, units)

    def _put(self, name: str, layer: int, rows: torch.Tensor) -> None:
        self.buffers.put(name, layer, rows, self._n_layers + (name == "resid"))

    def _learn(self, layer: int, query: torch.Tensor, key: torch.Tensor, kwargs: dict[str, Any]) -> None:
        scaling = kwargs.get("scaling")
        self.rules[layer] = AttentionRule(
            scaling=float(query.shape[-1] ** -0.5 if scaling is None else scaling),
            window=kwargs.get("sliding_window"),
            softcap=kwargs.get("softcap"),
            mask=None,
            n_kv_heads=key.shape[1],
            d_head=query.shape[-1],
        )
        sinks = kwargs.get("s_aux")
        if sinks is not None:
            self._sinks[layer] = sinks.detach().float().cpu()

    def _mask_array(self, n_fed: int) -> np.ndarray:
        """What was added to the scores where the rule does not say it: [S, S] masks, to which layers' rules point.

        A layer has one for all of its heads, or one a head. Layers that were given the same share theirs.
        """
        rows: list[np.ndarray] = []
        places: dict[tuple[Any, ...], int] = {}
        for layer, passes in sorted(self._masks.items()):
            rule = self.rules[layer]
            n_heads = max(mask.shape[1] for _, _, mask in passes)
            key = (rule.window, *(id(mask) for _, _, mask in passes))
            if key not in places:
                places[key] = sum(len(each) for each in rows)
                rows.append(self._whole_mask(rule, passes, n_heads, n_fed))
            self.rules[layer] = replace(rule, mask=places[key], mask_each_head=n_heads > 1)
        return np.concatenate(rows)

    def _whole_mask(
        self, rule: AttentionRule, passes: list[tuple[int, int, torch.Tensor]], n_heads: int, n_fed: int
    ) -> np.ndarray:
        seen = attention.visible(rule, np.arange(n_fed), n_fed)
        whole = np.repeat(np.where(seen, np.float32(0), np.finfo(np.float32).min)[None], n_heads, axis=0)
        for first, n_keys, mask in passes:
            n = mask.shape[2]
            start = first + n - n_keys
            whole[:, first : first + n] = np.finfo(np.float32).min
            whole[:, first : first + n, start : first + n] = _added(mask)[0, :, :, :n_keys].cpu().numpy()
        return whole


def _but_for(rule: AttentionRule, whole: Mapping[str, int | None]) -> AttentionRule:
    """The rule without what is as in the arrays of all layers."""
    return replace(rule, **{name: None for name, size in whole.items() if getattr(rule, name) == size})


def _strongest(units: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The units of largest size, and which they are: [..., U] each, of [..., d_mlp].

    Few rows at a time: what is made on the way then stays in the processor's cache, and adds nothing to the peak.
    """
    if len(units) <= _ROWS:
        return _strongest_of_few(units)
    found = [_strongest_of_few(rows) for rows in units.split(_ROWS)]
    return torch.cat([values for values, _ in found]), torch.cat([ids for _, ids in found])


def _strongest_of_few(units: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ids = units.abs().topk(min(UNITS, units.shape[-1]), dim=-1).indices
    return units.gather(-1, ids), ids


def _newest(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The latest positions of a layer's keys or values [1, G, S, D]."""
    more = rows.shape[2] - count
    return rows.narrow(2, more, count) if more > 0 else rows


def _added(mask: torch.Tensor) -> torch.Tensor:
    """A mask as what it adds to the scores, in float32: its lowest number where a token may not look."""
    hidden = ~mask if mask.dtype == torch.bool else mask <= torch.finfo(mask.dtype).min / 2
    added = torch.zeros(mask.shape, device=mask.device) if mask.dtype == torch.bool else mask.float()
    return added.masked_fill(hidden, torch.finfo(torch.float32).min)


def _is_causal(mask: torch.Tensor, first: int, count: int, window: int | None) -> bool | torch.Tensor:
    """Whether the causal rule, with the window, says all that the mask does: a truth value on the mask's device."""
    n_keys = mask.shape[-1]
    start = first + count - n_keys
    distance = torch.arange(first, first + count, device=mask.device)[:, None] - torch.arange(
        start, start + n_keys, device=mask.device
    )
    seen = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
    if mask.shape[0] * mask.shape[1] != 1:
        return False
    if start > 0 and (window is None or first - (start - 1) < window):  # keys were left out that the rule would show
        return False
    if mask.dtype == torch.bool:
        return (mask[0, 0] == seen).all()
    lowest = torch.finfo(mask.dtype).min
    return torch.where(seen, mask[0, 0] == 0, mask[0, 0] <= lowest / 2).all()


def _on_the_host(verdicts: Sequence[bool | torch.Tensor]) -> list[bool]:
    """Truth values as Python has them, brought from their device in one go."""
    if not (there := [each for each in verdicts if isinstance(each, torch.Tensor)]):
        return [bool(each) for each in verdicts]
    told = iter(torch.stack([each.to(there[0].device) for each in there]).tolist())
    return [next(told) if isinstance(each, torch.Tensor) else each for each in verdicts]
