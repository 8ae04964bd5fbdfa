"""A patch map in words."""

from model.records.patching import PatchMap
from model.texts import phrase
from viz.account import Account


def _facts(record: PatchMap) -> list[str]:
    compared = phrase(
        "{clean!r} against {corrupt!r}: {clean_difference:+.3f} logits after the clean prompt, "
        "{corrupt_difference:+.3f} after the corrupt one. 1: the clean difference is back; 0: none of it.",
        clean=record.texts[record.clean_id],
        corrupt=record.texts[record.corrupt_id],
        clean_difference=record.clean_difference,
        corrupt_difference=record.corrupt_difference,
    )
    clean = phrase("The clean prompt: {prompt}", prompt="".join(token.text for token in record.clean))
    return [compared, clean, *record.notes]


ACCOUNT = Account(
    of=PatchMap,
    what=phrase("Patch map"),
    summary=lambda record: phrase(
        "Pieces of a clean run of {model} put into a corrupt one, {n} of {n_layers} layers.",
        model=record.model.name,
        n=len(record.done),
        n_layers=record.model.n_layers,
    ),
    facts=_facts,
)
