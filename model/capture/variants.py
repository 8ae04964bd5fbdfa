"""Variants of one text in one pass: each has edits of its own, and nothing before the first edited layer is computed.

The text is read whole, in one causal pass over all of its tokens, where a run reads it pass by pass: the numbers are
the same but for rounding, which `require_recorded` checks. A model whose layers hand on more than the residual stream
is refused.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import nn

from model.arch.anatomy import attached, hidden
from model.capture.edits import Edits, Heard, Site
from model.capture.hooked import HookedModel
from model.capture.same_model import logits_may_differ
from model.errors import NotShown
from model.texts import phrase

_TOKENS = 512  # of all variants in one pass: a pass takes a second or two, and more rows are no faster


class Variants:
    """One text, read at once, and what its variants would say after it.

    Raises: NotShown, if passes that begin at a later layer do not repeat the whole one; Cancelled, if `check` does.
    """

    def __init__(self, hooked: HookedModel, ids: Sequence[int], check: Callable[[], None]) -> None:
        self._hooked, self._model, self._layers = hooked, hooked.model, hooked.anatomy.layers
        self._ids = torch.tensor([list(ids)], device=self._model.device)
        self._check = check
        self._left: dict[int, Any] = {}  # what each layer gave
        self._kwargs: dict[str, Any] = {"use_cache": False}
        if "logits_to_keep" in signature(self._model.forward).parameters:
            self._kwargs["logits_to_keep"] = 1
        leaving = [(layer.register_forward_hook, self._leave(place)) for place, layer in enumerate(self._layers)]
        with hooked.guard, attached(leaving):
            self.logits = self._pass(1)[0]  # of the text itself, after its last token: float32 [V]
        self._require_restart()

    @property
    def n_at_once(self) -> int:
        """How many variants one pass computes."""
        return max(1, _TOKENS // self._ids.shape[1])

    def require_recorded(self, logits: np.ndarray) -> None:
        """The text's logits are those that its run recorded [V], but for rounding. Raises: NotShown."""
        gap, most = self._gap(torch.tensor(logits), self.logits), logits_may_differ(self._hooked)
        if not gap <= most:
            raise NotShown(
                "{model} gives other logits where it reads the text at once than pass by pass: they differ by "
                "{gap:.2g} of the largest, and {most:.2g} may be rounding. Pick another model.",
                model=self._hooked.card.name,
                gap=gap,
                most=most,
            )

    def edited(self, edits: Edits, n_rows: int, layer: int) -> torch.Tensor:
        """What each variant says after its last token: float32 [row, V]. Its edits begin in this layer, or later."""
        edits.begin(0, self._ids.shape[1])
        with self._hooked.guard, self._skipping(layer, n_rows), edits.applied():
            return self._pass(n_rows)

    def heard(self, sites: Sequence[Site]) -> Heard:
        """What the text itself computes at some sites."""
        heard = Heard(self._hooked.anatomy, sites, self._ids.shape[1])
        heard.begin(0, self._ids.shape[1])
        with self._hooked.guard, heard.applied():
            self._pass(1)
        return heard

    def _pass(self, n_rows: int) -> torch.Tensor:
        """Logits [row, V] after the last token. The caller holds the model's guard."""
        entrances: Any = [(layer.register_forward_pre_hook, lambda *_: self._check()) for layer in self._layers]
        with torch.inference_mode(), attached(entrances):
            logits = self._model(input_ids=self._ids.expand(n_rows, -1), **self._kwargs).logits
            return logits[:, -1].float().cpu()

    def _leave(self, place: int) -> Callable[..., None]:
        def leave(_: nn.Module, __: Any, output: Any) -> None:
            rest = tuple(output[1:]) if isinstance(output, tuple | list) else None
            self._left[place] = hidden(output).clone(), rest

        return leave

    @contextmanager
    def _skipping(self, layer: int, n_rows: int) -> Iterator[None]:
        """Inside, layers before this one compute nothing: the last of them hands on what it gave of the text."""
        skipped = self._layers[:layer]
        before = [vars(each).get("forward") for each in skipped]
        try:
            for place, each in enumerate(skipped):
                vars(each)["forward"] = self._handing_on(place, n_rows)
            yield
        finally:
            for each, forward in zip(skipped, before, strict=True):
                vars(each).pop("forward", None) if forward is None else vars(each).update(forward=forward)

    def _handing_on(self, place: int, n_rows: int) -> Callable[..., Any]:
        def forward(*_: Any, **__: Any) -> Any:
            stream, rest = self._left[place]
            rows = stream.expand(n_rows, *stream.shape[1:]).clone()  # a layer may write into what it is given
            return rows if rest is None else (rows, *rest)

        return forward

    def _require_restart(self) -> None:
        """A pass that begins in the middle, or at the last layer, says what the whole one says. Raises: NotShown."""
        n_layers, most = len(self._layers), logits_may_differ(self._hooked)
        for layer in {n_layers // 2, n_layers - 1}:
            try:
                again = self.edited(Edits(self._hooked.anatomy), 1, layer)[0]
                off = self._gap(again, self.logits)
                reason = "" if off <= most else phrase("the logits differ by {off:.2g} of the largest", off=off)
            except (RuntimeError, TypeError, LookupError, AttributeError) as error:
                reason = f"{type(error).__name__}: {str(error)[:200]}"
            if reason:
                raise NotShown(
                    "{model} cannot be run from layer {layer} on: its layers hand on more than the residual stream "
                    "({reason}). Pick another model.",
                    model=self._hooked.card.name,
                    layer=layer,
                    reason=reason,
                )

    def _gap(self, one: torch.Tensor, other: torch.Tensor) -> float:
        """The largest difference, as a share of the largest logit."""
        return float((one - other).abs().max() / other.abs().max())
