"""What can be served: texts, and the bounds of the cache and of a tick, checked before anything runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.arch.tokens import Prompt
from model.capture.hooked import HookedModel
from model.capture.prompts import check_lengths, read_prompt
from model.errors import BadPrompt, BadSetting, PromptTooLong
from model.experiments.batching.paged import SMALLEST_BLOCK, Bounds
from model.limits import Limits
from model.records.batching import letter
from model.records.trace import Settings

LATEST_S = 60.0  # a text may arrive so late: the run waits for it, and in every timed run again


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A text to be continued, and when it arrives."""

    prompt: str | Sequence[int]
    max_new_tokens: int = 32
    arrives_s: float = 0.0  # from the start of the run


def check_bounds(bounds: Bounds, limits: Limits, repeats: int) -> None:
    if bounds.block_size < SMALLEST_BLOCK:
        raise BadSetting(
            f"a block of {bounds.block_size} tokens is asked for; the engine's blocks hold at least {SMALLEST_BLOCK}."
        )
    least = dict(
        n_blocks=bounds.n_blocks, token_budget=bounds.token_budget, max_requests=bounds.max_requests, repeats=repeats
    )
    for name, given in least.items():
        if given < 1:
            raise BadSetting(f"{name} is {given}; it must be a whole number of at least 1.")
    if (n_tokens := bounds.n_blocks * bounds.block_size) > limits.cache_tokens:
        raise BadSetting(
            f"{bounds.n_blocks:,} blocks of {bounds.block_size} tokens hold {n_tokens:,}; this host allows "
            f"{limits.cache_tokens:,} (TOKENOSCOPE_CACHE_TOKENS). Ask for fewer blocks, or smaller ones."
        )
    if bounds.token_budget > limits.cache_tokens:
        raise BadSetting(
            f"a token budget of {bounds.token_budget:,} is asked for; this host allows {limits.cache_tokens:,} "
            "(TOKENOSCOPE_CACHE_TOKENS). Ask for a smaller one."
        )


def check_settings(settings: Settings) -> None:
    if not settings.greedy:
        raise BadSetting(
            f"temperature is {settings.temperature:g}; texts that are served together take the likeliest token, "
            "because the engine draws for all of them from one source. Set it to 0."
        )
    if settings.repetition_penalty != 1:
        raise BadSetting(
            f"repetition_penalty is {settings.repetition_penalty:g}; the engine has none. Set it to 1, which is off."
        )


def reads_of(hooked: HookedModel, asked: Sequence[Ask], settings: Settings, limits: Limits) -> list[Prompt]:
    """The texts as the model will read them. Raises: Refusal, for one that it does not take."""
    if not asked:
        raise BadPrompt("there are no texts to serve. Give at least one.")
    if len(asked) > limits.requests:
        raise BadSetting(
            f"{len(asked)} texts are to be served; this host serves at most {limits.requests} at once "
            "(TOKENOSCOPE_REQUESTS). Give fewer."
        )
    reads = []
    for number, each in enumerate(asked):
        if not 0 <= each.arrives_s <= LATEST_S:
            raise BadSetting(
                f"text {letter(number)} arrives at {each.arrives_s} s; it must arrive from 0 to {LATEST_S:g} s, for "
                "the run waits for it. Let it arrive earlier, or more texts in a second."
            )
        try:
            read = read_prompt(hooked, each.prompt, settings)
            check_lengths(hooked, len(read.ids), replace(settings, max_new_tokens=each.max_new_tokens), limits)
        except (BadPrompt, PromptTooLong) as refusal:
            raise type(refusal)(f"text {letter(number)} cannot be served: {refusal}") from refusal
        reads.append(read)
    return reads


def check_room(reads: Sequence[Prompt], asked: Sequence[Ask], bounds: Bounds) -> None:
    """A text that no cache of this size can hold would bring the engine to a halt. Raises: BadSetting."""
    for number, (read, each) in enumerate(zip(reads, asked, strict=True)):
        n_tokens = len(read.ids) + each.max_new_tokens - 1  # the last one is never read
        needed = math.ceil(n_tokens / bounds.block_size)
        if needed > bounds.n_blocks:
            raise BadSetting(
                f"text {letter(number)} needs {needed} blocks for its {len(read.ids):,} tokens and "
                f"{each.max_new_tokens:,} new ones, and the cache has {bounds.n_blocks}: it could never be served to "
                "the end. Ask for more blocks or larger ones, fewer new tokens, or shorten the text."
            )
