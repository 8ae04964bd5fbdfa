"""Cache trials as an experiment: of a finished run, or of a prompt that is run first."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.experiments.cache.trials import Script, trials_in_passes, usual
from model.records.cache import CacheTrials
from model.requests.cache import TryCaches


def run(inputs: Inputs, request: TryCaches, job: Job) -> Iterator[CacheTrials | None]:
    """Replay a run with compressed KV caches.

    Raises: Refusal, at once, if this model's cache cannot be compressed, or if the record is no run of this model.
    """
    hooked = inputs.target
    if "run" in inputs.records:
        script = inputs.run("run")
    else:
        script = Script.to_write(hooked, request.prompt, request.settings, inputs.limits)
    asked = usual(hooked, request.window, request.sink, request.dropped)
    return trials_in_passes(hooked, script, asked, job=job)
