"""Experiments in words: the tables that the command line prints, and the same numbers as plain values."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from model.records.batching import Batching
from model.records.speculation import Speculation
from model.records.timing import Measurement, Work


def table(measured: Measurement) -> str:
    """All that was measured, and beside it what was predicted; a part that was not measured is left out.

    TTFT runs from the call to the first token, ITL from each token to the next, TPOT is their mean in one run. MFU,
    model FLOPs utilisation, is the operations that a pass must do for each second, as a share of this machine's
    matrix speed; MBU, model bandwidth utilisation, the same of its bytes and memory bandwidth.
    Source: Databricks 2023, "LLM Inference Performance Engineering" (TTFT, TPOT, MBU); NVIDIA, GenAI-Perf and NIM
    metrics (ITL); Chowdhery et al. 2022, PaLM, section 4.1 (MFU).
    """
    parts = [_head(measured), _phases(measured), _race(measured), _passes(measured)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def summary(measured: Measurement) -> dict[str, Any]:
    """The same in plain values: seconds, bytes and operations, every try of each, and the machine."""
    arrays = {name: array.tolist() for name, array in measured.arrays().items()}
    passes = [
        {"pass": name, "seconds": seconds, **_fields(work), "mfu": mfu, "mbu": mbu}
        for name, work, seconds, mfu, mbu in _worked(measured)
    ]
    names = ("prompt", "text", "n_prompt", "n_new", "warm_up", "hooks", "taken", "notes")
    tokens = measured.n_new > 1 and len(measured.ttft) > 0
    return {
        "model": measured.model.name,
        "machine": _fields(measured.machine),
        **{name: getattr(measured, name) for name in names},
        "tpot": measured.tpot.tolist() if tokens else [],
        "end_to_end": measured.end_to_end.tolist(),
        **arrays,
        "race_tokens": measured.race_tokens,
        "race_on_work": [_fields(each) for each in measured.race_on_work],
        "race_off_work": [_fields(each) for each in measured.race_off_work],
        "passes": passes,
    }


def served_table(served: Batching) -> str:
    """What became of each text, and how long it took in each way to serve them; a part that was not run is left out.

    TTFT runs from a text's arrival to its first token, latency to its last one. Padding is what a pass worked on
    that is no text, as a share of all that it worked on.
    Source: Kwon et al. 2023, PagedAttention (blocks); Yu et al. 2022, Orca (ticks); NVIDIA, GenAI-Perf (TTFT).
    """
    parts = [_served_head(served), _texts(served), _ways(served)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def served_summary(served: Batching) -> dict[str, Any]:
    """The same in plain values, with every tick: who read what, the block tables, and the blocks that are left."""
    names = ("block_size", "n_blocks", "block_bytes", "token_budget", "max_requests", "sharing", "machine", "notes")
    return {
        "model": served.model.name,
        **{name: getattr(served, name) for name in names},
        "requests": [_fields(each) | {"tokens": [token.id for token in each.tokens]} for each in served.requests],
        "ticks": [
            _fields(tick) | {name: [_fields(each) for each in getattr(tick, name)] for name in ("shares", "tables")}
            for tick in served.ticks
        ],
        "ways": [
            _fields(way) | {"passes": [_fields(each) for each in way.passes], "n_padding": way.n_padding}
            for way in served.ways
        ],
    }


def drafted_table(drafted: Speculation) -> str:
    """How often each draft was right, and what it gained or lost beside plain decoding.

    Acceptance is of the drafted tokens that were judged: those after a refused one were not. The speed is seconds a
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
                _decimals(np.array(each.plain_s)) if each.plain_s else "",
                _decimals(np.array(each.speculated_s)) if each.speculated_s else "",
                "" if speed is None else f"{speed:.2f}",
                same,
            )
        )
    head = (
        "draft",
        "accepted",
        "of those judged",
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
        f"{_many(drafted.n_prompt, 'prompt token')}, {written} written by plain decoding",
    ]
    passes = [f"ms of a pass of the model that reads so many tokens: {', '.join(costs)}"] if costs else []
    said = [f"{each.name}: {' '.join(each.notes)}" for each in drafted.attempts if each.notes]
    parts = [top, _columns(head, rows) if rows else [], [*passes, *said]]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def drafted_summary(drafted: Speculation) -> dict[str, Any]:
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
            _fields(each)
            | {
                "tokens": [token.id for token in each.tokens],
                "acceptance": each.acceptance,
                "tokens_per_pass": each.tokens_per_pass,
                "speedup": each.speedup,
                "rounds": [
                    _fields(one)
                    | {
                        "own_best": [_fields(best) for best in one.own_best],
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


def _served_head(served: Batching) -> list[str]:
    card, n_read = served.model, sum(tick.n_tokens for tick in served.ticks)
    reused = sum(count for tick in served.ticks for _, count in tick.reused)
    put_back = sum(len(tick.put_back) for tick in served.ticks)
    return [
        f"{card.name}: {card.n_parameters:,} parameters, {card.dtype}; {served.machine}",
        f"{served.n_blocks} blocks of {served.block_size} tokens, {served.block_bytes:,} bytes each; at most "
        f"{_many(served.token_budget, 'token')} and {_many(served.max_requests, 'text')} a tick",
        f"{_many(len(served.ticks), 'tick')} read {_many(n_read, 'token')}; {reused:,} more were found in the cache; "
        f"{_many(put_back, 'time')} a text had to make room",
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
    return _columns(("text", "tokens", "written", "arrives, s", "ticks", "ended by"), rows)


def _ways(served: Batching) -> list[str]:
    rows = [
        (
            way.name,
            _decimals(np.array(way.seconds)),
            f"{way.rate:,.1f}",
            _decimals(np.array(way.ttft)),
            _decimals(np.array(way.latency)),
            f"{len(way.passes):,}",
            f"{way.n_padding / way.n_read:.0%}",
            f"{sum(way.same_tokens)} of {len(way.same_tokens)}",
        )
        for way in served.ways
    ]
    head = (
        "timed without recording",
        "s in all",
        "tokens/s",
        "TTFT, s",
        "latency, s",
        "passes",
        "padding",
        "same tokens as generate",
    )
    return _columns(head, rows) if rows else []


def _head(measured: Measurement) -> list[str]:
    card, machine = measured.model, measured.machine
    return [
        f"{card.name}: {card.n_parameters:,} parameters, {card.dtype}, attention by {card.attention}",
        f"{machine.processor}, {machine.system}; {_many(machine.cores, 'core')}, {_many(machine.threads, 'thread')}, "
        f"{machine.device}, torch {machine.torch}; {measured.taken} UTC",
        f"reads {_spread(machine.bandwidth, machine.bandwidth_span, 1e9)} GB/s, multiplies "
        f"{_spread(machine.matrix_speed, machine.matrix_span, 1e9)} GFLOP/s (probed {machine.probed} UTC): ridge at "
        f"{machine.ridge:.1f} operations a byte",
        f"{_many(measured.n_prompt, 'prompt token')}, {measured.n_new} written; {_many(len(measured.ttft), 'run')} "
        f"after {measured.warm_up} to warm up; {_many(measured.hooks, 'hook')} on the model",
    ]


def _phases(measured: Measurement) -> list[str]:
    if not len(measured.ttft):
        return []
    rows = [("time to first token (TTFT)", measured.ttft * 1e3, "ms")]
    if measured.n_new > 1:
        rows += [
            ("inter-token latency (ITL)", measured.itl * 1e3, "ms"),
            ("time per output token (TPOT)", measured.tpot * 1e3, "ms"),
            ("decode speed (1 / TPOT)", 1 / measured.tpot, "tokens/s"),
        ]
    rows += [
        ("end-to-end latency", measured.end_to_end * 1e3, "ms"),
        ("speed, prefill included", measured.n_new / measured.end_to_end, "tokens/s"),
    ]
    return _columns(
        ("measured", "median", "least", "most", ""),
        ((name, *(f"{of(values):,.1f}" for of in (np.median, np.min, np.max)), unit) for name, values, unit in rows),
    )


def _race(measured: Measurement) -> list[str]:
    rows = []
    for place, length in enumerate(measured.race_lengths.tolist()):
        on, off = measured.race_on[place] * 1e3, measured.race_off[place] * 1e3
        predicted = measured.race_off_work[place].flops / measured.race_on_work[place].flops
        same, other = measured.race_tokens[place]
        relative = measured.race_difference[place] / measured.race_scale[place]
        rows.append(
            (
                f"{length:,}",
                _middle(on),
                _middle(off),
                f"{np.median(off) / np.median(on):.1f}x",
                f"{predicted:.1f}x",
                f"{relative:.0e}",
                "yes" if same == other else "no",
            )
        )
    head = (
        "the cache race, at tokens",
        "with, ms",
        "without, ms",
        "slower",
        "operations, predicted",
        "logits differ by",
        "same token",
    )
    return _columns(head, rows) if rows else []


def _passes(measured: Measurement) -> list[str]:
    rows = (
        (
            name,
            f"{seconds * 1e3:,.1f}",
            f"{work.batch * work.n_new / seconds:,.1f}",
            f"{work.flops / 1e9:,.2f}",
            *(f"{each / 1e6:,.2f}" for each in (work.weight_bytes, work.kv_read, work.kv_written)),
            f"{work.intensity:.2f}",
            f"{mfu:.0%}",
            f"{mbu:.0%}",
        )
        for name, work, seconds, mfu, mbu in _worked(measured)
    )
    head = (
        "one pass (bytes and operations are predicted)",
        "ms",
        "tokens/s",
        "GFLOP",
        "weights, MB",
        "cache read, MB",
        "written, MB",
        "operations/byte",
        "MFU",
        "MBU",
    )
    lines = _columns(head, rows)
    return lines if len(lines) > 1 else []


def _worked(measured: Measurement) -> list[tuple[str, Work, float, float, float]]:
    """Each pass that was timed: its name, its predicted work, its median seconds, MFU and MBU.

    The prefill's seconds are TTFT, the decode pass's ITL: both include the choice of a token, a small part of them.
    """
    passes: list[tuple[str, Work, np.ndarray]] = []
    if len(measured.ttft):
        passes += [("prefill", measured.prefill_work, measured.ttft)]
    if measured.itl.size:
        passes += [("decode", measured.decode_work, measured.itl)]
    batches = zip(measured.batch_work, measured.batch_seconds, strict=True)
    passes += [(f"decode, batch of {work.batch}", work, seconds) for work, seconds in batches]
    rows = [(name, work, float(np.median(seconds))) for name, work, seconds in passes]
    machine = measured.machine
    return [(name, work, took, machine.mfu(work, took), machine.mbu(work, took)) for name, work, took in rows]


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _spread(middle: float, span: tuple[float, float], unit: float) -> str:
    return f"{middle / unit:,.1f} ({span[0] / unit:,.1f} to {span[1] / unit:,.1f})"


def _middle(values: np.ndarray) -> str:
    return f"{np.median(values):,.1f} ({values.min():,.1f} to {values.max():,.1f})"


def _decimals(values: np.ndarray) -> str:
    return f"{np.median(values):,.2f} ({values.min():,.2f} to {values.max():,.2f})"


def _columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
