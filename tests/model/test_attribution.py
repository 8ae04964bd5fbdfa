"""An attribution: the logit difference of two tokens as a sum over the parts of a model, in each family that has it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import Attribution, HookedModel, Trace, attribute, load, trace
from model.api.inputs import Inputs
from model.api.job import Job
from model.cli.main import main
from model.cli.tables.attribute import named_parts
from model.errors import BadSetting, BadTrace, NotShown, Refusal
from model.limits import Limits
from model.records.file import Saved
from model.requests.attribution import Attribute
from model.requests.registry import of_request
from tests.tiny import shared, sweep, tiny, tiny_model, tiny_tokenizer

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18, 150, 4, 88, 23, 61, 7, 100]
NEW = 4
STEP = 2
# Families that claim that embedding, heads, MLPs and biases are all there is: their sum is the whole difference.
WHOLE = [
    *("gpt2", "gpt_neox", "llama", "mistral", "qwen3", "gemma2", "gpt_oss", "llama4_text", "gemma3_text", "granite"),
    *("cohere", "opt", "bloom", "apertus", "arcee", "biogpt", "cohere2", "exaone4", "glm4", "gpt_bigcode", "helium"),
    *("nemotron", "olmo2", "olmo3", "persimmon", "phi", "qwen2", "seed_oss", "smollm3", "stablelm", "starcoder2"),
    *("vaultgemma", "ernie4_5_moe", "granitemoe", "mixtral", "deepseek_v3", "minicpm3", "codegen", "falcon", "gptj"),
    *("mpt", "xglm", "phi3", "falcon, alibi"),
]
DECISIVE = (
    "gpt2",
    "gemma2",
    "granite",
    "cohere",
    "bloom",
)  # biases; norms after parts and a cap; scales; parallel; own
# What others say of a remainder that holds more than rounding, and those that are refused: a word of the reason.
PARTIAL = {
    "bamba": "state-space mixer",
    "falcon_h1": "state-space mixer",
    "nemotron_h": "state-space mixer",
    "qwen3_next": "before its heads are projected",
    "bitnet": "before its heads are projected",
    "diffllama": "before its heads are projected",
}
REFUSED = {"openai-gpt": "no norm was found", "modernbert-decoder": "lens", "qwen4_exp_text": "several streams"}


def known(found: Attribution) -> float:
    """The sum of what is told, without the remainder."""
    return found.embedding + found.heads.sum(dtype=np.float64) + found.mlps.sum(dtype=np.float64) + found.biases


def largest(found: Attribution) -> float:
    return max(abs(found.embedding), abs(found.biases), np.abs(found.heads).max(), np.abs(found.mlps).max())


def uneven(family: str) -> HookedModel:
    """A tiny model whose biases are not all 0, and whose norms do not weigh all numbers alike, as a trained one's."""
    model = tiny_model(family)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim == 1 and "sinks" not in name:
                weights.add_(torch.randn_like(weights) * 0.2)
    return load(model=model, tokenizer=tiny_tokenizer())


def run_of(hooked: HookedModel) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny("llama")


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return run_of(hooked)


@pytest.fixture(scope="module")
def found(hooked: HookedModel, run: Trace) -> Attribution:
    return attribute(hooked, run, step=STEP)


# The sum


@pytest.mark.parametrize("family", sweep(WHOLE, DECISIVE))
def test_the_parts_sum_to_the_difference_of_the_recorded_logits(family: str) -> None:
    hooked = uneven(family)
    run = run_of(hooked)
    for step in {0, min(STEP, len(run.steps) - 1)}:
        found = attribute(hooked, run, step=step, token_id=7, rival_id=50)
        assert found.total == float(run.logits[step, 7]) - float(run.logits[step, 50])
        assert abs(known(found) - found.total) <= 1e-4 * largest(found)
        assert not found.notes and not found.others.any()
        assert np.abs(found.heads).min() > 0 and np.abs(found.mlps).min() > 0
        if found.sources is not None:
            assert np.abs(found.sources.sum(-1) - found.heads).max() <= 1e-4 * largest(found)


@pytest.mark.parametrize("family", sweep([*PARTIAL], ["bitnet"]))
def test_what_heads_and_mlps_do_not_tell_stands_in_the_remainder_with_its_reason(family: str) -> None:
    found = attribute(shared(family), run_of(shared(family)), step=0)
    assert any(PARTIAL[family] in note for note in found.notes), found.notes
    assert found.others.any()
    assert abs(found.remainder - found.others.sum(dtype=np.float64)) <= 1e-4 * largest(found)


