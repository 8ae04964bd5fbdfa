"""Beam search: the finished texts, and where greedy decoding's text went."""

import math
from typing import Any

from model.cli.tables.columns import Shown, columns, slots_of
from model.records.beams import BeamSearch
from model.texts import phrase


def table(searched: BeamSearch) -> str:
    """The finished texts, the best score first: score is the sum of the tokens' natural log-probabilities, divided by
    the number of tokens to the power of the length penalty.

    Source: Graves 2012, "Sequence Transduction with Recurrent Neural Networks".
    """
    head = (phrase("score"), phrase("sum"), phrase("probability"), phrase("tokens"), phrase("text"))
    rows = []
    for each in searched.answers:
        total = searched.log_probability(each)
        rows.append(
            (f"{each.score:.4f}", f"{total:.3f}", f"{math.exp(total):.3g}", f"{each.step + 1}", repr(each.text))
        )
    top = phrase(
        "{model}: {n_beams} beams, {n_passes} passes, length penalty {penalty:g}",
        model=searched.model.name,
        n_beams=searched.n_beams,
        n_passes=len(searched.ids),
        penalty=searched.length_penalty,
    )
    said = ["", *columns(head, rows), "", _greedy(searched)] if searched.answers else []
    return "\n".join([top, *said])


def _greedy(searched: BeamSearch) -> str:
    if (place := searched.greedy_answer()) is not None:
        return phrase("greedy decoding wrote text {n} of these", n=place + 1)
    return phrase("greedy decoding's text was dropped in pass {n}", n=searched.greedy()[-1][0])


def summary(searched: BeamSearch) -> dict[str, Any]:
    """The same in plain values, with every continuation that was ranked."""
    names = ("prompt", "n_beams", "length_penalty", "early_stopping", "max_new_tokens")
    return {
        "model": searched.model.name,
        **{name: getattr(searched, name) for name in names},
        "answers": [
            slots_of(each) | {"token_ids": list(searched.ids_of(each.step, each.rank))} for each in searched.answers
        ],
        **{name: array.tolist() for name, array in searched.arrays().items()},
    }


SHOWN = Shown(
    doing=phrase("searching"),
    unit=phrase("passes"),
    table=table,
    summary=summary,
    stopped=lambda record, _request: phrase("stopped after {n} passes", n=0 if record is None else len(record.ids)),
)
