"""Batching as an experiment: texts arrive as the request says."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.experiments.batching.batching import arrivals, serve_in_ticks
from model.experiments.batching.checks import Ask
from model.experiments.batching.paged import Bounds
from model.records.batching import Batching
from model.requests.batching import Serve

_REPEATS = 3  # timed runs of each scheduler


def run(inputs: Inputs, request: Serve, job: Job) -> Iterator[Batching | None]:
    """Serve several texts together. Raises: Refusal, at once, for texts or bounds that cannot be served."""
    times = arrivals(len(request.texts), request.rate, request.seed)
    asked = [
        Ask(prompt=each.prompt, max_new_tokens=each.max_new_tokens, arrives_s=at)
        for each, at in zip(request.texts, times, strict=True)
    ]
    bounds = Bounds(
        block_size=request.block_size,
        n_blocks=request.n_blocks,
        token_budget=request.token_budget,
        max_requests=request.max_requests,
        prefix_caching=request.prefix_caching,
    )
    return serve_in_ticks(
        inputs.target, asked, request.settings, inputs.limits, bounds, repeats=_REPEATS, attention=True, job=job
    )