@pytest.mark.parametrize("family", sweep([*REFUSED], ["openai-gpt"]))
def test_a_model_that_cannot_be_split_is_refused(family: str) -> None:
    with pytest.raises(NotShown, match=REFUSED[family]):
        attribute(shared(family), run_of(shared(family)), step=0)


def test_a_short_precision_says_how_much_of_the_remainder_is_its_rounding() -> None:
    hooked = shared("llama", dtype=torch.bfloat16)
    found = attribute(hooked, run_of(hooked), step=STEP)
    assert abs(found.remainder) < 0.05 * largest(found)
    assert abs(found.remainder) <= 1e-4 * largest(found) or "bfloat16" in found.notes[0]


def test_a_head_is_what_the_logits_lose_without_it_where_nothing_comes_after(hooked: HookedModel, run: Trace) -> None:
    """Of the last layer, without its MLP and with the norm's scale held, the direct effect is the whole effect."""
    found = attribute(hooked, run, step=0, token_id=7, rival_id=50)
    model, n = hooked.model, run.n_prompt
    left: list[torch.Tensor] = []
    head, last = 1, model.model.layers[-1]
    width = hooked.card.d_head

    def without(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        changed = args[0].clone()
        changed[..., head * width : (head + 1) * width] = 0
        return (changed, *args[1:])

    for hook in (None, without):
        attention: list[torch.Tensor] = []
        handles = [last.self_attn.register_forward_hook(lambda _, __, out, kept=attention: kept.append(out[0]))]
        if hook is not None:
            handles.append(last.self_attn.o_proj.register_forward_pre_hook(hook))
        with torch.inference_mode():
            model(torch.tensor([[each.id for each in run.tokens[:n]]]))
        for handle in handles:
            handle.remove()
        left.append(attention[0][0, -1])
    assert run.resid is not None
    stream = torch.tensor(run.resid[-1, n - 1])
    scale = (stream.pow(2).mean() + model.config.rms_norm_eps).rsqrt()
    rows = model.lm_head.weight[7] - model.lm_head.weight[50]
    lost = float((((left[0] - left[1]) * scale * model.model.norm.weight) @ rows).detach())
    assert found.heads[-1, head] == pytest.approx(lost, abs=1e-5)


def test_an_mlp_that_gives_nothing_adds_nothing() -> None:
    hooked = tiny("llama")
    with torch.no_grad():
        hooked.model.model.layers[1].mlp.down_proj.weight.zero_()
    hooked = load(model=hooked.model, tokenizer=hooked.tokenizer)
    found = attribute(hooked, run_of(hooked), step=1)
    assert found.mlps[1] == 0 and found.mlps[0] != 0 and abs(known(found) - found.total) <= 1e-4 * largest(found)


# Which tokens, which step


def test_the_chosen_token_is_held_against_its_likeliest_rival(run: Trace, found: Attribution) -> None:
    best, second = run.choices[STEP].candidates[:2]
    assert (found.token_id, found.rival_id, found.chosen_id) == (best.id, second.id, best.id)
    assert found.total > 0 and len(found.tokens) == run.steps[STEP].stop
    assert found.probabilities == pytest.approx((best.probability, second.probability))


def test_turned_round_every_sign_changes(hooked: HookedModel, run: Trace, found: Attribution) -> None:
    other = attribute(hooked, run, STEP, token_id=found.rival_id, rival_id=found.token_id)
    np.testing.assert_allclose(other.heads, -found.heads, atol=1e-6)
    np.testing.assert_allclose(other.mlps, -found.mlps, atol=1e-6)
    assert other.total == -found.total and other.embedding == pytest.approx(-found.embedding)


def test_tokens_are_named_by_text_too(hooked: HookedModel, run: Trace) -> None:
    named, by_id = attribute(hooked, run, 1, token="w7", rival="w50"), attribute(hooked, run, 1, 7, 50)
    assert (named.token_id, named.rival_id, named.total) == (7, 50, by_id.total)


def test_a_step_whose_run_is_replayed_is_the_same(hooked: HookedModel, run: Trace, monkeypatch: Any) -> None:
    restored = attribute(hooked, run, STEP)
    monkeypatch.setattr("model.capture.continuation.why_not_restored", lambda *_: "not in this test")
    replayed = attribute(hooked, run, STEP)
    assert np.array_equal(restored.heads, replayed.heads) and restored.remainder == replayed.remainder


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"step": 99}, "step is 99; this run has steps 0 to 3"),
        ({"token_id": 999}, "token_id is 999; LlamaForCausalLM has tokens 0 to 198"),
        ({"rival_id": -1}, "rival_id is -1"),
        ({"token_id": 5, "rival_id": 5}, "token and rival are both 'w5'"),
        ({"rival": "w5 w6"}, "rival is 'w5 w6'; LlamaForCausalLM has no such token .* or its rival_id"),
    ],
)
def test_a_step_or_a_token_that_is_not_there_is_refused(
    hooked: HookedModel, run: Trace, given: dict[str, Any], said: str
) -> None:
    asked: dict[str, Any] = {"step": 1, **given}
    with pytest.raises(BadSetting, match=said):
        attribute(hooked, run, **asked)


