"""Texts served together, at a glance: large numbers, each with what it means, and one answer in words."""

from model.records.batching import Batching, TimedScheduler
from model.texts import counted, phrase
from viz import served, theme
from viz.measured import Large, number
from viz.measured import glance as at_a_glance
from viz.theme import Mode
from viz.view import Html, Selection, view


@view("Is it faster together?", of=Batching, follows="nothing", needs="ticks", glance=True)
def serving_glance(record: Batching, _at: Selection, _mode: Mode = "light") -> Html:
    """The same texts, written together and one after another.

    Together: continuous batching, in which each pass of the model works on every text that is ready. Both were timed
    without recording; the seconds are of the run of median length. The largest batch and the cache are of the
    recorded run, tick by tick below: the KV cache keeps each text's keys and values in blocks.
    """
    below = phrase("{model} on {machine}", model=record.model.name, machine=record.machine)
    return at_a_glance((_speed(record), _batch(record), _cache(record)), _answer(record), below)


def _timed(record: Batching, name: str) -> TimedScheduler | None:
    return next((each for each in record.schedulers if each.name == name), None)


def _speed(record: Batching) -> Large:
    together, apart = _timed(record, "continuous"), _timed(record, "sequential")
    if together is None or apart is None:
        return Large(value="\u2013", means=phrase("how much faster than one after another:"), is_late=True)
    rates = {"together": number(together.rate), "apart": number(apart.rate)}
    means = (
        phrase("as fast as one after another, though runs vary by more: {together} tokens a second, {apart}", **rates)
        if _clear(together, apart)
        else phrase("as fast as one after another: {together} tokens a second instead of {apart}", **rates)
    )
    return Large(value=f"\u00d7{number(together.rate / apart.rate)}", means=means)


def _batch(record: Batching) -> Large:
    most = max(len(tick.scheduled) for tick in record.ticks)
    means = counted(
        most,
        "text in the largest batch: each pass of the model worked on one alone",
        "texts in the largest batch: one pass of the model worked on all of them",
    )
    return Large(value=theme.count(most), means=means)


def _cache(record: Batching) -> Large:
    used = [len(served.blocks_in_use(tick)) for tick in record.ticks]
    means = phrase(
        "blocks of the KV cache in use at the fullest, after tick {tick}: {size}",
        tick=used.index(max(used)),
        size=theme.size(max(used) * record.block_bytes),
    )
    return Large(
        value=phrase("{used} of {all}", used=theme.count(max(used)), all=theme.count(record.n_blocks)), means=means
    )


def _answer(record: Batching) -> str:
    """Both times, whether that was so in every run, and whether the texts are the same."""
    together, apart = _timed(record, "continuous"), _timed(record, "sequential")
    if together is None or apart is None:
        return ""
    times = {"together": theme.duration(together.total_s), "apart": theme.duration(apart.total_s)}
    told = [
        counted(
            len(record.requests),
            "1 text took {together} with batching, {apart} without.",
            "{n} texts together took {together}; one after another, {apart}.",
            **times,
        ),
        _clear(together, apart),
        _static(record, together),
        _late(record),
        _same(together),
    ]
    return " ".join(filter(None, told))


def _clear(together: TimedScheduler, apart: TimedScheduler) -> str:
    """A warning, where the faster of the two was not so in every turn."""
    if len(together.seconds) != len(apart.seconds):
        return ""
    fast, slow = sorted((together, apart), key=lambda each: each.rate, reverse=True)
    return "" if served.is_always_faster(fast, slow) else phrase("Runs vary too much to say which is faster.")


def _static(record: Batching, together: TimedScheduler) -> str:
    """That a static batch was done sooner, where it was, and what it does not have to do."""
    static = _timed(record, "static")
    if static is None or static.total_s >= together.total_s:
        return ""
    return phrase(
        "Static batching took {static}: it read each prompt whole, with {padding} of padding; continuous batching read "
        "at most {budget} tokens a pass.",
        static=theme.duration(static.total_s),
        padding=theme.percent(static.n_padding / static.n_read) if static.n_read else "0%",
        budget=record.token_budget,
    )


def _late(record: Batching) -> str:
    last = max(each.arrives_s for each in record.requests)
    return phrase("The last text arrived after {duration}.", duration=theme.duration(last)) if last else ""


def _same(together: TimedScheduler) -> str:
    other = together.same_tokens.count(False)
    return (
        counted(
            other,
            "1 text differs from the one that the model writes alone.",
            "{n} texts differ from those that the model writes alone.",
        )
        if other
        else phrase("The texts are the same.")
    )
