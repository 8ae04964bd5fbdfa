"""One beam search: every continuation that a pass ranked, which of them went on, and the answers that were left.

Frozen values, numpy only. Axes of the arrays, by letter: S passes, K continuations that a pass ranked.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.trace import ModelCard, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One finished text: the path that ends with a continuation of one pass."""

    step: int  # the pass
    rank: int  # of the continuation among those of that pass, from 0
    score: float  # the sum of its tokens' log-probabilities, divided by its number of new tokens ** length penalty
    ended: bool  # whether it ended by itself, before the length that was asked for
    text: str  # what it adds to the prompt


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BeamSearch(Saved):
    """One prompt, continued by several texts at a time: the beams, of which the likeliest continuations go on.

    Pass s reads the last token of every beam and ranks K continuations of all of them together, the likeliest first:
    parents [S, K] is the beam that each goes on from, ids [S, K] its token, scores [S, K] the sum of the
    log-probabilities, in nats, of all new tokens up to it, and beams [S, K] the beam that it is in the next pass: -1 if
    it was dropped, or is a finished text. Where fewer than K continuations are possible, the id is -1.
    In pass 0 all beams are the prompt, and beam 0 stands for them.
    """

    model: ModelCard
    prompt: str
    notes: tuple[str, ...]
    chat: bool
    max_new_tokens: int
    n_beams: int
    length_penalty: float
    early_stopping: str  # "false", "true" or "never", as transformers has it
    tokens: tuple[Token, ...]  # of the prompt
    texts: dict[int, str]  # of every id
    answers: tuple[Answer, ...]  # the best first; none before the search is over

    parents: Annotated[np.ndarray, Shape("int32", "S K")]
    ids: Annotated[np.ndarray, Shape("int32", "S K")]
    scores: Annotated[np.ndarray, Shape("float32", "S K")]
    beams: Annotated[np.ndarray, Shape("int32", "S K")]

    def __post_init__(self) -> None:
        super().__post_init__()
        beyond = self.n_beams - 1
        for name, lowest, array in (("parents", 0, self.parents), ("beams", -1, self.beams)):
            if array.size and not (array.min() >= lowest and array.max() <= beyond):
                raise BadTrace("its {name} go beyond its {n_beams} beams.", name=name, n_beams=self.n_beams)
        if missing := {each for each in self.ids.ravel().tolist() if each >= 0} - self.texts.keys():
            raise BadTrace("it ranks token {missing}, whose text is missing.", missing=min(missing))
        for answer in self.answers:
            if not (0 <= answer.step < len(self.ids) and 0 <= answer.rank < self.ids.shape[1]):
                raise BadTrace(
                    "an answer ends with continuation {rank} of pass {step}, which it has not.",
                    rank=answer.rank,
                    step=answer.step,
                )
        for step in range(1, len(self.ids)):
            if not set(self.parents[step].tolist()) <= set(self.beams[step - 1].tolist()):
                raise BadTrace("pass {step} goes on from a beam that the pass before it did not fill.", step=step)

    def path(self, step: int, rank: int) -> tuple[tuple[int, int], ...]:
        """Pass and rank of each continuation of a text, from its first new token to this one."""
        found = [(step, rank)]
        while step > 0:
            beam, step = int(self.parents[step, rank]), step - 1
            rank = int(np.flatnonzero(self.beams[step] == beam)[0])
            found.append((step, rank))
        return tuple(reversed(found))

    def ids_of(self, step: int, rank: int) -> tuple[int, ...]:
        """The new tokens of a text up to this continuation."""
        return tuple(int(self.ids[place]) for place in self.path(step, rank))

    def probability(self, step: int, rank: int) -> float:
        """Of this token, given its text before it."""
        before = 0.0 if step == 0 else float(self.scores[self.path(step, rank)[-2]])
        return float(np.exp(float(self.scores[step, rank]) - before))

    def greedy(self) -> tuple[tuple[int, int], ...]:
        """How far the text of greedy decoding was among the beams: pass and rank of each of its tokens.

        The first continuation of a beam is the likeliest token after its text; once that text is no beam, nobody
        knows how it would have gone on.
        """
        found: list[tuple[int, int]] = []
        beam = 0
        for step in range(len(self.ids)):
            ranks = np.flatnonzero(self.parents[step] == beam)
            if not len(ranks) or self.ids[step, ranks[0]] < 0:
                break
            found.append((step, int(ranks[0])))
            beam = int(self.beams[step, ranks[0]])
            if beam < 0:
                break
        return tuple(found)

    def greedy_answer(self) -> int | None:
        """Which of the answers greedy decoding wrote; None if its text was dropped, or is not finished."""
        path = self.greedy()
        ends = [(each.step, each.rank) for each in self.answers]
        return ends.index(path[-1]) if path and path[-1] in ends else None

    def log_probability(self, answer: Answer) -> float:
        """Of a whole text: the sum over its new tokens."""
        return float(self.scores[answer.step, answer.rank])
