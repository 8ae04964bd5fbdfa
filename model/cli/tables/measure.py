"""A timing: its phases, the cache race and its passes, measured beside predicted."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown, columns, fields_of, many, middle, spread
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
        {"pass": name, "seconds": seconds, **fields_of(work), "mfu": mfu, "mbu": mbu}
        for name, work, seconds, mfu, mbu in _worked(measured)
    ]
    names = ("prompt", "text", "n_prompt", "n_new", "warm_up", "hooks", "taken", "notes")
    tokens = measured.n_new > 1 and len(measured.ttft) > 0
    return {
        "model": measured.model.name,
        "machine": fields_of(measured.machine),
        **{name: getattr(measured, name) for name in names},
        "tpot": measured.tpot.tolist() if tokens else [],
        "end_to_end": measured.end_to_end.tolist(),
        **arrays,
        "race_tokens": measured.race_tokens,
        "race_on_work": [fields_of(each) for each in measured.race_on_work],
        "race_off_work": [fields_of(each) for each in measured.race_off_work],
        "passes": passes,
    }


def _head(measured: Measurement) -> list[str]:
    card, machine = measured.model, measured.machine
    return [
        f"{card.name}: {card.n_parameters:,} parameters, {card.dtype}, attention by {card.attention}",
        f"{machine.processor}, {machine.system}; {many(machine.cores, 'core')}, {many(machine.threads, 'thread')}, "
        f"{machine.device}, torch {machine.torch}; {measured.taken} UTC",
        f"reads {spread(machine.bandwidth, machine.bandwidth_span, 1e9)} GB/s, multiplies "
        f"{spread(machine.matrix_speed, machine.matrix_span, 1e9)} GFLOP/s (probed {machine.probed} UTC): ridge at "
        f"{machine.ridge:.1f} operations a byte",
        f"{many(measured.n_prompt, 'prompt token')}, {measured.n_new} written; {many(len(measured.ttft), 'run')} "
        f"after {measured.warm_up} to warm up; {many(measured.hooks, 'hook')} on the model",
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
    return columns(
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
                middle(on),
                middle(off),
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
    return columns(head, rows) if rows else []


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
    lines = columns(head, rows)
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


SHOWN = Shown(
    doing="measuring", table=table, summary=summary, stopped=lambda _record, _request: "stopped before all was measured"
)
