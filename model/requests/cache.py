"""Replaying a run with compressed KV caches."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import BadPrompt
from model.limits import Limits
from model.records.fields import same_as, setting
from model.requests.run import Run

if TYPE_CHECKING:
    from model.records.trace import ModelCard


@dataclass(frozen=True, kw_only=True)
class TryCaches(Run):
    """Replay a finished run, or a prompt that is run first, with a compressed cache."""

    prompt: str = same_as(Run, "prompt", "", help="The text to run first, if no run is given.")
    run: str | None = setting(None, kind="record", label="Run", help="A finished run to replay.", metavar="FILE")
    window: int = setting(
        16,
        kind="whole",
        label="Window",
        unit="tokens",
        low=1,
        high=100_000,
        slider=(1, 256),
        metavar="N",
        help="How many of the latest tokens stay in the cache.",
    )
    sink: int = setting(
        4,
        kind="whole",
        label="Sink",
        unit="tokens",
        low=1,
        high=100_000,
        slider=(1, 16),
        metavar="N",
        help="How many of the first tokens stay in addition to the window.",
    )
    dropped: tuple[int, ...] = setting(
        (),
        kind="positions",
        label="Evict positions of the prompt",
        placeholder="such as 3, 5, 8-11",
        flag="drop",
        metavar="POSITIONS",
        help="Counted from 0; empty: none are evicted. Try 0 alone.",
    )

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:
        """A prompt is needed only where no run is named. Raises: BadPrompt or PromptTooLong."""
        if self.run is None and not self.prompt:
            raise BadPrompt("there is no run and no prompt to replay. Name a run, or type a few words.")
        if self.run is None:
            super().check_together(limits, card)
