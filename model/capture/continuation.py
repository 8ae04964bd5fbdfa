"""Continues an earlier run from one of its steps, with a token that a person chose."""

import time
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral

import numpy as np
import torch

from model.arch.placement import home
from model.arch.tokens import Prompt
from model.capture.decoding import Earlier, Resumed, continued
from model.capture.generation import READ_AGAIN, Generation, captured_passes
from model.capture.hooked import HookedModel
from model.capture.restored import NotRestorable
from model.capture.same_model import check_same_model, check_unedited, logits_may_differ
from model.capture.sampling import chosen_by_person
from model.errors import BadSetting, BadTrace
from model.limits import Limits
from model.records.fields import shown
from model.records.schema import form_of
from model.records.trace import Origin, Step, Trace
from model.texts import phrase

_BY_POSITION = ("queries", "keys", "values", "resid", "unit_ids", "unit_values", "expert_ids", "expert_weights")
OF_LENGTH = (  # not of the new run
    READ_AGAIN,
    phrase("The embedding map is left out:"),
    phrase("The logit lens is left out:"),  # as earlier versions wrote
    phrase("The logit lens is computed column by column, when it is looked at:"),
)


class Continuation(Generation):
    """A run in progress whose first steps are an earlier run's; the last of them chose what a person says.

    The earlier steps are taken over: tokens, choices, arrays, and the seconds that they took there. Where the check
    `resume` has proved it, the record's own keys and values are the cache, and no position is computed again; else the
    recorded passes are run again, each in its own shape. `resuming` does either. The run's settings go on to hold:
    `max_new_tokens` counts from the prompt, and random numbers are drawn as if the run had never stopped.
    Raises: Refusal, at once: BadSetting for a step or a token that is not there, BadTrace for another model's run.
    """

    def __init__(
        self, hooked: HookedModel, run: Trace, *, step: int, token_id: int, limits: Limits, called: str = ""
    ) -> None:
        check_same_model(hooked, run)
        check_unedited(run)
        check_place(run, step, token_id)
        ids = tuple(token.id for token in run.tokens[: run.n_prompt])
        notes = tuple(note for note in run.notes if not note.startswith(OF_LENGTH))
        self._open(hooked, Prompt(text=run.prompt, ids=ids, notes=notes, spans=run.prompt_spans), run.settings, limits)
        self._run, self._step, self._token_id, self._called = run, int(step), int(token_id), called
        self._n_taken = run.steps[step].stop
        self._stands, self._begun_s = False, 0.0
        self._passes = continued(
            hooked.model,
            ids,
            run.settings,
            self._tracer,
            earlier_of(hooked, run, step, token_id),
            tokenizer=hooked.tokenizer,
            captured=captured_passes(hooked),
        )

    @property
    def beginning(self) -> str:
        """What is done first, in words."""
        return phrase("replay") if self._why_not_restored() else phrase("restore")

    def resuming(self) -> Iterator[int]:
        """Bring the model to the state of the earlier run, one piece a value; each value counts the passes replayed.

        What is left of this is done by the first `next`.

        Raises: BadTrace, if the model gives other logits than the run holds: other weights made it.
        """
        if self._origin is None:
            started = time.perf_counter()
            self._take_over()
            self._check_weights()
            self._begun_s = time.perf_counter() - started
        while not self._stands:
            try:
                with self._hooked.guard:
                    done = next(self._passes)
            except NotRestorable as error:
                raise BadTrace(
                    "the run cannot be continued from its record: {error}. Run the prompt again.", error=error
                ) from error
            assert isinstance(done, Resumed) and self._origin is not None
            if done.logits is not None:  # the prefill is step 0, and each pass after it reads one token
                require_close(self._hooked, self._run, done.n_replayed - self._run.n_prompt, done.logits[0])
            self._origin = replace(
                self._origin,
                n_reused=done.n_reused,
                n_replayed=done.n_replayed,
                recorded_s=0.0 if done.n_replayed else sum(each.seconds for each in self._steps),
                restore_s=self._begun_s + done.seconds,
                note=self._why_not_restored() if done.n_replayed else "",
            )
            self._ending = done.ending
            self._stands = done.n_reused + done.n_replayed == self._n_taken
            yield max(0, done.n_replayed - self._run.n_prompt + 1)

    def take_lens(self) -> None:
        """Begin with the earlier run's columns of the logit lens: its positions are not worked out again."""
        if not self._run.read_again(self._step):
            self._mentioned.add(self._lens.take_over(self._run, self._n_taken))

    def __next__(self) -> Step:
        for _ in self.resuming():
            pass
        return super().__next__()

    def _arrays(self) -> dict[str, np.ndarray]:
        held = self._run.arrays().keys()  # what the earlier steps lack, the new ones alone do not make whole
        return {name: array for name, array in super()._arrays().items() if name in held or name not in _BY_POSITION}

    def _why_not_restored(self) -> str:
        return why_not_restored(self._hooked, self._run, self._step)

    def _take_over(self) -> None:
        """The earlier run's steps up to the one whose token is the person's."""
        run, step, self._path = self._run, self._step, self._run.path
        for at, each in enumerate(run.steps[: step + 1]):
            logits = torch.tensor(run.logits[at])
            (choice,) = each.choices
            if at == step:
                choice = chosen_by_person(choice, logits, self._token_id)
            self._add(replace(each, choices=(choice,)), choice)
            self._logits.put(at, logits)
        self._tracer.take_over(_first(run, self._n_taken), run.rules)
        self._origin = Origin(
            run=self._called,
            step=step,
            token_id=self._token_id,
            instead_of=run.choices[step].id,
            n_reused=0,
            n_replayed=0,
            recorded_s=0.0,
            restore_s=0.0,
            note="",
        )
        self._mentioned.add({self._origin.instead_of})

    def _check_weights(self) -> None:
        """What the last layer left at the step gives the recorded logits, through this model's own head."""
        run, hooked = self._run, self._hooked
        if run.resid is None or run.read_again(self._step) or hooked.card.reason_against("lens") is not None:
            return
        left = torch.tensor(run.resid[-1, self._n_taken - 1], device=home(hooked.model))
        with hooked.guard, torch.inference_mode():
            logits = hooked.anatomy.logits(left[None, None], hooked.model.config.get_text_config())[0, 0]
        require_close(hooked, run, self._step, logits)


