"""A measurement in words."""

from model.records.timing import Measurement
from model.texts import phrase
from viz.account import Account
from viz.measured import n_tokens, on_machine
from viz.view import Selection


def _facts(record: Measurement) -> list[str]:
    return [
        phrase("Prompt, {tokens}: {prompt}", tokens=n_tokens(record.n_prompt), prompt=record.prompt),
        phrase("Generated, {tokens}: {text}", tokens=n_tokens(record.n_new), text=record.text),
        phrase("Machine: {machine}", machine=on_machine(record.machine)),
        phrase(
            "{runs} timed runs (warm-up runs before: {warm_up}), with {hooks} hooks on the model; {taken} UTC",
            runs=len(record.ttft),
            warm_up=record.warm_up,
            hooks=record.hooks,
            taken=record.taken,
        ),
        *record.notes,
    ]


ACCOUNT = Account(
    of=Measurement,
    what=phrase("Measurement"),
    summary=lambda record: phrase(
        "{model}, timed without recording. Solid: measured. Dashed or outlined: predicted.", model=record.model.name
    ),
    facts=_facts,
    asked=lambda record: {
        "prompt": record.prompt,
        "chat": record.settings.chat,
        "max_new_tokens": record.settings.max_new_tokens,
        "n_prompt": None,  # the prompt is kept as it was cut or repeated
    },
    first=lambda record: Selection(context=max(record.model.n_ctx, 1)),
)
