"""Whether the model that is loaded is the one that made a run: its shape, its precision and a sample of its weights."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch

from model.arch.placement import whole_weights
from model.arch.rounding import epsilon, share
from model.capture.hooked import HookedModel
from model.errors import BadTrace
from model.records.edits import all_said
from model.records.trace import Trace

_SHAPE = ("family", "n_layers", "n_heads", "n_kv_heads", "d_model", "d_vocab", "n_parameters", "dtype")
_SAMPLE = 64  # numbers of each weight
_OTHER_MACHINE = 1e-3  # logits of one float32 run on two machines differ by less than this share of the largest
_OTHER_MACHINE_ROUNDINGS = 8  # in a shorter precision


def fingerprint(model: Any) -> str:
    """A digest of some numbers of every weight of a model: other weights of the same shape have another.

    A fine-tuned copy that left most weights as they were differs too, where it changed any of a weight's sample.
    """
    digest = hashlib.sha256()
    for name, sample in sorted(_samples(model)):
        digest.update(name.encode() + sample)
    return digest.hexdigest()[:16]


def _samples(model: Any) -> Iterator[tuple[str, bytes]]:
    for name, weight in whole_weights(model):
        flat = weight.detach().reshape(-1)
        yield name, flat[:: max(1, flat.numel() // _SAMPLE)].to("cpu", torch.float32).numpy().tobytes()


def check_same_model(hooked: HookedModel, run: Trace) -> None:
    """Check that the loaded model is the one that made a run, as far as its shape and a sample of its weights tell.

    Raises: BadTrace.
    """
    for name in _SHAPE:
        made, loaded = getattr(run.model, name), getattr(hooked.card, name)
        if made != loaded:
            raise BadTrace(
                "the run was made by {model} ({name} {made}), but {other} ({name} {loaded}) is loaded; only the model "
                "that made a run can replay it, continue it or add to it. Load that one, or run the prompt again.",
                model=run.model.name,
                name=name,
                made=made,
                other=hooked.card.name,
                loaded=loaded,
            )
    if run.model.fingerprint not in ("", hooked.card.fingerprint):
        raise BadTrace(
            "the run was made by {model}, and the loaded {other} has other weights; only the model that made a run "
            "can replay it, continue it or add to it. Load that one, or run the prompt again.",
            model=run.model.name,
            other=hooked.card.name,
        )


def check_unedited(run: Trace) -> None:
    """Check that nothing was changed inside the model while it computed a run. Raises: BadTrace."""
    if run.edits:
        raise BadTrace(
            "the run was computed by an edited model ({edits}), and the model as it is would not go on with it. Choose "
            "the run before the edit.",
            edits=all_said(run.edits),
        )


def logits_may_differ(hooked: HookedModel) -> float:
    """By how much the logits of one run may differ between two machines, as a share of the largest."""
    return max(_OTHER_MACHINE, share(epsilon(hooked.model), _OTHER_MACHINE_ROUNDINGS))
