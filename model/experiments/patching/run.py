"""A patch map as an experiment: a record after each layer."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.experiments.patching.patch import patch_in_layers
from model.records.patching import PatchMap
from model.requests.patching import Patch


def run(inputs: Inputs, request: Patch, job: Job) -> Iterator[PatchMap | None]:
    """Put each piece of the clean run into the corrupt one.

    Raises: Refusal, at once, for records that are no runs of this model, or runs that cannot be compared.
    """
    return patch_in_layers(inputs.target, inputs.run("clean"), inputs.run("corrupt"), request.what, job=job)
