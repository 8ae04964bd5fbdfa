"""A draft before the model: the words stay the model's own, verdicts can be checked, and nothing is left behind."""

# pyright: reportPrivateUsage=false

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model import HookedModel
from model.api.job import Job
from model.arch.hooks import count_hooks
from model.cli.tables.speculate import summary as drafted_summary
from model.errors import BadSetting, NotShown, PromptTooLong
from model.experiments.speculation import speculative
from model.experiments.speculation.draft import OwnDraft, own_draft
from model.experiments.speculation.drafters import Drafter, drafters_of, verdict_on
from model.experiments.speculation.speculative import speculate
from model.limits import Limits
from model.records.settings import Settings
from model.records.speculation import Speculation
from model.requests.speculation import MODES, Mode
from tests.model.drafted import (
    EARLY,
    LATE,
    PROMPT,
    SAMPLED,
    last,
    plainly,
    speculated,
    watched_once,
    written,
)
from tests.tiny import FAMILIES, shared, tiny


@pytest.mark.parametrize("n_draft", [1, 4])
@pytest.mark.parametrize("family", [*EARLY, *LATE])
def test_greedy_speculation_changes_the_speed_but_not_the_text(family: str, n_draft: int) -> None:
    hooked = shared(family)
    modes: tuple[Mode, ...] = ("prompt lookup", "draft model") if family in LATE else MODES[:2]
    record = watched_once(hooked, *modes, n_draft=n_draft, draft=shared(family, copy=1))
    for attempt in record.attempts:
        assert attempt.same_tokens, attempt.name
        assert written(attempt) == plainly(hooked)
        assert sum(len(each.written) for each in attempt.rounds) == len(written(attempt))


def test_a_model_that_drafts_for_itself_is_always_right() -> None:
    record = watched_once(shared(), "draft model", draft=shared(copy=1), n_draft=3)
    (attempt,) = record.attempts
    assert attempt.acceptance == 1
    assert attempt.tokens_per_pass > 3


@pytest.mark.parametrize("family", LATE)
def test_a_family_that_runs_all_its_layers_is_told_so(family: str) -> None:
    with pytest.raises(NotShown, match="runs all its layers"):
        speculated(shared(family), "early exit")


def test_an_early_exit_says_what_the_logit_lens_says_at_that_layer() -> None:
    hooked = tiny()  # its own: the library leaves hooks where it was once asked for hidden states
    record = watched_once(hooked, "early exit", exit_layer=1, n_draft=1)
    (attempt,) = record.attempts
    text = [token.id for token in attempt.tokens]
    for one in (each for each in attempt.rounds if each.drafted):
        ids = torch.tensor([text[: one.first]])
        with torch.no_grad():
            resid = hooked.model(ids, output_hidden_states=True).hidden_states[1][:, -1]
            said = hooked.model.lm_head(hooked.model.model.norm(resid)).argmax()
        assert one.drafted[0].id == int(said)


@pytest.mark.parametrize("mode", ["early exit", "draft model"])
def test_drawn_verdicts_follow_from_the_recorded_numbers(mode: Mode) -> None:
    draft = shared(copy=1)
    record = watched_once(shared(), mode, draft=draft, exit_layer=1, n_draft=4, settings=SAMPLED, new=30)
    (attempt,) = record.attempts
    verified = 0
    for one in attempt.rounds:
        for at, each in enumerate(one.drafted[: one.n_accepted + (one.own == "corrected")]):
            assert each.random is not None
            assert each.q is not None
            assert (each.random <= each.p / each.q) == (at < one.n_accepted)
            verified += 1
        assert [each.random for each in one.drafted[one.n_accepted + 1 :] if each.random is not None] == []
        assert one.own == "none" or one.written[-1] in {each.id for each in one.own_best}  # however unlikely it was
    assert verified > 10
    assert attempt.same_tokens is None


FEW = {"temperature": 2.0, "top_k": 4}  # so few that the likeliest of a record are all that there are


