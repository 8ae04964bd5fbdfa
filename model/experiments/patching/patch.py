"""Pieces of a clean run put into a corrupt one, one at a time: which of them bring the clean answer back."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import numpy as np
import torch

from model.api.job import Job, records_of
from model.capture.edited import check_editable
from model.capture.edits import Change, Edits, Heard, Swap
from model.capture.hooked import HookedModel
from model.capture.sites import check_attention, head_site, mlp_site, stream_site
from model.capture.variants import Variants
from model.errors import BadSetting, Cancelled
from model.records.fields import check_choice
from model.records.patching import PIECES, PatchMap, Piece
from model.records.trace import Trace
from model.texts import phrase

_LEAST = 1e-3  # of the largest logit: a difference of answers below it cannot be told from rounding

Place = Callable[[int, int, int], Change | Swap]
"""The change that puts the clean piece of a layer and a place into one row of a batch."""


def patch(
    hooked: HookedModel, clean: Trace, corrupt: Trace, what: Piece = "residual", *, job: Job | None = None
) -> PatchMap:
    """Put each piece of a clean run into a corrupt one, and see how much of the clean answer comes back.

    Both runs begin with prompts of as many tokens, and chose other tokens after it. `recovered` float32 [L, P] is
    (patched - corrupt) / (clean - corrupt) of the difference of the two answers' logits: 0 as in the corrupt run, 1 as
    in the clean one. `what` is the piece: "residual" (the stream at a layer's entrance), "mlp" (what the MLP adds),
    "key" or "value" (of all heads), each at one position, so that P is the prompt's positions; or "heads" (what a head
    gives at all positions), so that P is the layer's heads. Pieces of a layer are rows of a batch that begins there.
    Raises: Refusal, for prompts of unequal length or of the same answer, another model's run, or a model that cannot
    be edited so.
    Source: Meng et al. 2022, "Locating and Editing Factual Associations in GPT" (section 2); the score: Wang et al.
    2022, "Interpretability in the Wild".
    """
    *_, last = records_of(patch_in_layers(hooked, clean, corrupt, what, job=job or Job()))
    return last


def patch_in_layers(
    hooked: HookedModel, clean: Trace, corrupt: Trace, what: Piece, *, job: Job
) -> Generator[PatchMap | None]:
    """As `patch`, but yields the map so far after each layer, and None after a pass: others may have the model.

    The last layer comes first: the fewer layers follow, the sooner it is done.
    """
    check_choice("what", what, PIECES)
    for run in (clean, corrupt):
        check_editable(hooked, run)
    layers = _layers(hooked, what)
    begun = _begun(hooked, clean, corrupt, what)
    job.expected_bytes = 8 * begun.recovered.nbytes + 2000 * len(begun.corrupt)
    return _patched(hooked, clean, corrupt, begun, layers, job)


def _patched(
    hooked: HookedModel, clean: Trace, corrupt: Trace, so_far: PatchMap, layers: Sequence[int], job: Job
) -> Generator[PatchMap | None]:
    n_layers, done = corrupt.model.n_layers, 0
    total = sum(n_layers - layer for layer in layers)  # layers that are computed
    job.progress(done, total, phrase("the unedited texts"))
    yield so_far
    try:
        job.check()
        other, text = (_read(hooked, run, job) for run in (clean, corrupt))
        so_far = _with_differences(so_far, other, text)
        place = _placing(hooked, clean, so_far.what, other, layers)
        for layer in reversed(layers):
            recovered = np.array(so_far.recovered)
            recovered[layer, : _first_place(so_far)] = 0  # before the first other token nothing differs
            for places in _batches(hooked, so_far, layer, text.n_at_once):
                changes = [place(layer, at, row) for row, at in enumerate(places)]
                logits = text.edited(_edits(hooked, changes), len(places), layer)
                recovered[layer, places] = _recovered(so_far, logits)
                yield None
            done += n_layers - layer
            so_far = replace(so_far, recovered=recovered, done=(*so_far.done, layer))
            job.progress(done, total, phrase("pieces of layer {layer}", layer=layer))
            yield so_far
    except Cancelled:
        return


def _begun(hooked: HookedModel, clean: Trace, corrupt: Trace, what: Piece) -> PatchMap:
    """A map of which nothing is done. Raises: BadSetting, for runs that cannot be compared."""
    if clean.n_prompt != corrupt.n_prompt:
        raise BadSetting(
            "the clean prompt has {n_clean} tokens and the corrupt one {n_corrupt}; a piece is put where it came from, "
            "so both must have as many. Choose prompts of equal length.",
            n_clean=clean.n_prompt,
            n_corrupt=corrupt.n_prompt,
        )
    answers = clean.choices[0].id, corrupt.choices[0].id
    if answers[0] == answers[1]:
        raise BadSetting(
            "both prompts are answered by the same token, {token!r}; there is nothing to bring back. Choose prompts "
            "with other answers.",
            token=clean.texts[answers[0]],
        )
    n_places = hooked.card.n_heads if what == "heads" else corrupt.n_prompt
    begun = PatchMap(
        model=hooked.card,
        what=what,
        clean=clean.tokens[: clean.n_prompt],
        corrupt=corrupt.tokens[: corrupt.n_prompt],
        clean_id=answers[0],
        corrupt_id=answers[1],
        texts=dict(hooked.reader.texts(answers)),
        clean_difference=float(clean.logits[0][answers[0]]) - float(clean.logits[0][answers[1]]),
        corrupt_difference=float(corrupt.logits[0][answers[0]]) - float(corrupt.logits[0][answers[1]]),
        done=(),
        recovered=np.full((hooked.card.n_layers, n_places), np.nan, np.float32),
    )
    if abs(begun.clean_difference - begun.corrupt_difference) <= _LEAST * float(np.abs(corrupt.logits[0]).max()):
        raise BadSetting(
            "the answers' logits differ by as much after either prompt ({clean:.3g} and {corrupt:.3g}); there is "
            "nothing to bring back. Choose prompts with other answers.",
            clean=begun.clean_difference,
            corrupt=begun.corrupt_difference,
        )
    return begun


def _layers(hooked: HookedModel, what: Piece) -> list[int]:
    """The layers that have such a piece. Raises: NotShown, where none has."""
    layers = list(range(hooked.card.n_layers))
    if what == "heads":
        found = [layer for layer in layers if hooked.anatomy.head_outputs[layer] is not None]
        return found or [head_site(hooked, 0, 0).layer]  # which says why not
    if what in ("key", "value"):
        check_attention(hooked)
    for layer in layers:
        if what == "mlp":
            mlp_site(hooked, layer)
        elif what == "residual":
            stream_site(hooked, layer)
    return layers


def _read(hooked: HookedModel, run: Trace, job: Job) -> Variants:
    text = Variants(hooked, [token.id for token in run.tokens[: run.n_prompt]], job.check)
    text.require_recorded(run.logits[0])
    return text


def _placing(hooked: HookedModel, clean: Trace, what: Piece, other: Variants, layers: Sequence[int]) -> Place:
    """How a clean piece becomes a change of one row of a batch."""
    if what == "residual":
        assert clean.resid is not None
        stream = torch.tensor(clean.resid[:, : clean.n_prompt])
        return lambda layer, at, row: Change(
            site=stream_site(hooked, layer), value=stream[layer, at], first=at, stop=at + 1, row=row
        )
    if what in ("key", "value"):
        held = clean.keys if what == "key" else clean.values
        assert held is not None
        rows, name = torch.tensor(held[:, :, : clean.n_prompt]), what
        return lambda layer, at, row: Swap(layer=layer, name=name, position=at, value=rows[layer, :, at], row=row)
    if what == "heads":
        heard = other.heard([head_site(hooked, layer, 0) for layer in layers])
        return lambda layer, at, row: _head(hooked, heard, layer, at, row)
    heard = other.heard([mlp_site(hooked, layer) for layer in layers])
    return lambda layer, at, row: Change(
        site=mlp_site(hooked, layer), value=heard.at(mlp_site(hooked, layer))[at], first=at, stop=at + 1, row=row
    )


def _head(hooked: HookedModel, heard: Heard, layer: int, head: int, row: int) -> Change:
    site = head_site(hooked, layer, head)
    return Change(site=site, value=heard.at(site), row=row)


def _edits(hooked: HookedModel, changes: Sequence[Change | Swap]) -> Edits:
    made = [each for each in changes if isinstance(each, Change)]
    swaps = [each for each in changes if isinstance(each, Swap)]
    return Edits(hooked.anatomy, made, swaps=swaps, n_rows=len(changes))


def _first_place(patched: PatchMap) -> int:
    """The first position at which anything differs; 0 among heads."""
    return 0 if patched.what == "heads" else patched.differs[0]


def _batches(hooked: HookedModel, patched: PatchMap, layer: int, n_at_once: int) -> list[list[int]]:
    found = hooked.anatomy.head_outputs[layer]
    stop = found.n_heads if patched.what == "heads" and found is not None else patched.recovered.shape[1]
    places = list(range(_first_place(patched), stop))
    return [places[first : first + n_at_once] for first in range(0, len(places), n_at_once)]


def _with_differences(patched: PatchMap, clean: Variants, corrupt: Variants) -> PatchMap:
    clean_difference, corrupt_difference = (_difference(patched, each.logits[None])[0] for each in (clean, corrupt))
    return replace(patched, clean_difference=float(clean_difference), corrupt_difference=float(corrupt_difference))


def _recovered(patched: PatchMap, logits: torch.Tensor) -> np.ndarray:
    """The share of the clean answer that each row of logits [row, V] has back."""
    whole = patched.clean_difference - patched.corrupt_difference
    return (_difference(patched, logits) - patched.corrupt_difference) / whole


def _difference(patched: PatchMap, logits: torch.Tensor) -> np.ndarray:
    return (logits[:, patched.clean_id] - logits[:, patched.corrupt_id]).double().numpy()
