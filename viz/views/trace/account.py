"""A run in words."""

from model.records.edits import all_said
from model.records.trace import Trace
from model.texts import phrase
from viz.account import Account


def _summary(run: Trace) -> str:
    """What the run is; of an edited model, with what was changed."""
    if run.edits:
        return phrase(
            "A recorded run of {model}, edited: {edits}; every number was computed by the edited model.",
            model=run.model.name,
            edits=all_said(run.edits),
        )
    return phrase("A recorded run of {model}; every number was computed by the model.", model=run.model.name)


ACCOUNT = Account(
    of=Trace,
    what="",
    summary=_summary,
    facts=lambda run: list(run.notes),
)
