"""A patch map: the pieces that bring back most of the clean answer."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown, columns
from model.records.patching import PatchMap
from model.texts import phrase

_STRONGEST = 20


def table(patched: PatchMap) -> str:
    """The pieces that change most. 1: the logit difference is the clean run's again; 0: the corrupt run's."""
    rows = [_row(patched, *each) for each in patched.strongest(_STRONGEST)]
    top = phrase(
        "{model}: {what}, {clean!r} against {corrupt!r}; {clean_difference:+.3f} logits clean, "
        "{corrupt_difference:+.3f} corrupt; {n} of {n_layers} layers done",
        model=patched.model.name,
        what=patched.what,
        clean=patched.texts[patched.clean_id],
        corrupt=patched.texts[patched.corrupt_id],
        clean_difference=patched.clean_difference,
        corrupt_difference=patched.corrupt_difference,
        n=len(patched.done),
        n_layers=patched.model.n_layers,
    )
    place = phrase("head") if patched.what == "heads" else phrase("position")
    head = (phrase("layer"), place, phrase("token"), phrase("recovered"))
    return "\n".join([top, "", *columns(head, rows)])


def summary(patched: PatchMap) -> dict[str, Any]:
    """The same in plain values, with every piece; null where none was put."""
    recovered = patched.recovered.astype(object)
    recovered[~np.isfinite(patched.recovered)] = None
    return {
        "model": patched.model.name,
        "what": patched.what,
        "clean": [token.text for token in patched.clean],
        "corrupt": [token.text for token in patched.corrupt],
        "clean_answer": {"id": patched.clean_id, "text": patched.texts[patched.clean_id]},
        "corrupt_answer": {"id": patched.corrupt_id, "text": patched.texts[patched.corrupt_id]},
        "clean_difference": patched.clean_difference,
        "corrupt_difference": patched.corrupt_difference,
        "done": list(patched.done),
        "recovered": recovered.tolist(),
    }


def _row(patched: PatchMap, layer: int, place: int, share: float) -> tuple[str, str, str, str]:
    token = "" if patched.what == "heads" else repr(patched.corrupt[place].text)
    return f"{layer}", f"{place}", token, f"{share:+.3f}"


SHOWN = Shown(
    doing=phrase("patching"),
    table=table,
    summary=summary,
    stopped=lambda record, _request: phrase("stopped after {n} layers", n=len(record.done) if record else 0),
)
