"""Why one token and not another: what each part of the model added to the difference of their logits.

Frozen values, numpy only. Axes of the arrays, by letter: L layers, H query heads, S positions that the step had read.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.trace import Candidate, ModelCard, Token


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Attribution(Saved):
    """One step of a run: the logit of a token less that of a rival, as a sum over the parts of the model, in logits.

    Positive: the part made the token likelier than the rival. heads [L, H] what each head added through its output
    projection, sources [L, H, S] the same by the token that the head took it from (summed over S it is `heads`; None
    where `sources_note` says why), mlps [L] what each MLP added, biases included; others [L] what else a layer added: a
    mixer without heads, or all of a layer whose parts could not be told apart. embedding: the stream as it entered
    layer 0. biases: those of output projections, of norms and of the head. total: the recorded logits' difference.
    remainder = total - (embedding + heads + mlps + biases): what `others` holds, and rounding.
    """

    model: ModelCard
    run: str  # what the run was called: a file or an id; empty where it had no name
    prompt: str
    n_prompt: int
    tokens: tuple[Token, ...]  # that the step had read
    texts: dict[int, str]  # of the token, the rival and the candidates
    step: int  # index in the run's steps
    token_id: int
    rival_id: int
    chosen_id: int  # what the step chose, whatever was asked about
    candidates: tuple[Candidate, ...]  # of the step, likeliest first: the rivals to choose among
    logits: tuple[float, float]  # of the token and of the rival, raw
    probabilities: tuple[float, float]  # the same, before any processor
    embedding: float
    biases: float
    remainder: float
    total: float
    sources_note: str  # why no sources are told; empty where they are
    notes: tuple[str, ...]

    heads: Annotated[np.ndarray, Shape("float32", "L H")]
    mlps: Annotated[np.ndarray, Shape("float32", "L")]
    others: Annotated[np.ndarray, Shape("float32", "L")]
    sources: Annotated[np.ndarray | None, Shape("float32", "L H S")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        named = {self.token_id, self.rival_id, self.chosen_id, *(each.id for each in self.candidates)}
        if missing := named - self.texts.keys():
            raise BadTrace("the attribution names token {missing}, whose text is missing.", missing=min(missing))
        if len(self.tokens) < self.n_prompt or (self.sources is not None and self.sources.shape[2] != len(self.tokens)):
            raise BadTrace(
                "the attribution has {n_tokens} tokens, {n_prompt} of them the prompt's, and sources of {n_sources}.",
                n_tokens=len(self.tokens),
                n_prompt=self.n_prompt,
                n_sources=len(self.tokens) if self.sources is None else self.sources.shape[2],
            )

    @property
    def token(self) -> str:
        """What the token reads as."""
        return self.texts[self.token_id]

    @property
    def rival(self) -> str:
        """What the rival reads as."""
        return self.texts[self.rival_id]

    def __repr__(self) -> str:
        return f"<Attribution of {self.token!r} against {self.rival!r} at step {self.step}: {self.total:+.3f} logits>"
