"""What a pass over two to four tokens costs beside a pass over one, on the default model.

`python -m bench.few_rows [--turns 12]` prints, for each number of rows, how long a pass takes with torch's `linear` and
with the products that batched and drafted passes take here, as a multiple of a plain pass over one token. Process time
at one thread, each turn one pass of every kind, ratios within a turn. Exit code 1 when a pass of two to four rows takes
more than 1.2 times as long as a pass of one.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch

ROWS = (2, 3, 4)
MOST = 1.2
_CONTEXT = 64  # tokens in the cache


def main() -> int:
    """Measure, print, and say whether the target was met."""
    parser = argparse.ArgumentParser(prog="python -m bench.few_rows", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=12, help="turns that each kind of pass takes (default 12)")
    asked = parser.parse_args()
    from model import load
    from model.capture.machine import in_words

    torch.set_num_threads(1)
    hooked = load()
    before = os.getloadavg()[0]
    linear, taken = _measured(hooked, asked.turns)
    print(f"{in_words(hooked)}; load {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    for rows in ROWS:
        print(f"{rows} rows: {_spread(taken[rows])} times a pass of one row; with linear {_spread(linear[rows])}")
    met = all(statistics.median(taken[rows]) <= MOST for rows in ROWS)
    print(f"{'PASS' if met else 'MISS'}: 2 to 4 rows at most {MOST} times one row")
    return 0 if met else 1


@contextmanager
def by_process_time(*modules: Any) -> Iterator[None]:
    """Inside, these modules measure the time that this process works: on a busy machine, others' work is left out."""
    clock = SimpleNamespace(**{**vars(time), "perf_counter": time.process_time})
    for module in modules:
        module.time = clock
    try:
        yield
    finally:
        for module in modules:
            module.time = time


def _measured(hooked: Any, turns: int) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Of each number of rows, its multiple of a plain pass of one row in each turn: with linear, and as taken."""
    from model.capture.decoding import prefilled

    for each in hooked.products.measure(ROWS):
        print(f"products of {each.n_rows} rows: {each.taken:.2f} times those of one row; with linear {each.linear:.2f}")
    ids = torch.arange(1000, 1000 + _CONTEXT)[None]
    linear: dict[int, list[float]] = {rows: [] for rows in ROWS}
    taken: dict[int, list[float]] = {rows: [] for rows in ROWS}
    with torch.inference_mode():
        cache = prefilled(hooked.model, ids)
        cache.activate_past_recording()

        def seconds(rows: int, around: Callable[[], AbstractContextManager[None]]) -> float:
            with around():
                started = time.process_time()
                hooked.model(ids[:, :rows], past_key_values=cache, use_cache=True)
                took = time.process_time() - started
            cache.crop(-rows)
            return took

        for turn in range(turns + 1):  # the first warms up
            one = seconds(1, nullcontext)
            for rows in ROWS:
                of_linear, of_taken = seconds(rows, nullcontext), seconds(rows, hooked.products.taken)
                if turn:
                    linear[rows].append(of_linear / one)
                    taken[rows].append(of_taken / one)
    return linear, taken


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    sys.exit(main())
