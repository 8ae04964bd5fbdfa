"""A Batching that no engine ran, with one of everything: a shared block, a cached block, a preempted text.

Four texts, A to D, in a cache of 9 blocks of 4 tokens, at most 8 tokens a tick. numpy only.
"""

from collections.abc import Sequence

import numpy as np

from model.records.batching import Batching, BlockTable, Request, ScheduledChunk, Tick, TimedPass, TimedScheduler
from model.records.trace import Settings, Token
from tests.fakes_measured import fake_card

BLOCK, N_BLOCKS, BUDGET = 4, 9, 8
PROMPTS, NEW = (6, 7, 9, 2), (4, 3, 3, 3)
ARRIVES = (0.0, 0.01, 0.0, 0.35)
IDLE, PREEMPTED = (6, 2), (3, 2)  # tick and text
_WORDS = (" the", " capital", " of", " France", " is", " Paris", ".", " It", " lies")
_STORY: tuple[dict[str, tuple[tuple[int, ...], ...]], ...] = (  # scheduled: text, first, tokens, 1 if it writes
    {"scheduled": ((0, 0, 6, 1), (2, 0, 2, 0)), "block_tables": ((8, 7), (), (6,), ()), "more": ((1,), (), (), ())},
    {
        "scheduled": ((0, 6, 1, 1), (2, 2, 7, 1)),
        "block_tables": ((8, 7), (), (6, 5, 4), ()),
        "more": ((1,), (), (), ()),
    },
    {
        "scheduled": ((0, 7, 1, 1), (1, 4, 3, 1), (2, 9, 1, 1)),
        "block_tables": ((8, 7), (8, 3), (6, 5, 4), ()),
        "more": ((), (), (), ()),
        "n_cached_tokens": ((1, 4),),
    },
    {
        "scheduled": ((0, 8, 1, 1), (1, 7, 1, 1)),
        "block_tables": ((8, 7, 2), (8, 3), (), ()),
        "more": ((2,), (0, 2), (2,), (7,)),
    },
    {
        "scheduled": ((1, 8, 1, 1), (3, 0, 2, 1)),
        "block_tables": ((), (8, 3, 1), (), (0,)),
        "more": ((2,), (1,), (), (3, 7, 8)),
    },
    {
        "scheduled": ((2, 0, 7, 0), (3, 2, 1, 1)),
        "block_tables": ((), (), (6, 5), (0,)),
        "more": ((), (), (), (3, 7, 8)),
    },
    {"scheduled": ((3, 3, 1, 1),), "block_tables": ((), (), (6, 5), (0,)), "more": ((), (3,), (), (3, 7, 8))},
    {"scheduled": ((2, 7, 4, 1),), "block_tables": ((), (), (6, 5, 4), ()), "more": ((), (2,), (), (3, 5, 6, 7, 8))},
)


def fake_batching(
    *,
    words: Sequence[str] = _WORDS,
    n_ticks: int | None = None,
    n_schedulers: int = 3,
    weights: bool = True,
    seed: int = 0,
) -> Batching:
    """The whole story, or its first ticks; `words` are the tokens of the texts, in turns."""
    card, rng = fake_card(), np.random.default_rng(seed)
    read, upto = [0] * len(PROMPTS), 0
    ticks: list[Tick] = []
    kept: list[np.ndarray] = []
    for number, told in enumerate(_STORY[:n_ticks]):
        for request, first, count, _ in told["scheduled"]:
            read[request] = first + count
        tick = _tick(number, told, read, upto if weights else None)
        ticks.append(tick)
        if weights:
            kept.append(_weights(tick, card.n_layers * card.n_heads, rng))
            upto += kept[-1].size
    names = ("continuous", "static", "sequential")
    return Batching(
        model=card,
        machine="A made-up processor, 2 threads, cpu, float32",
        settings=Settings(max_new_tokens=4),
        requests=tuple(_request(i, words) for i in range(len(PROMPTS))),
        block_size=BLOCK,
        n_blocks=N_BLOCKS,
        block_bytes=184_320,
        token_budget=BUDGET,
        max_requests=4,
        prefix_caching=True,
        ticks=tuple(ticks),
        schedulers=tuple(_timed(name) for name in names[:n_schedulers]),
        weights=np.concatenate(kept) if kept else np.zeros(0, np.float32),
    )


