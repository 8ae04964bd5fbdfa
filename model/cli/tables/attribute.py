"""An attribution: the largest parts of the difference of two logits, and the sum."""

from typing import Any

from model.cli.tables.columns import Shown, columns
from model.records.attribution import Attribution
from model.texts import phrase

_MOST = 10  # parts that the table names


def named_parts(found: Attribution) -> list[tuple[str, float]]:
    """Every part by name, in logits, in the order in which it adds to the stream; the remainder last."""
    parts = [(phrase("embedding"), found.embedding)]
    for layer in range(len(found.mlps)):
        heads = [
            (phrase("layer {layer}, head {head}", layer=layer, head=head), float(each))
            for head, each in enumerate(found.heads[layer])
        ]
        parts += [*heads, (phrase("layer {layer}, MLP", layer=layer), float(found.mlps[layer]))]
    return [*parts, (phrase("biases"), found.biases), (phrase("remainder"), found.remainder)]


def table(found: Attribution) -> str:
    """The ten largest parts, all others as one row, and the sum: the difference of the recorded logits.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """
    parts = named_parts(found)
    largest = sorted(parts, key=lambda each: -abs(each[1]))[:_MOST]
    others = sum(value for _, value in parts) - sum(value for _, value in largest)
    rows = [(name, f"{value:+.3f}") for name, value in largest]
    if len(parts) > len(largest):
        rows.append((phrase("{n} other parts together", n=len(parts) - len(largest)), f"{others:+.3f}"))
    rows.append((phrase("sum"), f"{found.total:+.3f}"))
    top = phrase(
        "Step {step}: why {token!r} ({share:.1%}) and not {rival!r} ({other:.1%})? Logits: {logit:.3f} and {less:.3f}.",
        step=found.step,
        token=found.token,
        rival=found.rival,
        share=found.probabilities[0],
        other=found.probabilities[1],
        logit=found.logits[0],
        less=found.logits[1],
    )
    signs = phrase(
        "Positive: this part made {token!r} likelier than {rival!r}; negative: the other way round. Direct effects "
        "alone: what a part does by changing later parts counts as theirs.",
        token=found.token,
        rival=found.rival,
    )
    return "\n".join([top, "", *columns((phrase("part"), phrase("logits")), rows), "", signs])


def summary(found: Attribution) -> dict[str, Any]:
    """The same in plain values, with every part and every source."""
    return {
        "model": found.model.name,
        "prompt": found.prompt,
        "step": found.step,
        "tokens": [{"id": each.id, "text": each.text} for each in found.tokens],
        "token": {"id": found.token_id, "text": found.token, "logit": found.logits[0]},
        "rival": {"id": found.rival_id, "text": found.rival, "logit": found.logits[1]},
        "embedding": found.embedding,
        "heads": found.heads.tolist(),
        "mlps": found.mlps.tolist(),
        "others": found.others.tolist(),
        "biases": found.biases,
        "remainder": found.remainder,
        "total": found.total,
        "sources": None if found.sources is None else found.sources.tolist(),
        "sources_note": found.sources_note,
    }


SHOWN = Shown(
    doing=phrase("explaining"),
    table=table,
    summary=summary,
    stopped=lambda _record, _request: phrase("stopped before the step was explained"),
)
