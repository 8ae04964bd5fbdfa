"""What the model would say at each layer, if it had to speak there: the logit lens, added after the run."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from model.capture.hooked import HookedModel
from model.errors import NotShown
from model.records.trace import Trace
from model.texts import phrase

KEPT = 5  # likeliest tokens kept at each layer and position
POSITIONS = 512  # a longer run goes without: the lens costs a head's work at every layer and position
_CHUNK = 64  # places (layer, position) put through the head at once: 64 x 49,152 float32 are 12.6 MB


def logits(hooked: HookedModel, trace: Trace, layer: int, position: int) -> np.ndarray:
    """The full distribution of one place of the lens, as raw logits: float32 [V]. `layer` L is the model's own output.

    Raises: NotShown, if this model's output cannot be rebuilt from its residual stream.
    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    _require_lens(hooked)
    if trace.resid is None:
        raise NotShown("this run kept no residual stream, so it has no logit lens.")
    stream = torch.tensor(trace.resid[layer, position], device=hooked.model.device)
    with torch.inference_mode():
        return hooked.anatomy.logits(stream[None, None], hooked.model.config.get_text_config())[0, 0].cpu().numpy()


def lens_steps(hooked: HookedModel, trace: Trace) -> Iterator[Trace | None]:
    """Add the lens at each layer and position in short pieces of work: None, until the finished copy."""
    if trace.resid is None or hooked.card.reason_against("lens") is not None:
        return
    if trace.n_fed > POSITIONS:
        why = phrase("the run has {n:,} positions; the limit is {most}.", n=trace.n_fed, most=POSITIONS)
        note = f"{phrase('The logit lens is left out:')} {why}"
        yield replace(trace, notes=(*trace.notes, note))
        return
    places = trace.resid.reshape(-1, trace.resid.shape[-1])
    ids, chances = [], []
    for start in range(0, len(places), _CHUNK):
        top_ids, top_chances = _likeliest(hooked, places[start : start + _CHUNK])
        ids.append(top_ids)
        chances.append(top_chances)
        yield None
    shape = (*trace.resid.shape[:2], -1)
    lens_ids = np.concatenate(ids).astype(np.int32).reshape(shape)
    yield replace(
        trace,
        texts=trace.texts | hooked.reader.texts(np.unique(lens_ids).tolist()),
        fragments=trace.fragments | hooked.reader.fragments(np.unique(lens_ids).tolist()),
        lens_ids=lens_ids,
        lens_probs=np.concatenate(chances).reshape(shape),
    )


def _likeliest(hooked: HookedModel, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        rows = torch.tensor(stream, device=hooked.model.device)
        scores = hooked.anatomy.logits(rows, hooked.model.config.get_text_config())
        best = scores.topk(min(KEPT, scores.shape[-1]), dim=-1)
        chances = torch.exp(best.values - scores.logsumexp(dim=-1, keepdim=True))
    return best.indices.cpu().numpy(), chances.cpu().numpy()


def _require_lens(hooked: HookedModel) -> None:
    if (reason := hooked.card.reason_against("lens")) is not None:
        raise NotShown("{model} does not show its logit lens: {reason}.", model=hooked.card.name, reason=reason)
