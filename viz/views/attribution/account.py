"""An attribution in words, and the numbers that the page's script draws it from."""

from typing import Any

import numpy as np

from model.records.attribution import Attribution
from model.texts import phrase
from viz.account import Account


def _facts(record: Attribution) -> list[str]:
    run = phrase("Step {step} of the run {run!r}.", step=record.step, run=record.run) if record.run else ""
    sources = phrase("Sources are not told: {why}.", why=record.sources_note) if record.sources_note else ""
    return [each for each in (run, sources, *record.notes) if each]


def _drawn_from(record: Attribution) -> tuple[dict[str, Any], list[tuple[str, np.ndarray]]]:
    """What a browser draws from, as JSON and as arrays by name."""
    tokens = [
        {"id": each.id, "text": each.text, "hex": each.data.hex(), "special": each.special} for each in record.tokens
    ]
    about = {
        "step": record.step,
        "tokens": tokens,
        "token": {"id": record.token_id, "text": record.token},
        "rival": {"id": record.rival_id, "text": record.rival},
        "chosen_id": record.chosen_id,
        "probabilities": list(record.probabilities),
        "embedding": record.embedding,
        "biases": record.biases,
        "remainder": record.remainder,
        "total": record.total,
        "sources_note": record.sources_note,
        "notes": list(record.notes),
    }
    return about, list(record.arrays().items())


ACCOUNT = Account(
    of=Attribution,
    what=phrase("Why this token"),
    summary=lambda record: phrase(
        "Why {model} preferred {token!r} to {rival!r} at step {step}.",
        model=record.model.name,
        token=record.token,
        rival=record.rival,
        step=record.step,
    ),
    facts=_facts,
    drawn_from=_drawn_from,
)
