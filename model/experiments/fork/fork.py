"""A run continued from one of its steps with another token, to a complete Trace."""

from model.capture.continuation import Continuation
from model.capture.hooked import HookedModel
from model.capture.named_token import id_of
from model.capture.post_run import with_post_run
from model.limits import Limits
from model.records.trace import Trace


def fork(
    hooked: HookedModel,
    run: Trace,
    step: int,
    token_id: int | None = None,
    *,
    token: str = "",
    additions: bool = True,
) -> Trace:
    """Continue a run from a step as if the model had chosen another token there: what it would then have written.

    `step` is the index in `run.steps`; 0 is the prefill. The token is named by its id, or by its text, a blank
    before a word included. The settings are the run's own, its seed and its number of new tokens too. What was not
    computed again, and how long that would have taken, stands in the new run's `origin`.
    Raises: Refusal, for a step or a token that is not there, or a run that another model made.
    """
    continuation = begin(hooked, run, step, token_id, token, Limits.from_environment())
    for _ in continuation:
        pass
    return with_post_run(hooked, continuation.trace()) if additions else continuation.trace()


def begin(
    hooked: HookedModel, run: Trace, step: int, token_id: int | None, token: str, limits: Limits, called: str = ""
) -> Continuation:
    """The run in progress, checked; the model has done nothing for it yet. Raises: Refusal."""
    if token_id is None:
        token_id = id_of(hooked, run, step, token)
    return Continuation(hooked, run, step=step, token_id=token_id, limits=limits, called=called)
