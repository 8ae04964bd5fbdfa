"""What a device needs around timed or seeded work: waiting until it is done, and random numbers of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def wait_for(device: torch.device) -> None:
    """Return when the device has done what it was told: an accelerator works on while the program goes ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


_RANDOM = threading.RLock()  # torch's generators are the process's: two that seed them at once draw from each other


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Inside this context torch's random numbers may be seeded and drawn; after it its generators are as before.

    One thread at a time is inside. Whoever needs a model's guard takes it before this, never inside.
    """
    kind = device.type if device.type in ("cuda", "mps") else "cuda"
    with _RANDOM, torch.random.fork_rng([device] if device.type == kind else [], device_type=kind):
        yield
