"""Beam search as an experiment: a record after every pass."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.experiments.beams.search import begin
from model.records.beams import BeamSearch
from model.requests.beams import SearchBeams
from model.texts import phrase

_BYTES = 1000  # of the Python objects that tell of one continuation


def run(inputs: Inputs, request: SearchBeams, job: Job) -> Iterator[BeamSearch]:
    """Continue a prompt by several texts at a time.

    Raises: Refusal, at once, for a prompt or a setting that this model or this host does not take.
    """
    search = begin(
        inputs.target,
        request.prompt,
        request.settings,
        inputs.limits,
        n_beams=request.n_beams,
        length_penalty=request.length_penalty,
    )
    job.expected_bytes = _BYTES * len(request.prompt) + 64 * _BYTES * request.max_new_tokens
    return _followed(search, request.max_new_tokens, job)


def _followed(search: Iterator[BeamSearch], n_passes: int, job: Job) -> Iterator[BeamSearch]:
    for record in search:
        job.check()
        job.progress(len(record.ids), n_passes, phrase("passes of all beams"))
        yield record
