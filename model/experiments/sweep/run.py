"""A sweep as an experiment: a record after each layer."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.errors import BadTrace
from model.experiments.sweep.sweep import sweep_in_layers
from model.records.sweep import Sweep
from model.requests.sweep import SweepHeads


def run(inputs: Inputs, request: SweepHeads, job: Job) -> Iterator[Sweep | None]:
    """Switch off each head in turn. Raises: Refusal, at once, for what is no run of this model or no step of it."""
    so_far = inputs.records.get("resume")
    if so_far is not None and not isinstance(so_far, Sweep):
        kind = type(so_far).__name__
        raise BadTrace("resume is a {kind}; it must be a sweep. Choose a saved sweep.", kind=kind)
    return sweep_in_layers(inputs.target, inputs.run("run"), request.step, so_far, job=job)
