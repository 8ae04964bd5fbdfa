"""Batching: what became of each text, and its time under each scheduler."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown, columns, decimals, fields_of, many
from model.records.batching import Batching

_CALLED = {"one by one": "sequential"}  # what a file calls it, and what it is called here


def table(served: Batching) -> str:
    """What became of each text, and how long it took under each scheduler; a part that was not run is left out.

    TTFT runs from a text's arrival to its first token, latency to its last one. Padding is what a pass worked on
    that is no text, as a share of all that it worked on.
    Source: Kwon et al. 2023, PagedAttention (blocks); Yu et al. 2022, Orca (ticks); NVIDIA, GenAI-Perf (TTFT).
    """
    parts = [_head(served), _texts(served), _schedulers(served)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def summary(served: Batching) -> dict[str, Any]:
    """The same in plain values, with every tick: who read what, the block tables, and the blocks that are left."""
    names = ("block_size", "n_blocks", "block_bytes", "token_budget", "max_requests", "sharing", "machine", "notes")
    return {
        "model": served.model.name,
        **{name: getattr(served, name) for name in names},
        "requests": [fields_of(each) | {"tokens": [token.id for token in each.tokens]} for each in served.requests],
        "ticks": [
            fields_of(tick) | {name: [fields_of(each) for each in getattr(tick, name)] for name in ("shares", "tables")}
            for tick in served.ticks
        ],
        "ways": [
            fields_of(way) | {"passes": [fields_of(each) for each in way.passes], "n_padding": way.n_padding}
            for way in served.ways
        ],
    }


def _head(served: Batching) -> list[str]:
    card, n_read = served.model, sum(tick.n_tokens for tick in served.ticks)
    cached = sum(count for tick in served.ticks for _, count in tick.reused)
    preempted = sum(len(tick.put_back) for tick in served.ticks)
    return [
        f"{card.name}: {card.n_parameters:,} parameters, {card.dtype}; {served.machine}",
        f"{served.n_blocks} blocks of {served.block_size} tokens, {served.block_bytes:,} bytes each; at most "
        f"{many(served.token_budget, 'token')} and {many(served.max_requests, 'text')} a tick",
        f"{many(len(served.ticks), 'tick')} read {many(n_read, 'token')}; {cached:,} more were found by "
        f"prefix caching; {many(preempted, 'time')} a text was preempted",
    ]


def _texts(served: Batching) -> list[str]:
    rows = []
    for number, each in enumerate(served.requests):
        own = [at for at, tick in enumerate(served.ticks) if any(share.request == number for share in tick.shares)]
        written = len(each.tokens) - each.n_prompt
        rows.append(
            (
                f"{number + 1}: {each.prompt[:40]!r}",
                f"{each.n_prompt:,}",
                f"{written:,}",
                f"{each.arrives_s:.2f}",
                f"{own[0] + 1} to {own[-1] + 1}" if own else "none",
                each.ended,
            )
        )
    return columns(("text", "tokens", "written", "arrives, s", "ticks", "ended by"), rows)


def _schedulers(served: Batching) -> list[str]:
    rows = [
        (
            _CALLED.get(way.name, way.name),
            decimals(np.array(way.seconds)),
            f"{way.rate:,.1f}",
            decimals(np.array(way.ttft)),
            decimals(np.array(way.latency)),
            f"{len(way.passes):,}",
            f"{way.n_padding / way.n_read:.0%}",
            f"{sum(way.same_tokens)} of {len(way.same_tokens)}",
        )
        for way in served.ways
    ]
    head = (
        "scheduler, timed without recording",
        "s in all",
        "tokens/s",
        "TTFT, s",
        "latency, s",
        "passes",
        "padding",
        "same tokens as generate",
    )
    return columns(head, rows) if rows else []


SHOWN = Shown(
    doing="serving",
    table=table,
    summary=summary,
    stopped=lambda _record, _request: "stopped before all was served and timed",
)
