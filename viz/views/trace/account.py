"""A run in words."""

from model.records.trace import Trace
from viz.account import Account

ACCOUNT = Account(
    of=Trace,
    what="",
    summary=lambda run: f"A recorded run of {run.model.name}; every number is one that the model computed.",
    facts=lambda run: list(run.notes),
)
