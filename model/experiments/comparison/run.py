"""A comparison as an experiment: its one record."""

from collections.abc import Iterator
from pathlib import PurePath

from model.api.inputs import Inputs
from model.api.job import Job
from model.errors import BadSetting, BadTrace
from model.experiments.comparison.compare import compare
from model.records.comparison import Comparison
from model.records.trace import Trace
from model.requests.comparison import Compare

_TOKEN_BYTES = 500  # of the Python objects of one token


def run(inputs: Inputs, request: Compare, job: Job) -> Iterator[Comparison]:
    """Compare two runs. Raises: Refusal, at once, for a record that is no run."""
    runs = [_run(inputs, name) for name in ("a", "b")]
    job.expected_bytes = _TOKEN_BYTES * sum(len(each.tokens) for each in runs)
    return iter([compare(runs[0], runs[1], (PurePath(request.a).name, PurePath(request.b).name))])


def _run(inputs: Inputs, name: str) -> Trace:
    record = inputs.records.get(name)
    if record is None:
        raise BadSetting("two runs are compared, and {name} was not given. Choose a saved run.", name=name)
    if not isinstance(record, Trace):
        raise BadTrace(
            "the record {name} is a {kind}; only runs can be compared. Choose a saved run.",
            name=name,
            kind=type(record).__name__,
        )
    return record
