"""What is added to a run after its last step, outside the time of any step: the embedding map, then the lens."""

from collections.abc import Iterator

from model.capture.embeddings import map_steps
from model.capture.hooked import HookedModel
from model.capture.logit_lens import lens_steps
from model.records.trace import Trace


def post_run(hooked: HookedModel, trace: Trace) -> Iterator[Trace | None]:
    """Yields copies of the run with more post-run data each, and None after a piece of work that finished none.

    Others can have the model between two pieces. The embedding map and the positions come first: they are quick.
    """
    for steps in (map_steps, lens_steps):
        for piece in steps(hooked, trace):
            trace = trace if piece is None else piece
            yield piece


def with_post_run(hooked: HookedModel, trace: Trace) -> Trace:
    """A copy of the run with all that is added after it, where the model shows it."""
    for piece in post_run(hooked, trace):
        trace = trace if piece is None else piece
    return trace
