"""Every causal family of the installed transformers at a tiny size, from the fields that its configuration has."""

import inspect
from typing import Any

from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

N_WORDS = 199

EVERY_FAMILY = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

# What families call their sizes. A configuration is given those of these fields that it has.
_SMALL: dict[str, Any] = {
    "vocab_size": N_WORDS,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,  # as the end: `generate` takes another one that a text holds for padding
    "is_decoder": True,
    "sliding_window": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "index_n_heads": 2,
    "index_head_dim": 16,
    "index_topk": 8,
    "n_group": 1,
    "topk_group": 1,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "ffn_dim": 96,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 12,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_head_dim": 12,
    "linear_num_heads": 4,
    "mamba_n_heads": 8,
    "mamba_d_state": 8,
    "global_head_dim": 16,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": N_WORDS,
    "query_pre_attn_scalar": 16,
}

_HYBRID = ["linear_attention", "full_attention", "linear_attention"]

# What a family needs beside that, or in place of it.
_OWN: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"num_key_value_heads": 4, "head_dim": 12, "layer_types": _HYBRID},
    "bamba": {"mamba_d_head": 12, "attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4} for kind in ("full_attention", "sliding_attention")
        },
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "cpmant": {"dim_head": 12, "dim_ff": 96},
    "ctrl": {"n_embd": 48, "dff": 96, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "deepseek_v4": {"num_key_value_heads": 1, "o_groups": 2, "o_lora_rank": 16, "hc_mult": 2},
    "dots1": {"n_shared_experts": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "electra": {"embedding_size": 48},
    "falcon_h1": {"mamba_d_ssm": 48, "mamba_n_heads": 4, "mamba_d_head": 12, "mamba_n_groups": 1},
    "gemma4_unified_text": {"head_dim": 16},
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granitemoe": {"attention_multiplier": 0.1},
    "granitemoehybrid": {"mamba_d_head": 12, "layer_types": ["mamba", "attention", "mamba"]},
    "hrm_text": {"H_cycles": 1, "L_cycles": 1},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8},
    "helium": {"head_dim": 12},
    "kimi_linear": {"num_key_value_heads": 4, "q_lora_rank": None, "layer_types": _HYBRID},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1},
    "longcat_flash": {
        "num_layers": 2,
        "num_hidden_layers": 4,
        "num_key_value_heads": 4,
        "zero_expert_num": 2,
        "moe_topk": 2,
        "ffn_hidden_size": 96,
        "expert_ffn_hidden_size": 32,
        "head_dim": 8,
    },
    "mamba2": {"num_heads": 8, "head_dim": 12, "n_groups": 2, "state_size": 8},
    "ministral": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "minicpm3": {"num_key_value_heads": 4},
    "nemotron_h": {
        "mamba_num_heads": 8,
        "mamba_head_dim": 12,
        "ssm_state_size": 8,
        "n_groups": 2,
        "layers_block_type": ["mamba", "attention", "mamba"],
        "num_hidden_layers": 3,
    },
    "prophetnet": {
        "num_encoder_layers": 3,
        "num_decoder_layers": 3,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
    },
    "qwen3_5_moe_text": {"layer_types": _HYBRID},
    "qwen3_5_text": {"layer_types": _HYBRID},
    "qwen4_exp_text": {
        "layer_types": ["linear_attention", "indexed_attention", "linear_attention"],
        "hc_count": 2,
        "hc_lowrank": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "qwen3_next": {"layer_types": _HYBRID},
    "reformer": {
        "attn_layers": ["local", "lsh", "local"],
        "axial_pos_shape": (8, 16),
        "axial_pos_embds_dim": (16, 32),
        "attention_head_size": 12,
        "feed_forward_size": 96,
        "num_buckets": 2,
        "hash_seed": 0,
    },
    "rembert": {"input_embedding_size": 48, "output_embedding_size": 48},
    "roc_bert": {
        "pronunciation_vocab_size": 9,
        "shape_vocab_size": 9,
        "pronunciation_embed_dim": 8,
        "shape_embed_dim": 8,
    },
    "stablelm": {"hidden_size": 64},
    "xglm": {"num_layers": 3, "d_model": 48, "attention_heads": 4},
    "xlnet": {"d_model": 48, "n_layer": 3, "n_head": 4, "d_head": 12, "d_inner": 96},
    "zamba": {
        "layers_block_type": ["hybrid", "mamba", "hybrid"],
        "attention_head_dim": 24,
        "attention_hidden_size": 96,
        "num_key_value_heads": 4,
        "mamba_d_state": 8,
    },
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "n_mamba_heads": 8,
        "mamba_d_state": 8,
        "adapter_rank": 8,
        "num_key_value_heads": 4,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}


def made_of(family: str) -> tuple[str, ...]:
    """The configurations that a family of several models is made of, such as those of its text and of its pictures."""
    return tuple(getattr(CONFIG_MAPPING[family], "sub_configs_defaults", {}))


def small_config(family: str) -> Any:
    """A configuration of this family with three layers, narrow and of few words."""
    kind: Any = CONFIG_MAPPING[family]
    names, own = kind.attribute_map, _OWN.get(family, {})
    fields = {*inspect.signature(kind.__init__).parameters}
    fields |= {general for general, name in names.items() if name not in _SMALL and name not in own}
    latent = {"head_dim": 8, "num_key_value_heads": 4} if "qk_rope_head_dim" in fields else {}
    return kind(**{name: value for name, value in (_SMALL | latent).items() if name in fields} | own)
