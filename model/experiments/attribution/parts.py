"""The logit difference of two tokens as a sum over the parts of a model, in one pass that was heard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from model.arch.additions import Additions, Heads, Heard, additions
from model.arch.anatomy import after_head, is_linear, matrix_of
from model.arch.frozen_norm import frozen
from model.arch.rounding import epsilon, share
from model.capture.hooked import HookedModel
from model.errors import NotShown
from model.texts import phrase

_NORM_ROUNDINGS = 4  # of the norm's sums, its weight, what it took and what it gave


@dataclass(slots=True, kw_only=True, eq=False)
class Parts:
    """Each part's share of the difference, in logits, float64; `reads` [L] how a layer's head outputs [H, E] count."""

    embedding: float = 0.0
    biases: float = 0.0
    heads: np.ndarray
    mlps: np.ndarray
    others: np.ndarray
    reads: list[torch.Tensor | None] = field(default_factory=list)
    untold: list[int] = field(default_factory=list)  # layers no parts of which sum to what they add
    headless: list[int] = field(default_factory=list)  # layers that add what no head and no MLP made
    unsplit: list[int] = field(default_factory=list)  # layers that attend, in a way that heads cannot be told apart in


def parts_of(hooked: HookedModel, layers: Sequence[Heard], token_id: int, rival_id: int) -> Parts:
    """Split logit(token) - logit(rival) over the parts of the pass.

    The final norm's scale is that of the pass, held fixed, so that the rest is a sum: a part c of the stream counts
    with c . g, where g is the difference of the two rows of the head, taken back through the norm (`FrozenNorm`), and
    through a norm after attention where a family has one. A soft cap of the logits counts with its slope between the
    two logits, so that the sum still is their difference.
    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", on the residual stream as a sum;
    nostalgebraist 2020, "interpreting GPT: the logit lens", on reading it before the end; the slope between two values:
    Shrikumar et al. 2017, DeepLIFT, the rescale rule.
    Raises: NotShown, for a final norm or a head of no known form.
    """
    _require_layers(hooked, layers)
    direction, biases = _direction(hooked, layers[-1].left, token_id, rival_id)
    n_layers = len(layers)
    parts = Parts(
        biases=biases,
        heads=np.zeros((n_layers, hooked.card.n_heads)),
        mlps=np.zeros(n_layers),
        others=np.zeros(n_layers),
        reads=[None] * n_layers,
    )
    for place in reversed(range(n_layers)):
        added = additions(hooked.model, hooked.anatomy, place, layers[place])
        _add_layer(parts, place, added, direction)
        direction = direction * added.carried
    parts.embedding = float(direction @ layers[0].entered.cpu().double())
    return parts


def _require_layers(hooked: HookedModel, layers: Sequence[Heard]) -> None:
    card = hooked.card
    for check, what in (("residual", phrase("residual stream")), ("lens", phrase("logit lens"))):
        if (reason := card.reason_against(check)) is not None:
            raise NotShown(
                "the logits of {model} cannot be split over its parts, which needs its {what}: {reason}.",
                model=card.name,
                what=what,
                reason=reason,
            )
    if len(layers) != card.n_layers:
        raise NotShown(
            "the logits of {model} cannot be split over its parts: a pass goes through {n} layers, and it has "
            "{n_layers}.",
            model=card.name,
            n=len(layers),
            n_layers=card.n_layers,
        )


def _direction(hooked: HookedModel, left: torch.Tensor, token_id: int, rival_id: int) -> tuple[torch.Tensor, float]:
    """What a change of the last layer's stream counts with, float64 [M], and what norm and head add by themselves."""
    norm, head = hooked.anatomy.final_norm, hooked.anatomy.head
    assert norm is not None, "the lens needs one"
    with torch.inference_mode():
        gave = norm(left).detach().cpu().double()
    took, allowed = left.cpu().double(), share(epsilon(hooked.model), _NORM_ROUNDINGS)
    fixed = frozen(norm, took, gave, allowed) if took.shape == gave.shape else None
    if fixed is None or not is_linear(head):
        raise NotShown(
            "the logits of {model} cannot be split over its parts: its {what} ({kind}) is of no form that is known "
            "here.",
            model=hooked.card.name,
            what=phrase("final norm") if fixed is None else phrase("output head"),
            kind=type(norm if fixed is None else head).__name__,
        )
    rows = matrix_of(head)[[token_id, rival_id]].detach().cpu().double()
    bias = getattr(head, "bias", None)
    added = torch.zeros(2).double() if bias is None else bias[[token_id, rival_id]].detach().cpu().double()
    slope = _slope(lambda raw: after_head(raw, hooked.model.config.get_text_config()), rows @ gave + added)
    wanted = slope * (rows[0] - rows[1])
    return fixed.before(wanted), float(wanted @ fixed.bias + slope * (added[0] - added[1]))


def _slope(after: Callable[[torch.Tensor], torch.Tensor], raw: torch.Tensor) -> torch.Tensor:
    """Of what comes after the head, between these two logits."""
    near = raw if raw[0] != raw[1] else raw + torch.tensor([1e-4, -1e-4]).double()
    made = after(near)
    return (made[0] - made[1]) / (near[0] - near[1])


def _add_layer(parts: Parts, place: int, added: Additions, direction: torch.Tensor) -> None:
    parts.mlps[place] = float(direction @ added.mlp)
    parts.others[place] = float(direction @ added.other)
    if added.heads is not None:
        read, bias = _read(added.heads, direction)
        by_head = (read * added.heads.attended).sum(-1)
        parts.heads[place, : len(by_head)] = by_head.numpy()
        parts.reads[place] = read
        parts.biases += bias
    if not added.told:
        parts.untold.append(place)
    elif added.heads is None and added.attends:
        parts.unsplit.append(place)
    elif bool(added.other.any()):
        parts.headless.append(place)


def _read(heads: Heads, direction: torch.Tensor) -> tuple[torch.Tensor, float]:
    """What the heads' outputs count with, float64 [H, E], and what projection and norm add by themselves."""
    there, biases = heads.factor * direction, 0.0
    if heads.norm is not None:
        biases += float(there @ heads.norm.bias)
        there = heads.norm.before(there)
    if (bias := getattr(heads.projection, "bias", None)) is not None:
        biases += float(there @ bias.detach().cpu().double())
    matrix: Any = matrix_of(heads.projection).detach().cpu().double()
    return (there @ matrix).reshape(heads.attended.shape), biases
