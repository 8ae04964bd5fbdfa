"""One pass of a finished run, run again as it ran: on the cache that the record holds, or after those before it."""

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager

import torch

from model.capture.continuation import check_place, earlier_of, require_close
from model.capture.decoding import Pass, Resumed, continued, passes
from model.capture.hooked import HookedModel
from model.capture.restored import NotRestorable
from model.capture.same_model import check_same_model
from model.errors import BadTrace
from model.records.trace import Trace


class PassAgain:
    """The pass of one step of a run, to be run again: `standing` comes before it, `run` runs it.

    Where the check `resume` has proved it, the cache is rebuilt from the record; else the recorded passes are run
    again, each in its own shape. No pass is taken from a captured one, so that every module runs.
    Raises: Refusal, at once: BadSetting for a step that is not there, BadTrace for another model's run.
    """

    def __init__(self, hooked: HookedModel, run: Trace, step: int) -> None:
        check_same_model(hooked, run)
        check_place(run, step, 0)
        self._hooked, self._run, self._step = hooked, run, step
        ids = tuple(token.id for token in run.tokens[: run.n_prompt])
        self._passes: Generator[Pass | Resumed]
        if step == 0:
            self._passes = passes(hooked.model, ids, run.settings, None, tokenizer=hooked.tokenizer)
        else:
            earlier = earlier_of(hooked, run, step - 1, run.choices[step - 1].id)
            self._passes = continued(hooked.model, ids, run.settings, None, earlier, tokenizer=hooked.tokenizer)

    def standing(self) -> Iterator[int]:
        """Bring the model to where it stood before the pass; each value counts the passes that were run for that.

        Raises: BadTrace, if the model gives other logits than the run holds.
        """
        n_read = 0 if self._step == 0 else self._run.steps[self._step - 1].stop
        while n_read:
            try:
                with self._hooked.guard:
                    done = next(self._passes)
            except NotRestorable as error:
                raise BadTrace(
                    "step {step} cannot be run again from the record: {error}. Run the prompt again.",
                    step=self._step,
                    error=error,
                ) from error
            assert isinstance(done, Resumed)
            n_replayed = done.n_replayed - self._run.n_prompt  # the prefill is step 0, and each after it reads one
            if done.logits is not None:
                require_close(self._hooked, self._run, n_replayed, done.logits[0])
            yield max(0, n_replayed + 1)
            if done.n_reused + done.n_replayed == n_read:
                return

    def run(self, watching: AbstractContextManager[None]) -> torch.Tensor:
        """Run the pass inside this: its raw logits, float32 [V]. Raises: BadTrace, if they are not the run's."""
        try:
            with self._hooked.guard, watching:
                done = next(self._passes)
        finally:
            self._passes.close()
        assert isinstance(done, Pass)
        require_close(self._hooked, self._run, self._step, done.logits[0])
        return done.logits[0]
