"""A fork: the text that was written; as JSON also who chose each token, and what was not computed again."""

from dataclasses import asdict, replace
from typing import Any

from model.cli.tables import run as runs
from model.records.trace import Trace
from model.requests.fork import Fork
from model.texts import phrase


def summary(run: Trace) -> dict[str, Any]:
    """A run's summary, who chose each token, and the run that it was continued from."""
    told = runs.summary(run)
    for step, choice in zip(told["steps"], run.choices, strict=True):
        step["chosen_by"] = choice.chosen_by
    if run.origin is not None:
        told["origin"] = {**asdict(run.origin), "saved_s": run.origin.saved_s}
    return told


def _stopped(run: Trace | None, asked: Fork) -> str:
    return phrase(
        "stopped after {n} of {most} new tokens, continuing {run} from step {step}",
        n=run.n_generated if run else 0,
        most=run.settings.max_new_tokens if run else phrase("all"),
        run=asked.run,
        step=asked.step,
    )


SHOWN = replace(runs.SHOWN, doing=phrase("continuing"), summary=summary, stopped=_stopped)