def near() -> HookedModel:
    """A draft that is often right and often wrong: the tiny model, its weights a little off."""
    hooked = tiny()
    torch.manual_seed(3)
    with torch.no_grad():
        for weights in hooked.model.parameters():
            weights.add_(torch.randn_like(weights) * 0.03)
    return hooked


def odds(hooked: HookedModel) -> torch.Tensor:
    """The probabilities [V] of the first new token, by the settings of FEW."""
    with torch.no_grad():
        scores = hooked.model(torch.tensor([PROMPT])).logits[0, -1].float() / FEW["temperature"]
    return scores.masked_fill(scores < scores.topk(int(FEW["top_k"])).values[-1], -torch.inf).softmax(dim=-1)


def chi_square(drawn: list[int], expected: torch.Tensor) -> float:
    """How far counts are from what is expected (Pearson); infinite where one was drawn that cannot be."""
    counts = torch.bincount(torch.tensor(drawn), minlength=len(expected))
    possible = expected > 0
    if int(counts[~possible].sum()):
        return torch.inf
    wanted = expected[possible] * len(drawn)
    return float(((counts[possible] - wanted) ** 2 / wanted).sum())


def test_what_is_drawn_with_a_draft_follows_the_model_and_not_the_draft() -> None:
    hooked, settings = shared(), Settings(max_new_tokens=2, **FEW)  # pyright: ignore[reportArgumentType]
    (drafter,), _ = drafters_of(hooked, PROMPT, ["draft model"], None, near())
    drawn, rounds = [], []
    for seed in range(160):
        asked = speculative._Setup(
            ids=tuple(PROMPT), prompt="", settings=replace(settings, seed=seed), n_draft=1, repeats=1
        )
        run = speculative._Speculating(hooked, asked, [drafter], (), Job())
        drawn.append((ran := run._run("drawn", drafter, record=True)).written[0])
        rounds.append(ran.rounds[0])
    assert 0.1 < sum(each.n_accepted for each in rounds) / len(rounds) < 0.9
    assert chi_square(drawn, odds(hooked)) < 16.3  # of 3 degrees of freedom: 1 in 1,000 is above it by chance
    assert rounds[0].q is not None
    q = rounds[0].q[0].softmax(dim=-1)
    assert chi_square([each.drafted[0] for each in rounds], q) < 16.3
    assert chi_square(drawn, q) > 50


def test_the_draft_of_our_own_draws_from_the_scores_that_it_gives() -> None:
    draft = OwnDraft.__new__(OwnDraft)
    draft._sample = True
    scores = torch.tensor([1.0, -torch.inf, 0.0, 2.0, -1.0])
    torch.manual_seed(0)
    drawn = draft._choose(scores.expand(8000, -1))[:, 0].tolist()
    assert chi_square(drawn, scores.softmax(dim=-1)) < 16.3


@pytest.mark.parametrize(("highest", "drafted"), [(0.19, 0), (0.3, 1), (0.5, 2), (0.7, 4)])
@pytest.mark.parametrize("sample", [False, True])
def test_no_token_is_drafted_that_is_hardly_worth_its_row(highest: float, drafted: int, sample: bool) -> None:
    """By the distribution, whatever is drawn from it: 0.5 and 0.25 are above WORTH_A_ROW, 0.125 is not."""
    odds = torch.tensor([[highest, *[(1 - highest) / 9] * 9]])
    draft: Any = OwnDraft.__new__(OwnDraft)
    draft._sample, draft._n_draft, draft._max_length, draft._n_past = sample, 4, 99, 0
    draft._thought = SimpleNamespace(latest=torch.zeros(1, 3, 1, 2))
    draft._embed, draft._past = (lambda ids: ids), []
    draft._read = draft._draft = lambda *_: torch.zeros(1, 1, 2)
    draft._scores = lambda *_: odds.log()
    for _ in range(20):
        text, scores = draft.get_candidates(torch.zeros(1, 3, dtype=torch.long))
        assert text.shape[1] - 3 == drafted and (scores is None if drafted == 0 else scores.shape == (1, drafted, 10))