def _tick(number: int, told: dict[str, tuple[tuple[int, ...], ...]], read: list[int], weights_at: int | None) -> Tick:
    waiting, freed, preempted, cached = told["more"]
    tables = tuple(
        BlockTable(request=i, blocks=blocks, n_tokens=read[i])
        for i, blocks in enumerate(told["block_tables"])
        if blocks
    )
    held = [block for table in tables if table.request not in freed for block in table.blocks]
    return Tick(
        at_s=0.1 * number,
        seconds=0.09,
        waiting=waiting,
        block_tables=tables,
        freed=freed,
        preempted=preempted,
        scheduled=tuple(
            ScheduledChunk(
                request=i,
                phase="prefill" if count > 1 else "decode",
                first=first,
                n_tokens=count,
                written=_id(i, first + count) if writes else None,
            )
            for i, first, count, writes in told["scheduled"]
        ),
        n_free_blocks=N_BLOCKS - len({*held, *cached}),
        cached_blocks=cached,
        shared_blocks=tuple((block, held.count(block)) for block in sorted(set(held)) if held.count(block) > 1),
        n_cached_tokens=tuple((i, count) for i, count in told.get("n_cached_tokens", ())),
        key_lengths=tuple((i, first + count) for i, first, count, _ in told["scheduled"]),
        weights_at=weights_at,
        cross_request_weight=0.0,
    )


def _weights(tick: Tick, n_heads: int, rng: np.random.Generator) -> np.ndarray:
    """Rows that sum to 1, each over the tokens of its own text up to itself; 0 elsewhere."""
    drawn = np.zeros((n_heads, tick.n_tokens, sum(count for _, count in tick.key_lengths)), np.float32)
    row = column = 0
    for chunk in tick.scheduled:
        for i in range(chunk.n_tokens):
            seen = chunk.first + i + 1
            drawn[:, row + i, column : column + seen] = rng.dirichlet(np.full(seen, 0.3), n_heads)
        row, column = row + chunk.n_tokens, column + chunk.first + chunk.n_tokens
    return drawn.reshape(-1)


def _request(i: int, words: Sequence[str]) -> Request:
    length = PROMPTS[i] + NEW[i]
    tokens = tuple(
        Token(
            id=_id(i, at),
            text=word,
            data=word.encode("utf-8", "replace"),
            span=(at, at + 1),
            special=False,
            generated=at >= PROMPTS[i],
        )
        for at, word in enumerate((tuple(words) * length)[i : i + length])
    )
    prompt, text = ("".join(each.text for each in part) for part in (tokens[: PROMPTS[i]], tokens[PROMPTS[i] :]))
    return Request(
        prompt=prompt,
        n_prompt=PROMPTS[i],
        max_new_tokens=NEW[i],
        arrives_s=ARRIVES[i],
        tokens=tokens,
        text=text,
        ended="length",
    )


def _id(request: int, position: int) -> int:
    return 100 * request + position


def _timed(name: str) -> TimedScheduler:
    """Static batches of A, B and C, padded to the longest, then D; sequential without padding."""
    passes: list[tuple[float, tuple[tuple[int, int, int], ...]]] = []
    if name == "static":
        passes.append((0.18, tuple((i, PROMPTS[i], 9 - PROMPTS[i]) for i in range(3))))
        passes += [(0.11, tuple((i, int(step < NEW[i]), int(step >= NEW[i])) for i in range(3))) for step in (1, 2, 3)]
        passes += [(0.1, ((3, 2, 0),)), (0.1, ((3, 1, 0),)), (0.1, ((3, 1, 0),))]
    elif name == "sequential":
        for i in range(len(PROMPTS)):
            passes += [(0.12, ((i, PROMPTS[i], 0),)), *[(0.1, ((i, 1, 0),))] * (NEW[i] - 1)]
    else:
        passes = [(0.09, tuple((i, count, 0) for i, _, count, _ in told["scheduled"])) for told in _STORY]
    ends = np.cumsum([seconds for seconds, _ in passes])
    mine = [
        [end for end, (_, rows) in zip(ends, passes, strict=True) if i in [row[0] for row in rows]] for i in range(4)
    ]
    last = float(ends[-1])
    return TimedScheduler(
        name=name,  # pyright: ignore[reportArgumentType]
        seconds=(last, last * 1.1, last * 0.9),
        n_written=sum(NEW),
        same_tokens=(True,) * len(PROMPTS),
        ttft=tuple(max(float(each[0]) - at, 0.01) for each, at in zip(mine, ARRIVES, strict=True)),
        latency=tuple(max(float(each[-1]) - at, 0.02) for each, at in zip(mine, ARRIVES, strict=True)),
        passes=tuple(
            TimedPass(at_s=float(end) - seconds, seconds=seconds, rows=rows)
            for end, (seconds, rows) in zip(ends, passes, strict=True)
        ),
    )