def test_another_models_run_is_refused(hooked: HookedModel, run: Trace) -> None:
    with pytest.raises(BadTrace, match="only the model that made a run"):
        attribute(shared("mistral"), run, step=0)


# As an experiment, a file, a sub-command


def begin(hooked: HookedModel, job: Job, record: Saved | None, **given: Any) -> Iterator[Attribution | None]:
    request = Attribute.read({"run": "some/folder/its.trace", "step": 2, **given})
    request.check(Limits(), hooked.card)
    inputs = Inputs(models={"target": hooked}, limits=Limits(), records={"run": record} if record else {})
    return of_request(request).function()(inputs, request, job)


def test_an_experiment_tells_its_passes_and_a_record(hooked: HookedModel, run: Trace, found: Attribution) -> None:
    job = Job()
    record = [each for each in begin(hooked, job, run) if each is not None][-1]
    assert np.array_equal(record.heads, found.heads) and record.run == "its.trace"
    assert job.status.done == job.status.total == 3 and job.expected_bytes > 0


def test_what_is_no_run_is_refused(hooked: HookedModel, found: Attribution) -> None:
    with pytest.raises(BadSetting, match="run is missing"):
        begin(hooked, Job(), None)
    with pytest.raises(BadTrace, match="is a Attribution; it must be a run"):
        begin(hooked, Job(), found)
    with pytest.raises(Refusal, match="token and token_id were both given"):
        begin(hooked, Job(), None, token="w5", token_id=5)


def test_it_is_stopped_between_two_passes(hooked: HookedModel, run: Trace) -> None:
    job = Job()
    work = begin(hooked, job, run)
    next(work)
    job.stop()
    assert list(work) == []


def test_it_comes_back_from_its_file_bit_for_bit(found: Attribution, tmp_path: Path) -> None:
    found.save(tmp_path / "one.attribution")
    back = Attribution.open(tmp_path / "one.attribution")
    assert back.total == found.total and back.texts == found.texts and "against" in repr(back)
    for name, array in found.arrays().items():
        assert np.array_equal(array, back.arrays()[name])


def test_the_command_line_prints_the_largest_parts_and_their_sum(
    capsys: Any, monkeypatch: Any, hooked: HookedModel, run: Trace, found: Attribution, tmp_path: Path
) -> None:
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    run.save(tmp_path / "one.trace")
    call = ["attribute", str(tmp_path / "one.trace"), "--step", str(STEP), "--model", str(hooked.folder)]
    assert main([*call, "-o", str(tmp_path / "one.attribution")]) == 0
    said = capsys.readouterr().out
    assert f"this part made '{found.token}' likelier than '{found.rival}'" in said
    rows = [line.split() for line in said.splitlines()]
    values = {" ".join(row[:-1]): float(row[-1]) for row in rows if row and row[-1][:1] in "+-"}
    assert values.pop("sum") == pytest.approx(found.total, abs=1e-3)
    assert sum(values.values()) == pytest.approx(found.total, abs=0.02) and len(values) == 11
    assert Attribution.open(tmp_path / "one.attribution").total == found.total
    assert main([*call, "--rival-id", "50", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rival"]["id"] == 50 and np.shape(told["sources"]) == (3, 4, run.steps[STEP].stop)


def test_every_part_is_named_once(found: Attribution) -> None:
    names = [name for name, _ in named_parts(found)]
    assert len(set(names)) == len(names) == 3 + found.heads.size + found.mlps.size
    assert sum(value for _, value in named_parts(found)) == pytest.approx(found.total, abs=1e-5)


# The default model


@pytest.mark.long
def test_the_default_model_says_rome_and_not_milan(default_folder: Path) -> None:
    hooked = load()
    run = trace(hooked, "The capital of Italy is", max_new_tokens=1, additions=False)
    found = attribute(hooked, run, step=0, token=" Rome", rival=" Milan")
    assert found.total > 0 and abs(known(found) - found.total) <= 1e-4 * largest(found) and not found.notes
    assert found.sources is not None and found.sources.shape[2] == run.n_prompt
