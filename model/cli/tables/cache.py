"""Cache compression: what each trial saves, and what it does to the next tokens."""

from typing import Any

from model.cli.tables.columns import Shown, columns, slots_of
from model.records.cache import CacheTrials
from model.texts import counted, phrase


def table(tried: CacheTrials) -> str:
    """The bytes that each compressed cache holds after the last pass, and how much it changes the next tokens.

    KL is the Kullback-Leibler divergence KL(exact || trial) of the next-token distribution, in nats: 0 is the same
    distribution. Every pass reads the tokens of the run, whatever the compressed cache would have chosen.
    Source: Kullback and Leibler 1951.
    """
    n_new = tried.kl.shape[1]
    whole = tried.trials[0].n_bytes if tried.trials else 0
    written = [token.id for token in tried.tokens[tried.n_prompt :]]
    rows = []
    for trial, kl, chosen in zip(tried.trials, tried.kl, tried.chosen.tolist(), strict=True):
        other = sum(one != own for one, own in zip(chosen, written, strict=True))
        rows.append(
            (
                trial.name,
                f"{trial.n_bytes:,}",
                f"{trial.n_bytes / whole:.0%}" if whole else "",
                f"{kl.mean():.4f}" if n_new else "",
                f"{kl.max():.4f}" if n_new else "",
                phrase("{changed} of {n}", changed=other, n=n_new),
                "" if trial.first_changed is None else f"{trial.first_changed}",
            )
        )
    head = (
        phrase("cache"),
        phrase("bytes"),
        phrase("share of exact"),
        phrase("mean KL, nats"),
        phrase("max KL, nats"),
        phrase("changed tokens"),
        phrase("first changed"),
    )
    top = phrase(
        "{model}; {tokens}, {n_new} generated",
        model=tried.model.name,
        tokens=counted(tried.n_prompt, "1 prompt token", "{n:,} prompt tokens"),
        n_new=n_new,
    )
    return "\n".join([top, "", *columns(head, rows)])


def summary(tried: CacheTrials) -> dict[str, Any]:
    """The same in plain values, with every token of every trial."""
    rows = zip(tried.trials, tried.kl.tolist(), tried.chosen.tolist(), tried.kv_bytes.tolist(), strict=True)
    return {
        "model": tried.model.name,
        "prompt": tried.prompt,
        "n_prompt": tried.n_prompt,
        "tokens": [token.id for token in tried.tokens],
        "trials": [
            slots_of(trial) | {"kl": kl, "chosen": chosen, "kv_bytes": kv_bytes} for trial, kl, chosen, kv_bytes in rows
        ],
    }


SHOWN = Shown(
    doing=phrase("replaying"),
    table=table,
    summary=summary,
    stopped=lambda _record, _request: phrase("stopped before all was replayed"),
)
