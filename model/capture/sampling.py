"""From logits to one token: the library's own processors, one stage each, and the draw, recorded as they run."""

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


def choose(
    logits: torch.Tensor, processors: list[Any], input_ids: torch.Tensor, generator: torch.Generator | None
) -> Chosen:
    """Choose the next token, and keep each stage of the choice.

    Shapes: logits float32 [1, V], input_ids int64 [1, tokens so far]. `generator` None takes the likeliest token.
    The draw is torch's own: each token gets an exponential random time, divided by its probability; the first wins.
    With the same seed it picks what `torch.multinomial` picks. Source: Kool et al. 2019, the exponential race.
    Raises: BadSetting, if a processor makes scores that float32 cannot hold.
    """
    raw = torch.softmax(logits, dim=-1)
    scores, probabilities, stages = logits, raw, []
    for processor in processors:
        scores_after = processor(input_ids, scores.clone())
        _refuse_overflow(processor, scores_after)
        after = torch.softmax(scores_after, dim=-1)
        stages.append(_stage(processor, scores, probabilities, scores_after, after))
        scores, probabilities = scores_after, after
    ids, draw = (scores.argmax(dim=-1), ()) if generator is None else _race(probabilities, generator)
    return Chosen(ids=ids, scores=scores, choice=_choice(int(ids), logits, raw, tuple(stages), draw))


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


def _choice(
    token: int, logits: torch.Tensor, raw: torch.Tensor, stages: tuple[Stage, ...], draw: tuple[Runner, ...]
) -> Choice:
    return Choice(
        id=token,
        probability=float(raw[0, token]),
        logit=float(logits[0, token]),
        rank=int((logits[0] > logits[0, token]).sum()),
        entropy=_entropy(raw),
        candidates=_candidates(logits, raw, RAW_CANDIDATES),
        stages=stages,
        draw=draw,
    )


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
    return Stage(
        name=name,
        setting=setting,
        alive=int((~torch.isneginf(scores)).sum()),
        removed_mass=float(chances[gone].sum()),
        entropy=_entropy(probabilities),
        candidates=_candidates(scores, probabilities, STAGE_CANDIDATES),
    )


def _candidates(scores: torch.Tensor, probabilities: torch.Tensor, count: int) -> tuple[Candidate, ...]:
    best = scores[0].topk(min(count, scores.shape[-1]))
    kept = torch.isfinite(best.values)
    ids = best.indices[kept]
    return tuple(
        Candidate(id=token, score=score, probability=probability)
        for token, score, probability in zip(
            ids.tolist(), best.values[kept].tolist(), probabilities[0, ids].tolist(), strict=True
        )
    )


def _entropy(probabilities: torch.Tensor) -> float:
    return float(torch.special.entr(probabilities).sum())
