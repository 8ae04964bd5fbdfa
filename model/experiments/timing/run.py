"""A timing as an experiment."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.experiments.timing.timing import measure_in_pieces
from model.records.timing import Measurement
from model.requests.timing import Measure


def run(inputs: Inputs, request: Measure, job: Job) -> Iterator[Measurement | None]:
    """Time the model on a prompt. Raises: Refusal, at once, for a prompt or a length that cannot be measured."""
    settings, n_prompt = request.settings, request.n_prompt
    return measure_in_pieces(inputs.target, request.prompt, settings, inputs.limits, n_prompt=n_prompt, job=job)
