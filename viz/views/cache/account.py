"""Cache trials in words."""

from typing import Any

from model.records.cache import CacheTrials
from model.texts import phrase
from viz.account import Account
from viz.measured import n_tokens
from viz.view import Selection


def _facts(record: CacheTrials) -> list[str]:
    written = record.tokens[record.n_prompt :]
    text = "".join(token.text for token in written)
    return [
        phrase("Prompt, {tokens}: {prompt}", tokens=n_tokens(record.n_prompt), prompt=record.prompt),
        phrase("Generated, {tokens}: {text}", tokens=n_tokens(len(written)), text=text),
    ]


def _asked(record: CacheTrials) -> dict[str, Any]:
    """The prompt, and how the cache was compressed."""
    asked = {"prompt": record.prompt, "chat": record.settings.chat, "max_new_tokens": record.settings.max_new_tokens}
    names = {"window": "window", "sink + window": "sink", "dropped": "dropped"}  # by the kind of the trial that has it
    kept = {names[each.kind]: getattr(each, names[each.kind]) for each in record.trials if each.kind in names}
    return {**asked, "dropped": (), **kept}


ACCOUNT = Account(
    of=CacheTrials,
    what=phrase("Cache compression"),
    summary=lambda record: phrase("A run of {model}, replayed with a compressed cache.", model=record.model.name),
    facts=_facts,
    asked=_asked,
    first=lambda record: Selection(context=max(record.model.n_ctx, 1)),
)