def test_after_a_refusal_the_token_comes_from_what_the_draft_left_of_the_model() -> None:
    (attempt,) = watched_once(
        shared(), "draft model", draft=near(), n_draft=3, settings={**FEW, "seed": 5}, new=30
    ).attempts
    refused = [one for one in attempt.rounds if one.own == "corrected"]
    for one in refused:
        rejected = one.drafted[one.n_accepted]
        q = {each.id: each.probability for each in rejected.draft_best}
        left = {each.id: max(each.probability - q.get(each.id, 0.0), 0.0) for each in rejected.target_best}
        wanted = {token: each / sum(left.values()) for token, each in left.items() if each > 0}
        assert {each.id: each.probability for each in one.own_best} == pytest.approx(wanted, abs=1e-5)
        assert one.written[-1] in wanted
    assert len(refused) > 3


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    hooked = shared()
    torch.manual_seed(1)
    one = watched_once(hooked, "early exit", exit_layer=1, settings=SAMPLED)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    other = watched_once(hooked, "early exit", exit_layer=1, settings=SAMPLED)
    assert written(one.attempts[0]) == written(other.attempts[0])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.long
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_speculates_or_says_why_not(family: str) -> None:
    hooked = shared(family)
    record = watched_once(hooked, "prompt lookup", "early exit", exit_layer=1, n_draft=2)
    assert record.attempts[0].mode == "prompt lookup" and all(each.same_tokens for each in record.attempts)
    assert len(record.attempts) == 2 or "ignores early exit" in record.notes[0]


