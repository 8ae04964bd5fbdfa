"""A few texts for the engine, and what tests read off the record of serving them."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from model import Batching, HookedModel
from model.experiments.batching.batching import Ask

PROMPTS = ([5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [5, 6, 7, 8, 9, 10, 11, 12, 33], [40, 41], [90] * 13)
ASKED = tuple(Ask(prompt=ids, max_new_tokens=6 + 3 * place) for place, ids in enumerate(PROMPTS))
BOUNDS: dict[str, Any] = {"block_size": 4, "n_blocks": 14, "token_budget": 9, "max_requests": 3}


def last(records: Iterator[Batching]) -> Batching:
    *_, whole = records
    return whole


def recorded(records: Iterator[Batching]) -> Batching:
    """The record when the last text is over, before anything is timed."""
    return next(each for each in records if all(one.ended in ("end of sequence", "length") for one in each.requests))


def plain(hooked: HookedModel, ids: Sequence[Any], new: int) -> list[int]:
    asked = torch.tensor([list(ids)])
    text = hooked.model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=new, do_sample=False)
    return text[0, len(ids) :].tolist()


def tokens(record: Batching) -> list[list[int]]:
    return [[token.id for token in each.tokens[each.n_prompt :]] for each in record.requests]


def check_conserved(record: Batching) -> None:
    """Every position of every text is read once and in order, except for cached tokens and after a preemption."""
    at = [0] * len(record.requests)
    begun = [False] * len(record.requests)
    for tick in record.ticks:
        for number in tick.preempted:
            at[number], begun[number] = 0, False
        for number, count in tick.n_cached_tokens:
            assert at[number] == 0 and count % record.block_size == 0
            at[number] = count
        for chunk in tick.scheduled:
            assert chunk.first == at[chunk.request] and chunk.n_tokens > 0
            at[chunk.request] += chunk.n_tokens
        assert len({chunk.request for chunk in tick.scheduled}) == len(tick.scheduled) <= record.max_requests
        assert tick.n_tokens <= record.token_budget
        assert dict(tick.key_lengths) == {chunk.request: chunk.first + chunk.n_tokens for chunk in tick.scheduled}
        continued = [table for table in tick.block_tables if table.request not in tick.freed]
        users = Counter(block for table in continued for block in table.blocks)
        assert {block: count for block, count in users.items() if count > 1} == dict(tick.shared_blocks)
        assert not users.keys() & set(tick.cached_blocks)
        assert tick.n_free_blocks + len(tick.cached_blocks) + len(users) == record.n_blocks
        for table in tick.block_tables:
            assert table.n_tokens == at[table.request]
            assert len(table.blocks) == math.ceil(table.n_tokens / record.block_size)
    wrote = Counter(chunk.request for tick in record.ticks for chunk in tick.scheduled if chunk.written is not None)
    assert [wrote[number] for number in range(len(record.requests))] == list(map(len, tokens(record)))
    assert not record.ticks or record.ticks[-1].n_free_blocks + len(record.ticks[-1].cached_blocks) == record.n_blocks
