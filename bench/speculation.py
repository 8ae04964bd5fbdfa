"""How often the draft of our own is right, and what it gains, on prompts that it was not trained on.

`python -m bench.speculation [--drafted 2] [--tokens 48] [--turns 3]` prints a row for each prompt and the medians. The
texts it was trained on were begun by the model itself, and are not kept; these prompts were written by a person. Plain
and speculated runs take turns, so that a busy moment meets both.
"""

import argparse
import statistics

from model import load
from model.experiments.speculation.speculative import speculate
from model.limits import Limits
from model.records.settings import Settings

FREE = ("Once upon a time, there was a little fox who", "The history of the Roman Empire", "My favourite recipe is")
CHAT = ("What is photosynthesis?", "Write a short poem about the sea.", "Explain what a prime number is.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drafted", type=int, default=2, help="tokens a round")
    parser.add_argument("--tokens", type=int, default=48, help="written for each prompt")
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    hooked = load(settle_threads=True)
    rates: list[float] = []
    speeds: list[float] = []
    groups = ((False, FREE), (True, CHAT))
    cases = [(prompt, chat, heat) for heat in (0.0, 0.7) for chat, group in groups for prompt in group]
    for prompt, chat, heat in cases:
        settings = Settings(max_new_tokens=asked.tokens, chat=chat, temperature=heat)
        *_, record = speculate(
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
    print(
        f"median acceptance {statistics.median(rates):.0%} ({min(rates):.0%} to {max(rates):.0%}), "
        f"median speed {statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})"
    )


if __name__ == "__main__":
    main()
