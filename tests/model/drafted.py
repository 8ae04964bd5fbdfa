"""What the tests of drafts share: a prompt, and what comes of speculating on it."""

from collections.abc import Iterator
from typing import Any

import torch

from model import HookedModel
from model.experiments.speculation.speculative import speculate
from model.limits import Limits
from model.records.settings import Settings
from model.records.speculation import Attempt, Speculation
from model.requests.speculation import Mode

PROMPT = [5, 17, 40, 8, 120, 77, 5, 17, 40, 8, 120, 77, 5, 17, 40]
NEW = 16
EARLY = ("llama", "qwen3")  # families whose forward looks at config.num_hidden_layers
LATE = ("gpt2", "gpt_neox")
SAMPLED = {"temperature": 0.9, "top_k": 50, "seed": 11}


def last(pieces: Iterator[Speculation]) -> Speculation:
    *_, whole = pieces
    return whole


def pieces_of(hooked: HookedModel, *modes: Mode, **asked: Any) -> Iterator[Speculation]:
    settings = Settings(max_new_tokens=asked.pop("new", NEW), **asked.pop("settings", {}))
    prompt = asked.pop("prompt", PROMPT)
    return speculate(hooked, prompt, settings, Limits.from_environment(), modes=modes, repeats=1, **asked)


def speculated(hooked: HookedModel, *modes: Mode, **asked: Any) -> Speculation:
    """The whole record, one timed turn of each."""
    return last(pieces_of(hooked, *modes, **asked))


def watched_once(hooked: HookedModel, *modes: Mode, **asked: Any) -> Speculation:
    """The record when every draft was watched or left out, before anything is timed: a third of the passes."""
    return next(
        each
        for each in pieces_of(hooked, *modes, **asked)
        if len(each.attempts) + sum("was skipped" in note for note in each.notes) == len(modes)
    )


def plainly(hooked: HookedModel, prompt: Any = None, new: int = NEW) -> list[int]:
    ids = torch.tensor([prompt or PROMPT])
    out = hooked.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
    return out[0, ids.shape[1] :].tolist()


def written(attempt: Attempt) -> list[int]:
    return [token.id for token in attempt.tokens if token.generated]
