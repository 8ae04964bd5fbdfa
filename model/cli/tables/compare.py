"""A comparison: where two runs first differ, and by how much they do at each step that both have."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown, columns, slots_of
from model.records.comparison import Comparison, Side
from model.texts import phrase

_LAYERS = 5  # of those whose attention differs most


def table(found: Comparison) -> str:
    """The two runs, where they part, a row for each step that both have, and the layers whose attention differs most.

    KL(A || B) is in nats; total variation and attention are shares from 0 (the same) to 1.
    """
    parts = ["\n".join(_side(name, side) for name, side in (("A", found.a), ("B", found.b))), _first(found)]
    if len(found.positions):
        head = (
            phrase("position"),
            phrase("KL, nats"),
            phrase("total variation"),
            phrase("token of A"),
            phrase("in A"),
            phrase("in B"),
        )
        parts.append("\n".join(columns(head, [_row(found, at) for at in range(len(found.positions))])))
    if found.attention is not None:
        mean = found.attention.mean(axis=1)
        most = np.argsort(-mean, kind="stable")[:_LAYERS]
        parts.append(
            phrase(
                "Attention differs most in layers {layers} (total variation of a row, averaged: {shares}).",
                layers=", ".join(map(str, most)),
                shares=", ".join(f"{mean[each]:.3f}" for each in most),
            )
        )
    return "\n\n".join(parts)


def _side(name: str, side: Side) -> str:
    return phrase(
        "{name}: {called} {model}; {prompt!r} -> {text!r}; cache {n_bytes:,} bytes, {seconds:.2f} s as recorded",
        name=name,
        called=side.name,
        model=side.model.name,
        prompt=side.prompt[-40:],
        text=side.text[:40],
        n_bytes=side.kv_bytes,
        seconds=side.seconds,
    )


def _first(found: Comparison) -> str:
    at = found.first_differs
    if at is None:
        return phrase("Their tokens are the same, as far as both go.")
    return phrase(
        "They first differ at position {at}: {one!r} in A, {other!r} in B. {n} positions are aligned.",
        at=at,
        one=found.a.tokens[at].text,
        other=found.b.tokens[at].text,
        n=found.n_aligned,
    )


def _row(found: Comparison, at: int) -> tuple[str, ...]:
    position = int(found.positions[at])
    return (
        f"{position}",
        "" if found.kl is None else f"{found.kl[at]:.4f}",
        "" if found.variation is None else f"{found.variation[at]:.4f}",
        ascii(found.a.tokens[position + 1].text),
        f"{found.chosen[at, 0]:.2%}",
        "" if np.isnan(found.chosen[at, 1]) else f"{found.chosen[at, 1]:.2%}",
    )


def summary(found: Comparison) -> dict[str, Any]:
    """The same in plain values, with attention by layer and head and the lens by layer."""
    arrays = {name: _plain(each) for name, each in found.arrays().items()}
    sides = {
        name: {key: value for key, value in slots_of(side).items() if key not in ("model", "tokens")}
        | {"model": side.model.name, "tokens": [each.id for each in side.tokens]}
        for name, side in (("a", found.a), ("b", found.b))
    }
    return {
        **sides,
        "n_aligned": found.n_aligned,
        "differing": list(found.differing),
        "first_differs": found.first_differs,
        **arrays,
    }


def _plain(array: np.ndarray) -> Any:
    """Its numbers, null for what is not there."""
    values = array.astype(object)
    values[np.isnan(array)] = None
    return values.tolist()


SHOWN = Shown(
    doing=phrase("comparing"),
    table=table,
    summary=summary,
    stopped=lambda _record, _request: phrase("stopped before the runs were compared"),
)
