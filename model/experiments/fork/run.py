"""A fork as an experiment: the run so far at once, then a record after every new pass, the map and the lens."""

from collections.abc import Iterator
from pathlib import PurePath

from model.api.inputs import Inputs
from model.api.job import Job
from model.capture.record_size import trace_bytes
from model.capture.recording import recorded
from model.experiments.fork.fork import begin
from model.records.trace import Trace
from model.requests.fork import Fork


def run(inputs: Inputs, request: Fork, job: Job) -> Iterator[Trace | None]:
    """Continue a run from a step with the token that was asked for.

    Raises: Refusal, at once, for a record that is no run of this model, or for a step or a token that is not there.
    """
    hooked, record = inputs.target, inputs.run("run")
    called = PurePath(request.run).name  # a file's folder is nobody's business who gets the record
    continuation = begin(hooked, record, request.step, request.token_id, request.token, inputs.limits, called)
    job.expected_bytes = trace_bytes(hooked.card, record.n_prompt, record.settings.max_new_tokens)
    return recorded(hooked, continuation, job)
