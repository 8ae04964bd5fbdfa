"""What watching costs a run: `python -m bench.streaming` prints the decode speed with and without a visitor.

The same run of the default model, again and again in pairs: once with nobody watching, once through the app with a
visitor, in a process of its own, who pulls every part as it comes. The time of a pass is the run's own; a
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

from app import App, HostedModels, loader, make_store
from model.api.engine import Engine
from model.api.job import Job
from model.limits import Limits
from model.records.trace import Trace
from model.requests.run import Run
from tests.app.served import serving
from tests.app.visitor import Visitor

_PROMPT = "Once upon a time, a small robot found a door in the forest. Behind it"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print. Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.streaming")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=8)
    asked = parser.parse_args(arguments)
    limits = dataclasses.replace(Limits.from_environment(), models=())
    alone, watched = [], []
    nothing = Path(tempfile.mkdtemp())  # no records come with this app
    store = make_store(limits, nothing)
    models = HostedModels(limits, loader(limits, store))
    with serving(models, limits, nothing, store) as (url, app):
        while (engine := models.engine(models.names[0])) is None:
            time.sleep(0.2)
        ours, theirs = multiprocessing.Pipe()
        watcher = multiprocessing.get_context("spawn").Process(target=_watch, args=(url, theirs))
        watcher.start()
        kinds = [lambda: _alone(engine, asked.tokens), lambda: _watched(ours, app, asked.tokens)]
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


def _alone(engine: Engine, tokens: int) -> float:
    job = Job()
    engine.submit(Run(prompt=_PROMPT, max_new_tokens=tokens), job)
    for status in job.updates(wait_s=5):
        if status.over:
            job.stop()  # no post-run work beside the next run
    return _typical(job.record)


def _watched(watcher: Connection, app: App, tokens: int) -> float:
    watcher.send(tokens)
    kept = app.store.get(watcher.recv())
    assert kept is not None
    record = app.store.record(kept)
    assert isinstance(record, Trace)
    return _typical(record)


def _watch(url: str, asked: Connection) -> None:
    """The visitor, in a process of its own, as a browser is: asks for a run, and pulls its parts to the end."""
    while (tokens := asked.recv()) is not None:
        visitor = Visitor(url)
        visitor.run(prompt=_PROMPT, max_new_tokens=tokens)
        told = visitor.until(lambda status: status["state"] in ("done", "stopped", "failed"))
        visitor.press("run-stop")  # no post-run work beside the next run
        visitor.finished()
        visitor.leave()
        asked.send(told["id"])


def _typical(trace: Trace) -> float:
    """The mean decode pass of the run, the slowest tenth left out: another program's turn is no cost of ours."""
    seconds = sorted(step.seconds for step in trace.steps[1:])
    return statistics.fmean(seconds[: max(1, len(seconds) * 9 // 10)])


if __name__ == "__main__":
    sys.exit(main())
