"""From logits to one token: the library's own processors, one stage each, and the draw, recorded as they run."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from model.errors import BadSetting
from model.records.trace import Candidate, Choice, Runner, Stage
from model.texts import phrase

RAW_CANDIDATES = 20
STAGE_CANDIDATES = 10
RUNNERS = 5

_WORDS = {
    "RepetitionPenaltyLogitsProcessor": (phrase("repetition penalty"), "penalty"),
    "TemperatureLogitsWarper": ("temperature", "temperature"),
    "TopKLogitsWarper": ("top-k", "top_k"),
    "TopPLogitsWarper": ("top-p", "top_p"),
    "MinPLogitsWarper": ("min-p", "min_p"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The chosen id as the loop needs it, the scores it was chosen from, and the record of how."""

    ids: torch.Tensor  # int64 [1]
    scores: torch.Tensor  # float32 [1, V], after all processors
    choice: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeliest:
    """The likeliest token, and the numbers that are told of it, where the logits are."""

    ids: torch.Tensor  # int64 [1]
    numbers: torch.Tensor  # as `_numbers` has them, there or in the host's memory


def likeliest(logits: torch.Tensor) -> Likeliest:
    """The token with the largest of these logits, float32 [1, V]; nothing is waited for."""
    ids = logits.argmax(dim=-1)
    return Likeliest(ids=ids, numbers=_numbers(ids, logits, torch.softmax(logits, dim=-1)))


def choose(
    logits: torch.Tensor,
    processors: list[Any],
    input_ids: torch.Tensor,
    generator: torch.Generator | None,
    found: Likeliest | None = None,
) -> Chosen:
    """Choose the next token, and keep each stage of the choice.

    Shapes: logits float32 [1, V], input_ids int64 [1, tokens so far]. `generator` None takes the likeliest token, which
    the caller may have `found` already.
    The draw is torch's own: each token gets an exponential random time, divided by its probability; the first wins.
    With the same seed it picks what `torch.multinomial` picks. Source: Kool et al. 2019, the exponential race.
    Raises: BadSetting, if a processor makes scores that float32 cannot hold.
    """
    if not processors and generator is None:
        found = found or likeliest(logits)
        ids = found.ids.clone()  # those of a captured pass are written over by the next one
        return Chosen(ids=ids, scores=logits, choice=_choice(found.numbers, (), ()))
    raw = torch.softmax(logits, dim=-1)
    scores, probabilities, stages = logits, raw, []
    for processor in processors:
        scores_after = processor(input_ids, scores.clone())
        _refuse_overflow(processor, scores_after)
        after = torch.softmax(scores_after, dim=-1)
        stages.append(_stage(processor, scores, probabilities, scores_after, after))
        scores, probabilities = scores_after, after
    ids, draw = (scores.argmax(dim=-1), ()) if generator is None else _race(probabilities, generator)
    return Chosen(ids=ids, scores=scores, choice=_choice(_numbers(ids, logits, raw), tuple(stages), draw))


def chosen_by_person(made: Choice, logits: torch.Tensor, token: int) -> Choice:
    """The choice of a step as a person made it: another token of the same distribution, which nobody drew.

    Shape: logits float32 [V], the step's raw ones.
    """
    if token == made.id:
        return replace(made, draw=(), chosen_by="person")
    raw = torch.softmax(logits, dim=-1)
    return replace(
        made,
        id=token,
        probability=float(raw[token]),
        logit=float(logits[token]),
        rank=int((logits > logits[token]).sum()),
        draw=(),
        chosen_by="person",
    )


def skip_draws(generator: torch.Generator, like: torch.Tensor, count: int) -> None:
    """Advance the generator as `count` choices would. `like` is one step's logits [1, V]."""
    for _ in range(count):
        _waits(like, generator)


def _waits(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.empty_like(like).exponential_(1, generator=generator)


def _race(probabilities: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, tuple[Runner, ...]]:
    waits = _waits(probabilities, generator)
    speed = probabilities / waits
    winner = speed.argmax(dim=-1)
    first = speed[0].topk(min(RUNNERS, int((probabilities > 0).sum()))).indices
    order = torch.cat([winner, first[first != winner]])[:RUNNERS]
    chances, times = probabilities[0, order].tolist(), waits[0, order].tolist()
    return winner, tuple(
        Runner(id=token, probability=chance, wait=wait, time=wait / chance)
        for token, chance, wait in zip(order.tolist(), chances, times, strict=True)
    )


def _numbers(ids: torch.Tensor, logits: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    """What is told of the choice of `ids` [1]: float32 [5 + 3 C], to be brought from the device in one go.

    float32 holds every id and rank below 16.7 million exactly.
    """
    logit = logits[0, ids]
    rank = (logits[0] > logit).sum()[None]
    return _joined(ids, raw[0, ids], logit, rank, _entropy(raw)[None], *_best(logits, raw, RAW_CANDIDATES))


def _choice(numbers: torch.Tensor, stages: tuple[Stage, ...], draw: tuple[Runner, ...]) -> Choice:
    token, probability, logit, rank, entropy, *best = numbers.tolist()
    return Choice(
        id=int(token),
        probability=probability,
        logit=logit,
        rank=int(rank),
        entropy=entropy,
        candidates=_candidates(best),
        stages=stages,
        draw=draw,
    )


def _joined(*numbers: torch.Tensor) -> torch.Tensor:
    return torch.cat([each.to(torch.float32) for each in numbers])


def _refuse_overflow(processor: Any, scores: torch.Tensor) -> None:
    """A setting can be so extreme that float32 cannot hold the scores that it makes."""
    if not bool((scores < torch.inf).all()):  # NaN compares as false
        name, setting = _named(processor)
        raise BadSetting(
            "{name} {setting} makes scores that are too large for a float32 number. "
            "Take a value nearer to 1, or temperature 0 for the likeliest token.",
            name=name,
            setting=setting,
        )


def _named(processor: Any) -> tuple[str, float | None]:
    kind = type(processor).__name__
    name, attribute = _WORDS.get(kind, (kind, ""))
    setting = getattr(processor, attribute, None)
    return name, None if setting is None else float(setting)


def _stage(
    processor: Any, before: torch.Tensor, chances: torch.Tensor, scores: torch.Tensor, probabilities: torch.Tensor
) -> Stage:
    name, setting = _named(processor)
    gone = torch.isneginf(scores) & ~torch.isneginf(before)
    alive = (~torch.isneginf(scores)).sum()[None]
    removed = chances[gone].sum()[None]
    best = _best(scores, probabilities, STAGE_CANDIDATES)
    n_alive, removed_mass, entropy, *told = _joined(alive, removed, _entropy(probabilities)[None], *best).tolist()
    return Stage(
        name=name,
        setting=setting,
        alive=int(n_alive),
        removed_mass=removed_mass,
        entropy=entropy,
        candidates=_candidates(told),
    )


def _best(scores: torch.Tensor, probabilities: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """The highest scores, whose they are, and the probabilities of these: [C] each."""
    best = scores[0].topk(min(count, scores.shape[-1]))
    return best.values, best.indices, probabilities[0, best.indices]


def _candidates(best: list[float]) -> tuple[Candidate, ...]:
    """Those of finite score, from scores, ids and probabilities, one after the other."""
    n = len(best) // 3
    return tuple(
        Candidate(id=int(token), score=score, probability=probability)
        for score, token, probability in zip(best[:n], best[n : 2 * n], best[2 * n :], strict=True)
        if math.isfinite(score)
    )


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(probabilities).sum()
