"""How much of one run's answer comes back when a piece of it is put into another run.

Frozen values, numpy only. Axes of the arrays, by letter: L layers, P places: positions of the prompt, or heads.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.trace import ModelCard, Token

Piece = Literal["residual", "heads", "mlp", "key", "value"]
PIECES: tuple[Piece, ...] = get_args(Piece)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PatchMap(Saved):
    """Every piece of a clean run put into a corrupt one, a piece at a time, and what it brings back of the answer.

    The difference is the clean run's answer's logit minus the corrupt run's answer's, after the last token of the
    prompt. recovered [L, P] is (patched - corrupt) / (clean - corrupt) of it: 0 as in the corrupt run, 1 as in the
    clean one. A piece is at a layer and a position: the residual stream at the layer's entrance, what its MLP adds, or
    the keys or values of all its heads; of "heads", P are the layer's heads, and what one gives at every position is
    put. NaN in layers that are not there yet, or that have no such head.
    """

    model: ModelCard
    what: Piece
    clean: tuple[Token, ...]  # the two prompts
    corrupt: tuple[Token, ...]
    clean_id: int  # what the runs answered
    corrupt_id: int
    texts: dict[int, str]  # of the two answers
    clean_difference: float  # in logits
    corrupt_difference: float
    done: tuple[int, ...]  # layers so far
    notes: tuple[str, ...] = ()

    recovered: Annotated[np.ndarray, Shape("float32", "L P")]

    def __post_init__(self) -> None:
        super().__post_init__()
        n_places = self.model.n_heads if self.what == "heads" else len(self.corrupt)
        layers = range(self.model.n_layers)
        fits = self.recovered.shape == (len(layers), n_places) and set(self.done) <= set(layers)
        if not fits or len(self.clean) != len(self.corrupt):
            raise BadTrace(
                "a map of {shape} does not fit prompts of {n_clean} and {n_corrupt} tokens in a model of {n_layers} "
                "layers.",
                shape=self.recovered.shape,
                n_clean=len(self.clean),
                n_corrupt=len(self.corrupt),
                n_layers=len(layers),
            )
        if missing := {self.clean_id, self.corrupt_id} - self.texts.keys():
            raise BadTrace("a map compares token {missing}, whose text is missing.", missing=min(missing))

    @property
    def prompt(self) -> str:
        """The corrupt prompt, into which the pieces are put."""
        return "".join(token.text for token in self.corrupt)

    @property
    def differs(self) -> tuple[int, ...]:
        """Positions at which the two prompts have other tokens."""
        pairs = enumerate(zip(self.clean, self.corrupt, strict=True))
        return tuple(at for at, (one, other) in pairs if one.id != other.id)

    def strongest(self, n: int) -> list[tuple[int, int, float]]:
        """The pieces that change most, either way: layer, place and share recovered."""
        sizes = np.nan_to_num(np.abs(self.recovered), nan=-1.0).ravel()
        order = [int(each) for each in np.argsort(-sizes, kind="stable") if sizes[each] >= 0][:n]
        places = [divmod(each, self.recovered.shape[1]) for each in order]
        return [(layer, place, float(self.recovered[layer, place])) for layer, place in places]

    def __repr__(self) -> str:
        return (
            f"<PatchMap of {self.model.name}: {self.what} of {self.texts[self.clean_id]!r} into "
            f"{self.texts[self.corrupt_id]!r}, {len(self.done)} of {self.model.n_layers} layers>"
        )
