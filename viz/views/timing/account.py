"""A measurement in words."""

from model.records.timing import Measurement
from viz import theme
from viz.account import Account
from viz.measured import on_machine
from viz.view import Selection


def _facts(record: Measurement) -> list[str]:
    return [
        f"Prompt, {theme.several(record.n_prompt, 'token')}: {record.prompt}",
        f"Written, {theme.several(record.n_new, 'token')}: {record.text}",
        f"Machine: {on_machine(record.machine)}",
        f"{len(record.ttft)} runs that count, after {record.warm_up} to warm up, with {record.hooks} hooks on the "
        f"model; {record.taken} UTC",
        *record.notes,
    ]


ACCOUNT = Account(
    of=Measurement,
    what="Measured",
    summary=lambda record: (
        f"{record.model.name}, timed without recording. Solid: measured. Dashed or outlined: predicted."
    ),
    facts=_facts,
    first=lambda record: Selection(context=max(record.model.n_ctx, 1)),
)
