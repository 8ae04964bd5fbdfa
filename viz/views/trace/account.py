"""A run in words."""

from model.records.trace import Trace
from model.texts import phrase
from viz.account import Account

ACCOUNT = Account(
    of=Trace,
    what="",
    summary=lambda run: phrase(
        "A recorded run of {model}; every number was computed by the model.", model=run.model.name
    ),
    facts=lambda run: list(run.notes),
)
