"""An ablation as an experiment: a record after every pass, the map and the lens."""

from collections.abc import Iterator
from pathlib import PurePath

from model.api.inputs import Inputs
from model.api.job import Job
from model.capture.edited import EditedRun
from model.capture.record_size import trace_bytes
from model.capture.recording import recorded
from model.experiments.ablation.ablate import edits_of
from model.records.edits import edges_of, heads_of
from model.records.trace import Trace
from model.requests.ablation import Ablate


def run(inputs: Inputs, request: Ablate, job: Job) -> Iterator[Trace | None]:
    """Run a prompt again with the parts switched off that were named.

    Raises: Refusal, at once, for a record that is no run of this model, or for a part that is not there.
    """
    hooked, record = inputs.target, inputs.run("run")
    reference = inputs.run("reference") if request.reference else None
    heads, edges = heads_of("heads", request.heads), edges_of("edges", request.edges)
    label = PurePath(request.reference or "").name  # a file's folder is nobody's business who gets the record
    edits = edits_of(heads, request.mlps, request.layers, edges, request.mode, request.when, label)
    edited = EditedRun(hooked, record, edits, inputs.limits, reference=reference)
    job.expected_bytes = trace_bytes(hooked.card, record.n_prompt, record.settings.max_new_tokens)
    return recorded(hooked, edited, job)
