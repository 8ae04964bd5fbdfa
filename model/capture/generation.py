"""One run in progress: Steps as they happen, and the Trace of the run so far at any time."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from model.arch.tokens import Prompt, Reader
from model.capture.buffers import Logits
from model.capture.captured import CapturedPasses
from model.capture.decoding import Pass, Resumed, passes
from model.capture.hooked import HookedModel
from model.capture.logit_lens import LensColumns
from model.capture.prompts import check_lengths, read_prompt
from model.capture.tracer import NO_EXPERTS, Tracer
from model.limits import Limits
from model.records.edits import Edit, all_said
from model.records.trace import Choice, Ended, ModelCard, Origin, Path, Settings, Step, Trace
from model.texts import counted, phrase


class Generation:
    """One run in progress: iterate over it for its Steps; `trace()` is the run so far, `close()` ends it.

    Raises: Refusal, at once, for a prompt or a setting that this model or this host does not take.
    """

    def __init__(self, hooked: HookedModel, prompt: str | Sequence[int], settings: Settings, limits: Limits) -> None:
        self._open(hooked, read_prompt(hooked, prompt, settings), settings, limits)
        self._passes: Generator[Pass | Resumed] = passes(
            hooked.model,
            self._prompt.ids,
            settings,
            self._tracer,
            tokenizer=hooked.tokenizer,
            captured=captured_passes(hooked),
        )

    def _open(self, hooked: HookedModel, prompt: Prompt, settings: Settings, limits: Limits) -> None:
        self._hooked, self._prompt, self._settings = hooked, prompt, settings
        check_lengths(hooked, len(self._prompt.ids), settings, limits)
        self._tokens = list(hooked.reader.tokens(self._prompt.ids))
        self._mentioned = Mentioned(hooked.reader, self._prompt.ids)
        self._steps: list[Step] = []
        self._logits = Logits(settings.max_new_tokens, hooked.card.d_vocab)
        self._ended: Ended = "running"
        self._ending: Ended | None = None  # what the latest pass has met
        self._tracer = Tracer(hooked.anatomy, len(self._prompt.ids) + settings.max_new_tokens - 1)
        self._tracer.meanwhile = (self._logits.settle, self._mentioned.settle)
        self._origin: Origin | None = None
        self._edits: tuple[Edit, ...] = ()
        self._edit_vectors: np.ndarray | None = None
        self._path: Path = "solo"
        self._why_solo = ""
        self._lens = LensColumns(hooked, len(self._prompt.ids) + settings.max_new_tokens - 1)

    @property
    def beginning(self) -> str:
        """What is done first, in words."""
        return phrase("prefill")

    @property
    def n_steps(self) -> int:
        """Steps that are complete."""
        return len(self._steps)

    @property
    def n_most(self) -> int:
        """Steps that the run has at most."""
        return self._settings.max_new_tokens

    def resuming(self) -> Iterator[int]:
        """What must be done before the first new pass, a piece at each value, which counts the passes run again."""
        return iter(())

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        try:
            with self._hooked.guard:
                done = next(self._passes)
        except StopIteration:
            if self._ended == "running" and self._ending is not None:
                self._ended = self._ending
            raise
        assert isinstance(done, Pass)
        self._ending = done.ending
        self._path, self._why_solo = ("captured" if done.path == "captured" else self._path), done.why_solo
        self._logits.put(len(self._steps), done.logits[0])
        self._add(done.step, done.chosen.choice)
        return done.step

    def _add(self, step: Step, choice: Choice) -> None:
        """One more step is complete."""
        reader = self._hooked.reader
        if step.kind == "reread":
            self._lens.forget(step.first)
        self._steps.append(step)
        self._tokens.append(reader.token(choice.id, self._tokens[-1].span[1], generated=True))
        self._mentioned.add(_ids_of(choice))

    def stop_when(self, cancelled: Callable[[], bool]) -> None:
        """Ask this before every layer; when it says yes, the pass ends at once with `Cancelled`."""
        self._tracer.cancelled = cancelled

    def take_lens(self) -> None:
        """Take over the lens columns of an earlier run; a new run has none."""

    def lens_missing(self) -> list[int]:
        """Positions that were read and whose column of the logit lens is to be computed; none where it is not shown."""
        hidden = self._hooked.card.reason_against("lens") is not None or "resid" not in self._arrays()
        return [] if hidden else self._lens.missing(self._n_fed)

    def add_lens(self, position: int) -> None:
        """Work out one column of the logit lens, outside the time of any step."""
        stream = self._tracer.buffers.arrays(position + 1)[
            "resid"
        ]  # alone: masks of a prompt are not cut to a part of it
        self._mentioned.add(self._lens.add(position, stream[:, position]))

    @property
    def _n_fed(self) -> int:
        """Positions that were read."""
        return self._steps[-1].stop if self._steps else 0

    def _notes(self) -> tuple[str, ...]:
        """What a person should know of the prompt, of the model's self-check and of what the passes read."""
        card, config = self._hooked.card, self._hooked.model.generation_config
        notes = list(self._prompt.notes)
        if self._edits:
            notes.insert(0, phrase("Edited: {edits}.", edits=all_said(self._edits)))
        if (reason := card.reason_against("parity")) is not None:
            notes.append(phrase("This run may not be what the model computes unwatched: {reason}.", reason=reason))
        if self._path == "captured":
            notes.append(f"{CAPTURED} {_proved(card)}.")
        if self._why_solo:
            notes.append(f"{NOT_CAPTURED} {self._why_solo}.")
        if (config.num_beams or 1) > 1:
            notes.append(
                phrase(
                    "The model's generation config asks for beam search (num_beams = {n}). A run is one text; several "
                    "at a time are searched on the page Beams, or by `python -m model beams`.",
                    n=config.num_beams,
                )
            )
        if config.use_cache is False and any(step.kind == "decode" for step in self._steps):
            notes.append(_CACHE_ALL_THE_SAME)
        for check, why in self._lost().items():
            notes.append(phrase("This run did not record its {check}: {why}.", check=check, why=why))
        if empty := [layer for layer, size in enumerate(self._layer_bytes()) if not size]:
            notes.append(
                phrase(
                    "The cache holds nothing for {n_empty} of {n_layers} layers (the first: {first}); what such a "
                    "layer may keep inside the model is not counted among the cache's bytes.",
                    n_empty=len(empty),
                    n_layers=card.n_layers,
                    first=empty[0],
                )
            )
        again = [at for at, step in enumerate(self._steps) if step.kind == "reread"]
        if again:
            notes.append(f"{READ_AGAIN} {_last_reading(again)}")
        return tuple(dict.fromkeys(notes))

    def _layer_bytes(self) -> tuple[int, ...]:
        return self._steps[-1].layer_bytes if self._steps else ()

    @property
    def n_prompt(self) -> int:
        """Tokens of the prompt, as the model reads it."""
        return len(self._prompt.ids)

    def close(self) -> None:
        """End the run where it is."""
        self._passes.close()
        if self._ended == "running":
            self._ended = "stopped"

    def trace(self) -> Trace:
        """The run so far: complete steps only. Its arrays share memory with the run until the run has ended."""
        arrays = self._arrays()
        self._mentioned.settle()
        n_prompt = len(self._prompt.ids)
        trace = Trace(
            model=self._hooked.card,
            settings=self._settings,
            prompt=self._prompt.text,
            text=self._hooked.reader.written(self._prompt.ids, [token.id for token in self._tokens[n_prompt:]]),
            n_prompt=n_prompt,
            tokens=tuple(self._tokens),
            texts=dict(self._mentioned.texts),
            fragments=dict(self._mentioned.fragments),
            steps=tuple(self._steps),
            ended=self._ended,
            notes=self._notes(),
            rules=self._tracer.rules_in_order() if "queries" in arrays else (),
            origin=self._origin,
            prompt_spans=self._prompt.spans,
            path=self._path,
            edits=self._edits,
            edit_vectors=self._edit_vectors,
            logits=self._logits.first(len(self._steps)),
            **arrays,
        )
        return replace(trace, **self._lens.arrays(trace.n_fed)) if self._lens.any else trace

    def _arrays(self) -> dict[str, np.ndarray]:
        """What was recorded, all but what this model does not show, and what failed in this run."""
        arrays = self._tracer.arrays(self._n_fed, own=self._ended != "running")
        hidden = [check for check in _SHOWN_BY if self._hooked.card.reason_against(check) is not None]
        for name in (name for check in (*hidden, *self._lost()) for name in _SHOWN_BY[check]):
            arrays.pop(name, None)
        for name in NO_EXPERTS.keys() & self._tracer.buffers.misfits.keys():
            arrays.pop(name, None)
        return arrays

    def _lost(self) -> dict[str, str]:
        """What this model shows, but could not be recorded in this run, with the reason."""
        misfits, card = self._tracer.buffers.misfits, self._hooked.card
        return {
            check: misfits[name]
            for check, names in _SHOWN_BY.items()
            for name in names
            if name in misfits and card.reason_against(check) is None
        }


