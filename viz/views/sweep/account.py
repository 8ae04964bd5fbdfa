"""A sweep over the heads in words."""

from model.records.sweep import Sweep
from model.texts import phrase
from viz.account import Account


def _facts(record: Sweep) -> list[str]:
    compared = phrase(
        "Step {step}: {token!r} against {rival!r}, {difference:+.3f} logits. Positive: the head helped the first.",
        step=record.step,
        token=record.texts[record.token_id],
        rival=record.texts[record.rival_id],
        difference=record.difference,
    )
    return [compared, *record.notes]


ACCOUNT = Account(
    of=Sweep,
    what=phrase("Sweep over heads"),
    summary=lambda record: phrase(
        "Every head of {model} switched off in turn, {n} of {n_layers} layers.",
        model=record.model.name,
        n=len(record.swept),
        n_layers=record.model.n_layers,
    ),
    facts=_facts,
)
