"""How long the lab's maps take on the default model: all heads switched off, all pieces patched, 12 tokens.

`python -m bench.lab [--threads 1] [--turns 3]` prints seconds by the wall clock and of the processor, the best of the
turns, and the machine's load. Exit code 1 when a map takes more than 20 s of the processor on one thread, or by the
wall clock on two: what waits for other programs on a busy machine is left out on one thread alone.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

PROMPT = "The capital of France is Paris. The capital of Italy is"
OTHER = "The capital of Italy is Rome. The capital of France is"  # every position but six has the same token
MOST_S = 20.0


def main() -> int:
    """Measure, print, and say whether the target was met."""
    parser = argparse.ArgumentParser(prog="python -m bench.lab", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--turns", type=int, default=3, help="how often each map is made (default 3)")
    asked = parser.parse_args()
    from model import load
    from model.capture.machine import in_words

    torch.set_num_threads(asked.threads)
    hooked = load()
    before = os.getloadavg()[0]
    met = True
    for name, make in maps(hooked):
        wall, processor = _best(make, asked.turns)
        taken = processor if asked.threads == 1 else wall
        met = met and taken <= MOST_S
        print(f"{'PASS' if taken <= MOST_S else 'MISS'}: {name}: {wall:.1f} s, {processor:.1f} s of the processor")
    print(f"{in_words(hooked)}; {asked.threads} threads; load {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    return 0 if met else 1


def maps(hooked: Any) -> list[tuple[str, Callable[[], Any]]]:
    """The maps by name, each ready to be made."""
    from model import patch, sweep, trace
    from model.records.patching import PIECES

    run, other = (trace(hooked, prompt, max_new_tokens=1, additions=False) for prompt in (PROMPT, OTHER))
    n_layers, n_heads, n_tokens = hooked.card.n_layers, hooked.card.n_heads, run.n_prompt
    swept = f"sweep of {n_layers} x {n_heads} heads, {n_tokens} tokens"

    def of(piece: Any) -> tuple[str, Callable[[], Any]]:
        name = f"patch map of {n_layers} x {n_heads if piece == 'heads' else n_tokens}, {piece}"
        return name, lambda: patch(hooked, run, other, piece)

    return [(swept, lambda: sweep(hooked, run, 0)), *(of(piece) for piece in PIECES)]


def _best(make: Callable[[], Any], turns: int) -> tuple[float, float]:
    taken: list[tuple[float, float]] = []
    for _ in range(turns):
        started, worked = time.perf_counter(), time.process_time()
        make()
        taken.append((time.perf_counter() - started, time.process_time() - worked))
    return min(wall for wall, _ in taken), min(processor for _, processor in taken)


if __name__ == "__main__":
    sys.exit(main())
