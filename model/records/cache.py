"""One run replayed with compressed caches: the bytes that each kind saves, and what it does to the next token.

Frozen values, numpy only. Axes of the arrays, by letter: T trials of cache compression, N generated tokens.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.trace import ModelCard, Settings, Token

CacheKind = Literal["exact", "int8", "int4", "window", "sink + window", "dropped"]
"""The exact cache, quantized caches, and caches that evict tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CacheTrial:
    """One method of cache compression, and its result."""

    kind: CacheKind
    name: str  # in words, such as "sink 4 + window 16"
    sink: int  # first positions that are kept; 0: none
    window: int  # latest positions that are kept; 0: no limit
    dropped: tuple[int, ...]  # positions of the prompt that are evicted after the prefill
    n_bytes: int  # of the cache after the last pass, from its tensors, scales included
    first_changed: int | None  # index of the first generated token that changes, from 0; None: no token changes


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CacheTrials(Saved):
    """One run replayed with compressed caches: the bytes that each saves, and how it changes the next token.

    Every pass reads the tokens of the run, whatever the compressed cache would have chosen, so that all trials compare
    the same text. kl [T, N] is the Kullback-Leibler divergence KL(exact || trial) of each distribution, in nats, over
    the full vocabulary, before any processor; chosen [T, N] the token that the run's own settings and seed choose from
    it; kv_bytes [T, N] the bytes of the cache after the pass. The first trial is the exact cache.
    """

    model: ModelCard
    prompt: str
    settings: Settings
    n_prompt: int
    tokens: tuple[Token, ...]
    texts: dict[int, str]  # of every id in `chosen`
    trials: tuple[CacheTrial, ...]

    kl: Annotated[np.ndarray, Shape("float64", "T N")]
    chosen: Annotated[np.ndarray, Shape("int32", "T N")]
    kv_bytes: Annotated[np.ndarray, Shape("int64", "T N")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.trials) != len(self.kl) or (self.trials and self.trials[0].kind != "exact"):
            raise BadTrace(
                "it has {n_kl} rows for {n_trials} trials, of which the first is the exact one.",
                n_kl=len(self.kl),
                n_trials=len(self.trials),
            )
        if len(self.tokens) != self.n_prompt + self.kl.shape[1]:
            raise BadTrace(
                "{n_tokens} tokens were generated, but {n_compared} are compared.",
                n_tokens=len(self.tokens) - self.n_prompt,
                n_compared=self.kl.shape[1],
            )
        for trial in self.trials:
            if trial.first_changed is not None and not 0 <= trial.first_changed < self.kl.shape[1]:
                raise BadTrace(
                    "{trial} says that it changes token {first_changed} of {n_compared} first.",
                    trial=trial.name,
                    first_changed=trial.first_changed,
                    n_compared=self.kl.shape[1],
                )
        if missing := set(self.chosen.ravel().tolist()) - self.texts.keys():
            raise BadTrace("the trials choose token {missing}, whose text is missing.", missing=min(missing))
