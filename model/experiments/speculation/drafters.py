"""What drafts for a model: the text itself, the model's first layers, the project's draft model, or a smaller model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from model.arch.placement import home
from model.capture.generation_config import check_plain
from model.capture.hooked import HookedModel
from model.errors import NotShown
from model.experiments.speculation.assisted import leaves_early
from model.experiments.speculation.draft import Draft, own_draft
from model.records.speculation import Attempt
from model.requests.speculation import Mode
from model.texts import phrase

_EVEN = 0.02  # of the speed: less than that is the noise of a quiet machine
_LEAVES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # of each model, whether it can stop after fewer layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafter:
    """A drafting method: the options of `generate`, and what replaces its candidate generator."""

    mode: Mode
    name: str
    options: dict[str, Any]
    model: Any = None  # the library's model that drafts, whose generation config is set for the run
    own: Draft | None = None
    other: HookedModel | None = None  # whose model drafts, when it is not the target itself


def drafters_of(
    hooked: HookedModel, ids: Sequence[int], modes: Sequence[Mode], exit_layer: int | None, draft: HookedModel | None
) -> tuple[list[Drafter], tuple[str, ...]]:
    """The drafters that this model supports, and for each other mode a sentence that says why not."""
    drafters, reasons = [], []
    for mode in dict.fromkeys(modes):
        try:
            drafters.append(_drafter(hooked, ids, mode, exit_layer, draft))
        except NotShown as reason:
            reasons.append(phrase("{mode} was skipped: {reason}", mode=mode, reason=reason))
    return drafters, tuple(reasons)


def _drafter(
    hooked: HookedModel, ids: Sequence[int], mode: Mode, exit_layer: int | None, draft: HookedModel | None
) -> Drafter:
    if mode == "prompt lookup":
        return Drafter(mode=mode, name=phrase("prompt lookup"), options={"max_matching_ngram_size": 2})
    if mode == "own draft":
        return Drafter(mode=mode, name=phrase("own draft"), options={}, own=own_draft(hooked))
    if mode == "draft model":
        other = _fitting(hooked, draft)
        return Drafter(
            mode=mode,
            name=phrase("draft model {model}", model=other.card.name),
            options={"assistant_model": other.model},
            model=other.model,
            other=other,
        )
    layers = hooked.card.n_layers
    if layers < 2:
        raise NotShown(
            "{model} has one layer, so early exit cannot skip any. Choose another draft.", model=hooked.card.name
        )
    at = layers // 2 if exit_layer is None else exit_layer
    if hooked.model not in _LEAVES:  # one pass, which would disturb the clock of whoever has the model now: once
        with hooked.guard:
            _LEAVES[hooked.model] = leaves_early(
                hooked.model, torch.tensor([list(ids)], device=home(hooked.model)), hooked.anatomy.layers, at
            )
    if not _LEAVES[hooked.model]:
        raise NotShown(
            "{model} ignores early exit ({family}): it always runs all its layers, so it would draft with itself. "
            "Choose another draft.",
            model=hooked.card.name,
            family=hooked.card.family,
        )
    return Drafter(
        mode=mode,
        name=phrase("early exit after {at} of {layers} layers", at=at, layers=layers),
        options={"assistant_early_exit": at},
        model=hooked.model,
    )


def check_device(hooked: HookedModel) -> None:
    """Check that the library's assisted decoding finds the model's device: it asks its first weight.

    Raises: NotShown, if that is not there between calls.
    """
    if hooked.model.device.type == "meta":
        raise NotShown(
            "{model} lies on {devices}, its first weight where it is fetched from at each call, and the library's "
            "assisted decoding cannot run it there. Give a device_map that puts its embedding on a device.",
            model=hooked.card.name,
            devices=hooked.card.device,
        )


def _fitting(hooked: HookedModel, draft: HookedModel | None) -> HookedModel:
    if draft is None:
        raise NotShown("no draft model was given. Name a smaller model with the same tokenizer.")
    if draft is hooked:
        raise NotShown(
            "{model} cannot draft for itself. Name a smaller model with the same tokenizer.", model=hooked.card.name
        )
    if draft.tokenizer.get_vocab() != hooked.tokenizer.get_vocab() or draft.card.d_vocab != hooked.card.d_vocab:
        raise NotShown(
            "{model} has another vocabulary than {target}: the one cannot verify what the other drafts. "
            "Name a draft with the same tokenizer.",
            model=draft.card.name,
            target=hooked.card.name,
        )
    check_plain(draft.model, draft.card.name)
    check_device(draft)
    return draft


def verdict_on(drafter: Drafter, attempt: Attempt) -> tuple[str, ...]:
    """Notes on the result: whether the draft pays here, and if not, why."""
    speedup, turns = attempt.speedup, attempt.turns
    if speedup is None:
        return ()
    by = phrase("{speedup:.2f} times the speed of plain decoding", speedup=speedup)
    if speedup > 1 + _EVEN and min(turns) > 1:
        return (phrase("It pays on this text: {by}; faster in every turn.", by=by),)
    if speedup < 1 - _EVEN and max(turns) < 1:
        pays = phrase("It does not pay on this text: {by}; slower in every turn.", by=by)
    elif all(abs(each - 1) <= _EVEN for each in turns):
        pays = phrase("It breaks even on this text: {by}.", by=by)
    else:
        pays = phrase(
            "It is not clear whether it pays on this text: {by}, in turns from {low:.2f} to {high:.2f}.",
            by=by,
            low=min(turns),
            high=max(turns),
        )
    silent = sum(not each.drafted for each in attempt.rounds)
    why = {
        "prompt lookup": phrase(
            "It had nothing to copy in {silent} of {n_rounds} rounds: it needs text that repeats itself.",
            silent=silent,
            n_rounds=len(attempt.rounds),
        ),
        "early exit": phrase(
            "Few models are trained for early exit, and each drafted token costs as much of a pass as "
            "the layers that it runs through."
        ),
        "own draft": ""
        if drafter.own is None
        else phrase(
            "The draft reads the model's last hidden state, knows its {n_tokens:,} most common tokens, and was trained "
            "on text of {made_for}.",
            n_tokens=drafter.own.shape.n_tokens,
            made_for=drafter.own.made_for,
        ),
        "draft model": phrase("A draft pays if it is much smaller than the model and mostly predicts the same tokens."),
    }[attempt.mode]
    return (pays, why)
