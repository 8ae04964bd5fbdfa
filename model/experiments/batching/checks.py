"""Checks before anything runs: the texts, and the limits of the cache and of a tick."""

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

LATEST_S = 60.0  # the latest arrival: every run, also each timed one, waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A text to be continued, and when it arrives."""

    prompt: str | Sequence[int]
    max_new_tokens: int = 32
    arrives_s: float = 0.0  # from the start of the run


def check_bounds(bounds: Bounds, limits: Limits, repeats: int) -> None:
    if bounds.block_size < SMALLEST_BLOCK:
        raise BadSetting(
            "block_size is {block_size} tokens; it must be at least {smallest}.",
            block_size=bounds.block_size,
            smallest=SMALLEST_BLOCK,
        )
    least = dict(
        n_blocks=bounds.n_blocks, token_budget=bounds.token_budget, max_requests=bounds.max_requests, repeats=repeats
    )
    for name, given in least.items():
        if given < 1:
            raise BadSetting("{name} is {given}; it must be a whole number of at least 1.", name=name, given=given)
    if (n_tokens := bounds.n_blocks * bounds.block_size) > limits.cache_tokens:
        raise BadSetting(
            "{n_blocks:,} blocks of {block_size} tokens hold {n_tokens:,} tokens; this host allows at most "
            "{cache_tokens:,} (TOKENOSCOPE_CACHE_TOKENS). Ask for fewer blocks, or smaller ones.",
            n_blocks=bounds.n_blocks,
            block_size=bounds.block_size,
            n_tokens=n_tokens,
            cache_tokens=limits.cache_tokens,
        )
    if bounds.token_budget > limits.cache_tokens:
        raise BadSetting(
            "the token budget is {token_budget:,}; this host allows at most {cache_tokens:,} "
            "(TOKENOSCOPE_CACHE_TOKENS). Ask for a smaller one.",
            token_budget=bounds.token_budget,
            cache_tokens=limits.cache_tokens,
        )


def check_settings(settings: Settings) -> None:
    if not settings.greedy:
        raise BadSetting(
            "temperature is {temperature:g}; texts that are served together are decoded greedily, because the engine "
            "uses one random generator for all of them. Set it to 0.",
            temperature=settings.temperature,
        )
    if settings.repetition_penalty != 1:
        raise BadSetting(
            "repetition_penalty is {repetition_penalty:g}; the engine does not support it. Set it to 1, which is off.",
            repetition_penalty=settings.repetition_penalty,
        )


def reads_of(hooked: HookedModel, asked: Sequence[Ask], settings: Settings, limits: Limits) -> list[Prompt]:
    """The texts as the model will read them. Raises: Refusal, for one that it does not take."""
    if not asked:
        raise BadPrompt("there are no texts to serve. Give at least one.")
    if len(asked) > limits.requests:
        raise BadSetting(
            "{n} texts were given; this host serves at most {most} at once (TOKENOSCOPE_REQUESTS). Give fewer.",
            n=len(asked),
            most=limits.requests,
        )
    reads = []
    for number, each in enumerate(asked):
        if not 0 <= each.arrives_s <= LATEST_S:
            raise BadSetting(
                "text {letter} arrives at {arrives_s} s; it must arrive between 0 and {latest:g} s, because the run "
                "waits for it. Choose an earlier time or a higher rate.",
                letter=letter(number),
                arrives_s=each.arrives_s,
                latest=LATEST_S,
            )
        try:
            read = read_prompt(hooked, each.prompt, settings)
            check_lengths(hooked, len(read.ids), replace(settings, max_new_tokens=each.max_new_tokens), limits)
        except (BadPrompt, PromptTooLong) as refusal:
            raise type(refusal)(
                "text {letter} cannot be served: {refusal}", letter=letter(number), refusal=refusal
            ) from refusal
        reads.append(read)
    return reads


def check_room(reads: Sequence[Prompt], asked: Sequence[Ask], bounds: Bounds) -> None:
    """Check that a cache of this size can hold each text to its end. Raises: BadSetting."""
    for number, (read, each) in enumerate(zip(reads, asked, strict=True)):
        n_tokens = len(read.ids) + each.max_new_tokens - 1  # the last one is never read
        needed = math.ceil(n_tokens / bounds.block_size)
        if needed > bounds.n_blocks:
            raise BadSetting(
                "text {letter} needs {needed} blocks for its {n_ids:,} tokens and "
                "{max_new_tokens:,} new ones, but the cache has {n_blocks}: it could never be finished. "
                "Ask for more blocks or larger ones, fewer new tokens, or shorten the text.",
                letter=letter(number),
                needed=needed,
                n_ids=len(read.ids),
                max_new_tokens=each.max_new_tokens,
                n_blocks=bounds.n_blocks,
            )
