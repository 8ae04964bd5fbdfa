"""A run continued from one of its steps with another token, to a complete Trace."""

from model.capture.continuation import Continuation
from model.capture.hooked import HookedModel
from model.capture.post_run import with_post_run
from model.errors import BadSetting
from model.limits import Limits
from model.records.fields import shown
from model.records.trace import Trace
from model.texts import phrase

_NAMED = 5  # likely tokens that a refusal names


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
        token_id = _id_of(hooked, run, step, token)
    return Continuation(hooked, run, step=step, token_id=token_id, limits=limits, called=called)


def _id_of(hooked: HookedModel, run: Trace, step: int, token: str) -> int:
    """The token that reads so: the likeliest at this step, else the tokenizer's own, else any of the vocabulary.

    Raises: BadSetting.
    """
    likely = [each.id for choice in run.choices[max(step, 0) :][:1] for each in choice.candidates]
    reads, cut = hooked.reader.text, _ids(hooked, token)
    if token and "\ufffd" not in token:  # which stands for any fragment of a character
        for ids in (likely, cut if len(cut) == 1 else [], sorted(hooked.tokenizer.get_vocab().values())):
            if found := [each for each in ids if reads(each) == token]:
                return found[0]
    parts = ", ".join(shown(reads(each)) for each in cut[:_NAMED])
    named = ", ".join(f"{shown(reads(each))} ({each})" for each in likely[:_NAMED])
    raise BadSetting(
        "token is {token}; {model} has no such token (the tokenizer splits it into {n}: {parts}). Give the exact text "
        "of one token, or its token_id. The likeliest at this step: {likely}.",
        token=shown(token),
        model=hooked.card.name,
        n=len(cut),
        parts=parts,
        likely=named or phrase("unknown"),
    )


def _ids(hooked: HookedModel, text: str) -> list[int]:
    return hooked.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
