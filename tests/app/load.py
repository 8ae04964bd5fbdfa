"""A burst of visitors on an app of its own: `python -m tests.app.load` prints what became of it, as JSON.

The model is a tiny one with the default's wide vocabulary: its passes are quick, and a run of 120 tokens keeps 24 MB
of logits, so that the memory is that of real runs and the wait is not.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app import HostedModels, make_store
from model import load
from model.engine.engine import Engine
from model.limits import Limits
from tests.app.served import serving
from tests.app.visitor import Visitor
from tests.tiny import tiny

WIDE = 49_152
TOKENS = 120


def main(arguments: list[str] | None = None) -> int:
    """Let the visitors run, and print the growth of the process in bytes and what each run came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.app.load")
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--store-bytes", type=int, default=100_000_000)
    parser.add_argument("--prompt-tokens", type=int, default=8)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    limits = dataclasses.replace(Limits.from_environment(), store_bytes=asked.store_bytes, queue=64, models=())
    nothing = Path(tempfile.mkdtemp())  # no records come with this app
    store = make_store(limits, nothing)
    models = HostedModels(limits, lambda *_: Engine(wide_model(), limits, room=store), default="wide")
    with serving(models, limits, nothing, store) as (url, _):
        while models.engine("wide") is None:
            time.sleep(0.05)
        prompt = " ".join(f"w{3 + i % 190}" for i in range(asked.prompt_tokens))
        _burst(url, 1, prompt)  # the first run imports, compiles and fills caches
        idle = psutil.Process().memory_info().rss
        peak = _Peak()
        told = _burst(url, asked.visitors, prompt)
        grown = peak.end() - idle
        held = store.held_bytes()
    models.close()
    states = [each["state"] for each in told]
    lost = [each["refusal"] for each in told if each["state"] != "done" or each["parts"] < TOKENS]
    sys.stdout.write(
        json.dumps({"idle": idle, "grown": grown, "held": held, "done": states.count("done"), "lost": lost}) + "\n"
    )
    return 0


def wide_model() -> Any:
    """Three small layers, and as many tokens as the default model knows."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WIDE,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=None,
        bos_token_id=None,
    )
    return load(model=LlamaForCausalLM(config), tokenizer=tiny("llama").tokenizer)


def _burst(url: str, count: int, prompt: str) -> list[dict[str, Any]]:
    """So many visitors at once, each with one run; the last status of each."""
    visitors = [Visitor(url) for _ in range(count)]
    for each in visitors:
        each.run(prompt=prompt, max_new_tokens=TOKENS)
    try:
        return [each.finished() for each in visitors]
    finally:
        for each in visitors:
            each.leave()


class _Peak:
    """The largest memory of this process until `end` is called."""

    def __init__(self) -> None:
        self._most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.wait(0.02):
            self._most = max(self._most, process.memory_info().rss)

    def end(self) -> int:
        self._over.set()
        self._thread.join()
        return self._most


if __name__ == "__main__":
    sys.exit(main())
