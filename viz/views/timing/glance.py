"""A measurement at a glance: three large numbers, each with what it means."""

import numpy as np

from model.records.timing import Measurement
from model.texts import counted, phrase
from viz import theme
from viz.measured import Large, Spread, number
from viz.measured import glance as at_a_glance
from viz.theme import Mode
from viz.view import Html, Selection, view

_TOLD = 100  # tokens of a text: for which position the answer in words is given, if it was measured around it


@view("What this model costs", of=Measurement, follows="nothing", needs="ttft", glance=True)
def glance(record: Measurement, _at: Selection, _mode: Mode = "light") -> Html:
    """What the prefill takes, what each token after it, and what the cache saves.

    All numbers are medians of passes without recording, on the machine named below.
    """
    machine = phrase(
        "{model} on {processor}, {device}, {dtype}, {threads} of {cores} cores; {taken} UTC",
        model=record.model.name,
        processor=record.machine.processor,
        device=record.machine.device,
        dtype=record.machine.dtype,
        threads=record.machine.threads,
        cores=record.machine.cores,
        taken=record.taken,
    )
    return at_a_glance((_first(record), _rate(record), _saved(record)), _answer(record), machine)


def _first(record: Measurement) -> Large:
    what = counted(
        record.n_prompt,
        "time to first token: the prefill reads {n} token",
        "time to first token: the prefill reads {n} tokens at once",
    )
    return Large(value=theme.duration(Spread.of(record.ttft).median), means=what)


def _rate(record: Measurement) -> Large:
    if not record.itl.size:
        return Large(value="\u2013", means=phrase("tokens a second: it wrote one token only"))
    itl = Spread.of(record.itl.ravel()).median
    means = phrase("tokens a second after it: {itl} each, all of generate() included", itl=theme.duration(itl))
    return Large(value=number(1 / itl), means=means)


def _saved(record: Measurement) -> Large:
    if not len(record.race_lengths):
        return Large(value="\u2013", means=phrase("what the KV cache saves:"), is_late=True)
    ratio = float(np.median(record.race_off[-1]) / np.median(record.race_on[-1]))
    length = theme.count(int(record.race_lengths[-1]))
    means = phrase("as fast with the KV cache as without it, at {n} tokens of text", n=length)
    return Large(value=f"\u00d7{number(ratio)}", means=means)


def _answer(record: Measurement) -> str:
    """What one token takes with and without the cache; between two measured lengths it is interpolated, and says so."""
    lengths = record.race_lengths
    if not len(lengths):
        return ""
    at = min(_TOLD, int(lengths[-1]))
    on, off = (
        theme.duration(float(np.interp(at, lengths, np.median(tries, axis=1))))
        for tries in (record.race_on, record.race_off)
    )
    if at in lengths:
        return phrase(
            "After {n} tokens of text, the pass for one more takes {on} with the cache, and {off} without it.",
            n=at,
            on=on,
            off=off,
        )
    return phrase(
        "After {n} tokens of text, the pass for one more takes {on} with the cache, and {off} without it (interpolated "
        "between measured lengths).",
        n=at,
        on=on,
        off=off,
    )
