"""Steering as an experiment: the direction, then a record after every pass, the map and the lens."""

from collections.abc import Iterator

import numpy as np

from model.api.inputs import Inputs
from model.api.job import Job
from model.capture.hooked import HookedModel
from model.capture.record_size import trace_bytes
from model.capture.recording import recorded
from model.errors import Cancelled
from model.experiments.steering.directions import Between, id_of, unembedding
from model.experiments.steering.steer import begin, check
from model.limits import Limits
from model.records.fields import shown
from model.records.trace import Trace
from model.requests.steering import Steer
from model.texts import phrase


def run(inputs: Inputs, request: Steer, job: Job) -> Iterator[Trace | None]:
    """Run a prompt again, steered.

    Raises: Refusal, at once, for a record that is no run of this model, or a layer, a text or a token.
    """
    hooked, record = inputs.target, inputs.run("run")
    check(hooked, record, request.layer, request.strength, request.when)
    job.expected_bytes = trace_bytes(hooked.card, record.n_prompt, record.settings.max_new_tokens)
    if request.token:
        vector = unembedding(hooked, id_of(hooked, request.token))
        label = phrase("the unembedding of {token}", token=shown(request.token))
        return _steered(hooked, record, request, vector, label, inputs.limits, job)
    both = Between(hooked, request.layer, request.toward, request.away, inputs.limits)
    return _steered_between(hooked, record, request, both, inputs.limits, job)


def _steered_between(
    hooked: HookedModel, record: Trace, request: Steer, both: Between, limits: Limits, job: Job
) -> Iterator[Trace | None]:
    both.stop_when(job.stopped)
    try:
        for _ in both.computing():
            yield None
    except Cancelled:
        return
    label = phrase("{toward} minus {away}", toward=shown(request.toward), away=shown(request.away))
    yield from _steered(hooked, record, request, both.vector, label, limits, job)


def _steered(
    hooked: HookedModel, record: Trace, request: Steer, vector: np.ndarray, label: str, limits: Limits, job: Job
) -> Iterator[Trace | None]:
    steered = begin(hooked, record, request.layer, vector, request.strength, request.when, label, limits)
    return recorded(hooked, steered, job)
