"""Whether a folder holds a model that is safe to open, and whole; if not, in words why not."""

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from model.errors import BadWeights, UnknownModel, UnsafeModel
from model.texts import phrase

GGUF = ".gguf"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")
WANTED = ("config.json", "generation_config.json", "chat_template*", *_TOKENIZER, "*.safetensors", "*.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_INDEX = "model.safetensors.index.json"
_LFS = b"version https://git-lfs.github.com/spec/"


def check_folder(folder: Path) -> None:
    """Check that a folder holds a model that is safe to open: config, tokenizer, and weights as safetensors.

    Raises: UnknownModel, if something is missing; UnsafeModel, if opening it would run code of its own;
    BadWeights, if a part of the weights is missing.
    """
    if not folder.is_dir():
        raise UnknownModel(
            "{folder} is not a folder. Name the folder that holds config.json and *.safetensors.", folder=folder
        )
    names = [file.name for file in folder.iterdir() if file.exists()]  # a link may point nowhere
    refuse_pointers(folder, names)
    if "config.json" not in names:
        refuse_adapter(folder)
        raise UnknownModel(
            "the folder {folder} holds no config.json, so it holds no model that can be opened here.", folder=folder
        )
    refuse_code(folder)
    check_weight_names(names, phrase("the folder {folder}", folder=folder))
    if _INDEX in names:
        parts = set(read_json(folder / _INDEX).get("weight_map", {}).values())
        if missing := sorted(parts - set(names)):
            raise BadWeights(
                "the weights in {folder} are {n_parts} files, and {n_missing} are missing, the first of them "
                "{first}. Copy or download the model again.",
                folder=folder,
                n_parts=len(parts),
                n_missing=len(missing),
                first=missing[0],
            )
    if not any(fnmatch(name, pattern) for name in names for pattern in _TOKENIZER):
        raise UnknownModel(
            "the folder {folder} holds no tokenizer.json. Save the tokenizer beside the weights.", folder=folder
        )


def read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnknownModel(
            "{file} can't be read as JSON ({error}). Copy or download the model again.", file=file, error=error
        ) from error
    if not isinstance(content, dict):
        raise UnknownModel(
            "{file} holds no JSON object, so it describes no model. Copy or download it again.", file=file
        )
    return content


def refuse_pointers(folder: Path, names: list[str]) -> None:
    for name in sorted(names):
        file = folder / name
        if not (file.is_file() and any(fnmatch(name, pattern) for pattern in (*WANTED, f"*{GGUF}"))):
            continue
        with file.open("rb") as opened:
            if opened.read(len(_LFS)) != _LFS:
                continue
        raise BadWeights(
            "{file} in the folder {folder} is a pointer of git-lfs, which stands in for the file itself. Run "
            "`git lfs pull` there, or download the model again.",
            file=name,
            folder=folder,
        )


def refuse_adapter(folder: Path) -> None:
    if (folder / ADAPTER).is_file():
        raise no_model(folder)


def no_model(folder: Path) -> UnknownModel:
    described = read_json(folder / ADAPTER)
    return UnknownModel(
        "{folder} holds an adapter ({kind}) for the model {base}, not a model. Name {base} itself, or merge the "
        "adapter into it (merge_and_unload of peft) and save the result.",
        folder=folder,
        kind=described.get("peft_type", "peft"),
        base=described.get("base_model_name_or_path", "that it was trained on"),
    )


def _is_built_in(folder: Path) -> bool:
    """Whether transformers has the architecture of a folder's config, and needs no code that comes with it."""
    config = folder / "config.json"
    if not (config.is_file() and (kind := read_json(config).get("model_type"))):
        return False
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    return kind in CONFIG_MAPPING_NAMES


def refuse_code(folder: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in read_json(folder / name) and not _is_built_in(folder):
            raise UnsafeModel(
                "{folder} asks to run Python code that comes with the model (auto_map). Such code is never "
                "run here. Choose a model whose architecture transformers has built in.",
                folder=folder / name,
            )


def check_weight_names(names: list[str], where: str) -> None:
    if any(fnmatch(name, "*.safetensors") for name in names):
        return
    if pickled := [name for name in names if any(fnmatch(name, pattern) for pattern in _PICKLES)]:
        raise UnsafeModel(
            "{where} has its weights only as {pickled}, a pickle, which can run any code when it is opened. "
            "Save the model again as safetensors, or choose another.",
            where=where,
            pickled=pickled[0],
        )
    raise UnknownModel("{where} holds no weights (*.safetensors). Copy or download the model again.", where=where)
