"""The draw: torch's own race, with the run's own generator, and stages that add up."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from model.capture.sampling import choose

LOGITS = torch.randn(1, 500, generator=torch.Generator().manual_seed(3)) * 3
IDS = torch.tensor([[1, 2, 3]])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(40))
def test_the_race_picks_what_multinomial_picks(seed: int) -> None:
    chosen = choose(LOGITS, [], IDS, seeded(seed))
    assert chosen.choice.id == int(torch.multinomial(LOGITS.softmax(-1), 1, generator=seeded(seed)))


def test_the_winner_has_the_smallest_time_and_stands_first() -> None:
    draw = choose(LOGITS, [], IDS, seeded(5)).choice.draw
    assert [runner.time for runner in draw] == sorted(runner.time for runner in draw)
    assert all(runner.time == pytest.approx(runner.wait / runner.probability) for runner in draw)


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    generator = seeded(0)
    drawn = np.bincount([choose(logits, [], IDS, generator).choice.id for _ in range(4000)], minlength=4) / 4000
    assert np.abs(drawn - [0.5, 0.3, 0.15, 0.05]).max() < 0.03


def test_stages_come_in_order_and_their_numbers_add_up() -> None:
    processors = [TemperatureLogitsWarper(0.7), TopKLogitsWarper(20), TopPLogitsWarper(0.9), MinPLogitsWarper(0.05)]
    chosen = choose(LOGITS, processors, IDS, seeded(1))
    stages = chosen.choice.stages
    assert [stage.name for stage in stages] == ["temperature", "top-k", "top-p", "min-p"]
    assert [stage.setting for stage in stages] == [0.7, 20, 0.9, 0.05]
    assert [stage.alive for stage in stages][:2] == [500, 20]
    assert all(a.alive >= b.alive for a, b in pairwise(stages))
    assert stages[-1].alive == int(torch.isfinite(chosen.scores).sum())
    assert chosen.choice.id in {each.id for each in stages[-1].candidates} | {r.id for r in chosen.choice.draw}
    scaled = (LOGITS / 0.7).softmax(-1)[0].sort(descending=True).values
    assert stages[1].removed_mass == pytest.approx(float(scaled[20:].sum()), abs=1e-6)


def test_raw_probabilities_are_of_the_full_vocabulary_before_any_processor() -> None:
    choice = choose(LOGITS, [TopKLogitsWarper(1)], IDS, seeded(1)).choice
    raw = LOGITS.softmax(-1)[0]
    assert choice.probability == pytest.approx(float(raw[choice.id]))
    assert choice.rank == 0 and choice.entropy == pytest.approx(float(torch.special.entr(raw).sum()), rel=1e-5)
    assert [each.probability for each in choice.candidates] == pytest.approx(raw.topk(20).values.tolist())


def test_greedy_takes_the_likeliest_and_draws_nothing() -> None:
    choice = choose(LOGITS, [], IDS, None).choice
    assert choice.id == int(LOGITS.argmax()) and choice.draw == ()


def test_a_tiny_vocabulary_and_tokens_that_cannot_be_chosen() -> None:
    logits = torch.tensor([[1.0, float("-inf"), 0.0]])
    choice = choose(logits, [], IDS, seeded(0)).choice
    assert [each.id for each in choice.candidates] == [0, 2]
    assert {runner.id for runner in choice.draw} == {0, 2}
