"""Speculation: how often each draft was right, and whether it paid."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown, columns, decimals, fields_of, many
from model.records.speculation import Speculation


def table(drafted: Speculation) -> str:
    """How often each draft was right, and what it gained or lost beside plain decoding.

    Acceptance is of the drafted tokens that were verified: those after a refused one were not. The speed is seconds a
    token of plain decoding over those with the draft, medians of runs in turns, unrecorded: above 1 the draft pays.
    Source: Leviathan, Kalman, Matias 2023, "Fast Inference from Transformers via Speculative Decoding".
    """
    rows = []
    for each in drafted.attempts:
        right, speed, same = each.acceptance, each.speedup, {True: "yes", False: "NO", None: "drawn"}[each.same_tokens]
        rows.append(
            (
                each.name,
                f"{each.n_accepted:,} of {each.n_drafted:,}",
                "none" if right is None else f"{right:.0%}",
                f"{each.tokens_per_pass:.2f}",
                decimals(np.array(each.plain_s)) if each.plain_s else "",
                decimals(np.array(each.speculated_s)) if each.speculated_s else "",
                "" if speed is None else f"{speed:.2f}",
                same,
            )
        )
    head = (
        "draft",
        "accepted",
        "of those verified",
        "tokens a pass",
        "plain, s",
        "with draft, s",
        "times as fast",
        "same tokens",
    )
    costs = [
        f"{size} {1e3 * float(np.median(seconds)):,.1f}"
        for size, seconds in zip(drafted.verify_sizes, drafted.verify_s, strict=True)
    ]
    written = len(drafted.tokens) - drafted.n_prompt
    top = [
        f"{drafted.model.name}; {drafted.machine}",
        f"{many(drafted.n_prompt, 'prompt token')}, {written} written by plain decoding",
    ]
    passes = [f"ms of a pass of the model that reads so many tokens: {', '.join(costs)}"] if costs else []
    said = [f"{each.name}: {' '.join(each.notes)}" for each in drafted.attempts if each.notes]
    parts = [top, columns(head, rows) if rows else [], [*passes, *said]]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def summary(drafted: Speculation) -> dict[str, Any]:
    """The same in plain values, with every round: what was drafted, how likely it was, and what became of it."""
    return {
        "model": drafted.model.name,
        "machine": drafted.machine,
        "n_prompt": drafted.n_prompt,
        "tokens": [token.id for token in drafted.tokens],
        "notes": drafted.notes,
        "verify_ms": {
            int(size): [1e3 * float(each) for each in seconds]
            for size, seconds in zip(drafted.verify_sizes, drafted.verify_s, strict=True)
        },
        "attempts": [
            fields_of(each)
            | {
                "tokens": [token.id for token in each.tokens],
                "acceptance": each.acceptance,
                "tokens_per_pass": each.tokens_per_pass,
                "speedup": each.speedup,
                "rounds": [
                    fields_of(one)
                    | {
                        "own_best": [fields_of(best) for best in one.own_best],
                        "drafted": [
                            {name: getattr(said, name) for name in ("id", "q", "p", "random", "accepted")}
                            for said in one.drafted
                        ],
                    }
                    for one in each.rounds
                ],
            }
            for each in drafted.attempts
        ],
    }


SHOWN = Shown(
    doing="speculating", table=table, summary=summary, stopped=lambda _record, _request: "stopped before all was timed"
)
