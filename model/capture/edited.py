"""A run computed anew from its prompt by an edited model: it begins with no cache, and says what was changed."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from model.arch.tokens import Prompt
from model.capture.continuation import OF_LENGTH
from model.capture.decoding import passes
from model.capture.edits import Change, Cut, Edits, Heard, Site
from model.capture.generation import CAPTURED, NOT_CAPTURED, Generation
from model.capture.hooked import HookedModel
from model.capture.same_model import check_same_model, check_unedited
from model.capture.sites import sites_of
from model.capture.tracer import Tracer
from model.errors import BadSetting, BadTrace
from model.limits import Limits
from model.records import attention
from model.records.edits import Edit
from model.records.trace import Step, Trace
from model.texts import phrase

_OF_THE_RUN = (*OF_LENGTH, CAPTURED, NOT_CAPTURED)  # notes that the edited run writes anew where they hold


class EditedRun(Generation):
    """A run in progress from another run's prompt, under its settings, by an edited model.

    Before the first pass the unedited run, or the reference, is replayed where its outputs are needed: `resuming`.
    Raises: Refusal, at once, for another model's run, or for an edit that cannot be made of this model or run.
    """

    def __init__(
        self,
        hooked: HookedModel,
        run: Trace,
        edits: Sequence[Edit],
        limits: Limits,
        *,
        vectors: np.ndarray | None = None,
        reference: Trace | None = None,
    ) -> None:
        check_editable(hooked, run)
        self._places = [(edit, sites_of(hooked, edit)) for edit in edits]
        _check_edges(run, edits)
        self._reference = _checked_reference(hooked, run, edits, reference)
        notes = tuple(note for note in run.notes if not note.startswith(_OF_THE_RUN))
        ids = tuple(token.id for token in run.tokens[: run.n_prompt])
        self._open(hooked, Prompt(text=run.prompt, ids=ids, notes=notes, spans=run.prompt_spans), run.settings, limits)
        self._run, self._edits, self._edit_vectors = run, tuple(edits), vectors
        self._passes = passes(hooked.model, ids, run.settings, self._tracer, tokenizer=hooked.tokenizer)
        self._preparing = self._prepared()

    @property
    def beginning(self) -> str:
        """What is done first, in words."""
        return phrase("replay of the unedited outputs") if self._outputs_of() else phrase("prefill")

    def resuming(self) -> Iterator[int]:
        """Replay the runs whose outputs the edits need, a pass at each value, which is 0: no step is complete yet."""
        yield from self._preparing

    def __next__(self) -> Step:
        for _ in self.resuming():
            pass
        return super().__next__()

    def _prepared(self) -> Iterator[int]:
        heard: dict[str, Heard] = {}
        for mode, record in self._outputs_of().items():
            sites = [site for edit, sites in self._places if edit.mode == mode for site in sites]
            heard[mode] = Heard(self._hooked.anatomy, sites, record.n_fed)
            yield from replayed(self._hooked, record, heard[mode], self._tracer.cancelled)
        changes = [self._change(edit, site, heard) for edit, sites in self._places for site in sites]
        cuts = [_cut(edit) for edit, _ in self._places if edit.what == "edge"]
        if changes or cuts:
            self._tracer.around = Edits(self._hooked.anatomy, changes, cuts=cuts)

    def _outputs_of(self) -> dict[str, Trace]:
        """By mode of edit, the run whose outputs it needs."""
        modes = {edit.mode for edit in self._edits}
        runs = {"mean": self._run, "resample": self._reference}
        return {mode: run for mode, run in runs.items() if mode in modes and run is not None}

    def _change(self, edit: Edit, site: Site, heard: dict[str, Heard]) -> Change:
        n_prompt = self._run.n_prompt
        first, stop = {"prefill": (0, n_prompt), "decode": (n_prompt, None), "all": (0, None)}[edit.when]
        value: torch.Tensor | None = None
        if edit.position is not None:
            first, stop = edit.position, edit.position + 1
        if edit.vector is not None and self._edit_vectors is not None:
            value = torch.tensor(self._edit_vectors[edit.vector]) * (1.0 if edit.strength is None else edit.strength)
        if edit.mode == "mean":
            value = heard["mean"].at(site).mean(0)
        if edit.mode == "resample":
            value = heard["resample"].at(site)
            stop = len(value) if stop is None else min(stop, len(value))
        return Change(site=site, value=value, add=edit.mode == "add", first=first, stop=stop)

    def _notes(self) -> tuple[str, ...]:
        notes, reference, origin = list(super()._notes()), self._reference, self._run.origin
        if origin is not None:
            notes.append(
                phrase(
                    "In the unedited run a person chose the token of step {step}; this one begins with the prompt, and "
                    "the model chose every token.",
                    step=origin.step,
                )
            )
        touched = any(edit.mode == "resample" and edit.when != "prefill" for edit in self._edits)
        if touched and reference is not None and self._n_fed > reference.n_fed:
            notes.append(
                phrase(
                    "The reference run ends with position {last}: what is computed of later ones is not edited.",
                    last=reference.n_fed - 1,
                )
            )
        return tuple(notes)


def check_editable(hooked: HookedModel, run: Trace) -> None:
    """Check that an edited model can be compared with a run: this model made it, as it is. Raises: BadTrace."""
    check_same_model(hooked, run)
    check_unedited(run)
    if not run.steps:
        raise BadTrace("the run has no pass yet. Choose one that has chosen a token.")


def replayed(hooked: HookedModel, run: Trace, heard: Heard, cancelled: Callable[[], bool]) -> Iterator[int]:
    """Compute a run's own passes again, with its own tokens, for what is heard at some sites; a value after each.

    Raises: Cancelled, from within a pass, as soon as `cancelled()` says so.
    """
    ids = [token.id for token in run.tokens]
    tracer = Tracer(hooked.anatomy, run.n_fed)
    tracer.around, tracer.cancelled = heard, cancelled
    again = passes(
        hooked.model, ids[: run.n_prompt], run.settings, tracer, tokenizer=hooked.tokenizer, forced=ids[run.n_prompt :]
    )
    while True:
        with hooked.guard:
            if next(again, None) is None:
                return
        yield 0


def _cut(edit: Edit) -> Cut:
    assert edit.query is not None and edit.key is not None
    return Cut(query=edit.query, key=edit.key, layer=edit.layer, head=edit.head)


def _checked_reference(hooked: HookedModel, run: Trace, edits: Sequence[Edit], reference: Trace | None) -> Trace | None:
    """The run whose outputs are taken over, where an edit takes any. Raises: BadSetting, BadTrace."""
    if all(edit.mode != "resample" for edit in edits):
        return None
    if reference is None:
        raise BadSetting("mode is resample, which takes over what a reference run computed. Give a reference.")
    check_editable(hooked, reference)
    if reference.n_fed < run.n_prompt:
        raise BadSetting(
            "the reference has {n} positions and the prompt {n_prompt}; each needs its own. Choose a longer one.",
            n=reference.n_fed,
            n_prompt=run.n_prompt,
        )
    return reference


def _check_edges(run: Trace, edits: Sequence[Edit]) -> None:
    """Each edge points back, and leaves its token something to look at. Raises: BadSetting."""
    most = run.n_prompt + run.settings.max_new_tokens - 1
    cut: dict[tuple[int, int, int], set[int]] = {}
    for edit in edits:
        if edit.what != "edge" or edit.query is None or edit.key is None:
            continue
        if not 0 <= edit.key <= edit.query < most:
            raise BadSetting(
                "the edge {query}>{key} is none of this run: a token looks at itself or at one before it, and the last "
                "that is read is {last}. Choose another pair.",
                query=edit.query,
                key=edit.key,
                last=most - 1,
            )
        layers = range(run.model.n_layers) if edit.layer is None else [edit.layer]
        heads = range(run.model.n_heads) if edit.head is None else [edit.head]
        for layer in layers:
            seen = attention.visible(run.rules[layer], np.array([edit.query]), edit.query + 1)[0]
            for head in heads:
                keys = cut.setdefault((layer, head, edit.query), set())
                keys.add(edit.key)
                if set(np.flatnonzero(seen).tolist()) <= keys:
                    raise BadSetting(
                        "the edges leave the token at {query} nothing to look at, in head {head} of layer {layer}; its "
                        "weights could not sum to 1. Leave it one token.",
                        query=edit.query,
                        head=head,
                        layer=layer,
                    )
