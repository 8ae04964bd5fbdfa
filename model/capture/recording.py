"""Yields a run's record after each pass, columns of the logit lens while no other job waits, then post-run work."""

import time
from collections.abc import Iterator
from typing import Protocol

from model.capture.generation import Generation
from model.capture.hooked import HookedModel
from model.capture.post_run import post_run
from model.errors import Cancelled
from model.records.trace import Trace
from model.texts import phrase


class Watched(Protocol):
    """The part of a Job that a run uses."""

    def check(self) -> None:
        """Raises: Cancelled, once the job was stopped."""
        ...

    def stopped(self) -> bool:
        """Whether the job was stopped."""
        ...

    def progress(self, done: int, total: int, what: str) -> None:
        """Report how far the work is, and what is being done, in words."""
        ...

    def goes_on(self, same_piece: bool) -> None:
        """Say whether what follows the next value belongs to the same piece, within which the job is not paused."""
        ...

    @property
    def others_wait(self) -> bool:
        """Whether another job waits for the model."""
        ...

    def settled(self) -> None:
        """Say that the record is whole; what follows is post-run work."""
        ...


def recorded(hooked: HookedModel, generation: Generation, job: Watched) -> Iterator[Trace | None]:
    """Values of an experiment whose record is a Trace; None between two passes that add nothing to it.

    A run that is stopped ends with the passes it had, and nothing is added to it.
    """
    generation.stop_when(job.stopped)
    try:
        yield from _passes(generation, job)
    except Cancelled:
        generation.close()
        if generation.n_steps:
            yield generation.trace()
        return
    whole = generation.trace()
    del generation  # its buffers and its KV cache are not kept for the post-run work
    job.settled()
    yield whole
    yield from post_run(hooked, whole)


def _passes(generation: Generation, job: Watched) -> Iterator[Trace | None]:
    job.progress(0, generation.n_most, generation.beginning)
    for n_replayed in generation.resuming():
        job.check()
        job.progress(n_replayed, generation.n_most, generation.beginning)
        yield None
    if generation.n_steps:  # an earlier run's, taken over
        generation.take_lens()
        job.progress(generation.n_steps, generation.n_most, phrase("decode"))
        yield generation.trace()
    for step in generation:
        job.progress(generation.n_steps, generation.n_most, phrase("decode"))
        job.goes_on(same_piece=True)
        yield generation.trace()
        added = _add_lens(generation, job, step.seconds)
        job.goes_on(same_piece=False)
        if added:
            yield generation.trace()


def _add_lens(generation: Generation, job: Watched, seconds: float) -> bool:
    """The newest column of the logit lens, then older ones for no longer than the pass took, while nobody else waits.

    Returns whether there is a new one.
    """
    ends, n_added = time.monotonic() + seconds, 0
    for position in reversed(generation.lens_missing()):
        if job.others_wait or job.stopped() or (n_added and time.monotonic() >= ends):
            break
        generation.add_lens(position)
        n_added += 1
    return n_added > 0
