"""How often the draft of our own is right, and what it gains, on prompts that it was not trained on.

`python -m bench.speculation [--drafted 2] [--tokens 48] [--turns 3]` prints a row for each prompt, the medians and the
machine. The texts it was trained on were begun by the model itself, and are not kept; these prompts were written by a
person. Plain and speculated runs take turns, so that a busy moment meets both; `--cpu` measures process time at one
thread instead of wall time, for a busy machine. The target: the median is 1.3 times plain decoding or more.
"""

import argparse
import os
import statistics
from contextlib import nullcontext

import torch

from bench.few_rows import by_process_time
from model import HookedModel, load
from model.capture.machine import in_words
from model.experiments.speculation import speculative
from model.limits import Limits
from model.records.settings import Settings

FREE = ("Once upon a time, there was a little fox who", "The history of the Roman Empire", "My favourite recipe is")
AT_LEAST = 1.3
CHAT = ("What is photosynthesis?", "Write a short poem about the sea.", "Explain what a prime number is.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drafted", type=int, default=2, help="tokens a round")
    parser.add_argument("--tokens", type=int, default=48, help="written for each prompt")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="process time at one thread")
    asked = parser.parse_args()
    if asked.cpu:
        torch.set_num_threads(1)
    hooked = load(settle_threads=not asked.cpu)
    before = os.getloadavg()[0]
    with by_process_time(speculative) if asked.cpu else nullcontext():
        rates, speeds = _measured(hooked, asked)
    print(
        f"median acceptance {statistics.median(rates):.0%} ({min(rates):.0%} to {max(rates):.0%}), "
        f"median speed {statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})"
    )
    print(f"{in_words(hooked)}; load {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    print(f"{'PASS' if statistics.median(speeds) >= AT_LEAST else 'MISS'}: at least {AT_LEAST} times plain decoding")


def _measured(hooked: HookedModel, asked: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Acceptance and speed of each case, printed as they come."""
    rates: list[float] = []
    speeds: list[float] = []
    groups = ((False, FREE), (True, CHAT))
    cases = [(prompt, chat, heat) for heat in (0.0, 0.7) for chat, group in groups for prompt in group]
    for prompt, chat, heat in cases:
        settings = Settings(max_new_tokens=asked.tokens, chat=chat, temperature=heat)
        *_, record = speculative.speculate(
            hooked,
            prompt,
            settings,
            Limits.from_environment(),
            modes=["own draft"],
            n_draft=asked.drafted,
            repeats=asked.turns,
        )
        (attempt,) = record.attempts
        rates.append(attempt.acceptance or 0.0)
        speeds.append(attempt.speedup or 0.0)
        print(
            f"{prompt[:44]:46} temperature {heat}: accepted {rates[-1]:4.0%}, {attempt.tokens_per_pass:.2f} tokens a "
            f"pass, {speeds[-1]:.2f} times as fast, same tokens: {attempt.same_tokens}",
            flush=True,
        )
    return rates, speeds


if __name__ == "__main__":
    main()
