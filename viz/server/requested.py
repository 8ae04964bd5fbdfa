"""What a visitor may ask of a model beside a run: each kind of experiment, checked as far as it can be without one.

The browser's own bounds are a courtesy: whatever is posted comes through here.
"""

from dataclasses import dataclass
from typing import Literal

from model.records.trace import Settings, Trace

Kind = Literal["measurement", "trials", "batching", "speculation"]
Mode = Literal["prompt lookup", "early exit", "own draft", "draft model"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """To measure one prompt, or to replay its run with smaller caches."""

    kind: Kind
    model: str
    prompt: str
    settings: Settings
    n_prompt: int | None = None  # tokens to which the prompt is cut or repeated; None: as it is
    run: Trace | None = None  # of trials: the finished run to replay; without one, the prompt is run first
    window: int = 16
    sink: int = 4
    dropped: tuple[int, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Those that must be in memory before it can begin."""
        return (self.model,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One of several texts to be continued."""

    prompt: str
    max_new_tokens: int


@dataclass(frozen=True, kw_only=True)
class Serving:
    """To serve several texts through a paged cache, with room for so many of their tokens."""

    model: str
    settings: Settings
    texts: tuple[Text, ...]
    rate: float  # texts that arrive in a second, on average; 0: all of them are there at the start
    block_size: int
    n_blocks: int
    token_budget: int
    max_requests: int
    sharing: bool
    kind: Kind = "batching"

    @property
    def models(self) -> tuple[str, ...]:
        """Those that must be in memory before it can begin."""
        return (self.model,)


@dataclass(frozen=True, kw_only=True)
class Speculating:
    """To continue one prompt with a draft before the model, in each of these ways."""

    model: str
    prompt: str
    settings: Settings
    modes: tuple[Mode, ...]
    n_draft: int
    exit_layer: int | None  # of early exit; None: in the middle
    draft: str | None = None  # of "draft model": which model of this host drafts
    kind: Kind = "speculation"

    @property
    def models(self) -> tuple[str, ...]:
        """Those that must be in memory before it can begin."""
        return (self.model,) if self.draft is None else (self.draft, self.model)


Asked = Wanted | Serving | Speculating
