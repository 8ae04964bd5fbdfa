"""From how many texts on batching pays: continuous, static and sequential, side by side, in turns.

`python -m bench.serving [--turns 5] [--quick] [-o FILE]` prints seconds and tokens a second of each scheduler for 1, 2,
4 and 8 texts that arrive together, on the default model with its own attention implementation, and whether the target
is met: continuous batching is faster than sequential from 4 texts on, and two texts in a static batch take at most 0.9
of one after the other. The schedulers take turns, and a ratio is taken within a turn; wall time, because that is what
a user waits, or with `--cpu` process time at one thread, for a busy machine. Exit code 1 when a target is missed;
`--quick` only checks that everything runs, on two texts, and judges nothing.
"""

import argparse
import json
import os
import statistics
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench.few_rows import by_process_time

TEXTS = (
    "The capital of France is Paris. The capital of Italy is",
    "Once upon a time, a small robot found a door in the forest. Behind it",
    "def is_even(n):\n    return",
    "A young dog is called a",
    "The opposite of early is",
    "Monday, Tuesday, Wednesday,",
    "Water boils at a temperature of",
    "The three largest cities of Japan are",
)
SIZES = (1, 2, 4, 8)
PAYS_FROM = 4
TWO_TAKE = 0.9  # of one after the other
LENGTHS = (24, 32, 16, 28, 20, 32, 12, 24)  # new tokens: texts end at different times, as they do


def main() -> int:
    """Measure all sizes, print them, and say whether the target was met."""
    options = _options()
    turns, sizes, cut = (1, (2,), 4) if options.quick else (options.turns, tuple(options.sizes), 256)
    from model.experiments.batching import paged, schedulers

    with by_process_time(paged, schedulers) if options.cpu else nullcontext():
        result = _measure(turns, sizes, cut, one_thread=options.cpu)
    print(_report(result))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for target in result["targets"]:
        word = "not judged" if options.quick else "PASS" if target["met"] else "MISS"
        print(f"{word}: {target['what']} = {target['measured']:.2f} ({target['bound']})")
    return 0 if options.quick or all(target["met"] for target in result["targets"]) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="turns that each scheduler takes (default 5)")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of texts (default 1 2 4 8)")
    parser.add_argument("--cpu", action="store_true", help="process time at one thread instead of wall time")
    parser.add_argument("--quick", action="store_true", help="one short turn, to see that it runs; judges nothing")
    parser.add_argument("-o", "--output", type=Path, help="write the measurements as JSON to this file too")
    return parser.parse_args()


def _measure(turns: int, sizes: tuple[int, ...], cut: int, *, one_thread: bool) -> dict[str, Any]:
    import torch

    from model import load
    from model.capture.machine import in_words

    if one_thread:
        torch.set_num_threads(1)
    hooked = load(settle_threads=not one_thread)
    hooked.products.measure(sizes)
    hooked.model.generation_config.eos_token_id = None  # every text has its full length
    load_before = os.getloadavg()[0]
    rows = [_row(hooked, size, turns, cut) for size in sizes]
    return {
        "machine": in_words(hooked),
        "cores": os.cpu_count(),
        "turns": turns,
        "load": [load_before, os.getloadavg()[0]],
        "sizes": rows,
        "targets": [_target(row) for row in rows if row["size"] == 2 or row["size"] >= PAYS_FROM],
    }


def _target(row: dict[str, Any]) -> dict[str, Any]:
    """Two texts are to gain in a static batch, which reads nothing but them; more in the engine as well."""
    if row["size"] == 2:
        met, bound = row["static_takes"] <= TWO_TAKE, f"at most {TWO_TAKE:.2f}"
        return {"what": "static / sequential, 2 texts", "measured": row["static_takes"], "met": met, "bound": bound}
    what = f"sequential / continuous, {row['size']} texts"
    return {"what": what, "measured": row["gain"], "met": row["gain"] > 1, "bound": "at least 1.00"}


def _row(hooked: Any, size: int, turns: int, cut: int) -> dict[str, Any]:
    """Seconds of each scheduler in turns, for the first `size` texts."""
    from model.api.job import Job
    from model.experiments.batching.paged import Bounds
    from model.experiments.batching.schedulers import NAMES, Text, run
    from model.records.trace import Settings

    bounds = Bounds(block_size=16, n_blocks=64, token_budget=256, max_requests=size, prefix_caching=True)
    texts = [
        Text(ids=tuple(hooked.tokenizer(prompt)["input_ids"]), max_new_tokens=min(new, cut), arrives_s=0.0)
        for prompt, new in zip(TEXTS[:size], LENGTHS, strict=False)
    ]
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    padding = 0.0
    for turn in range(turns + 1):  # the first one warms up
        for name in NAMES:
            ran = run(name, hooked, texts, Settings(), bounds, Job())
            if turn:
                seconds[name].append(ran.seconds)
            if name == "static":
                padding = _padding(ran)
    n_new = sum(text.max_new_tokens for text in texts)
    ratios = [one / other for one, other in zip(seconds["sequential"], seconds["continuous"], strict=True)]
    return {
        "size": size,
        "n_new": n_new,
        "seconds": seconds,
        "gain": statistics.median(ratios),
        "gains": ratios,
        "static_takes": statistics.median(
            one / other for one, other in zip(seconds["static"], seconds["sequential"], strict=True)
        ),
        "static_padding": padding,
    }


def _padding(ran: Any) -> float:
    worked = sum(each.n_tokens + each.n_padding for each in ran.passes)
    return sum(each.n_padding for each in ran.passes) / worked


def _report(result: dict[str, Any]) -> str:
    before, after = result["load"]
    lines = [
        f"{result['machine']}; {result['cores']} cores; load {before:.1f} before, {after:.1f} after",
        f"medians of {result['turns']} turns, [least, most]; the gain is sequential / continuous, within a turn",
        "",
        f"{'texts':>5} {'tokens':>6}  {'scheduler':<10} {'seconds':>20} {'tokens/s':>9} {'padding':>8}",
    ]
    for row in result["sizes"]:
        for name, seconds in row["seconds"].items():
            padding = f"{row['static_padding']:.0%}" if name == "static" else "0%"
            lines.append(
                f"{row['size']:>5} {row['n_new']:>6}  {name:<10} {_spread(seconds):>20} "
                f"{row['n_new'] / statistics.median(seconds):>9.1f} {padding:>8}"
            )
        lines.append(f"{'':>14}{'gain':<10} {_spread(row['gains']):>20}")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    sys.exit(main())
