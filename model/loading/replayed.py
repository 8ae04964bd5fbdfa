"""The proof that captured decode passes compute what ordinary ones do: the same tokens, read both ways, compared."""

from collections.abc import Iterator

import numpy as np
from torch import nn

from model.arch.rounding import epsilon, share
from model.capture.captured import CapturedPasses
from model.capture.decoding import Pass, passes
from model.capture.tracer import NO_EXPERTS, Tracer
from model.loading.evidence import N_NEW, Evidence, Failed
from model.records.trace import Settings
from model.texts import phrase

_IN_FLOAT32 = 2e-5  # of the largest number of a layer's row: other kernels add up in another order, layer after layer
_ROUNDINGS = 16  # in a shorter precision, for the same reason


def allowed_share(model: nn.Module) -> float:
    """By how much a number of a captured pass may miss the ordinary one's, as a share of its row's largest."""
    return max(_IN_FLOAT32, share(epsilon(model), _ROUNDINGS))


def prove(captured: CapturedPasses, evidence: Evidence) -> str:
    """Captured passes over the tokens of the check's run give its logits and its rows, but for rounding.

    Raises: Failed.
    """
    evidence = evidence.whole()
    made, arrays = _replayed(captured, evidence)
    worst, where = max(_gaps(evidence, made, arrays))
    allowed = max(allowed_share(evidence.model), 2 * evidence.spread)
    if not worst <= allowed:
        raise Failed(
            "a captured pass misses the ordinary one by {worst:.2g} of the size of its {where}, where up to "
            "{allowed:.2g} may be rounding",
            worst=worst,
            where=where,
            allowed=allowed,
        )
    return phrase(
        "logits and rows of {n} captured passes are those of ordinary ones within {worst:.2g} of their size, where up "
        "to {allowed:.2g} may be rounding",
        n=len(made) - 1,
        worst=worst,
        allowed=allowed,
    )


def _replayed(captured: CapturedPasses, evidence: Evidence) -> tuple[list[Pass], dict[str, np.ndarray]]:
    """The check's run once more, its decode passes captured, and what was recorded of it."""
    tracer = Tracer(evidence.anatomy, len(evidence.ids) + N_NEW)
    settings = Settings(max_new_tokens=N_NEW)
    run = passes(evidence.model, evidence.ids, settings, tracer, forced=evidence.followed, captured=captured)
    made = list(run)
    if reason := made[-1].why_solo:
        raise Failed("{reason}", reason=reason)
    assert all(each.path == "captured" for each in made[1:])
    return made, tracer.arrays(evidence.n_fed)


def _gaps(evidence: Evidence, made: list[Pass], arrays: dict[str, np.ndarray]) -> Iterator[tuple[float, str]]:
    """By how much what captured passes gave misses what ordinary ones did: a share of its size, and what it is."""
    for one, other in zip(made[1:], evidence.passes[1:], strict=True):
        yield _gap(one.logits.cpu().numpy(), other.logits.cpu().numpy()), "logits"
    first = evidence.passes[1].step.first
    for name in ("queries", "keys", "values", "resid"):
        if name in evidence.arrays:
            ours, theirs = (_by_layer(each[name], first) for each in (arrays, evidence.arrays))
            yield _gap(ours, theirs), name
    if "unit_ids" in evidence.arrays:
        yield _units_gap(arrays, evidence.arrays, first), "units"
    for name in NO_EXPERTS:
        if name in evidence.arrays:
            yield _gap(arrays[name][:, first:], evidence.arrays[name][:, first:]), "experts"


def _gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference as a share of the largest number of its row, the last axis."""
    if ours.shape != theirs.shape:
        return float("inf")
    sizes = np.maximum(np.abs(theirs).max(axis=-1, keepdims=True), 1e-12)
    worst = float((np.abs(ours - theirs) / sizes).max())
    return worst if np.isfinite(worst) else float("inf")


def _by_layer(array: np.ndarray, first: int) -> np.ndarray:
    """The rows from a position on, one for each layer and position: [L, n, ...] or [L, H, n, ...] as [L, n, all]."""
    rows = array[:, first:] if array.ndim == 3 else array[:, :, first:].swapaxes(1, 2)
    return rows.reshape(*rows.shape[:2], -1)


def _units_gap(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], first: int) -> float:
    """The largest difference between units of the same id; one that only ours holds may be as large as the least of
    theirs, since of two that are nearly alike either may be kept.
    """
    mine, yours = (
        tuple(each[name][:, first:].reshape(-1, each[name].shape[-1]) for name in ("unit_ids", "unit_values"))
        for each in (ours, theirs)
    )
    same = mine[0][:, :, None] == yours[0][:, None, :]  # [row, unit of ours, unit of theirs]
    apart = np.abs(mine[1][:, :, None] - yours[1][:, None, :])
    both = np.where(same, apart, 0).max(axis=-1)
    least = np.abs(yours[1]).min(axis=-1, keepdims=True)
    either = np.where(same.any(axis=-1), both, np.abs(np.abs(mine[1]) - least))
    return float((either / np.maximum(np.abs(yours[1]).max(axis=-1, keepdims=True), 1e-12)).max())
