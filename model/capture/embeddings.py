"""What each token is to the model before any layer has worked on it: the embedding map and the positions.

Both are added after the run, from weights that the run itself read.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from model.arch.placement import whole_weight
from model.arch.positions import LearnedPositions, Rotary
from model.capture.hooked import HookedModel
from model.records.trace import Trace
from model.texts import phrase

WORDS = 512  # a run of more different tokens goes without a map: the search costs a head's work for each
NEIGHBOURS = 6
_CHUNK = 8192  # rows of the table searched at once: with 512 words, 17 MB of cosines


def map_steps(hooked: HookedModel, trace: Trace) -> Iterator[Trace | None]:
    """Add the map and the positions in short pieces of work: None, until the finished copy."""
    if hooked.card.reason_against("embeddings") is None:
        own = list(dict.fromkeys(token.id for token in trace.tokens))
        if len(own) > WORDS:
            why = phrase("the run has {n:,} different tokens; the limit is {most}.", n=len(own), most=WORDS)
            note = f"{phrase('The embedding map is left out:')} {why}"
            trace = replace(trace, notes=(*trace.notes, note))
        else:
            trace = yield from _with_map(hooked, trace, own)
    yield replace(trace, **_positions(hooked, trace.n_fed))


def principal(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two directions in which these vectors differ most: points [P, 2] and each direction's share of the variance.

    Each direction points to the side on which the point farthest out lies, so that the same vectors make the same map.
    They come from the eigenvectors of the smaller Gram matrix, five times as fast as a full SVD.
    Source: Pearson 1901, principal components.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    many = len(centred) > centred.shape[1]
    spread, found = np.linalg.eigh(centred.T @ centred if many else centred @ centred.T)
    spread, found = np.maximum(spread[:-3:-1], 0), found[:, :-3:-1]  # the two largest, largest first
    points, shares = np.zeros((len(vectors), 2)), np.zeros(2)
    points[:, : len(spread)] = centred @ found if many else found * np.sqrt(spread)
    points *= np.where(points[np.abs(points).argmax(axis=0), [0, 1]] < 0, -1, 1)
    if (total := (centred**2).sum()) > 0:
        shares[: len(spread)] = spread / total
    return points, shares


def _with_map(hooked: HookedModel, trace: Trace, own: list[int]) -> Generator[None, None, Trace]:
    table = whole_weight(hooked.anatomy.embedding)
    near, cosine = yield from _nearest(table, torch.tensor(own, device=table.device))
    ids = list(dict.fromkeys([*own, *near.flatten().tolist()]))
    place = {token_id: point for point, token_id in enumerate(ids)}
    rows = table.detach()[ids].float().cpu().numpy()
    points, shares = principal(rows)
    return replace(
        trace,
        texts=trace.texts | hooked.reader.texts(ids),
        fragments=trace.fragments | hooked.reader.fragments(ids),
        embed_ids=np.array(ids, np.int32),
        embeddings=rows[: len(own)].copy(),
        embed_xy=points.astype(np.float32),
        embed_shares=shares.astype(np.float32),
        embed_near=np.array([[place[each] for each in row] for row in near.tolist()], np.int32),
        embed_cosine=cosine.cpu().numpy(),
    )


def _nearest(table: torch.Tensor, own: torch.Tensor) -> Generator[None, None, tuple[torch.Tensor, torch.Tensor]]:
    """The rows of the whole table whose directions are nearest to these, themselves left out: ids and cosines [W, J].

    Shapes: table [V, M]; own, ids of W rows. The table is read a piece at a time, and never copied whole.
    """
    words = _directions(table[own])
    cosine, ids = words.new_empty(len(own), 0), own.new_empty(len(own), 0)
    for start in range(0, len(table), _CHUNK):
        cosine, ids = _nearer(words, own, table[start : start + _CHUNK], start, cosine, ids)
        yield
    return ids, cosine


@torch.inference_mode()
def _nearer(
    words: torch.Tensor, own: torch.Tensor, rows: torch.Tensor, start: int, cosine: torch.Tensor, ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest so far, after these rows of the table too."""
    here = (words @ _directions(rows).T).clamp(-1, 1)
    inside = ((own >= start) & (own < start + len(rows))).nonzero()[:, 0]
    here[inside, own[inside] - start] = -torch.inf
    best = here.topk(min(NEIGHBOURS + 1, len(rows)), dim=1)
    cosine, ids = torch.cat([cosine, best.values], dim=1), torch.cat([ids, best.indices + start], dim=1)
    found = cosine.isfinite().sum(dim=1).min()
    kept = cosine.topk(min(NEIGHBOURS, int(found)), dim=1)
    return kept.values, ids.gather(1, kept.indices)


@torch.inference_mode()
def _directions(rows: torch.Tensor) -> torch.Tensor:
    """The same rows at length 1; a row of zeros, which has no direction, stays one."""
    return torch.nn.functional.normalize(rows.detach().float(), dim=1)


def _positions(hooked: HookedModel, n_fed: int) -> dict[str, Any]:
    found = hooked.anatomy.positions
    if hooked.card.reason_against("positions") is not None:
        return {}
    if isinstance(found, Rotary):
        with hooked.guard:  # some rotary modules adapt to the length that they are asked for
            cos, sin = found.angles(n_fed)
        return {"rotary_cos": _own(cos), "rotary_sin": _own(sin)}
    return {"position_vectors": _own(found.vectors(n_fed))} if isinstance(found, LearnedPositions) else {}


def _own(rows: torch.Tensor) -> np.ndarray:
    """A copy that shares no memory with the model, whose arrays must not become read-only."""
    return rows.contiguous().numpy().copy()
