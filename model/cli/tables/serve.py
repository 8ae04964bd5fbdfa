"""Batching: the result of each text, and its time under each scheduler."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown, columns, decimals, slots_of
from model.records.batching import Batching, letter
from model.texts import counted, phrase


def table(served: Batching) -> str:
    """The result of each text, and its time under each scheduler; a part that was not run is left out.

    TTFT runs from a text's arrival to its first token, latency to its last one. Padding is the share of padding
    tokens among all tokens that the passes compute.
    Source: Kwon et al. 2023, PagedAttention (blocks); Yu et al. 2022, Orca (ticks); NVIDIA, GenAI-Perf (TTFT).
    """
    parts = [_head(served), _texts(served), _schedulers(served)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def summary(served: Batching) -> dict[str, Any]:
    """The same as plain values, with every tick: its scheduled chunks, block tables and free blocks."""
    names = (
        "block_size",
        "n_blocks",
        "block_bytes",
        "token_budget",
        "max_requests",
        "prefix_caching",
        "machine",
        "notes",
    )
    return {
        "model": served.model.name,
        "products": [slots_of(each) for each in served.products],
        **{name: getattr(served, name) for name in names},
        "requests": [slots_of(each) | {"tokens": [token.id for token in each.tokens]} for each in served.requests],
        "ticks": [
            slots_of(tick)
            | {name: [slots_of(each) for each in getattr(tick, name)] for name in ("scheduled", "block_tables")}
            for tick in served.ticks
        ],
        "schedulers": [
            slots_of(scheduler)
            | {"passes": [slots_of(each) for each in scheduler.passes], "n_padding": scheduler.n_padding}
            for scheduler in served.schedulers
        ],
    }


def _head(served: Batching) -> list[str]:
    card, n_read = served.model, sum(tick.n_tokens for tick in served.ticks)
    cached = sum(count for tick in served.ticks for _, count in tick.n_cached_tokens)
    preempted = sum(len(tick.preempted) for tick in served.ticks)
    return [
        phrase(
            "{model}: {n_parameters:,} parameters, {dtype}; {machine}",
            model=card.name,
            n_parameters=card.n_parameters,
            dtype=card.dtype,
            machine=served.machine,
        ),
        phrase(
            "{n_blocks} blocks of {block_size} tokens, {block_bytes:,} bytes each; at most {tokens} and {texts} a tick",
            n_blocks=served.n_blocks,
            block_size=served.block_size,
            block_bytes=served.block_bytes,
            tokens=counted(served.token_budget, "1 token", "{n:,} tokens"),
            texts=counted(served.max_requests, "1 text", "{n:,} texts"),
        ),
        phrase(
            "{ticks} read {tokens}; {cached:,} more were found by prefix caching; {preemptions}",
            ticks=counted(len(served.ticks), "1 tick", "{n:,} ticks"),
            tokens=counted(n_read, "1 token", "{n:,} tokens"),
            cached=cached,
            preemptions=counted(preempted, "1 preemption", "{n:,} preemptions"),
        ),
    ]


def _texts(served: Batching) -> list[str]:
    rows = []
    for number, each in enumerate(served.requests):
        own = [at for at, tick in enumerate(served.ticks) if any(chunk.request == number for chunk in tick.scheduled)]
        written = len(each.tokens) - each.n_prompt
        rows.append(
            (
                f"{letter(number)}: {each.prompt[:40]!r}",
                f"{each.n_prompt:,}",
                f"{written:,}",
                f"{each.arrives_s:.2f}",
                phrase("{first} to {last}", first=own[0], last=own[-1]) if own else phrase("none"),
                each.ended,
            )
        )
    return columns(
        (
            phrase("text"),
            phrase("tokens"),
            phrase("written"),
            phrase("arrives, s"),
            phrase("ticks"),
            phrase("ended by"),
        ),
        rows,
    )


def _schedulers(served: Batching) -> list[str]:
    rows = [
        (
            scheduler.label,
            decimals(np.array(scheduler.seconds)),
            f"{scheduler.rate:,.1f}",
            decimals(np.array(scheduler.ttft)),
            decimals(np.array(scheduler.latency)),
            f"{len(scheduler.passes):,}",
            f"{scheduler.n_padding / scheduler.n_read:.0%}",
            phrase("{same} of {n}", same=sum(scheduler.same_tokens), n=len(scheduler.same_tokens)),
        )
        for scheduler in served.schedulers
    ]
    head = (
        phrase("scheduler, timed without recording"),
        phrase("total, s"),
        phrase("tokens/s"),
        phrase("TTFT, s"),
        phrase("latency, s"),
        phrase("passes"),
        phrase("padding"),
        phrase("same tokens as generate"),
    )
    return columns(head, rows) if rows else []


SHOWN = Shown(
    doing=phrase("serving"),
    table=table,
    summary=summary,
    stopped=lambda _record, _request: phrase("stopped before all was served and timed"),
)
