"""The logit lens of a run as a record has it: which columns are there, and how those of two records come together."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from model.records.trace import Trace

WHOLE_UP_TO = 512
"""Positions of a run whose lens is computed whole, after it; of a longer one, a column is when it is looked at."""


def missing_columns(trace: Trace, positions: Collection[int] | None = None) -> list[int]:
    """Those of the positions (None: all) whose column is not there yet, in their order."""
    asked = range(trace.n_fed) if positions is None else positions
    if trace.lens_ids is None:
        return list(asked)
    there = trace.lens_ids[0, :, 0] >= 0
    return [position for position in asked if not there[position]]


def with_columns_of(trace: Trace, newer: Trace) -> Trace:
    """A copy of the run that also has the columns, and the texts of their tokens, of another record of the same run."""
    if newer.lens_ids is None or newer.lens_probs is None:
        return trace
    if trace.lens_ids is None or trace.lens_probs is None:
        ids, probs = newer.lens_ids, newer.lens_probs
    else:
        lacks = trace.lens_ids[:, :, :1] < 0
        ids = np.where(lacks, newer.lens_ids, trace.lens_ids)
        probs = np.where(lacks, newer.lens_probs, trace.lens_probs)
    return replace(
        trace,
        lens_ids=ids,
        lens_probs=probs,
        texts=trace.texts | newer.texts,
        fragments=trace.fragments | newer.fragments,
    )
