"""Folders that are not quite a model: each is refused with a sentence, none runs on random numbers."""

# pyright: reportPrivateUsage=false

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig

from model import load, trace
from model.errors import BadPrompt, BadSetting, BadWeights, NotShown, Refusal, UnknownModel, UnsafeModel
from tests.tiny import shared, tiny, tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def drop_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def of_its_own(file: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        told = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(told | changes))

    return change


def configured(**changes: Any) -> Callable[[Path], None]:
    return of_its_own("config.json", **changes)


def pointer(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 538090408\n")

    return change


def adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    told = {"peft_type": "IA3", "base_model_name_or_path": "org/base"}
    (folder / "adapter_config.json").write_text(json.dumps(told))


BROKEN: dict[str, tuple[Callable[[Path], None], type[Refusal], str]] = {
    "a missing tensor": (drop_a_tensor, BadWeights, "up_proj"),
    "weights of another kind": (configured(model_type="bert"), BadWeights, "lacks weights"),
    "weights cut short": (cut_short, BadWeights, "could not be opened"),
    "a width that is a word": (configured(num_hidden_layers="three"), BadWeights, "could not be opened"),
    "no layers": (configured(num_hidden_layers=0), UnknownModel, "layers"),
    "a quantisation that needs more packages": (
        configured(quantization_config={"quant_method": "gptq", "bits": 4}),
        BadWeights,
        r"is quantised \(gptq\) and could not be opened here",
    ),
    "a quantisation of another kind": (
        configured(quantization_config={"quant_method": "bitnet"}),
        BadWeights,
        r"is quantised \(bitnet\)",
    ),
    "an encoder-decoder": (configured(model_type="t5"), NotShown, r"is an encoder-decoder \(t5\)"),
    "one whose decoder alone could be opened": (
        configured(model_type="bart", is_encoder_decoder=True),
        NotShown,
        r"is an encoder-decoder \(bart\)",
    ),
    "a vision-language model": (configured(model_type="llava"), NotShown, r"is a vision-language model \(llava\)"),
    "a vision model": (configured(model_type="vit"), NotShown, "of the kind vit, which transformers has not as a"),
    "weights that were not pulled": (pointer("model.safetensors"), BadWeights, "model.safetensors .*git lfs pull"),
    "a tokenizer that was not pulled": (pointer("tokenizer.json"), BadWeights, "tokenizer.json .*git lfs pull"),
    "an adapter": (adapter, UnknownModel, r"holds an adapter \(IA3\) for the model org/base, .*Name org/base itself"),
    "a tokenizer that is code": (
        of_its_own("tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]}),
        UnsafeModel,
        "only be opened by Python code|asks to run Python code",
    ),
}


@pytest.mark.parametrize(("damage", "kind", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_folder_that_is_not_whole_is_refused(
    folder: Path, damage: Callable[[Path], None], kind: type[Refusal], said: str
) -> None:
    damage(folder)
    with pytest.raises(kind, match=said):
        load(folder)


def test_a_whole_folder_loads(folder: Path) -> None:
    assert load(folder).card.source == "folder"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_built_in_architecture_is_left_alone(folder: Path, file: str) -> None:
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.Tokenizer", None]}
    (folder / "own.py").write_text("raise SystemExit('code of the model ran')")
    plain = load(folder)
    of_its_own(file, auto_map=own)(folder)
    assert load(folder).card.fingerprint == plain.card.fingerprint


def test_a_chat_template_that_fails_is_told() -> None:
    hooked = tiny()
    hooked.tokenizer.chat_template = "{{ raise_exception('no turns without a system') }}"
    with pytest.raises(BadSetting, match="no turns without a system"):
        trace(hooked, "w5 w6", chat=True)


@pytest.mark.parametrize("setting", [{"temperature": 1e-40}, {"repetition_penalty": 1e-46}])
def test_a_setting_that_float32_cannot_hold_is_named(setting: dict[str, Any]) -> None:
    name = next(iter(setting)).replace("_", " ")
    with pytest.raises(BadSetting, match=name):
        trace(shared(), [5, 6, 7], max_new_tokens=2, **setting)


def test_one_position_cannot_hide_what_is_wrong_at_another() -> None:
    from model.loading.evidence import Evidence, Failed

    evidence = Evidence(shared().model, shared().anatomy)
    rows = torch.ones(3, 8)
    rows[0] *= 1e5
    off = rows.clone()
    off[1] += 0.01
    evidence.require_close(rows.numpy(), rows, "a stream")
    with pytest.raises(Failed):
        evidence.require_close(off.numpy(), rows, "a stream")


@pytest.mark.parametrize("prompt", [["a"], [1.5], [-1], [10**6], []])
def test_a_prompt_that_is_neither_text_nor_ids(prompt: Any) -> None:
    with pytest.raises(BadPrompt, match="from 0 to 198"):
        trace(shared(), prompt)


def test_what_is_not_asked_for_is_named() -> None:
    with pytest.raises(BadSetting, match="no setting 'foo'"):
        trace(shared(), [5], foo=1)
    hooked = shared()
    with pytest.raises(UnknownModel, match="one of the two"):
        load("x", model=hooked.model, tokenizer=hooked.tokenizer)
    assert len(repr(hooked)) < 200


_ENCODER: dict[str, Any] = {"vocab_size": 199, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


def test_a_folder_with_an_encoder_is_refused(tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_config(BertConfig(**_ENCODER, intermediate_size=96)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UnknownModel, match="reads later tokens when it works on earlier ones") as refused:
        load(tmp_path)
    assert "BertLMHeadModel" in str(refused.value) and "causal language model" in str(refused.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["roberta", "electra", "camembert"])
def test_any_encoder_is_refused(family: str, dtype: torch.dtype) -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **_ENCODER, intermediate_size=96))
    with pytest.raises(UnknownModel, match="reads later tokens"):
        load(model=model.to(dtype), tokenizer=tiny_tokenizer())


def test_a_model_of_such_a_family_that_was_made_to_write_is_not_refused() -> None:
    model = AutoModelForCausalLM.from_config(BertConfig(**_ENCODER, intermediate_size=96, is_decoder=True))
    hooked = load(model=model, tokenizer=tiny_tokenizer())
    assert hooked.card.reason_against("parity") is None
