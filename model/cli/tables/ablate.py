"""An ablation: the text that was written; as JSON also what was edited."""

from dataclasses import asdict, replace
from typing import Any

from model.cli.tables import run as runs
from model.records.trace import Trace
from model.requests.request import Request
from model.texts import phrase


def summary(run: Trace) -> dict[str, Any]:
    """A run's summary, and each edit in plain values and in words."""
    return runs.summary(run) | {"edits": [asdict(edit) | {"said": edit.said} for edit in run.edits]}


def stopped(run: Trace | None, _: Request) -> str:
    """How far it came."""
    return phrase(
        "stopped after {n} of {most} new tokens",
        n=run.n_generated if run else 0,
        most=run.settings.max_new_tokens if run else phrase("all"),
    )


SHOWN = replace(runs.SHOWN, doing=phrase("running, edited"), summary=summary, stopped=stopped)
