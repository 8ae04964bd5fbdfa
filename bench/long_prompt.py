"""A long prompt, traced and not: `python -m bench.long_prompt [TOKENS]`, on this device; 32,768 tokens unless said.

A model of the default model's shape with random weights, in bfloat16 on a GPU, reads the prompt and writes 16 tokens.
Printed are the seconds of the prompt's pass and of a decode step, without and with a tracer, the device's peak memory
over the weights, the growth of this program's, and the bytes of the record beside what was predicted before the run.
"""

import itertools
import resource
import sys
import time
from collections.abc import Iterator
from statistics import median

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bench.device import SMALL
from model import HookedModel, Limits, Settings, load
from model.capture.decoding import passes
from model.capture.generation import Generation, captured_passes
from model.capture.record_size import trace_bytes
from tests.tiny import tiny_tokenizer

_TOKENS, _NEW = 32_768, 16


def main() -> None:
    """Run both, untraced first, and print what they took."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else _TOKENS
    device = "cuda" if torch.cuda.is_available() else "cpu"
    hooked = _model(n + _NEW, device)
    ids = torch.randint(5, 190, (n,)).tolist()
    name = torch.cuda.get_device_name(0) if device == "cuda" else device
    print(f"{n:,} + {_NEW} tokens, {name}, {hooked.card.dtype}, torch {torch.__version__}")
    settings = Settings(max_new_tokens=_NEW)
    _timed("untraced", passes(hooked.model, ids, settings, None, captured=captured_passes(hooked)), device)
    before = _peak_bytes()
    run = Generation(hooked, ids, settings, Limits(prompt_tokens=n))
    _timed("traced", run, device)
    held = sum(array.nbytes for array in run.trace().arrays().values())
    predicted = trace_bytes(hooked.card, n, _NEW)
    print(f"program: {(_peak_bytes() - before) / 1e9:.2f} GB more at its peak than untraced")
    print(f"record: {held / 1e9:.2f} GB; predicted, with all that is added later: {predicted / 1e9:.2f} GB")


def _model(positions: int, device: str) -> HookedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **SMALL, max_position_embeddings=positions)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    return load(model=model, tokenizer=tiny_tokenizer())


def _timed(name: str, run: Iterator[object], device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated() if device == "cuda" else 0
    stops = [time.perf_counter()]
    for _ in run:
        if device == "cuda":
            torch.cuda.synchronize()
        stops.append(time.perf_counter())
    took = [after - before for before, after in itertools.pairwise(stops)]
    peak = f", {(torch.cuda.max_memory_allocated() - held) / 1e9:.2f} GB on the device" if device == "cuda" else ""
    print(f"{name:<9} prompt {took[0]:6.2f} s, decode step {1000 * median(took[1:]):7.2f} ms{peak}")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
