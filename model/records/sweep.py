"""What each attention head does for one choice: every head switched off in turn.

Frozen values, numpy only. Axes of the arrays, by letter: L layers, H query heads.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.settings import Settings
from model.records.trace import ModelCard, Token


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sweep(Saved):
    """How much each head helped a choice against its runner-up, in logits.

    The logit difference is that of the chosen token minus that of its runner-up, raw, at `step`. effect [L, H] is the
    unedited difference minus the one with this head set to zero at every position, the run's own tokens before it held
    fixed. Positive: the head helped the chosen token. NaN in layers that are not swept yet, or that have no such head.
    """

    model: ModelCard
    settings: Settings
    prompt: str
    n_prompt: int
    tokens: tuple[Token, ...]  # what was read, and last the chosen token
    texts: dict[int, str]  # of the two tokens that are compared
    step: int
    token_id: int  # the chosen token
    rival_id: int  # its runner-up: of all others the one with the largest logit
    difference: float  # unedited, in logits, as computed here
    recorded: float  # the same in the run: they differ by rounding, and smaller effects mean nothing
    swept: tuple[int, ...]  # layers so far
    notes: tuple[str, ...] = ()

    effect: Annotated[np.ndarray, Shape("float32", "L H")]

    def __post_init__(self) -> None:
        super().__post_init__()
        n_layers, n_heads = self.effect.shape
        if (n_layers, n_heads) != (self.model.n_layers, self.model.n_heads) or not all(
            0 <= layer < n_layers for layer in self.swept
        ):
            raise BadTrace(
                "a sweep of {n_layers} layers and {n_heads} heads does not fit a model of {model_layers} and {heads}.",
                n_layers=n_layers,
                n_heads=n_heads,
                model_layers=self.model.n_layers,
                heads=self.model.n_heads,
            )
        if {self.token_id, self.rival_id} - self.texts.keys():
            raise BadTrace("a sweep compares token {id}, whose text is missing.", id=self.rival_id)

    def strongest(self, n: int) -> list[tuple[int, int, float]]:
        """The heads of the largest effect, either way: layer, head and effect in logits."""
        sizes = np.nan_to_num(np.abs(self.effect), nan=-1.0).ravel()
        order = [int(each) for each in np.argsort(-sizes, kind="stable") if sizes[each] >= 0][:n]
        places = [divmod(each, self.effect.shape[1]) for each in order]
        return [(layer, head, float(self.effect[layer, head])) for layer, head in places]

    def __repr__(self) -> str:
        return (
            f"<Sweep of {self.model.name}, step {self.step}: {self.texts[self.token_id]!r} against "
            f"{self.texts[self.rival_id]!r}, {len(self.swept)} of {self.model.n_layers} layers>"
        )