def earlier_of(hooked: HookedModel, run: Trace, step: int, token_id: int) -> Earlier:
    """What the model needs of a run to stand where it stood after a step that chose this token."""
    restored, n_taken = not why_not_restored(hooked, run, step), run.steps[step].stop
    return Earlier(
        ids=(*(choice.id for choice in run.choices[:step]), token_id),
        kv_bytes=run.steps[step].kv_bytes,
        d_vocab=run.model.d_vocab,
        keys=run.keys[:, :, :n_taken] if restored and run.keys is not None else None,
        values=run.values[:, :, :n_taken] if restored and run.values is not None else None,
    )


def why_not_restored(hooked: HookedModel, run: Trace, step: int) -> str:
    """Why the cache after a step cannot be rebuilt from the record; empty if it can."""
    if (reason := hooked.card.reason_against("resume")) is not None:
        return reason
    if run.read_again(step):
        return phrase("a later pass read this step's tokens again, and the run holds the keys and values of that one")
    return phrase("the run was recorded without keys and values") if run.keys is None else ""


def require_close(hooked: HookedModel, run: Trace, step: int, logits: torch.Tensor) -> None:
    """Logits [V] that this model gave at a step are those that the run holds. Raises: BadTrace."""
    recorded = torch.tensor(run.logits[step])
    gap = float((logits.cpu() - recorded).abs().max() / recorded.abs().max())
    if not gap <= logits_may_differ(hooked):
        raise BadTrace(
            "at step {step}, {model} gives logits that differ from the run's by {gap:.2g} of "
            "the largest: other weights made it. Load the model that made it, or run the prompt again.",
            step=step,
            model=hooked.card.name,
            gap=gap,
        )


def check_place(run: Trace, step: int, token_id: int) -> None:
    """The step and the token are there. Raises: BadSetting, BadTrace."""
    n_steps, d_vocab = len(run.steps), run.model.d_vocab
    if not _counts(step, n_steps):
        raise BadSetting(
            "step is {step}; this run has steps 0 to {last} (0 is the prefill, which chose the first "
            "token). Choose among them.",
            step=shown(step),
            last=n_steps - 1,
        )
    if not _counts(token_id, d_vocab):
        raise BadSetting(
            "token_id is {token_id}; {model} has tokens 0 to {last}. Choose among them.",
            token_id=shown(token_id),
            model=run.model.name,
            last=d_vocab - 1,
        )
    odd = next((at for at, each in enumerate(run.steps) if len(each.choices) != 1 or not _goes_on(at, each)), None)
    if odd is not None:
        raise BadTrace(
            "step {odd} of the run reads {n_tokens} tokens and chooses {n_choices}; "
            "only a run that reads its prompt, then writes one token a step, can be continued. Run the prompt again.",
            odd=odd,
            n_tokens=run.steps[odd].n_tokens,
            n_choices=len(run.steps[odd].choices),
        )


def _goes_on(at: int, step: Step) -> bool:
    """Whether the step adds one token to those that were read; the first reads the prompt."""
    return at == 0 or step.n_tokens == 1 or step.kind == "reread"


def _counts(given: object, count: int) -> bool:
    return isinstance(given, Integral) and not isinstance(given, bool) and 0 <= int(given) < count


def _first(run: Trace, n_fed: int) -> dict[str, np.ndarray]:
    """What the run recorded of its first positions."""
    axes = {name: field.shape.axes.split() for name, field in form_of(Trace).arrays.items()}
    return {
        name: array[tuple(slice(n_fed) if axis == "S" else slice(None) for axis in axes[name])]
        for name, array in run.arrays().items()
        if name in (*_BY_POSITION, "sinks", "masks")
    }
