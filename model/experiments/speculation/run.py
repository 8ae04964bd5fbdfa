"""Speculation as an experiment: the draft model, where one is to draft, comes as the input "draft"."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.experiments.speculation.speculative import speculate_in_runs
from model.records.speculation import Speculation
from model.requests.speculation import Speculate


def run(inputs: Inputs, request: Speculate, job: Job) -> Iterator[Speculation | None]:
    """Continue a prompt with drafts before the model. Raises: Refusal, at once, if no draft can be had."""
    return speculate_in_runs(
        inputs.target,
        request.prompt,
        request.settings,
        inputs.limits,
        modes=request.modes,
        n_draft=request.n_draft,
        exit_layer=request.exit_layer,
        draft=inputs.models.get("draft"),
        job=job,
    )
