"""The default model, traced, against the transformers library run alone in another process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Trace, trace
from model.experiments.generation import logit_lens
from tests.model import reference

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def alone(default_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What the library computes when this project is not there."""
    out = tmp_path_factory.mktemp("reference") / "reference.npz"
    subprocess.run([sys.executable, reference.__file__, str(default_folder), str(out), PROMPT], check=True)
    return dict(np.load(out))


@pytest.fixture(scope="module")
def hooked(default_model: HookedModel) -> HookedModel:
    return default_model


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=reference.NEW)


def test_everything_is_shown_for_the_default_model(hooked: HookedModel) -> None:
    assert [check.name for check in hooked.card.checks if not check.passed] == []


def test_greedy_tokens_and_logits_are_the_librarys_bit_for_bit(run: Trace, alone: dict[str, np.ndarray]) -> None:
    assert [token.id for token in run.tokens] == alone["ids"].tolist()
    assert np.array_equal(run.logits, alone["logits"])


def test_sampled_tokens_and_scores_are_the_librarys_bit_for_bit(
    hooked: HookedModel, alone: dict[str, np.ndarray]
) -> None:
    drawn = trace(
        hooked, PROMPT, max_new_tokens=reference.NEW, seed=reference.SEED, additions=False, **reference.SAMPLING
    )
    assert [token.id for token in drawn.tokens] == alone["drawn_ids"].tolist()
    assert np.array_equal(drawn.logits, alone["drawn_logits"])
    for choice, scores in zip(drawn.choices, alone["drawn_scores"], strict=True):
        assert [each.score for each in choice.stages[-1].candidates] == [
            scores[each.id] for each in choice.stages[-1].candidates
        ]


def test_attention_of_every_layer_and_head_in_memory_and_from_a_file(
    run: Trace, alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    run.save(tmp_path / "run.trace")
    for each in (run, Trace.open(tmp_path / "run.trace")):
        for layer in range(30):
            for head in range(9):
                gap = np.abs(each.pattern(layer, head) - alone["attentions"][layer, head]).max()
                assert gap <= 1e-5, f"layer {layer} head {head} is off by {gap:.2g}"


def test_a_file_gives_back_every_number(run: Trace, tmp_path: Path) -> None:
    run.save(tmp_path / "run.trace")
    read = Trace.open(tmp_path / "run.trace")
    assert read.arrays().keys() == run.arrays().keys()
    for name, array in run.arrays().items():
        assert np.array_equal(array, read.arrays()[name]), name
    assert [token.data for token in read.tokens] == [token.data for token in run.tokens]
    assert read.text == run.text and read.texts == run.texts


def test_the_residual_stream_is_the_librarys_hidden_states(run: Trace, alone: dict[str, np.ndarray]) -> None:
    own = alone["hidden"]  # its last entry stands after the final norm: the lens test covers it
    assert np.array_equal(run.resid_pre[0], own[0])  # the looked-up embeddings
    for layer in range(30):
        size = np.abs(own[layer]).max(axis=-1, keepdims=True)  # of each position: the first one is far larger
        assert (np.abs(run.resid_pre[layer] - own[layer]) / size).max() <= 2e-5, layer


def test_cached_decoding_equals_one_pass_without_a_cache(run: Trace, alone: dict[str, np.ndarray]) -> None:
    without_cache = alone["whole_logits"][run.n_prompt - 1 :]
    assert np.abs(run.logits - without_cache).max() <= 1e-4 * np.abs(without_cache).max()


def test_the_last_layer_of_the_lens_equals_the_logits(hooked: HookedModel, run: Trace) -> None:
    lens = logit_lens.logits(hooked, run, 30, run.n_prompt - 1)
    assert run.lens_ids is not None
    assert np.abs(lens - run.logits[0]).max() <= 1e-4
    assert run.texts[int(run.lens_ids[30, run.n_prompt - 1, 0])] == " Paris"


def test_rows_sum_to_one_and_nobody_sees_the_future(run: Trace) -> None:
    rows = run.pattern_rows(0, run.n_fed)
    assert np.abs(rows.sum(axis=-1) - 1).max() <= 1e-5
    assert np.all(np.triu(rows, k=1) == 0)


def test_heads_rebuild_what_attention_added(hooked: HookedModel, run: Trace) -> None:
    """Pattern times values, through the output matrix, is the attention's part of the residual stream."""
    assert run.values is not None and run.resid is not None
    block: Any = hooked.anatomy.layers[3]
    heads = run.pattern_rows(0, run.n_fed, layer=3) @ np.repeat(run.values[3], 3, axis=0)
    out = block.self_attn.o_proj.weight.detach().numpy()
    resid_mid = run.resid[3] + heads.swapaxes(0, 1).reshape(run.n_fed, -1) @ out.T
    with torch.no_grad():
        mlp = block.mlp(block.post_attention_layernorm(torch.tensor(resid_mid)))
    assert np.abs(resid_mid + mlp.numpy() - run.resid[4]).max() <= 1e-4 * np.abs(run.resid[4]).max()


def test_the_cache_takes_46080_bytes_a_token(run: Trace) -> None:
    assert [step.kv_bytes for step in run.steps] == [46_080 * (step.first + step.n_tokens) for step in run.steps]


def test_the_folder_opens_unaided(hooked: HookedModel) -> None:
    from transformers import AutoModelForCausalLM

    again = AutoModelForCausalLM.from_pretrained(hooked.folder)
    assert str(again.dtype) == "torch.float32"
    assert hooked.card.n_parameters == sum(each.numel() for each in again.parameters())
