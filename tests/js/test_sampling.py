"""The arithmetic behind "What if?" is that of the library's own processors."""

import base64
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from model import trace
from model.capture.sampling import choose
from model.records.trace import Choice, Stage
from tests.js.node import in_node
from tests.tiny import tiny

VOCABULARY = 49_152
SEEN = [0, 5, 5, 77, 120, 198]
Settings = dict[str, Any]
NEUTRAL: Settings = {"temperature": 1.0, "topK": 0, "topP": 1.0, "minP": 0.0, "penalty": 1.0}
STAGES = """
    import { raw, stages, likeliest } from "@/data/sampling.js";
    const [scores, seen, settings] = given;
    const from = raw(new Float32Array(bytes(scores).buffer));
    const about = ({ name, setting, after, gone, goneMass, moved }) => ({
        name, setting, alive: after.ids.length, gone, goneMass, moved, sum: after.chances.reduce((a, b) => a + b, 0),
        top: likeliest(after, 10).map(({ id, score, probability }) => [id, score, probability]),
    });
    const told = settings.map((each) => stages(from, seen, each).map(about));
    const times = settings.map((each) => {
        const began = performance.now();
        stages(from, seen, each);
        return performance.now() - began;
    });
    const pass = () => { // over the vocabulary, with an exponential of each score
        const began = performance.now();
        let sum = 0;
        for (const score of from.scores) sum += Math.exp(score);
        return performance.now() - began + 0 * sum;
    };
    const answer = { told, times, passes: settings.map(pass) };
"""


def told(scores: np.ndarray, seen: list[int], settings: list[Settings]) -> dict[str, Any]:
    encoded = base64.b64encode(scores.astype(np.float32).tobytes()).decode()
    return in_node(STAGES, [encoded, seen, settings])


def ran(scores: np.ndarray, seen: list[int], settings: Settings) -> Choice:
    """The library's own processors, in the library's own order."""
    on: list[tuple[Any, float, bool]] = [
        (RepetitionPenaltyLogitsProcessor, float(settings["penalty"]), settings["penalty"] != 1),
        (TemperatureLogitsWarper, float(settings["temperature"]), settings["temperature"] != 1),
        (TopKLogitsWarper, int(settings["topK"]), settings["topK"] > 0),
        (TopPLogitsWarper, float(settings["topP"]), settings["topP"] < 1),
        (MinPLogitsWarper, float(settings["minP"]), settings["minP"] > 0),
    ]
    logits = torch.tensor(scores)[None]
    return choose(logits, [make(value) for make, value, is_on in on if is_on], torch.tensor([seen]), None).choice


def same(stages: list[dict[str, Any]], choice: Choice, *, ties: bool = False) -> None:
    """Of equally likely tokens at top-p's limit the library's sort says which go, its float32 sum whether one more."""
    assert [stage["name"] for stage in stages] == [each.name for each in choice.stages]
    close = ties or any(map(at_the_limit, choice.stages))
    for mine, theirs in zip(stages, choice.stages, strict=True):
        assert abs(mine["alive"] - theirs.alive) <= (1 if close else 0)
        assert mine["goneMass"] == pytest.approx(theirs.removed_mass, rel=2e-3 if close else 2e-5, abs=2e-6)
        assert mine["sum"] == pytest.approx(1, abs=1e-5)
        assert [each[1] for each in mine["top"]] == [each.score for each in theirs.candidates]
        expected = [each.probability for each in theirs.candidates]
        assert [each[2] for each in mine["top"]] == pytest.approx(expected, rel=2e-3 if close else 2e-5)
        if not ties:
            assert [each[0] for each in mine["top"]] == [each.id for each in theirs.candidates]


def at_the_limit(stage: Stage) -> bool:
    """Whether what top-p removed ends within float32's rounding of its limit: one token more or less is right too."""
    return stage.name == "top-p" and stage.setting is not None and abs(1 - stage.setting - stage.removed_mass) < 1e-6


