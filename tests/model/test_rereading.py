"""A step says what the model read: families without a cache, caches that are dropped in mid-run, use_cache off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Limits, Settings, Trace, fork, load, speculate, trace, trials
from model.arch.anatomy import hidden
from model.capture import logit_lens
from model.errors import BadTrace, NotShown
from model.experiments.cache.trials import Compression
from tests.tiny import shared, tiny_model, tiny_tokenizer

PROMPT = [(7 * place + 5) % 190 + 4 for place in range(36)]  # none of them a mark of the format
NEW = 10
REREADING = ["openai-gpt", "phi3"]  # one without a cache; one that drops its cache at its 41st token


def read_by_generate(model: Any, **options: Any) -> tuple[list[int], Any]:
    """How many tokens each pass of the library's own run is given, counted at its embedding, and what it gives."""
    counts: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(lambda _, args, __: counts.append(args[0].numel()))
    own = model.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=NEW,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
    handle.remove()
    return counts, own


@pytest.fixture(scope="module", params=REREADING)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_step_reads_what_the_library_reads(run: Trace, family: str) -> None:
    counts, own = read_by_generate(tiny_model(family))
    assert [step.n_tokens for step in run.steps] == counts
    assert max(counts[1:]) > 1
    assert [step.first + step.n_tokens for step in run.steps] == list(range(len(PROMPT), len(PROMPT) + NEW))
    assert [token.id for token in run.tokens] == own.sequences[0].tolist()
    assert np.array_equal(run.logits, torch.cat(own.logits).numpy())


def test_a_pass_that_reads_tokens_again_is_a_reread(run: Trace) -> None:
    kinds = {step.kind for step in run.steps if step.first < len(PROMPT)}
    assert run.steps[0].kind == "prefill" and kinds == {"prefill", "reread"}
    assert {step.kind for step in run.steps if step.n_tokens == 1} <= {"decode"}
    assert run.n_fed == len(PROMPT) + NEW - 1
    (note,) = [each for each in run.notes if "again" in each]
    at = max(i for i, step in enumerate(run.steps) if step.kind == "reread")
    assert f"step {at}" in note


def test_rows_that_were_read_again_are_those_of_the_last_reading(hooked: HookedModel, run: Trace, family: str) -> None:
    again = max(i for i, step in enumerate(run.steps) if step.kind == "reread")
    stop = run.steps[again].n_tokens
    seen: dict[int, torch.Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda _, __, output, at=at: seen.__setitem__(at, hidden(output)))
        for at, layer in enumerate(hooked.anatomy.layers)
    ]
    independent = tiny_model(family)
    independent.set_attn_implementation("eager")
    ids = torch.tensor([[token.id for token in run.tokens[:stop]]])
    with torch.no_grad():
        hooked.model(ids, use_cache=False)
        own = independent(ids, output_attentions=True, use_cache=False).attentions
    for handle in handles:
        handle.remove()
    assert run.resid is not None
    for at, rows in seen.items():
        rows = rows.reshape(stop, -1).numpy()
        assert np.abs(run.resid[at + 1, :stop] - rows).max() <= 1e-5 * np.abs(rows).max()
    if run.queries is not None:
        for layer, weights in enumerate(own):
            for head in range(run.model.n_heads):
                assert np.abs(run.pattern(layer, head)[:stop, :stop] - weights[0, head].numpy()).max() <= 1e-5


def test_the_lens_is_that_of_the_last_reading(hooked: HookedModel, run: Trace) -> None:
    if run.lens_ids is None:
        assert hooked.card.reason_against("lens") is not None
        return
    for layer in range(run.model.n_layers + 1):
        for position in range(run.n_fed):
            assert run.lens_ids[layer, position, 0] == logit_lens.logits(hooked, run, layer, position).argmax()


def test_the_record_opens_again(run: Trace, tmp_path: Path) -> None:
    run.save(tmp_path / "run.trace")
    opened = Trace.open(tmp_path / "run.trace")
    assert [(step.kind, step.first, step.n_tokens) for step in opened.steps] == [
        (step.kind, step.first, step.n_tokens) for step in run.steps
    ]


@pytest.mark.parametrize("step", [0, 2, 5, 7])
def test_a_fork_with_the_same_token_is_the_same_run(hooked: HookedModel, run: Trace, step: int) -> None:
    again = fork(hooked, run, step, run.choices[step].id)
    assert [token.id for token in again.tokens] == [token.id for token in run.tokens]
    assert np.array_equal(again.logits, run.logits)
    assert [(each.kind, each.first) for each in again.steps] == [(each.kind, each.first) for each in run.steps]
    assert again.resid is not None and run.resid is not None and np.array_equal(again.resid, run.resid)


def test_steps_may_only_go_back_where_they_say_so(run: Trace) -> None:
    at = next(i for i, step in enumerate(run.steps) if step.kind == "reread")
    lying = (*run.steps[:at], replace(run.steps[at], kind="decode"), *run.steps[at + 1 :])
    with pytest.raises(BadTrace, match="next unread position"):
        replace(run, steps=lying)
    short = replace(run.steps[at], n_tokens=run.steps[at - 1].first + run.steps[at - 1].n_tokens - 1)
    with pytest.raises(BadTrace):
        replace(run, steps=(*run.steps[:at], short, *run.steps[at + 1 :]))


def test_a_compressed_cache_that_the_model_drops_is_not_measured() -> None:
    run = trace(shared("phi3"), PROMPT, max_new_tokens=NEW, additions=False)
    with pytest.raises(NotShown, match="drops its cache"):
        list(trials(shared("phi3"), run, [Compression(kind="int8")]))


def test_a_cache_that_is_not_there_is_neither_compressed_nor_speculated_on(tmp_path: Path) -> None:
    hooked = shared("openai-gpt")
    with pytest.raises(NotShown, match="keeps nothing of what it has read"):
        list(trials(hooked, trace(hooked, PROMPT, max_new_tokens=2, additions=False)))
    with pytest.raises(NotShown, match="keeps no KV cache"):
        speculate(hooked, PROMPT, Settings(max_new_tokens=2), Limits(cache=tmp_path), modes=["prompt lookup"])


def test_a_model_that_reads_tokens_of_its_own_is_refused() -> None:
    with pytest.raises(NotShown, match="28 tokens where its text has 27"):
        load(model=tiny_model("xlm"), tokenizer=tiny_tokenizer())


@pytest.mark.parametrize("told_by", ["generation_config.json", "config.json"])
def test_a_folder_that_training_left_with_its_cache_off_is_watched_with_its_cache(told_by: str, tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.config.use_cache = model.generation_config.use_cache = False
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    if told_by == "config.json":
        (tmp_path / "generation_config.json").unlink()
    hooked = load(tmp_path)
    assert all(check.passed for check in hooked.card.checks), hooked.card.checks
    counts, own = read_by_generate(hooked.model, use_cache=True)
    run = trace(hooked, PROMPT, max_new_tokens=NEW)
    assert [step.n_tokens for step in run.steps] == counts == [len(PROMPT)] + [1] * (NEW - 1)
    assert [token.id for token in run.tokens] == own.sequences[0].tolist()
    assert np.array_equal(run.logits, torch.cat(own.logits).numpy())
    assert [note for note in run.notes if "use_cache" in note]
    assert hooked.model.generation_config.use_cache is False  # it is asked for in the call, not set in the model


def test_a_run_with_its_cache_says_nothing_of_it() -> None:
    assert trace(shared(), PROMPT, max_new_tokens=3).notes == ()
