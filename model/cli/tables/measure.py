"""A timing: its phases, the passes with and without the cache, measured beside predicted."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown, columns, middle, slots_of, spread
from model.records.timing import Measurement, Work
from model.texts import counted, phrase


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
        {"pass": name, "seconds": seconds, **slots_of(work), "mfu": mfu, "mbu": mbu}
        for name, work, seconds, mfu, mbu in _worked(measured)
    ]
    names = ("prompt", "text", "n_prompt", "n_new", "warm_up", "hooks", "taken", "notes")
    tokens = measured.n_new > 1 and len(measured.ttft) > 0
    return {
        "model": measured.model.name,
        "machine": slots_of(measured.machine),
        **{name: getattr(measured, name) for name in names},
        "tpot": measured.tpot.tolist() if tokens else [],
        "end_to_end": measured.end_to_end.tolist(),
        **arrays,
        "race_tokens": measured.race_tokens,
        "race_on_work": [slots_of(each) for each in measured.race_on_work],
        "race_off_work": [slots_of(each) for each in measured.race_off_work],
        "passes": passes,
    }


def _head(measured: Measurement) -> list[str]:
    card, machine = measured.model, measured.machine
    return [
        phrase(
            "{model}: {n_parameters:,} parameters, {dtype}, attention by {attention}",
            model=card.name,
            n_parameters=card.n_parameters,
            dtype=card.dtype,
            attention=card.attention,
        ),
        phrase(
            "{processor}, {system}; {cores}, {threads}, {device}, torch {torch}; {taken} UTC",
            processor=machine.processor,
            system=machine.system,
            cores=counted(machine.cores, "1 core", "{n:,} cores"),
            threads=counted(machine.threads, "1 thread", "{n:,} threads"),
            device=machine.device,
            torch=machine.torch,
            taken=measured.taken,
        ),
        phrase(
            "reads {bandwidth} GB/s, multiplies {matrix_speed} GFLOP/s (probed {probed} UTC): ridge at {ridge:.1f} "
            "operations a byte",
            bandwidth=spread(machine.bandwidth, machine.bandwidth_span, 1e9),
            matrix_speed=spread(machine.matrix_speed, machine.matrix_span, 1e9),
            probed=machine.probed,
            ridge=machine.ridge,
        ),
        phrase(
            "{tokens}, {n_new} generated; {runs} after {warm_up} for warm-up; {hooks} on the model",
            tokens=counted(measured.n_prompt, "1 prompt token", "{n:,} prompt tokens"),
            n_new=measured.n_new,
            runs=counted(len(measured.ttft), "1 run", "{n:,} runs"),
            warm_up=measured.warm_up,
            hooks=counted(measured.hooks, "1 hook", "{n:,} hooks"),
        ),
    ]


def _phases(measured: Measurement) -> list[str]:
    if not len(measured.ttft):
        return []
    rows = [(phrase("time to first token (TTFT)"), measured.ttft * 1e3, "ms")]
    if measured.n_new > 1:
        rows += [
            (phrase("inter-token latency (ITL)"), measured.itl * 1e3, "ms"),
            (phrase("time per output token (TPOT)"), measured.tpot * 1e3, "ms"),
            (phrase("decode speed (1 / TPOT)"), 1 / measured.tpot, "tokens/s"),
        ]
    rows += [
        (phrase("end-to-end latency"), measured.end_to_end * 1e3, "ms"),
        (phrase("speed, prefill included"), measured.n_new / measured.end_to_end, "tokens/s"),
    ]
    return columns(
        (phrase("measured"), phrase("median"), phrase("min"), phrase("max"), ""),
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
                phrase("yes") if same == other else phrase("no"),
            )
        )
    head = (
        phrase("context, tokens"),
        phrase("with, ms"),
        phrase("without, ms"),
        phrase("slower"),
        phrase("operations, predicted"),
        phrase("logits differ by"),
        phrase("same token"),
    )
    return columns(head, rows) if rows else []


def _passes(measured: Measurement) -> list[str]:
    rows = (
        (
            _called(name, work),
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
        phrase("one pass (bytes and operations are predicted)"),
        phrase("ms"),
        phrase("tokens/s"),
        phrase("GFLOP"),
        phrase("weights, MB"),
        phrase("cache read, MB"),
        phrase("written, MB"),
        phrase("operations/byte"),
        phrase("MFU"),
        phrase("MBU"),
    )
    lines = columns(head, rows)
    return lines if len(lines) > 1 else []


def _called(name: str, work: Work) -> str:
    """A pass in words; by its name a program finds it."""
    words = {"prefill": phrase("prefill"), "decode": phrase("decode")}
    return words.get(name) or phrase("decode, batch of {n}", n=work.batch)


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
    doing=phrase("measuring"),
    table=table,
    summary=summary,
    stopped=lambda _record, _request: phrase("stopped before all was measured"),
)
