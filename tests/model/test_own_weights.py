"""Models that people bring in other forms: a GGUF file, and an adapter beside the model that it was made for."""

import json
import warnings
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Scheme
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from model import Refusal, load, trace
from model.errors import BadWeights, UnknownModel, UnsafeModel
from model.limits import Limits
from model.weights import sources
from tests.tiny import tiny_model, tiny_tokenizer

N_LAYERS, N_HEADS, WIDTH, MLP = 2, 4, 64, 96
PROMPT = "abc abd"


def byte_tokens() -> list[str]:
    """One token for each byte, as byte-level tokenizers spell it, one of two, and one that ends a text."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i, _ in enumerate(moved)] + ["ab", "<|endoftext|>"]


def gguf_file(path: Path, scheme: Scheme = Scheme.Q8_0, architecture: str = "llama") -> dict[str, np.ndarray]:
    """A small model in a GGUF file; returns its weights as they are once they are dequantised, by GGUF's names."""
    tokens, rng = byte_tokens(), np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 257 + [3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(257)
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,), "output": (len(tokens), WIDTH)}
    for layer in range(N_LAYERS):
        shapes |= {f"blk.{layer}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}": (MLP, WIDTH) for name in ("gate", "up")}
        shapes |= {f"blk.{layer}.ffn_down": (WIDTH, MLP)}
        shapes |= {f"blk.{layer}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    held: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        values = rng.normal(0, 0.2, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", held.setdefault(name, values))
            continue
        packed = gguf.quants.quantize(values, scheme)
        held[name] = gguf.quants.dequantize(packed, scheme)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=scheme)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


@pytest.mark.parametrize("scheme", [Scheme.Q8_0, Scheme.Q4_1, Scheme.F16], ids=lambda scheme: scheme.name)
def test_a_gguf_file_is_a_model_with_its_weights_dequantised(tmp_path: Path, scheme: Scheme) -> None:
    file = tmp_path / "small.gguf"
    held = gguf_file(file, scheme)
    hooked = load(file)
    assert hooked.card.name == "small"
    assert hooked.card.note == f"dequantised from {scheme.name} to float32, from the file {file}"
    assert [check.detail for check in hooked.card.checks if not check.passed] == []
    weights = hooked.model.state_dict()
    for ours, theirs in (("model.layers.1.mlp.up_proj", "blk.1.ffn_up"), ("model.embed_tokens", "token_embd")):
        np.testing.assert_array_equal(weights[f"{ours}.weight"].numpy(), held[theirs])
    run = trace(hooked, PROMPT, max_new_tokens=6)
    read = torch.tensor([[token.id for token in run.tokens[: run.n_prompt]]])
    own = hooked.model.generate(read, max_new_tokens=6, do_sample=False)
    assert own[0].tolist() == [token.id for token in run.tokens]
    assert "".join(token.text for token in run.tokens[: run.n_prompt]).endswith(PROMPT)


def test_the_folder_of_one_gguf_file_stands_for_it_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    gguf_file(tmp_path / "one.gguf")
    assert sources.find(str(tmp_path), Limits()).gguf == "one.gguf"
    gguf_file(tmp_path / "two.gguf")
    with pytest.raises(UnknownModel, match=r"holds 2 GGUF files \(one.gguf, two.gguf\). Name the one .*/one.gguf"):
        load(tmp_path)
    assert load(tmp_path / "two.gguf").card.name == "two"


def test_a_gguf_model_has_a_folder_that_transformers_opens_unaided(tmp_path: Path) -> None:
    gguf_file(tmp_path / "small.gguf")
    hooked = load(tmp_path / "small.gguf")
    again = AutoModelForCausalLM.from_pretrained(hooked.folder)
    for name, weight in hooked.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


@pytest.mark.parametrize("damage", ["cut short", "another family", "no GGUF", "a pointer"])
def test_a_gguf_file_that_cannot_be_opened_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "small.gguf"
    gguf_file(file, architecture="nobodys" if damage == "another family" else "llama")
    if damage == "cut short":
        file.write_bytes(file.read_bytes()[:-2000])
    if damage == "no GGUF":
        file.write_bytes(b"text" * 100)
    if damage == "a pointer":
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(BadWeights, match="small"):
        load(file)