def captured_passes(hooked: HookedModel) -> CapturedPasses | None:
    """The model's captured passes, where a check at load has proved that they compute what others do."""
    return None if hooked.captured is None or hooked.card.reason_against("captured") is not None else hooked.captured


def _proved(card: ModelCard) -> str:
    return next(check.detail for check in card.checks if check.name == "captured")


_SHOWN_BY = {
    "attention": ("queries", "keys", "values", "sinks", "masks"),
    "residual": ("resid",),
    "units": ("unit_ids", "unit_values"),
}


_CACHE_ALL_THE_SAME = phrase(
    "The model's generation config sets use_cache to false, as training leaves it; this run used the KV cache all the "
    "same, as generate(use_cache=True) does."
)


CAPTURED = phrase("Passes after the prompt's were replayed from a captured one:")
NOT_CAPTURED = phrase("Passes were not captured:")
READ_AGAIN = phrase("The model had no cache of earlier tokens and read them again:")


def _last_reading(steps: Sequence[int]) -> str:
    """Which of these steps pictures show, for those before it too."""
    return counted(
        len(steps),
        "pictures of them, in earlier steps too, show what it computed in step {last}.",
        "it did so in {n} steps, and pictures, of earlier steps too, show what it computed in the last, step {last}.",
        last=steps[-1],
    )


class Mentioned:
    """The tokens that a record names, and what they read as, which is looked up when there is time."""

    def __init__(self, reader: Reader, ids: Sequence[int]) -> None:
        self._reader = reader
        self.texts, self.fragments = reader.texts(ids), reader.fragments(ids)
        self._new: set[int] = set()

    def add(self, ids: Iterable[int]) -> None:
        """The record will name these."""
        self._new.update(ids)

    def settle(self) -> None:
        """Look up what is new: after this, texts and fragments hold all."""
        new = self._new - self.texts.keys()
        self.texts |= self._reader.texts(new)
        self.fragments |= self._reader.fragments(new)
        self._new.clear()


def _ids_of(choice: Choice) -> set[int]:
    staged = (each.id for stage in choice.stages for each in stage.candidates)
    return {choice.id, *(each.id for each in choice.candidates), *(each.id for each in choice.draw), *staged}
