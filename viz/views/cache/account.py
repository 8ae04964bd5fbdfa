"""Cache trials in words."""

from model.records.cache import CacheTrials
from viz import theme
from viz.account import Account
from viz.view import Selection


def _facts(record: CacheTrials) -> list[str]:
    written = record.tokens[record.n_prompt :]
    text = "".join(token.text for token in written)
    return [
        f"Prompt, {theme.several(record.n_prompt, 'token')}: {record.prompt}",
        f"Written, {theme.several(len(written), 'token')}: {text}",
    ]


ACCOUNT = Account(
    of=CacheTrials,
    what="Smaller caches",
    summary=lambda record: f"A run of {record.model.name}, replayed with smaller caches.",
    facts=_facts,
    first=lambda record: Selection(context=max(record.model.n_ctx, 1)),
)
