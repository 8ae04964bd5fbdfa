"""Continuing a prompt by beam search: several texts at a time, of which the likeliest go on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.limits import Limits
from model.records.fields import same_as, setting
from model.requests.request import Request, check_prompt
from model.requests.run import Run

if TYPE_CHECKING:
    from model.records.trace import ModelCard


@dataclass(frozen=True, kw_only=True)
class SearchBeams(Request):
    """Continue one prompt by several texts at a time, the beams, and keep the likeliest whole texts."""

    prompt: str = same_as(Run, "prompt")
    chat: bool = same_as(Run, "chat")
    max_new_tokens: int = same_as(Run, "max_new_tokens")
    n_beams: int = setting(
        4,
        kind="whole",
        label="Beams",
        low=2,
        high=16,
        slider=(2, 8),
        flag="beams",
        metavar="N",
        help="How many texts go on after each pass.",
    )
    length_penalty: float = setting(
        1.0,
        kind="number",
        label="Length penalty",
        low=-4,
        high=4,
        slider=(-2, 2),
        step=0.1,
        metavar="P",
        help="A finished text's score is its log-probability divided by its length to this power: the higher, the "
        "better for longer texts.",
    )

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:  # noqa: ARG002
        """Check the prompt. Raises: BadPrompt or PromptTooLong."""
        check_prompt(self.prompt, limits)
