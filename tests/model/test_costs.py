"""Predicted work is the work: operations as torch counts them on an eager copy, bytes as the tensors have them."""

import copy
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model import HookedModel, load
from model.capture.cache_size import cache_bytes
from model.capture.decoding import next_pass, prefilled
from model.errors import NotShown
from model.experiments.timing.costs import shapes_of, windows_of, work
from model.records.timing import kv_bytes
from tests.tiny import shared, tiny, tiny_model, tiny_tokenizer

PLAIN = ("llama", "gpt2", "gpt_neox", "qwen3", "gemma2", "gemma3_text", "mistral", "granite", "cohere", "opt", "bloom")
EXPERTS = ("gpt_oss", "llama4_text")
N = 21  # longer than a window
TOLERANCE = 0.002


@pytest.fixture(scope="module", params=PLAIN)
def hooked(request: pytest.FixtureRequest) -> HookedModel:
    return shared(request.param)


def ids_of(length: int, *, batch: int = 1) -> torch.Tensor:
    return torch.arange(5, 5 + length).repeat(batch, 1)


@torch.no_grad()
def counted(eager: Any, ids: torch.Tensor, *, decode: bool) -> int:
    """Operations of one pass by torch's own counter. Under sdpa on a CPU it leaves attention out: hence eager."""
    run = next_pass(eager, ids, prefilled(eager, ids[:, :-1]) if decode else None)
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def eager_copy(model: Any) -> Any:
    other = copy.deepcopy(model)
    other.set_attn_implementation("eager")
    return other


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("decode", [False, True], ids=["prefill", "decode"])
def test_predicted_operations_are_those_that_torch_counts(hooked: HookedModel, decode: bool, batch: int) -> None:
    predicted = work(hooked, n_new=1 if decode else N, n_context=N, batch=batch)
    assert predicted.flops == pytest.approx(
        counted(eager_copy(hooked.model), ids_of(N, batch=batch), decode=decode), rel=TOLERANCE
    )


def test_without_attention_the_count_would_be_wrong(hooked: HookedModel) -> None:
    """The bound is tight enough to see a part missing: attention alone is more."""
    shapes = shapes_of(hooked)
    only_matrices = 2 * shapes.per_token * N + 2 * shapes.per_text
    assert work(shapes, n_new=N, n_context=N).flops > 1.03 * only_matrices


@pytest.mark.parametrize("length", [1, 7, 8, 9, N])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_predicted_bytes_of_the_cache_are_the_tensors_own(hooked: HookedModel, length: int, batch: int) -> None:
    held = cache_bytes(prefilled(hooked.model, ids_of(length, batch=batch)))
    assert held == kv_bytes(hooked.card, length, batch=batch, windows=windows_of(hooked.model))


@torch.no_grad()
def test_a_decode_pass_reads_the_cache_before_it_and_writes_one_token(hooked: HookedModel) -> None:
    predicted = work(hooked, n_new=1, n_context=N)
    assert predicted.kv_read == cache_bytes(prefilled(hooked.model, ids_of(N - 1)))
    assert predicted.kv_written == cache_bytes(prefilled(hooked.model, ids_of(1)))
    assert predicted.n_bytes == predicted.weight_bytes + predicted.kv_read + predicted.kv_written


def test_a_pass_without_a_cache_moves_no_bytes_of_one(hooked: HookedModel) -> None:
    predicted = work(hooked, n_new=N, n_context=N, cached=False)
    assert (predicted.kv_read, predicted.kv_written) == (0, 0)
    assert predicted.flops == work(hooked, n_new=N, n_context=N).flops


def test_an_embedding_table_counts_where_the_head_reads_it_too() -> None:
    tied, untied = tiny_model("llama"), tiny_model("llama")
    table = untied.get_input_embeddings().weight
    tied.get_output_embeddings().weight = tied.get_input_embeddings().weight
    sizes = [shapes_of(load(model=each, tokenizer=tiny_tokenizer())) for each in (tied, untied)]
    assert sizes[0].weight_bytes == sizes[1].weight_bytes == sizes[1].card.weights_bytes - 4 * table.numel()


@pytest.mark.parametrize("family", EXPERTS)
def test_a_mixture_of_experts_is_refused_with_the_reason(family: str) -> None:
    with pytest.raises(NotShown, match="expert"):
        work(shared(family), n_new=1, n_context=4)


def test_a_matrix_that_nobody_knows_is_refused() -> None:
    hooked = tiny()
    hooked.model.model.layers[1].extra = torch.nn.Bilinear(4, 4, 4)
    with pytest.raises(NotShown, match=r"layers\.1\.extra\.weight has the shape \(4, 4, 4\)"):
        shapes_of(hooked)


def test_the_default_models_work(default_model: HookedModel) -> None:
    model = default_model.model
    with torch.no_grad():
        held = cache_bytes(prefilled(model, ids_of(64)))
    assert held == kv_bytes(default_model.card, 64) == 64 * 46_080
    assert shapes_of(default_model).weight_bytes == default_model.card.weights_bytes
    model.set_attn_implementation("eager")
    try:
        for decode in (False, True):
            predicted = work(default_model, n_new=1 if decode else 64, n_context=64)
            assert predicted.flops == pytest.approx(counted(model, ids_of(64), decode=decode), rel=TOLERANCE)
    finally:
        model.set_attn_implementation(default_model.card.attention)
