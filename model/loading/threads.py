"""How many threads torch works with on a CPU, measured: where cores are shared or rationed, fewer are faster."""

import os
import time
from typing import Any

import torch

from model.arch.placement import home

_TRIES = 3


def settle(model: Any) -> int:
    """Set torch to the number of threads with which this model reads one token fastest, and return it.

    Torch takes one thread for each core that it sees. In a container that may use two of a host's sixty-four, or on
    two busy cores, that is many times slower than one thread. OMP_NUM_THREADS, where it is set, is left as it is.
    """
    most = torch.get_num_threads()
    if home(model).type != "cpu" or most == 1 or os.environ.get("OMP_NUM_THREADS"):
        return most
    seconds: dict[int, float] = {}
    for count in (*(count for count in (1, 2, 4, 8, 16) if count < most), most):
        seconds[count] = _fastest_pass(model, count, hopeless=2 * min(seconds.values(), default=float("inf")))
    best = min(seconds, key=lambda count: seconds[count])
    torch.set_num_threads(best)
    return best


def _fastest_pass(model: Any, count: int, hopeless: float) -> float:
    """Seconds of the fastest of a few passes; one, if it is hopelessly slow."""
    torch.set_num_threads(count)
    ids = torch.zeros(1, 1, dtype=torch.long)
    fastest = float("inf")
    with torch.inference_mode():
        for _ in range(_TRIES):
            started = time.perf_counter()
            model(input_ids=ids, use_cache=False)
            fastest = min(fastest, time.perf_counter() - started)
            if fastest > hopeless:
                break
    return fastest
