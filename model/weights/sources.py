"""Where weights come from: the embedded default, a local folder, or the hub. No torch is needed to find them.

`python -m model.weights` fetches the default model with a progress bar, and prints its folder.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from model.errors import BadWeights, Refusal, UnknownModel, UnsafeModel
from model.limits import Limits
from model.texts import phrase
from model.weights import checksums, packaged
from model.weights.disk import is_full, room_for
from model.weights.packaged import Progress

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo
    from tqdm.auto import tqdm
DEFAULT = packaged.NAME
HUB_SECONDS = 5.0  # a hub that does not answer within this time counts as unreachable
_T = TypeVar("_T")
_TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")
_WANTED = ("config.json", "generation_config.json", "chat_template*", *_TOKENIZER, "*.safetensors", "*.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_INDEX = "model.safetensors.index.json"
_ADAPTER = "adapter_config.json"
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder that transformers opens unaided, and how to speak of the model in it."""

    folder: Path
    kind: Literal["package", "hub", "folder"]
    name: str  # what is shown: "SmolLM2-135M-Instruct"
    note: str  # where it comes from and what was done to it: "dequantised once from Q4_1 (4-bit) to float32"


def find(name: str | None, limits: Limits, progress: Progress | None = None) -> Source:
    """The model by that name: None for the embedded default, else a folder that exists, else an id of the hub.

    Fetches and converts what is not here yet, and says how far it is by calling `progress(what, done, total)`.

    Raises: UnknownModel, if there is none or nobody answers (the hub: within 5 seconds); UnsafeModel, if it needs
    code of its own; BadWeights, if it did not arrive whole; NoSpace; BadSetting, if the cache can't be written.
    """
    if name is None or name == DEFAULT:
        folder = packaged.default_folder(limits.cache, progress)
        return Source(folder=folder, kind="package", name=DEFAULT, note=packaged.NOTE)
    path = Path(name).expanduser()
    if _exists(path):
        check_folder(path)
        return Source(
            folder=path.resolve(),
            kind="folder",
            name=path.resolve().name,
            note=phrase("from the folder {path}", path=path),
        )
    if _looks_like_path(name):
        raise UnknownModel(
            "there is no folder {name!r}. {three_ways}", name=name, three_ways=packaged.three_ways(limits.cache)
        )
    return _from_hub(name, limits, progress)


def to_download(name: str) -> int:
    """Bytes that the hub would send for the model by that name; 0 for one that is here, or that the hub does not give.

    Asks the hub, and waits for its answer for 5 seconds at most.
    """
    from huggingface_hub import is_offline_mode

    if name == DEFAULT or _exists(Path(name).expanduser()) or _looks_like_path(name) or is_offline_mode():
        return 0
    try:
        info = _within(HUB_SECONDS, lambda: _ask_hub(name))
    except Exception:  # noqa: BLE001 - whatever it is, `find` says it
        return 0
    return _missing_bytes(name, info.sha, _wanted(_files(info)))


def damaged(source: Source) -> list[str]:
    """The files of a source that have changed since its folder was made, where checksums of them were kept."""
    return packaged.damaged(source.folder) if source.kind == "package" else checksums.damaged(source.folder)


def made_again(source: Source, files: Sequence[str], limits: Limits, progress: Progress | None = None) -> Source:
    """The source, once its folder, in which these files are damaged, has been made again.

    Raises: BadWeights, naming the folder, if that is not possible.
    """
    if source.kind != "package":
        raise BadWeights(
            "{file} in the folder {folder} is damaged: it is not what it was when the folder was made. Copy or "
            "download the model again.",
            file=files[0],
            folder=source.folder,
        )
    if progress is not None:
        progress(phrase("{file} in {folder} is damaged: making it again", file=files[0], folder=source.folder), 0, 0)
    try:
        return replace(source, folder=packaged.made_again(limits.cache, progress))
    except Refusal as refusal:
        raise BadWeights(
            "{file} in the folder {folder} is damaged: it is not what it was when the folder was made. It could not "
            "be made again: {refusal}",
            file=files[0],
            folder=source.folder,
            refusal=refusal,
        ) from refusal


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
    _refuse_pointers(folder, names)
    if "config.json" not in names:
        _refuse_adapter(folder)
        raise UnknownModel(
            "the folder {folder} holds no config.json, so it holds no model that can be opened here.", folder=folder
        )
    _refuse_code(folder)
    _check_weight_names(names, phrase("the folder {folder}", folder=folder))
    if _INDEX in names:
        parts = set(_read_json(folder / _INDEX).get("weight_map", {}).values())
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


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for the disk, or with a NUL byte: no folder
        return False


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or Path(name).is_absolute()


