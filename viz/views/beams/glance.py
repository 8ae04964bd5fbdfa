"""What a beam search comes to beside greedy decoding."""

import math

from model.records.beams import BeamSearch
from model.texts import phrase
from viz import theme
from viz.measured import Large, n_tokens, number
from viz.measured import glance as at_a_glance
from viz.theme import Mode
from viz.view import Html, Selection, view


@view("Is the likeliest token always best?", of=BeamSearch, follows="nothing", needs="ids", glance=True)
def beams_glance(record: BeamSearch, _at: Selection, _mode: Mode = "light") -> Html:
    """Greedy decoding takes the likeliest token each time; beam search looks for likelier whole texts.

    The probability of a text is the product of its tokens' probabilities. A token that is a little less likely now can
    lead to a text that is likelier as a whole. Texts of other lengths are compared by their score: the sum of the
    log-probabilities, divided by the number of tokens to the power of the length penalty.
    """
    n_ranked, n_on = int((record.ids >= 0).sum()), int((record.beams >= 0).sum())
    large = [
        _best(record),
        Large(
            value=theme.count(n_on),
            means=phrase(
                "of {n_ranked} ranked continuations went on, at most {n_beams} a pass",
                n_ranked=theme.count(n_ranked),
                n_beams=record.n_beams,
            ),
        ),
        Large(value=theme.count(len(record.answers)), means=phrase("finished texts, of which the best has won")),
    ]
    below = phrase("{model}, {n} passes", model=record.model.name, n=len(record.ids))
    return at_a_glance(large, _answer(record), below)


def _best(record: BeamSearch) -> Large:
    """How much likelier the best text is than the greedy one, where that is known."""
    if not record.answers:
        return Large(value="\u2013", means=phrase("no text is finished yet"))
    best, path = record.answers[0], record.greedy()
    ratio = math.exp(record.log_probability(best) - float(record.scores[path[-1]]))
    if record.greedy_answer() == 0:
        return Large(value="\u00d71.00", means=phrase("as likely as greedy decoding: it is the same text"))
    if record.greedy_answer() is not None:
        return Large(
            value=f"\u00d7{number(ratio)}", means=phrase("as likely as the text of greedy decoding, as a whole")
        )
    return Large(
        value=phrase("pass {n}", n=path[-1][0]), means=phrase("dropped the text that greedy decoding was writing")
    )


def _answer(record: BeamSearch) -> str:
    if not record.answers:
        return ""
    best = record.answers[0]
    values = {"text": best.text.strip(), "tokens": n_tokens(best.step + 1)}
    share = theme.percent(math.exp(record.log_probability(best)))
    return phrase("\u201c{text}\u201d has won: {tokens}, probability {share} as a whole.", share=share, **values)
