"""An attribution as an experiment: passes that are run again, then the record."""

from collections.abc import Iterator
from pathlib import PurePath

from model.api.inputs import Inputs
from model.api.job import Job
from model.experiments.attribution.attribute import begin
from model.records.attribution import Attribution
from model.requests.attribution import Attribute
from model.texts import phrase

_TOKEN_BYTES = 500  # of the Python objects of one token


def run(inputs: Inputs, request: Attribute, job: Job) -> Iterator[Attribution | None]:
    """Explain a step of a run.

    Raises: Refusal, at once, for a record that is no run of this model, or for a step or a token that is not there.
    """
    hooked, record = inputs.target, inputs.run("run")
    called = PurePath(request.run).name  # a file's folder is nobody's business who gets the record
    pair = (request.token_id, request.rival_id, request.token, request.rival)
    pieces = begin(hooked, record, request.step, *pair, called=called)
    stop, card = record.steps[request.step].stop, hooked.card
    job.expected_bytes = 4 * card.n_layers * card.n_heads * (stop + 2) + _TOKEN_BYTES * stop
    return _followed(pieces, request.step + 1, job)


def _followed(pieces: Iterator[Attribution | int], n_passes: int, job: Job) -> Iterator[Attribution | None]:
    for piece in pieces:
        if job.stopped():
            return
        if isinstance(piece, int):
            job.progress(piece, n_passes, phrase("running the step again"))
            yield None
        else:
            yield piece
