"""A run from a prompt to a complete Trace."""

from collections.abc import Sequence
from typing import Any

from model.capture.generation import Generation
from model.capture.hooked import HookedModel
from model.capture.post_run import with_post_run
from model.errors import BadSetting
from model.limits import Limits
from model.records.trace import Settings, Trace


def trace(hooked: HookedModel, prompt: str | Sequence[int], *, additions: bool = True, **settings: Any) -> Trace:
    """Let a model continue a text, and keep what it computed on the way.

    `prompt` is text, or token ids; `settings` are those of `records.Settings`, such as max_new_tokens, temperature
    and seed. The embedding map and the logit lens are added at the end unless `additions` is False; the steps' times
    do not include them.

    In a chat (`chat=True`) the prompt is a user's turn. What comes before it are `system`, a text, and `turns`, pairs
    of role and text: [("user", "The capital of France?"), ("assistant", "Paris.")]. `template_options` are variables
    of the model's chat template: {"enable_thinking": False}.
    Raises: Refusal, for a prompt or a setting that this model or this host does not take.
    """
    if unknown := settings.keys() - Settings.__slots__:
        raise BadSetting(
            "there is no setting {unknown!r}; there are {choices}.",
            unknown=min(unknown),
            choices=", ".join(Settings.__slots__),
        )
    generation = Generation(hooked, prompt, Settings.read(**settings), Limits.from_environment())
    for _ in generation:
        pass
    return with_post_run(hooked, generation.trace()) if additions else generation.trace()
