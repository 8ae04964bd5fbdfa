"""A verified round for the record: its drafted tokens with their verdicts, and the source of the target's own token."""

from torch import Tensor

from model.experiments.speculation.assisted import Verified
from model.records.speculation import Drafted, Round
from model.records.trace import Candidate

_SHOWN = 5  # likeliest tokens kept of each distribution


def round_of(verified: Verified) -> Round:
    """The round as the record keeps it, with the likeliest tokens of each distribution; only for a recorded round."""
    assert verified.p is not None
    p = verified.p.softmax(dim=-1)
    q = None if verified.q is None else verified.q.softmax(dim=-1)
    n, drafted = verified.n_accepted, []
    for at, token in enumerate(verified.drafted):
        drafted.append(
            Drafted(
                id=token,
                q=None if q is None else float(q[at, token]),
                p=float(p[at, token]),
                random=verified.randoms[at] if verified.randoms and at <= n else None,
                accepted=at < n,
                draft_best=() if verified.q is None else _best(verified.q[at]),
                target_best=_best(verified.p[at]),
            )
        )
    own = "none" if len(verified.written) == n else "bonus" if n == len(verified.drafted) else "corrected"
    return Round(
        first=verified.first,
        drafted=tuple(drafted),
        n_accepted=n,
        written=tuple(verified.written),
        own=own,
        own_best=() if own == "none" else _own_best(verified, p, q),
        n_read=verified.n_read,
        draft_s=verified.draft_s,
        verify_s=verified.verify_s,
    )


def _own_best(verified: Verified, p: Tensor, q: Tensor | None) -> tuple[Candidate, ...]:
    """The likeliest of the distribution from which the target's own token came, and that token wherever it stands.

    After a refusal that is max(p - q, 0).
    """
    at, own = verified.n_accepted, verified.written[-1]
    if q is None or at == len(verified.drafted) or not verified.randoms:
        assert verified.p is not None
        return _best(verified.p[at], own)
    left = (p[at] - q[at]).clamp(min=0)
    return _best((left / left.sum()).log(), own)


def _best(scores: Tensor, also: int | None = None) -> tuple[Candidate, ...]:
    probabilities = scores.softmax(dim=-1)
    best = probabilities.topk(min(_SHOWN, len(scores))).indices.tolist()
    if also is not None and also not in best:
        best.append(also)
    return tuple(
        Candidate(id=each, score=float(scores[each]), probability=float(probabilities[each]))
        for each in best
        if probabilities[each] > 0
    )


def ids_of(one: Round) -> set[int]:
    """The ids of all tokens that a round tells of."""
    shown = (each.id for drafted in one.drafted for each in (*drafted.draft_best, *drafted.target_best))
    return {*shown, *one.written, *(each.id for each in one.drafted), *(each.id for each in one.own_best)}