@pytest.mark.long
def test_the_default_models_own_file_opens_to_the_default_model(default_folder: Path, tmp_path: Path) -> None:
    from model.weights import packaged

    taken = packaged.gguf_file(Limits().cache, tmp_path)
    hooked, plain = load(taken), load(default_folder)
    assert hooked.card.note.startswith("dequantised from Q4_1, Q8_0 to float32")
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(hooked.model.state_dict()[name], weight), name
    text = "The capital of France is Paris. The capital of Italy is"
    runs = [trace(each, text, max_new_tokens=6) for each in (hooked, plain)]
    assert [token.id for token in runs[0].tokens] == [token.id for token in runs[1].tokens]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A small model in a folder."""
    folder = tmp_path / "base"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def adapter(folder: Path, base: Path, **told: str) -> torch.nn.Module:
    """Save an adapter of random numbers for that model; returns the model with the adapter beside its weights."""
    torch.manual_seed(1)
    plain = AutoModelForCausalLM.from_pretrained(base)
    asked = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(plain, asked)
    adapted.save_pretrained(str(folder))
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | told))
    return adapted.eval()


def test_an_adapter_is_merged_into_the_model_that_it_was_made_for(tmp_path: Path, base: Path) -> None:
    adapted = adapter(tmp_path / "poems", base)
    hooked = load(tmp_path / "poems")
    assert hooked.card.name == "base with poems"
    assert hooked.card.note == f"from the folder {base}; the adapter (LoRA) of {tmp_path / 'poems'} merged into it"
    ids = torch.arange(5, 15)[None]
    merged, beside, plain = (
        each(ids).logits for each in (hooked.model, adapted, AutoModelForCausalLM.from_pretrained(base))
    )
    torch.testing.assert_close(merged, beside, atol=1e-5, rtol=1e-5)
    assert (merged - plain).abs().max() > 1e-3
    run = trace(hooked, "w5 w37 w40", max_new_tokens=6)
    own = hooked.model.generate(torch.tensor([[t.id for t in run.tokens[: run.n_prompt]]]), max_new_tokens=6)
    assert own[0].tolist() == [token.id for token in run.tokens]
    assert AutoModelForCausalLM.from_pretrained(hooked.folder)(ids).logits.equal(merged)


@pytest.mark.parametrize(
    ("told", "kind", "said"),
    [
        ({"base_model_name_or_path": "./nowhere"}, UnknownModel, "for the model ./nowhere, which is not to be had"),
        ({"peft_type": "IA3"}, UnknownModel, "holds an adapter .IA3. for the model .*Name .* itself"),
    ],
)
def test_an_adapter_that_cannot_be_merged_says_why(
    tmp_path: Path, base: Path, told: dict[str, str], kind: type[Refusal], said: str
) -> None:
    adapter(tmp_path / "poems", base, **told)
    with pytest.raises(kind, match=said):
        load(tmp_path / "poems")


def test_an_adapter_for_an_adapter_is_refused(tmp_path: Path, base: Path) -> None:
    adapter(tmp_path / "poems", base, base_model_name_or_path=str(tmp_path / "poems"))
    with pytest.raises(UnknownModel, match="holds an adapter"):
        load(tmp_path / "poems")


def test_an_adapter_in_a_pickle_is_refused(tmp_path: Path, base: Path) -> None:
    adapter(tmp_path / "poems", base)
    (tmp_path / "poems" / "adapter_model.safetensors").rename(tmp_path / "poems" / "adapter_model.bin")
    with pytest.raises(UnsafeModel, match="pickles"):
        load(tmp_path / "poems")


def test_an_adapter_that_fits_another_model_is_refused(tmp_path: Path, base: Path) -> None:
    adapter(tmp_path / "poems", base)
    other = tmp_path / "other"
    tiny_model("gpt2").save_pretrained(other)
    tiny_tokenizer().save_pretrained(other)
    file = tmp_path / "poems" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(other)}))
    with pytest.raises(BadWeights, match="with poems could not be opened"):
        load(tmp_path / "poems")
