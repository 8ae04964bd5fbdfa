"""A run as an experiment: a record after every pass, then the embedding map and the logit lens as post-run work."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.capture.generation import Generation
from model.capture.record_size import trace_bytes
from model.capture.recording import recorded
from model.records.trace import Trace
from model.requests.run import Run


def run(inputs: Inputs, request: Run, job: Job) -> Iterator[Trace | None]:
    """Continue a prompt. A run that is stopped ends with the passes it had, and nothing is added to it.

    Raises: Refusal, at once, for a prompt or a setting that this model or this host does not take.
    """
    hooked, settings = inputs.target, request.settings
    generation = Generation(hooked, request.prompt, settings, inputs.limits)
    job.expected_bytes = trace_bytes(hooked.card, generation.n_prompt, settings.max_new_tokens)
    return recorded(hooked, generation, job)
