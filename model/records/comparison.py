"""Two runs side by side, aligned by token: where they differ, and by how much.

Frozen values, numpy only. Axes of the arrays, by letter: L layers, H query heads, C steps that both runs have, T the
two runs.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.trace import ModelCard, Token


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One of the two runs."""

    name: str  # what it was called; empty where it had no name
    model: ModelCard
    prompt: str
    text: str
    n_prompt: int
    tokens: tuple[Token, ...]
    kv_bytes: int  # of the cache after its last pass
    seconds: float  # of its passes, as recorded


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison(Saved):
    """Run `a` beside run `b`. Prompts of as many tokens are aligned by position, others as far as they are equal; the
    text after them as far as it is equal.

    positions [C] where both chose a token after reading as many; kl [C] the divergence KL(a || b) of the raw
    distributions there, in nats, and variation [C] their total variation, half the sum of absolute differences;
    chosen [C, T] the probability of the token that `a` chose, in `a` and in `b`. attention [L, H] the total variation
    of both runs' attention rows, averaged over the aligned positions; lens [L+1] by how much the logit lens of `b` gave
    more probability to the token that follows in `a` than that of `a`, averaged, where both kept it.
    """

    a: Side
    b: Side
    n_aligned: int  # positions of both, from the first on
    differing: tuple[int, ...]  # of them, where the tokens differ
    first_differs: (
        int | None
    )  # the first position whose tokens differ, aligned or not; None: one is the other's beginning
    notes: tuple[str, ...]

    positions: Annotated[np.ndarray, Shape("int32", "C")]
    kl: Annotated[np.ndarray | None, Shape("float64", "C")] = None
    variation: Annotated[np.ndarray | None, Shape("float64", "C")] = None
    chosen: Annotated[np.ndarray, Shape("float64", "C T")]
    attention: Annotated[np.ndarray | None, Shape("float32", "L H")] = None
    lens: Annotated[np.ndarray | None, Shape("float32", "L+1")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        most = min(len(self.a.tokens), len(self.b.tokens))
        if not 0 <= self.n_aligned <= most:
            raise BadTrace("the comparison aligns {n} positions of {most}.", n=self.n_aligned, most=most)

    @property
    def model(self) -> ModelCard:
        """That of the first run."""
        return self.a.model

    @property
    def prompt(self) -> str:
        """That of the first run."""
        return self.a.prompt
