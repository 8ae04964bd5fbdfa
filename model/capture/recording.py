"""A run that an engine carries out: the record after every pass, with what of the logit lens there is time for between
two passes, then what is added to it as post-run work.
"""

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
    """What a run needs of the job that it is done for."""

    def check(self) -> None: ...
    def stopped(self) -> bool: ...
    def progress(self, done: int, total: int, what: str) -> None: ...
    def goes_on(self, same_piece: bool) -> None: ...
    @property
    def others_wait(self) -> bool: ...
    def settled(self) -> None: ...


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
