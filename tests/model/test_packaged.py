"""The packaged model as it was converted: its weights, its tokenizer, what it knows."""

from pathlib import Path
from typing import Any

import pytest

from model.weights import packaged

ROOT = Path(__file__).parents[2]


# The converted model


@pytest.fixture(scope="module")
def tokenizer(default_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(default_folder)


def test_the_default_opens_unaided_in_float32_and_knows_the_capital_of_france(default_folder, tokenizer):
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(default_folder)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    stops = model.generation_config
    assert (stops.bos_token_id, stops.eos_token_id, stops.pad_token_id) == (1, 2, 2)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"


def test_special_tokens_keep_their_ids_and_nothing_is_added_to_a_prompt(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [0, 1, 2]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer("<|im_start|>user")["input_ids"][0] == 1
    assert tokenizer("")["input_ids"] == []
    assert (len(tokenizer), tokenizer.model_max_length) == (49_152, 8192)


@pytest.mark.parametrize(
    "text", ["naïve café", "你好，世界", "🧑‍🚀👩‍👩‍👧", "مرحبا", "a  b\n\n\tc ", "3.14 + 12345", "\x00\x07"]
)
def test_text_comes_back_from_its_tokens_unchanged(tokenizer, text: str):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_each_digit_is_a_token_and_spaces_before_it_stay_together(tokenizer):
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]


# The conversion, on a tiny model whose weights are known


def tiny_gguf(folder: Path, model) -> Path:
    """The model as llama.cpp writes it: 4 and 8 bits, and the rows of queries and keys in rotary pairs."""
    import gguf
    import numpy as np

    config = model.config
    file = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    pieces = [*(chr(33 + value) for value in range(config.vocab_size - 4)), "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *pieces])
    writer.add_token_types([3, 3, 3, *[1] * len(pieces)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        values = weight.numpy()
        if (part := name.split(".")[-2]) in heads:  # as in llama.cpp's convert_hf_to_gguf.py
            halves = values.reshape(heads[part], 2, -1, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        kind = gguf.GGMLQuantizationType.F32
        if values.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0 if "embed" in name else gguf.GGMLQuantizationType.Q4_1
        stored = np.ascontiguousarray(gguf.quantize(values, kind))
        packed_name = names.get_name(name, try_suffixes=(".weight",))
        assert packed_name
        writer.add_tensor(packed_name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_conversion_gives_back_the_model_that_was_packed(tmp_path: Path):
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
    )
    packed = LlamaForCausalLM(config).eval()
    file = tiny_gguf(tmp_path, packed)
    with torch.no_grad():  # what the bits keep of a weight; rows are packed one by one, so their order is no matter
        for name, weight in packed.named_parameters():
            if weight.ndim == 2:
                kind = gguf.GGMLQuantizationType.Q8_0 if "embed" in name else gguf.GGMLQuantizationType.Q4_1
                weight.copy_(torch.from_numpy(gguf.dequantize(gguf.quantize(weight.numpy(), kind), kind)))
    steps: list[tuple[str, int, int]] = []
    packaged.convert(file, tmp_path / "converted", lambda *step: steps.append(step))
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "converted").eval()
    for name, weight in packed.state_dict().items():
        assert torch.equal(opened.state_dict()[name], weight), name
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.equal(opened(ids).logits, packed(ids).logits)
    assert steps[-1][1:] == (20, 20)
    splitter = AutoTokenizer.from_pretrained(tmp_path / "converted").backend_tokenizer.pre_tokenizer
    assert [piece for piece, _ in splitter.pre_tokenize_str("a  12")] == ["a", "ĠĠ", "1", "2"]


# Put in place whole
