"""A judged round for the record: its drafted tokens with their verdicts, and where the target's own token came from."""

from torch import Tensor

from model.experiments.speculation.assisted import Judged
from model.records.speculation import Drafted, Round
from model.records.trace import Candidate

_SHOWN = 5  # likeliest tokens kept of each distribution


def round_of(judged: Judged) -> Round:
    """The round as the record keeps it, with the likeliest tokens of each distribution. It was recorded."""
    assert judged.p is not None
    p = judged.p.softmax(dim=-1)
    q = None if judged.q is None else judged.q.softmax(dim=-1)
    n, drafted = judged.n_accepted, []
    for at, token in enumerate(judged.drafted):
        drafted.append(
            Drafted(
                id=token,
                q=None if q is None else float(q[at, token]),
                p=float(p[at, token]),
                random=judged.randoms[at] if judged.randoms and at <= n else None,
                accepted=at < n,
                draft_best=() if judged.q is None else _best(judged.q[at]),
                target_best=_best(judged.p[at]),
            )
        )
    own = "none" if len(judged.written) == n else "bonus" if n == len(judged.drafted) else "corrected"
    return Round(
        first=judged.first,
        drafted=tuple(drafted),
        n_accepted=n,
        written=tuple(judged.written),
        own=own,
        own_best=() if own == "none" else _own_best(judged, p, q),
        n_read=judged.n_read,
        draft_s=judged.draft_s,
        verify_s=judged.verify_s,
    )


def _own_best(judged: Judged, p: Tensor, q: Tensor | None) -> tuple[Candidate, ...]:
    """The likeliest of the distribution from which the target's own token came, and that token wherever it stands.

    After a refusal that is max(p - q, 0).
    """
    at, own = judged.n_accepted, judged.written[-1]
    if q is None or at == len(judged.drafted) or not judged.randoms:
        assert judged.p is not None
        return _best(judged.p[at], own)
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
