"""Checks before anything runs: the texts, and the limits of the cache and of a tick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.arch.tokens import Prompt
from model.capture.hooked import HookedModel
from model.capture.prompts import check_lengths, read_prompt
from model.errors import BadPrompt, BadSetting, PromptTooLong
from model.experiments.batching.paged import Bounds
from model.limits import Limits
from model.records.batching import letter
from model.records.trace import Settings
from model.requests.batching import Serve, check_cache, check_number_of_texts
from model.requests.request import check_repeats
from model.requests.run import Run

LATEST_S = 60.0  # the latest arrival: every run, also each timed one, waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A text to be continued, and when it arrives."""

    prompt: str | Sequence[int]
    max_new_tokens: int = Run.max_new_tokens
    arrives_s: float = 0.0  # from the start of the run


def check_bounds(bounds: Bounds, limits: Limits, repeats: int) -> None:
    """Check the size of the cache and of a tick as the request does, and the repeats. Raises: BadSetting."""
    Serve.check_values(
        limits,
        block_size=bounds.block_size,
        n_blocks=bounds.n_blocks,
        token_budget=bounds.token_budget,
        max_requests=bounds.max_requests,
    )
    check_cache(bounds.n_blocks, bounds.block_size, limits)
    check_repeats(repeats, limits)


def check_settings(settings: Settings) -> None:
    """Check that the settings ask for plain greedy decoding, all that the engine does. Raises: BadSetting."""
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
    check_number_of_texts(len(asked), limits)
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
