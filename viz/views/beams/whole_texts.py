"""The finished texts of a beam search."""

import math

from model.records.beams import BeamSearch
from model.texts import phrase
from viz import theme
from viz.measured import table
from viz.theme import Mode
from viz.view import Html, Selection, view


@view("The finished texts", of=BeamSearch, follows="nothing", needs="ids")
def beam_answers(record: BeamSearch, _at: Selection, _mode: Mode = "light") -> Html:
    """The best score has won.

    Score is the sum of the tokens' log-probabilities (natural logarithms), divided by the number of tokens to the power
    of the length penalty; probability is that of the whole text after the prompt.
    """
    head = (phrase("text"), phrase("tokens"), phrase("probability"), phrase("sum"), phrase("score"), phrase("ended"))
    rows = [
        (
            phrase("{text} (greedy decoding)", text=each.text) if place == record.greedy_answer() else each.text,
            theme.count(each.step + 1),
            theme.percent(math.exp(record.log_probability(each))),
            f"{record.log_probability(each):.3f}",
            f"{each.score:.4f}",
            phrase("by itself") if each.ended else phrase("at the length"),
        )
        for place, each in enumerate(record.answers)
    ]
    return table(head, rows)
