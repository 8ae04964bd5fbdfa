"""Drafts at a glance: how much faster each one is, what it takes, and one answer in words."""

from model.records.speculation import Attempt, Speculation
from model.texts import counted, listed, phrase
from viz import theme
from viz.measured import Large, number
from viz.measured import glance as at_a_glance
from viz.theme import Mode
from viz.view import Html, Selection, view


@view("Is it faster with a draft?", of=Speculation, follows="nothing", needs="attempts", glance=True)
def drafting_glance(record: Speculation, _at: Selection, _mode: Mode = "light") -> Html:
    """A draft guesses tokens; one pass of the large model checks them all.

    Plain decoding writes one token a pass of the large model. A draft pays where enough of its guesses are accepted,
    and guessing them costs little. Speeds are medians of runs without recording, in turns with plain decoding.
    """
    below = phrase("{model} on {machine}", model=record.model.name, machine=record.machine)
    return at_a_glance([_large(each) for each in record.attempts], _answer(record), below)


def _large(attempt: Attempt) -> Large:
    speed, accepted = attempt.speedup, attempt.acceptance
    guesses = (
        phrase("no guess checked")
        if accepted is None
        else phrase("{share} of checked guesses accepted", share=theme.percent(accepted))
    )
    values = {"draft": attempt.name, "tokens": number(attempt.tokens_per_pass), "guesses": guesses}
    if speed is None:
        means = phrase("{draft}: {tokens} tokens a pass, {guesses}; its speed:", **values)
        return Large(value="\u2013", means=means, is_late=True)
    means = phrase("as fast as plain decoding with {draft}: {tokens} tokens a pass, {guesses}", **values)
    return Large(value=f"\u00d7{number(speed)}", means=means)


def _answer(record: Speculation) -> str:
    """The fastest draft beside plain decoding, whether that is sure, and whether the text is the same."""
    timed = [each for each in record.attempts if each.speedup is not None]
    if not timed:
        return ""
    fastest = max(timed, key=lambda each: each.speedup or 0)
    return f"{_fastest(fastest, len(timed))} {_same(record)}"


def _fastest(attempt: Attempt, n: int) -> str:
    """A draft is called faster, or slower, where every turn was."""
    values = {"draft": attempt.name, "times": number(attempt.speedup or 0)}
    if min(attempt.turns) > 1:
        return phrase("Yes: with {draft}, {times} times as fast as plain decoding.", **values)
    if max(attempt.turns) < 1 and n > 1:
        return phrase("No: even the fastest, {draft}, has {times} times the speed of plain decoding.", **values)
    if max(attempt.turns) < 1:
        return phrase("No: with {draft}, {times} times the speed of plain decoding.", **values)
    return phrase("Not clear: {draft} was faster than plain decoding in some runs, slower in others.", **values)


def _same(record: Speculation) -> str:
    other = [each.name for each in record.attempts if each.same_tokens is False]
    if other:
        return counted(len(other), "{drafts} wrote another text.", "{drafts} wrote other texts.", drafts=listed(other))
    if any(each.same_tokens is None for each in record.attempts):
        return phrase("Tokens are sampled, so the texts differ; their distribution is the same.")
    return phrase("The text is the same.")
