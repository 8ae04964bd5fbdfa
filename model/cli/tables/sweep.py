"""A sweep over the heads: those that did most for the choice, and against it."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown, columns
from model.records.sweep import Sweep
from model.texts import phrase

_STRONGEST = 20


def table(swept: Sweep) -> str:
    """The heads of the largest effect. Positive: the head helped the chosen token against its runner-up."""
    rows = [(f"{layer}.{head}", f"{effect:+.3f}") for layer, head, effect in swept.strongest(_STRONGEST)]
    top = phrase(
        "{model}, step {step}: {token!r} against {rival!r}, {difference:+.3f} logits; {n} of {n_layers} layers swept",
        model=swept.model.name,
        step=swept.step,
        token=swept.texts[swept.token_id],
        rival=swept.texts[swept.rival_id],
        difference=swept.difference,
        n=len(swept.swept),
        n_layers=swept.model.n_layers,
    )
    said = phrase("Positive: without the head, the chosen token leads by so many logits less.")
    head = (phrase("layer.head"), phrase("effect, logits"))
    return "\n".join([top, said, "", *columns(head, rows)])


def summary(swept: Sweep) -> dict[str, Any]:
    """The same in plain values, with every head; null where none was swept."""
    effect = swept.effect.astype(object)
    effect[~np.isfinite(swept.effect)] = None
    return {
        "model": swept.model.name,
        "prompt": swept.prompt,
        "step": swept.step,
        "token": {"id": swept.token_id, "text": swept.texts[swept.token_id]},
        "rival": {"id": swept.rival_id, "text": swept.texts[swept.rival_id]},
        "difference": swept.difference,
        "recorded": swept.recorded,
        "swept": list(swept.swept),
        "effect": effect.tolist(),
    }


SHOWN = Shown(
    doing=phrase("sweeping"),
    table=table,
    summary=summary,
    stopped=lambda record, _request: phrase(
        "stopped after {n} layers; --resume goes on with the file", n=len(record.swept) if record else 0
    ),
)
