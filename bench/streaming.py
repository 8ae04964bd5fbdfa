"""What watching costs a run: `python -m bench.streaming` prints the decode speed with and without a visitor.

The same run of the default model, again and again in pairs: once with nobody watching, once through the app with a
visitor, in a process of its own, who pulls every frame as it is announced. The time of a pass is the run's own; a
pair's order is drawn by lot.
"""

import argparse
import dataclasses
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
from viz.server.live import Engine

from app import App, HostedModels, _load_with
from model.limits import Limits
from model.records.trace import Settings, Trace
from tests.app.served import serving
from tests.app.visitor import Visitor

_PROMPT = "Once upon a time, a small robot found a door in the forest. Behind it"
_BASE = "/gradio_api/tokenoscope"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print. Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.streaming")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=8)
    asked = parser.parse_args(arguments)
    limits = dataclasses.replace(Limits.from_environment(), models=())
    models = HostedModels(limits, _load_with(limits))
    alone, watched = [], []
    with tempfile.TemporaryDirectory() as folder, serving(models, limits, Path(folder)) as (url, app):
        while (engine := models.engine(models.names[0])) is None:
            time.sleep(0.2)
        ours, theirs = multiprocessing.Pipe()
        watcher = multiprocessing.get_context("spawn").Process(target=_watch, args=(url, theirs))
        watcher.start()
        settings = Settings(max_new_tokens=asked.tokens)
        kinds = [lambda: _alone(engine, settings), lambda: _watched(ours, app, asked.tokens)]
        for pair in range(asked.pairs + 1):
            medians = {each: kinds[each]() for each in random.sample([0, 1], 2)}
            if pair > 0:  # the first warms up
                alone.append(medians[0])
                watched.append(medians[1])
        ours.send(None)
        watcher.join()
    models.close()
    ratios = [w / a for a, w in zip(alone, watched, strict=True)]
    print(f"load, 1 minute: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; {asked.pairs} pairs of runs")
    print(
        f"a decode pass, typically: {statistics.median(alone) * 1e3:.1f} ms alone, "
        f"{statistics.median(watched) * 1e3:.1f} ms watched"
    )
    print(
        f"watched / alone, pair by pair: median {statistics.median(ratios):.3f}, "
        f"lowest {min(ratios):.3f}, highest {max(ratios):.3f}"
    )
    return 0


def _alone(engine: Engine, settings: Settings) -> float:
    run = engine.submit(_PROMPT, settings)
    for _ in run.updates(wait_s=5):
        pass
    return _typical(run.trace())


def _watched(watcher: Connection, app: App, tokens: int) -> float:
    watcher.send(tokens)
    stored = app.store.get(watcher.recv())
    assert stored is not None
    return _typical(stored.trace)


def _watch(url: str, asked: Connection) -> None:
    """The visitor, in a process of its own, as a browser is: asks for a run, and pulls its frames to the end."""
    with httpx.Client(base_url=url) as client:
        while (tokens := asked.recv()) is not None:
            visitor = Visitor(url)
            visitor.run(prompt=_PROMPT, max_new_tokens=tokens)
            held = 0
            told: dict[str, Any] = {"id": None, "ready": 0, "done": False}
            while held < told["ready"] or not told["done"]:
                told = visitor.told[-1] if visitor.told else told
                if told["id"] and told["ready"] > held:
                    place = f"{_BASE}/runs/{told['id']}/frames"
                    held += _count(client.get(place, params={"from": held, "follow": 1}).content)
                else:
                    time.sleep(0.005)
            visitor.leave()
            asked.send(told["id"])


def _count(body: bytes) -> int:
    n, at = 0, 0
    while at < len(body):
        at += 4 + int.from_bytes(body[at : at + 4], "little")
        n += 1
    return n


def _typical(trace: Trace | None) -> float:
    """The mean decode pass of the run, the slowest tenth left out: another program's turn is no cost of ours."""
    assert trace is not None
    seconds = sorted(step.seconds for step in trace.steps[1:])
    return statistics.fmean(seconds[: max(1, len(seconds) * 9 // 10)])


if __name__ == "__main__":
    sys.exit(main())
