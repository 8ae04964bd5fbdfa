"""What a device needs around timed or seeded work: waiting until it is done, and random numbers of its own."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

_MOST_PINNED = 2**24  # bytes: a decode step's, not a prompt's, as pinned memory is taken from all programs


def wait_for(device: torch.device) -> None:
    """Return when the device has done what it was told: an accelerator works on while the program goes ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Sent:
    """Numbers on their way from their device to the host's memory: nobody waits until they are asked for."""

    def __init__(self, numbers: torch.Tensor) -> None:
        self._there, self._event = numbers, None
        if numbers.device.type == "cuda" and numbers.nbytes <= _MOST_PINNED:
            self._there = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._there.copy_(numbers, non_blocking=True)
            self._event = torch.cuda.current_stream(numbers.device).record_event()
        elif numbers.device.type != "cpu":
            self._there = numbers.cpu()

    def arrived(self) -> torch.Tensor:
        """They, once they are there."""
        if self._event is not None:
            self._event.synchronize()
        return self._there


class SentTogether:
    """Tensors by name on their way to the host's memory in one copy."""

    def __init__(self, numbers: Mapping[str, torch.Tensor]) -> None:
        wide_first = sorted(numbers.items(), key=lambda item: -item[1].element_size())  # so that all stand aligned
        self.forms = tuple((name, each.shape, each.dtype, each.nbytes) for name, each in wide_first)
        device = wide_first[0][1].device  # a model may be spread over several
        self._sent = Sent(torch.cat([each.reshape(-1).view(torch.uint8).to(device) for _, each in wide_first]))

    def arrived(self) -> dict[str, torch.Tensor]:
        """They, once they are there."""
        parts = self._sent.arrived().split([n_bytes for *_, n_bytes in self.forms])
        forms = zip(self.forms, parts, strict=True)
        return {name: part.view(dtype).view(shape) for (name, shape, dtype, _), part in forms}


_State = tuple[Callable[[], torch.Tensor], Callable[[torch.Tensor], None]]  # asks for a generator's state, and sets it
_RANDOM = threading.RLock()  # torch's generators are the process's: two that seed them at once draw from each other


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Inside this context torch's random numbers may be seeded and drawn; after it its generators are as before.

    One thread at a time is inside. Whoever needs a model's guard takes it before this, never inside.
    """
    kind = device.type if device.type in ("cuda", "mps") else "cuda"
    with _RANDOM, torch.random.fork_rng([device] if device.type == kind else [], device_type=kind):
        yield


class Randomness:
    """Torch's random state from a seed; each block of `drawn` resumes where the last one stopped."""

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device, self._seed = device, seed
        self._states: list[torch.Tensor] = []

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Inside this context torch draws from this state, in one thread at a time."""
        with own_randomness(self._device):
            torch.manual_seed(self._seed)
            for (_, restore), state in zip(self._states_of(), self._states, strict=False):
                restore(state)
            try:
                yield
            finally:
                self._states = [get() for get, _ in self._states_of()]

    def _states_of(self) -> list[_State]:
        device = self._device
        found: list[_State] = [(torch.get_rng_state, torch.set_rng_state)]
        if device.type == "cuda":
            found.append(
                (lambda: torch.cuda.get_rng_state(device), lambda state: torch.cuda.set_rng_state(state, device))
            )
        if device.type == "mps":
            found.append((torch.mps.get_rng_state, torch.mps.set_rng_state))
        return found
