"""Tiny random models of many families, with a tokenizer of as many made-up words: contracts are proved on them."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from model import HookedModel, load
from model.arch.hooks import count_hooks
from tests.every_family import N_WORDS, small_config

WINDOW = 8  # shorter than the prompts of the contract

_SHAPE = {
    "vocab_size": N_WORDS,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_GROUPED = _SHAPE | {"intermediate_size": 96, "num_key_value_heads": 2}
_WIDE_HEADS = _GROUPED | {"head_dim": 16}

FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "vocab_size": N_WORDS,
        "n_embd": 48,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    },
    "gpt_neox": _SHAPE | {"intermediate_size": 96},
    "llama": _GROUPED,
    "mistral": _GROUPED | {"sliding_window": WINDOW},
    "qwen3": _WIDE_HEADS,
    "gemma2": _WIDE_HEADS
    | {
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 8.0,
    },
    "gpt_oss": _WIDE_HEADS
    | {
        "intermediate_size": 32,
        "sliding_window": WINDOW,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    },
    "llama4_text": _WIDE_HEADS
    | {"intermediate_size_mlp": 96, "attention_chunk_size": WINDOW, "num_local_experts": 2, "num_experts_per_tok": 1},
    "gemma3_text": _WIDE_HEADS | {"sliding_window": WINDOW, "query_pre_attn_scalar": 16},
    "granite": _GROUPED | {"residual_multiplier": 0.5, "logits_scaling": 4.0, "attention_multiplier": 0.1},
    "cohere": _GROUPED | {"logit_scale": 0.25},
    "opt": _SHAPE | {"ffn_dim": 96, "word_embed_proj_dim": 48},
    "bloom": {"vocab_size": N_WORDS, "hidden_size": 48, "n_layer": 3, "n_head": 4},
}

ODD: dict[str, dict[str, Any]] = {  # families whose cache does not hold keys and values as attention reads them
    "deepseek_v3": _GROUPED
    | {
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 12,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
    },
    "gemma3n_text": _WIDE_HEADS
    | {
        "sliding_window": WINDOW,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": N_WORDS,
        "num_kv_shared_layers": 1,
        "laurel_rank": 4,
        "layer_types": ["full_attention"] * 3,
        "activation_sparsity_pattern": [0.0] * 3,
        "altup_num_inputs": 2,
    },
    "falcon_h1": _GROUPED
    | {"mamba_d_ssm": 48, "mamba_n_heads": 4, "mamba_d_head": 12, "mamba_d_state": 8, "mamba_n_groups": 1},
}

REREADING: dict[str, dict[str, Any]] = {  # families that read tokens again: see tests/model/test_rereading.py
    "openai-gpt": {"vocab_size": N_WORDS, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "xlm": {"vocab_size": N_WORDS, "emb_dim": 48, "n_layers": 3, "n_heads": 4},
    "phi3": _GROUPED
    | {
        "original_max_position_embeddings": 40,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "short_factor": [1.0] * 6,
            "long_factor": [4.0] * 6,
            "original_max_position_embeddings": 40,
        },
    },
}

UNEVEN: dict[str, dict[str, Any]] = {  # layers of several sizes, or a stream of another width
    "gemma4_text": _WIDE_HEADS
    | {
        "sliding_window": WINDOW,
        "global_head_dim": 32,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": N_WORDS,
    },
    "opt, narrow": _SHAPE | {"ffn_dim": 96, "word_embed_proj_dim": 24, "do_layer_norm_before": False},
    "doge": _GROUPED,
    "falcon, alibi": _SHAPE | {"alibi": True, "multi_query": False},
    "mamba": {"vocab_size": N_WORDS, "hidden_size": 48, "num_hidden_layers": 3},
}


def sweep(families: Sequence[str], always: Sequence[str]) -> list[Any]:
    """Families to go through: some always, the others, which are built of the same parts, in `make test-long`."""
    return [each if each in always else pytest.param(each, marks=pytest.mark.long) for each in families]


def tiny_model(family: str) -> Any:
    """A random model of this family, its weights large enough for its attention to be far from even."""
    torch.manual_seed(0)
    own = FAMILIES | ODD | REREADING | UNEVEN
    config = AutoConfig.for_model(family.partition(",")[0], **own[family]) if family in own else small_config(family)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim >= 2 or "sinks" in name:
                weights.normal_(0, 0.3)
    return model


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of as many words as the models have ids: w0 to w198."""
    words = Tokenizer(WordLevel({f"w{place}": place for place in range(N_WORDS)}, unk_token="w3"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w0", eos_token="w1", pad_token="w2")


def tiny(family: str = "llama", dtype: torch.dtype = torch.float32) -> HookedModel:
    """A hooked tiny model, its weights of this precision."""
    return load(model=tiny_model(family).to(dtype), tokenizer=tiny_tokenizer())


def shared(family: str = "llama", copy: int = 0, dtype: torch.dtype = torch.float32) -> HookedModel:
    """A hooked tiny model that all tests of a process share and none changes; `copy` tells alike ones apart.

    A model costs a tenth of a second, most of it the self-check. `tests/model/conftest.py` sees to it that no test
    changes one for the next.
    """
    return _made(family, copy, dtype)


@cache
def _made(family: str, copy: int, dtype: torch.dtype) -> HookedModel:
    made = tiny(family, dtype)
    _LENT.append((made, _state(made)))
    return made


def changed() -> list[str]:
    """In what the shared models differ from what they were; if they do, they are shared no longer."""
    found = [
        f"{made.card.family}: {name}"
        for made, state in _LENT
        for name, now in _state(made).items()
        if state[name] != now
    ]
    if found:
        _LENT.clear()
        _made.cache_clear()
    return found


_LENT: list[tuple[HookedModel, dict[str, Any]]] = []


def _state(hooked: HookedModel) -> dict[str, Any]:
    model = hooked.model
    return {
        "weights": [(each._version, each.data_ptr(), each.dtype) for each in model.parameters()],
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "hooks": count_hooks(model),
        "training": model.training,
        "attributes": sorted(vars(model)),
        "config": model.config.to_dict() | {"attention": model.config._attn_implementation},
        "generation config": model.generation_config.to_dict(),
        "guard": hooked.guard.locked(),
    }
