"""Made-up records of the page Serve: a small engine that reads no text, and drafts that are right in turns."""

import numpy as np

from model.records.batching import Batching, BlockTable, Request, ScheduledChunk, Tick, TimedPass, TimedScheduler
from model.records.speculation import Attempt, Drafted, Round, Speculation
from model.records.trace import Candidate, Settings, Token
from tests.fakes_measured import fake_card

BLOCK = 4
SCHEDULERS = ("continuous", "static", "sequential")


def served(
    prompts: tuple[str, ...],
    new: tuple[int, ...],
    *,
    n_ticks: int | None = None,
    budget: int = 12,
    n_blocks: int = 40,
    schedulers: bool = True,
) -> Batching:
    """Several texts served to the end, or as far as so many ticks go; every word is a token."""
    lengths = [len(prompt.split(" ")) for prompt in prompts]
    card, rng = fake_card(), np.random.default_rng(0)
    fed, wrote = [0] * len(prompts), [0] * len(prompts)
    owned: list[list[int]] = [[] for _ in prompts]
    free, ticks, weights, kept = list(range(n_blocks)), [], [], 0
    while (n_ticks is None or len(ticks) < n_ticks) and any(a < b for a, b in zip(wrote, new, strict=True)):
        chunks, left = [], budget
        for i, length in enumerate(lengths):
            if wrote[i] == new[i] or left == 0:
                continue
            n = 1 if fed[i] >= length else min(left, length - fed[i])
            first, fed[i], left = fed[i], fed[i] + n, left - n
            done = fed[i] >= length
            wrote[i] += done
            chunks.append(
                ScheduledChunk(
                    request=i,
                    phase="prefill" if first < length else "decode",
                    first=first,
                    n_tokens=n,
                    written=50 + i if done else None,
                )
            )
            while len(owned[i]) * BLOCK < fed[i]:
                owned[i].append(free.pop(0))
        tables = tuple(
            BlockTable(request=i, blocks=tuple(owned[i]), n_tokens=fed[i]) for i in range(len(prompts)) if owned[i]
        )
        freed = tuple(each.request for each in tables if wrote[each.request] == new[each.request])
        for i in freed:
            free, owned[i] = [*free, *owned[i]], []
        keys = tuple((chunk.request, chunk.first + chunk.n_tokens) for chunk in chunks)
        rows = sum(chunk.n_tokens for chunk in chunks)
        size = card.n_layers * card.n_heads * rows * sum(n for _, n in keys)
        weights.append(rng.random(size, dtype=np.float32))
        ticks.append(
            Tick(
                at_s=0.05 * len(ticks),
                seconds=0.05,
                scheduled=tuple(chunks),
                block_tables=tables,
                freed=freed,
                preempted=(),
                waiting=tuple(i for i in range(len(prompts)) if fed[i] == 0),
                n_free_blocks=len(free),
                cached_blocks=(),
                shared_blocks=(),
                n_cached_tokens=(),
                key_lengths=keys,
                weights_at=kept,
                cross_request_weight=0.0,
            )
        )
        kept += size
    return Batching(
        model=card,
        machine="A made-up processor, 2 threads, cpu, float32",
        settings=Settings(max_new_tokens=max(new)),
        requests=tuple(_request(p, n, w) for p, n, w in zip(prompts, new, wrote, strict=True)),
        block_size=BLOCK,
        n_blocks=n_blocks,
        block_bytes=4096,
        token_budget=budget,
        max_requests=8,
        prefix_caching=True,
        ticks=tuple(ticks),
        schedulers=tuple(_timed(name, len(prompts), sum(new)) for name in SCHEDULERS) if schedulers else (),
        weights=np.concatenate(weights) if weights else np.zeros(0, np.float32),
    )


def drafted(prompt: str, settings: Settings, modes: tuple[str, ...], *, n_rounds: int | None = None) -> Speculation:
    """A prompt continued with each of these drafts; of three guesses a round gets one, two or three right, in turns."""
    texts = {i: f" word{i}" for i in range(40)}
    read = prompt.split(" ")

    def attempt(mode: str) -> Attempt:
        rounds, ids, best = (
            [],
            [],
            (Candidate(id=1, score=2.0, probability=0.6), Candidate(id=2, score=1.0, probability=0.2)),
        )
        while len(ids) < settings.max_new_tokens and (n_rounds is None or len(rounds) < n_rounds):
            right = len(rounds) % 3 + 1
            guesses = tuple(
                Drafted(
                    id=3 + i,
                    q=None if mode == "prompt lookup" else 0.5,
                    p=0.7 if i < right else 0.1,
                    random=None if settings.greedy else 0.3,
                    accepted=i < right,
                    draft_best=best,
                    target_best=best,
                )
                for i in range(3)
            )
            written = (*(each.id for each in guesses[:right]), 9)
            rounds.append(
                Round(
                    first=len(read) + len(ids),
                    drafted=guesses,
                    n_accepted=right,
                    written=written,
                    own="bonus" if right == 3 else "corrected",
                    own_best=best,
                    n_read=4,
                    draft_s=0.01,
                    verify_s=0.06,
                )
            )
            ids += written
        return Attempt(
            mode=mode,  # pyright: ignore[reportArgumentType]
            name=mode,
            n_draft=3,
            rounds=tuple(rounds),
            tokens=_tokens(read, [texts[i] for i in ids], ids),
            same_tokens=True if settings.greedy else None,
            plain_s=(1.0, 1.1),
            speculated_s=(0.8, 0.9),
            plain_tokens=settings.max_new_tokens,
            speculated_tokens=settings.max_new_tokens,
            draft_token_s=0.003,
        )

    return Speculation(
        model=fake_card(),
        machine="A made-up processor",
        prompt=prompt,
        settings=settings,
        n_prompt=len(read),
        tokens=_tokens(read, [" x"] * settings.max_new_tokens, [1] * settings.max_new_tokens),
        texts=texts,
        attempts=tuple(attempt(mode) for mode in modes),
        verify_sizes=np.arange(1, 5, dtype=np.int32),
        verify_s=np.linspace(0.05, 0.07, 12).reshape(4, 3),
    )


def _request(prompt: str, new: int, wrote: int) -> Request:
    words = [f" new{i}" for i in range(wrote)]
    read = prompt.split(" ")
    return Request(
        prompt=prompt,
        n_prompt=len(read),
        max_new_tokens=new,
        arrives_s=0.0,
        text="".join(words),
        tokens=_tokens(read, words, [20] * wrote),
        ended="length" if wrote == new else "running",
    )


def _tokens(read: list[str], written: list[str], ids: list[int]) -> tuple[Token, ...]:
    words = zip([*read, *written], [*([10] * len(read)), *ids], strict=True)
    return tuple(
        Token(id=number, text=word, data=word.encode(), span=(i, i + 1), special=False, generated=i >= len(read))
        for i, (word, number) in enumerate(words)
    )


def _timed(name: str, n: int, written: int) -> TimedScheduler:
    rows = tuple((i, 3, 2 if name == "static" else 0) for i in range(n))
    passes = tuple(TimedPass(at_s=0.1 * i, seconds=0.1, rows=rows) for i in range(4))
    return TimedScheduler(
        name=name,  # pyright: ignore[reportArgumentType]
        seconds=(0.4, 0.5),
        ttft=(0.1,) * n,
        latency=(0.4,) * n,
        passes=passes,
        n_written=written,
        same_tokens=(True,) * n,
    )
