"""Switching off every attention head of a model in turn."""

from dataclasses import dataclass

from model.records.fields import setting
from model.requests.request import Request


@dataclass(frozen=True, kw_only=True)
class SweepHeads(Request):
    """Switch off each attention head in turn, and see which helped a choice of a run."""

    run: str = setting(kind="record", label="Run", help="The run whose choice is looked at.", flag=None, metavar="FILE")
    step: int = setting(
        0,
        kind="whole",
        label="Step",
        low=0,
        metavar="N",
        help="The step whose choice is looked at: 0 is the prefill, which chose the first token.",
    )
    resume: str | None = setting(
        None,
        kind="record",
        label="Sweep so far",
        metavar="FILE",
        help="An earlier sweep of the same step, to go on with where it was stopped.",
    )
