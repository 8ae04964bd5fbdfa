"""What the model would say at each layer, if it had to speak there: the logit lens, outside the time of any pass."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from model.arch.placement import home
from model.capture.hooked import HookedModel
from model.capture.same_model import check_same_model
from model.errors import BadSetting, NotShown
from model.records.lens import WHOLE_UP_TO, missing_columns
from model.records.trace import Trace
from model.texts import phrase

KEPT = 5  # likeliest tokens kept at each layer and position
NEWEST = 24  # columns computed of a longer run than WHOLE_UP_TO: a column costs a head's work at every layer
_TELL_S = 0.4  # between two copies that are not whole
_CHUNK = 64  # places (layer, position) put through the head at once: 64 x 49,152 float32 are 12.6 MB


def logits(hooked: HookedModel, trace: Trace, layer: int, position: int) -> np.ndarray:
    """The full distribution of one place of the lens, as raw logits: float32 [V]. `layer` L is the model's own output.

    Raises: NotShown, if this model's output cannot be rebuilt from its residual stream.
    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    _require_lens(hooked)
    _require_stream(trace)
    assert trace.resid is not None, "a run without it was refused"
    stream = torch.tensor(trace.resid[layer, position], device=home(hooked.model))
    with torch.inference_mode():
        return hooked.anatomy.logits(stream[None, None], hooked.model.config.get_text_config())[0, 0].cpu().numpy()


class LensColumns:
    """The lens of one run, column by column: ids and probabilities [L+1, S, K], with id -1 where one is missing."""

    def __init__(self, hooked: HookedModel, capacity: int) -> None:
        self._hooked = hooked
        size = (hooked.card.n_layers + 1, capacity, min(KEPT, hooked.card.d_vocab))
        self.ids = np.full(size, -1, np.int32)
        self.probs = np.zeros(size, np.float32)

    @property
    def any(self) -> bool:
        """Whether there is a column."""
        return bool((self.ids[0, :, 0] >= 0).any())

    def missing(self, n_fed: int) -> list[int]:
        """Positions, of the first n_fed, whose column is to be computed: of a long run, only the newest."""
        first = 0 if n_fed <= WHOLE_UP_TO else n_fed - NEWEST
        return (np.flatnonzero(self.ids[0, first:n_fed, 0] < 0) + first).tolist()

    def forget(self, first: int) -> None:
        """The stream was computed anew from this position on."""
        self.ids[:, first:], self.probs[:, first:] = -1, 0

    def take_over(self, trace: Trace, n_positions: int) -> set[int]:
        """Begin with the columns that a record has of its first positions. Returns the token ids that they mention."""
        if trace.lens_ids is not None and trace.lens_probs is not None:
            n = min(n_positions, self.ids.shape[1])
            self.ids[:, :n], self.probs[:, :n] = trace.lens_ids[:, :n], trace.lens_probs[:, :n]
        return set(self.ids.ravel().tolist()) - {-1}

    def add(self, position: int, stream: np.ndarray) -> set[int]:
        """Work out one column from its residual stream [L+1, M]: one product with the head, of a few dozen rows.

        Returns the token ids that it mentions.
        """
        for start in range(0, len(stream), _CHUNK):
            levels = slice(start, start + _CHUNK)
            self.ids[levels, position], self.probs[levels, position] = _likeliest(self._hooked, stream[levels])
        return set(self.ids[:, position].ravel().tolist())

    def arrays(self, n_fed: int) -> dict[str, np.ndarray]:
        """As a record holds them."""
        return {"lens_ids": self.ids[:, :n_fed].copy(), "lens_probs": self.probs[:, :n_fed].copy()}


def lens_steps(hooked: HookedModel, trace: Trace) -> Iterator[Trace | None]:
    """Add the lens at each layer and position in short pieces of work: None after most, and a copy with what there is
    by then a few times a second; the last copy is whole.
    """
    resid = trace.resid
    if resid is None or hooked.card.reason_against("lens") is not None:
        return
    if trace.n_fed > WHOLE_UP_TO:
        trace = replace(trace, notes=(*trace.notes, _on_demand(trace)))
    columns = LensColumns(hooked, trace.n_fed)
    columns.take_over(trace, trace.n_fed)
    told = time.monotonic()
    for position in reversed(columns.missing(trace.n_fed)):
        columns.add(position, resid[:, position])
        if time.monotonic() - told > _TELL_S:
            told = time.monotonic()
            yield with_columns(hooked, trace, columns)
        else:
            yield None
    yield with_columns(hooked, trace, columns)


def add_columns(hooked: HookedModel, trace: Trace, positions: Sequence[int]) -> Iterator[Trace]:
    """Compute those of these columns that are not there yet: a copy of the run after each. The columns that
    `lens_steps` leaves out of a long run are had this way.

    Raises: Refusal, at once: NotShown, if this model's output cannot be rebuilt from its residual stream or the run
    kept none; BadTrace, for another model's run; BadSetting, for a position that was not read.
    """
    _require_lens(hooked)
    check_same_model(hooked, trace)
    _require_stream(trace)
    for position in positions:
        if not 0 <= position < trace.n_fed:
            raise BadSetting(
                "position {position} does not exist: this run has read {n_fed} tokens.",
                position=position,
                n_fed=trace.n_fed,
            )
    return _added(hooked, trace, missing_columns(trace, positions))


def _added(hooked: HookedModel, trace: Trace, positions: Sequence[int]) -> Iterator[Trace]:
    assert trace.resid is not None, "add_columns refuses a run without a residual stream"
    columns = LensColumns(hooked, trace.n_fed)
    columns.take_over(trace, trace.n_fed)
    for position in positions:
        columns.add(position, trace.resid[:, position])
        yield with_columns(hooked, trace, columns)


def _on_demand(trace: Trace) -> str:
    said = phrase("The logit lens is computed column by column, when it is looked at:")
    why = phrase("the run has {n:,} positions; up to {most} it is whole.", n=trace.n_fed, most=WHOLE_UP_TO)
    return f"{said} {why}"


def with_columns(hooked: HookedModel, trace: Trace, columns: LensColumns) -> Trace:
    """A copy of the run with the columns that there are, and what their tokens read as."""
    arrays = columns.arrays(trace.n_fed)
    named = set(np.unique(arrays["lens_ids"]).tolist()) - trace.texts.keys() - {-1}
    return replace(
        trace,
        texts=trace.texts | hooked.reader.texts(named),
        fragments=trace.fragments | hooked.reader.fragments(named),
        **arrays,
    )


def _likeliest(hooked: HookedModel, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        rows = torch.tensor(stream, device=home(hooked.model))
        scores = hooked.anatomy.logits(rows, hooked.model.config.get_text_config())
        best = scores.topk(min(KEPT, scores.shape[-1]), dim=-1)
        chances = torch.exp(best.values - scores.logsumexp(dim=-1, keepdim=True))
    return best.indices.cpu().numpy(), chances.cpu().numpy()


def _require_lens(hooked: HookedModel) -> None:
    if (reason := hooked.card.reason_against("lens")) is not None:
        raise NotShown("{model} does not show its logit lens: {reason}.", model=hooked.card.name, reason=reason)


def _require_stream(trace: Trace) -> None:
    if trace.resid is None:
        raise NotShown("this run kept no residual stream, so it has no logit lens.")