def scores_like(kind: str) -> np.ndarray:
    rng = np.random.default_rng(11)
    noise = rng.normal(size=VOCABULARY).astype(np.float32)
    if kind == "real":  # a long low bulk, and a few tokens that stand out, as a language model's scores do
        noise = noise * 2 - 4
        noise[rng.integers(0, VOCABULARY, 300)] += rng.gamma(3, 3, 300).astype(np.float32)
    elif kind == "ties":
        noise = np.round(noise * 2) / 2
    elif kind == "small":
        noise = noise[:30]
    elif kind == "forbidden":
        noise[::3] = -np.inf
    return noise


GRID = [
    dict(zip(NEUTRAL, values, strict=True))
    for values in product((0.3, 1.0, 1.7), (0, 1, 40), (0.05, 0.9, 1.0), (0.0, 0.05, 1.0), (0.7, 1.0, 1.3))
]


SCORES = ("random", "real", "ties", "small", "forbidden")
FEW = GRID[::5]  # any two values of two settings are among them together


@pytest.mark.parametrize(
    ("kind", "grid"),
    [
        *((kind, FEW) for kind in SCORES[1:]),
        *(pytest.param(kind, GRID, marks=pytest.mark.long) for kind in SCORES),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} settings",
)
def test_every_stage_is_what_the_librarys_own_processors_make(kind: str, grid: list[Settings]) -> None:
    scores = scores_like(kind)
    seen = [each for each in SEEN if each < len(scores)]
    answer = told(scores, seen, grid)
    for settings, stages in zip(grid, answer["told"], strict=True):
        same(stages, ran(scores, seen, settings), ties=kind == "ties")
    redraw = np.quantile(answer["times"], 0.25) / np.quantile(answer["passes"], 0.25)
    assert redraw < 8 or kind == "small", "plain passes over the vocabulary: a slider is followed at once"


def test_what_reaches_top_ps_limit_exactly_goes() -> None:
    even = np.zeros(8, np.float32)  # an eighth each: every sum is exact
    asked = [{**NEUTRAL, "topP": p} for p in (0.125, 0.5, 0.75, 0.76)]
    for settings, stages in zip(asked, told(even, [], asked)["told"], strict=True):
        assert stages[0]["alive"] == ran(even, [], settings).stages[0].alive
    assert [stages[0]["alive"] for stages in told(even, [], asked)["told"]] == [1, 4, 6, 7]


def test_order_and_seen_tokens_are_those_of_a_run() -> None:
    settings: Settings = {"temperature": 1.4, "top_k": 60, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3}
    run = trace(tiny(), "w7 w8 w9 w7", max_new_tokens=12, **settings)
    asked = {"temperature": 1.4, "topK": 60, "topP": 0.9, "minP": 0.02, "penalty": 1.3}
    for i, choice in enumerate(run.choices):
        seen = [token.id for token in run.tokens[: run.n_prompt + i]]
        same(told(run.logits[i], seen, [asked])["told"][0], choice)


def test_without_dice_only_the_repetition_penalty_runs() -> None:
    greedy = {**NEUTRAL, "temperature": 0, "topK": 5, "penalty": 1.2}
    assert [stage["name"] for stage in told(scores_like("real"), SEEN, [greedy])["told"][0]] == ["repetition penalty"]


def test_what_moved_is_half_of_all_changes() -> None:
    scores = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))
    hot, cut = told(scores, [], [{**NEUTRAL, "temperature": 2}, {**NEUTRAL, "topK": 2}])["told"]
    chances = np.sqrt([0.5, 0.25, 0.125, 0.125])
    moved = np.abs(chances / chances.sum() - [0.5, 0.25, 0.125, 0.125]).sum() / 2
    assert hot[0]["moved"] == pytest.approx(moved, abs=1e-6)
    assert (hot[0]["gone"], hot[0]["goneMass"]) == (0, 0)
    assert (cut[0]["gone"], cut[0]["goneMass"], cut[0]["moved"]) == (2, pytest.approx(0.25), pytest.approx(0.25))
