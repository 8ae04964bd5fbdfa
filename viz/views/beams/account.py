"""A beam search, in words."""

from typing import Any

from model.records.beams import BeamSearch
from model.texts import phrase
from viz.account import Account
from viz.measured import n_tokens


def _facts(record: BeamSearch) -> list[str]:
    chat = (
        phrase("the prompt in the model's chat template")
        if record.chat
        else phrase("the prompt as typed, without a chat template")
    )
    return [
        phrase("Prompt, {tokens}: {prompt}", tokens=n_tokens(len(record.tokens)), prompt=record.prompt),
        phrase(
            "{n_beams} beams, at most {n_new} new tokens, length penalty {penalty:g}, early stopping {early}; {chat}",
            n_beams=record.n_beams,
            n_new=record.max_new_tokens,
            penalty=record.length_penalty,
            early=record.early_stopping,
            chat=chat,
        ),
        phrase("The search is that of transformers, generate(num_beams={n}), overheard.", n=record.n_beams),
        *record.notes,
    ]


def _asked(record: BeamSearch) -> dict[str, Any]:
    names = ("prompt", "chat", "max_new_tokens", "n_beams", "length_penalty")
    return {name: getattr(record, name) for name in names}


ACCOUNT = Account(
    of=BeamSearch,
    what=phrase("Beam search"),
    summary=lambda record: phrase(
        "{model} writes {n} texts at a time; the likeliest go on.", model=record.model.name, n=record.n_beams
    ),
    facts=_facts,
    asked=_asked,
)
