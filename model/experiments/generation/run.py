"""A run as an experiment: a record after every pass, then the embedding map and the logit lens as post-run work."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.capture.additions import additions
from model.capture.generation import Generation
from model.capture.hooked import HookedModel
from model.capture.record_size import trace_bytes
from model.errors import Cancelled
from model.records.trace import Trace
from model.requests.run import Run


def run(inputs: Inputs, request: Run, job: Job) -> Iterator[Trace | None]:
    """Continue a prompt. A run that is stopped ends with the passes it had, and nothing is added to it.

    Raises: Refusal, at once, for a prompt or a setting that this model or this host does not take.
    """
    hooked, settings = inputs.target, request.settings
    generation = Generation(hooked, request.prompt, settings, inputs.limits)
    generation.stop_when(job.stopped)
    job.expected_bytes = trace_bytes(hooked.card, generation.n_prompt, settings.max_new_tokens)
    return _records(hooked, generation, settings.max_new_tokens, job)


def _records(hooked: HookedModel, generation: Generation, n_most: int, job: Job) -> Iterator[Trace | None]:
    job.progress(0, n_most, "prefill")
    try:
        for count, _ in enumerate(generation, 1):
            job.progress(count, n_most, "decode")
            yield generation.trace()
    except Cancelled:
        generation.close()
        if job.status.done:
            yield generation.trace()
        return
    whole = generation.trace()
    del generation  # its buffers and its KV cache are not kept for the post-run work
    job.settled()
    yield whole
    yield from additions(hooked, whole)
