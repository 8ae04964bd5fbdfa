"""A run computed anew with a vector added to its residual stream, to a complete Trace."""

import math

import numpy as np

from model.capture.edited import EditedRun, check_editable
from model.capture.hooked import HookedModel
from model.capture.post_run import with_post_run
from model.capture.sites import stream_site
from model.errors import BadSetting
from model.limits import Limits
from model.records.edits import WHENS, Edit, When
from model.records.fields import check_choice, shown
from model.records.trace import Trace


def steer(
    hooked: HookedModel,
    run: Trace,
    layer: int,
    vector: np.ndarray,
    strength: float = 1.0,
    when: When = "all",
    *,
    label: str = "",
    additions: bool = True,
) -> Trace:
    """Run a prompt again with a vector added to the residual stream: what the model writes when it is pushed that way.

    `strength` times `vector` [M] is added at the entrance of `layer`, at every position that `when` says ("prefill",
    "decode" or "all"); the layer after the last is the end of the stream, before the final norm. `direction` makes
    vectors. The new run's `edits` say the length of what was added, beside the median length of the unedited stream
    there; `label` is what the vector is called.
    Raises: Refusal, for a layer that is not there, a vector of another width, or another model's run.
    Source: Turner et al. 2023, "Activation Addition"; Rimsky et al. 2023, "Steering Llama 2 via Contrastive
    Activation Addition".
    """
    steered = begin(hooked, run, layer, vector, strength, when, label, Limits.from_environment())
    for _ in steered:
        pass
    return with_post_run(hooked, steered.trace()) if additions else steered.trace()


def begin(
    hooked: HookedModel,
    run: Trace,
    layer: int,
    vector: np.ndarray,
    strength: float,
    when: When,
    label: str,
    limits: Limits,
) -> EditedRun:
    """The run in progress, checked; the model has done nothing for it yet. Raises: Refusal."""
    check(hooked, run, layer, strength, when)
    given = np.array(vector, np.float32)
    if given.shape != (hooked.card.d_model,) or not np.isfinite(given).all():
        raise BadSetting(
            "vector has the shape {shape}; it must be {d_model} finite numbers, as the residual stream has.",
            shape=given.shape,
            d_model=hooked.card.d_model,
        )
    edit = Edit(
        what="stream",
        mode="add",
        when=when,
        layer=layer,
        vector=0,
        label=label,
        strength=float(strength),
        norm=abs(float(strength)) * float(np.linalg.norm(given)),
        stream_norm=_stream_norm(run, layer, when),
    )
    return EditedRun(hooked, run, [edit], limits, vectors=given[None])


def check(hooked: HookedModel, run: Trace, layer: int, strength: float, when: When) -> None:
    """Check all but the vector. Raises: Refusal."""
    check_editable(hooked, run)
    check_choice("when", when, WHENS)
    stream_site(hooked, layer)
    if not isinstance(strength, int | float) or not math.isfinite(strength):
        raise BadSetting("strength is {strength}; it must be a finite number.", strength=shown(strength))


def _stream_norm(run: Trace, layer: int, when: When) -> float:
    """The median length of the run's stream at a layer's entrance, of the positions that are edited."""
    assert run.resid is not None, "a model without a residual stream is refused"
    first, stop = {"prefill": (0, run.n_prompt), "decode": (run.n_prompt, None), "all": (0, None)}[when]
    lengths = np.linalg.norm(run.resid[layer, first:stop], axis=-1)
    return float(np.median(lengths)) if lengths.size else 0.0