def test_what_cannot_be_run_is_refused_at_once() -> None:
    hooked, limits = shared(), Limits.from_environment()
    settings = Settings(max_new_tokens=4)
    with pytest.raises(BadSetting, match="n_draft is 0"):
        speculate(hooked, PROMPT, settings, limits, n_draft=0)
    with pytest.raises(BadSetting, match="n_draft is 17; it must be a whole number from 1 to 16"):
        speculate(hooked, PROMPT, settings, limits, n_draft=17)
    with pytest.raises(BadSetting, match="repeats is 0"):
        speculate(hooked, PROMPT, settings, limits, repeats=0)
    with pytest.raises(BadSetting, match="modes is empty"):
        speculate(hooked, PROMPT, settings, limits, modes=[])
    with pytest.raises(BadSetting, match="exit_layer is 99"):
        speculate(hooked, PROMPT, settings, limits, modes=["early exit"], exit_layer=99)
    with pytest.raises(BadSetting, match="modes has 'magic'; it can be prompt lookup"):
        speculate(hooked, PROMPT, settings, limits, modes=["magic"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(NotShown, match="no draft model was given"):
        speculate(hooked, PROMPT, settings, limits, modes=["draft model"])
    with pytest.raises(PromptTooLong):
        speculate(hooked, PROMPT * 900, settings, limits)
    with pytest.raises(NotShown, match="does not fit"):
        speculate(hooked, PROMPT, settings, limits, modes=["own draft"])


def test_a_mode_that_cannot_be_done_is_left_out_with_its_reason() -> None:
    record = watched_once(shared(), "own draft", "prompt lookup")
    assert [each.mode for each in record.attempts] == ["prompt lookup"]
    assert "own draft was skipped" in record.notes[0]


def test_half_a_character_is_replaced_told_and_kept(small: HookedModel, tmp_path: Path) -> None:
    asked = Settings(max_new_tokens=4)
    record = last(speculate(small, "half \ud800 of it", asked, Limits(), modes=["prompt lookup"], repeats=1))
    assert record.prompt == "half \ufffd of it"
    assert "U+FFFD" in record.notes[0]
    record.save(tmp_path / "half.speculation")


def test_times_and_passes_are_measured_and_the_file_holds_them(tmp_path: Path) -> None:
    record = speculated(shared(), "prompt lookup", n_draft=3)
    record.save(tmp_path / "one.speculation")
    again = Speculation.open(tmp_path / "one.speculation")
    assert again.verify_sizes.tolist() == [1, 2, 3, 4]
    assert (again.verify_s > 0).all()
    assert again.attempts[0].plain_s == record.attempts[0].plain_s
    assert again.attempts[0].speedup == record.attempts[0].speedup


@pytest.mark.long
def test_the_draft_of_our_own_is_often_right_and_never_changes_the_text(default_model: HookedModel) -> None:
    before = count_hooks(default_model.model)
    prompt = "Once upon a time, there was a little fox who"
    record = watched_once(default_model, "own draft", prompt=prompt, n_draft=2, new=20)
    assert count_hooks(default_model.model) == before  # nothing is left on the model
    (attempt,) = record.attempts
    assert attempt.same_tokens
    assert attempt.acceptance is not None
    assert attempt.acceptance > 0.35  # 0.50 on 48 tokens of this text, which it was not trained on
    assert max(each.id for one in attempt.rounds for each in one.drafted) < default_model.card.d_vocab


def test_drawn_verdicts_of_the_draft_of_our_own_follow_from_its_numbers(default_model: HookedModel) -> None:
    record = watched_once(
        default_model,
        "own draft",
        prompt="The history of the Roman Empire",
        n_draft=2,
        new=16,
        settings={"temperature": 0.7, "seed": 3},
    )
    for one in record.attempts[0].rounds:
        for at, each in enumerate(one.drafted[: one.n_accepted + (one.own == "corrected")]):
            assert each.random is not None
            assert each.q is not None
            assert (each.random <= each.p / each.q) == (at < one.n_accepted)


def test_why_a_draft_does_not_pay_is_said_only_where_it_does_not() -> None:
    record = watched_once(shared(), "early exit", exit_layer=1)
    drafter = Drafter(mode="early exit", name="", options={})
    (attempt,) = record.attempts

    def told(*turns: float) -> tuple[str, ...]:
        return verdict_on(drafter, replace(attempt, plain_s=turns, speculated_s=(1.0,) * len(turns)))

    assert [each.partition(" on this")[0] for each in told(2.0, 1.1)] == ["It pays"]
    loses, why = told(0.5)
    assert loses.startswith("It does not pay")
    assert "Few models are trained" in why
    assert told(1.01)[0].startswith("It breaks even")
    for turns in ((0.9, 1.2, 1.3), (0.7, 0.8, 1.3), (0.5, 1.0, 2.0)):
        assert told(*turns)[0].startswith("It is not clear")
        assert told(*turns)[0].endswith(f"in turns from {turns[0]:.2f} to {turns[2]:.2f}.")


def test_what_the_draft_of_our_own_can_say_is_counted(default_model: HookedModel) -> None:
    draft = own_draft(default_model)
    (attempt,) = watched_once(shared(), "prompt lookup").attempts
    slow = replace(attempt, mode="own draft", plain_s=(0.5,), speculated_s=(1.0,))
    _, why = verdict_on(Drafter(mode="own draft", name="", options={}, own=draft), slow)
    assert f"its {len(draft.token_ids):,} most common tokens" in why and why.endswith("text of SmolLM2-135M-Instruct.")


def test_a_model_is_not_its_own_draft() -> None:
    hooked = shared()
    with pytest.raises(NotShown, match="cannot draft for itself"):
        speculated(hooked, "draft model", draft=hooked)


def test_the_summary_of_a_speculation_is_json() -> None:
    record = speculated(shared(), "prompt lookup")
    (attempt,) = json.loads(json.dumps(drafted_summary(record)))["attempts"]
    assert attempt["n_draft"] == record.attempts[0].n_draft
    assert attempt["tokens"] == [token.id for token in record.attempts[0].tokens]