def _read_json(file: Path) -> dict[str, Any]:
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


def _refuse_pointers(folder: Path, names: list[str]) -> None:
    for name in sorted(names):
        file = folder / name
        if not (file.is_file() and any(fnmatch(name, pattern) for pattern in _WANTED)):
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


def _refuse_adapter(folder: Path) -> None:
    if not (folder / _ADAPTER).is_file():
        return
    described = _read_json(folder / _ADAPTER)
    raise UnknownModel(
        "{folder} holds an adapter ({kind}) for the model {base}, not a model. Name {base} itself, or merge the "
        "adapter into it (merge_and_unload of peft) and save the result.",
        folder=folder,
        kind=described.get("peft_type", "peft"),
        base=described.get("base_model_name_or_path", "that it was trained on"),
    )


def _is_built_in(folder: Path) -> bool:
    """Whether transformers has the architecture of a folder's config, and needs no code that comes with it."""
    config = folder / "config.json"
    if not (config.is_file() and (kind := _read_json(config).get("model_type"))):
        return False
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    return kind in CONFIG_MAPPING_NAMES


def _refuse_code(folder: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in _read_json(folder / name) and not _is_built_in(folder):
            raise UnsafeModel(
                "{folder} asks to run Python code that comes with the model (auto_map). Such code is never "
                "run here. Choose a model whose architecture transformers has built in.",
                folder=folder / name,
            )


def _check_weight_names(names: list[str], where: str) -> None:
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


def _from_hub(name: str, limits: Limits, progress: Progress | None) -> Source:
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id

    ways = packaged.three_ways(limits.cache)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UnknownModel("{name!r} is neither a folder nor a hub id. {ways}", name=name[:200], ways=ways) from error
    if is_offline_mode():
        return _from_hub_cache(
            name,
            UnknownModel("{name} is not in the hub's cache, and HF_HUB_OFFLINE is set. {ways}", name=name, ways=ways),
        )
    try:
        info = _within(HUB_SECONDS, lambda: _ask_hub(name))
    except RepositoryNotFoundError as error:
        raise UnknownModel(
            "the hub has no model {name!r}, or it is private or gated and HF_TOKEN is not set to a token with access. "
            "{ways}",
            name=name,
            ways=ways,
        ) from error
    except Exception as error:  # noqa: BLE001 - whatever the network library of the day raises: there was no answer
        said = f"{type(error).__name__}: {error}"[:200]
        status = getattr(getattr(error, "response", None), "status_code", None)
        answer = (
            phrase("answered with status {status}", status=status)
            if status
            else phrase("gave no answer within {seconds:g} seconds", seconds=HUB_SECONDS)
        )
        silence = UnknownModel(
            "the hub {answer} about {name!r} ({said}). {ways}", answer=answer, name=name, said=said, ways=ways
        )
        silence.__cause__ = error
        return _from_hub_cache(name, silence)
    return _hub_source(name, _download(name, info, progress))


def _hub_source(name: str, folder: Path) -> Source:
    return Source(
        folder=folder, kind="hub", name=name, note=phrase("from the hub, commit {commit}", commit=folder.name[:7])
    )


def _ask_hub(name: str) -> "ModelInfo":
    from huggingface_hub import HfApi

    return HfApi().model_info(name, timeout=HUB_SECONDS, files_metadata=True)


def _within(seconds: float, call: Callable[[], _T]) -> _T:
    """The call's result, or TimeoutError. In a thread, since a name look-up can hang and takes no timeout."""
    results: list[_T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True, name=phrase("asking the hub"))
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(phrase("no answer"))
    return results[0]


def _from_hub_cache(name: str, otherwise: UnknownModel) -> Source:
    """The model as it was fetched before, or the refusal."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    if not isinstance(config, str):
        raise otherwise
    folder = Path(config).parent
    try:
        check_folder(folder)
    except (UnknownModel, BadWeights):  # fetched in part
        raise otherwise from None
    return _hub_source(name, folder)


def _download(name: str, info: "ModelInfo", progress: Progress | None) -> Path:
    """Fetches the model's files into the hub's cache: those that say what it is first, its weights when they pass."""
    from huggingface_hub import constants, snapshot_download

    files = _files(info)
    if "config.json" not in files:
        if _ADAPTER in files:
            _refuse_adapter(Path(snapshot_download(name, allow_patterns=[_ADAPTER])))
        raise UnknownModel(
            "{name} on the hub holds no config.json, so it holds no model that can be opened here.", name=name
        )
    _check_weight_names(list(files), phrase("{name} on the hub", name=name))
    sizes = _wanted(files)
    cache = Path(constants.HF_HUB_CACHE)
    with room_for(
        cache, _missing_bytes(name, info.sha, sizes), phrase("the model {name}", name=name), setting="HF_HOME"
    ):
        try:
            configs = [file for file in sizes if file.endswith("config.json")]
            _refuse_code(Path(snapshot_download(name, allow_patterns=configs, tqdm_class=_reporting(name, 0, None))))
            bars = _reporting(name, _missing_bytes(name, info.sha, sizes), progress)
            folder = Path(snapshot_download(name, allow_patterns=list(sizes), tqdm_class=bars))
        except Refusal:
            raise
        except Exception as error:
            if is_full(error):
                raise
            raise BadWeights(
                "the download of {name} failed ({kind}: {error}). Try again: it resumes where it stopped.",
                name=name,
                kind=type(error).__name__,
                error=error,
            ) from error
    check_folder(folder)
    return folder


def _files(info: "ModelInfo") -> dict[str, int]:
    """A model's files on the hub, and their sizes.

    Folders, and `consolidated` files, hold the same weights once more, for other programs.
    """
    files = {file.rfilename: file.size or 0 for file in info.siblings or () if "/" not in file.rfilename}
    return {file: size for file, size in files.items() if not file.startswith("consolidated")}


def _wanted(files: Mapping[str, int]) -> dict[str, int]:
    return {file: size for file, size in files.items() if any(fnmatch(file, pattern) for pattern in _WANTED)}


def _missing_bytes(name: str, revision: str | None, sizes: dict[str, int]) -> int:
    from huggingface_hub import try_to_load_from_cache

    here = {file for file in sizes if isinstance(try_to_load_from_cache(name, file, revision=revision), str)}
    return sum(size for file, size in sizes.items() if file not in here)


def _reporting(name: str, total: int, progress: Progress | None) -> "type[tqdm[Any]]":
    """A bar that draws nothing and reports. The hub keeps two, bytes received and bytes written: the larger counts."""
    from tqdm.auto import tqdm

    class Reporting(tqdm):
        furthest = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **(options | {"disable": True}))
            self.is_bytes = options.get("unit") == "B"

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if progress and self.is_bytes and self.n > Reporting.furthest:
                Reporting.furthest = int(self.n)
                progress(phrase("downloading {name}", name=name), min(Reporting.furthest, total), total)

    return Reporting


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on the terminal for what `find` and `load` report; nothing where stderr is no terminal."""
    from tqdm import tqdm

    # No rate and no time left: one bar counts bytes first and tensors then.
    shape = "{desc} {percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt}"
    with tqdm(total=1, unit_scale=True, disable=None, leave=False, bar_format=shape) as bar:

        def show(what: str, done: int, total: int) -> None:
            bar.set_description(what, refresh=False)
            bar.n, bar.total = done, total or 1
            bar.refresh()

        yield show
