"""Cache trials as an experiment: of a finished run, or of a prompt that is run first."""

from collections.abc import Iterator

from model.api.inputs import Inputs
from model.api.job import Job
from model.errors import BadTrace
from model.experiments.cache.trials import Script, trials_in_passes, usual
from model.records.cache import CacheTrials
from model.records.trace import Trace
from model.requests.cache import TryCaches


def run(inputs: Inputs, request: TryCaches, job: Job) -> Iterator[CacheTrials | None]:
    """Replay a run with compressed KV caches.

    Raises: Refusal, at once, if this model's cache cannot be compressed, or if the record is no run of this model.
    """
    hooked, record = inputs.target, inputs.records.get("run")
    if record is None:
        script = Script.to_write(hooked, request.prompt, request.settings, inputs.limits)
    elif isinstance(record, Trace):
        script = record
    else:
        raise BadTrace(
            "the record is a {kind}; only a run can be replayed. Choose a saved run.", kind=type(record).__name__
        )
    asked = usual(hooked, request.window, request.sink, request.dropped)
    return trials_in_passes(hooked, script, asked, job=job)
