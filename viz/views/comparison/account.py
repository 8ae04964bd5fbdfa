"""A comparison in words."""

from model.records.comparison import Comparison
from model.texts import phrase
from viz.account import Account


def _facts(record: Comparison) -> list[str]:
    sides = [
        phrase("{name}: {prompt!r} goes on with {text!r}.", name=name, prompt=each.prompt, text=each.text)
        for name, each in (("A", record.a), ("B", record.b))
    ]
    return [*sides, *record.notes]


ACCOUNT = Account(
    of=Comparison,
    what=phrase("Comparison"),
    summary=lambda record: phrase(
        "Two runs beside each other: {a} and {b}.", a=record.a.model.name, b=record.b.model.name
    ),
    facts=_facts,
)
