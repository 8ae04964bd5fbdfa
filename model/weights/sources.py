"""Where weights come from: the embedded default, a local folder or file, or the hub. No torch is needed to find them.

`python -m model.weights` fetches the default model with a progress bar, and prints its folder.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from model.errors import BadWeights, Refusal, UnknownModel, UnsafeModel
from model.limits import Limits
from model.texts import phrase
from model.weights import checksums, folders, hub, packaged
from model.weights.packaged import Progress

DEFAULT = packaged.NAME


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder that transformers opens, and how to speak of the model in it."""

    folder: Path
    kind: Literal["package", "hub", "folder"]
    name: str  # what is shown: "SmolLM2-135M-Instruct"
    note: str  # where it comes from and what was done to it: "dequantised once from Q4_1 (4-bit) to float32"
    gguf: str | None = None  # the file of the folder that holds the model, where it is a GGUF file
    adapter: Path | None = None  # the folder of an adapter (LoRA) that is merged into the model


def find(name: str | None, limits: Limits, progress: Progress | None = None) -> Source:
    """The model by that name: None for the embedded default, else a folder or GGUF file here, else an id of the hub.

    Fetches and converts what is not here yet, and says how far it is by calling `progress(what, done, total)`.

    Raises: UnknownModel, if there is none or nobody answers (the hub: within 5 seconds); UnsafeModel, if it needs
    code of its own; BadWeights, if it did not arrive whole; NoSpace; BadSetting, if the cache can't be written.
    """
    if name is None or name == DEFAULT:
        folder = packaged.default_folder(limits.cache, progress)
        return Source(folder=folder, kind="package", name=DEFAULT, note=packaged.NOTE)
    path = Path(name).expanduser()
    if _exists(path):
        return _on_disk(path, limits, progress)
    if _looks_like_path(name):
        raise UnknownModel(
            "there is no folder {name!r}. {three_ways}", name=name, three_ways=packaged.three_ways(limits.cache)
        )
    folder = hub.fetched(name, limits, progress)
    return Source(
        folder=folder, kind="hub", name=name, note=phrase("from the hub, commit {commit}", commit=folder.name[:7])
    )


def _on_disk(path: Path, limits: Limits, progress: Progress | None) -> Source:
    """A folder of safetensors, a GGUF file or the folder of one, or an adapter with the model that it was made for."""
    if path.is_file() and path.suffix == folders.GGUF:
        return _gguf(path)
    if path.is_dir() and not (path / "config.json").is_file():
        if files := sorted(path.glob(f"*{folders.GGUF}")):
            return _gguf(_one_of(path, files))
        if (path / folders.ADAPTER).is_file():
            return _adapted(path, limits, progress)
    folders.check_folder(path)
    return Source(
        folder=path.resolve(), kind="folder", name=path.resolve().name, note=phrase("from the folder {path}", path=path)
    )


def _gguf(file: Path) -> Source:
    folders.refuse_pointers(file.parent, [file.name])
    return Source(
        folder=file.parent.resolve(),
        kind="folder",
        name=file.stem,
        note=phrase("from the file {path}", path=file),
        gguf=file.name,
    )


def _one_of(folder: Path, files: list[Path]) -> Path:
    if len(files) == 1:
        return files[0]
    raise UnknownModel(
        "the folder {folder} holds {n} GGUF files ({names}). Name the one that is meant: {folder}/{first}.",
        folder=folder,
        n=len(files),
        names=", ".join(file.name for file in files[:5]),
        first=files[0].name,
    )


def _adapted(folder: Path, limits: Limits, progress: Progress | None) -> Source:
    """The model that an adapter was made for, with the adapter to merge into it."""
    base = _base_of(folder)
    if base is None:
        raise folders.no_model(folder)
    if not (folder / folders.ADAPTER_WEIGHTS).is_file():
        raise UnsafeModel(
            "the adapter in {folder} has no {file}: other files are pickles, which can run any code when they are "
            "opened. Save it again with safe_serialization=True.",
            folder=folder,
            file=folders.ADAPTER_WEIGHTS,
        )
    folders.refuse_pointers(folder, [folders.ADAPTER_WEIGHTS])
    try:
        found = find(base, limits, progress)
    except UnknownModel as refusal:
        raise UnknownModel(
            "{folder} holds an adapter (LoRA) for the model {base}, which is not to be had: {refusal}",
            folder=folder,
            base=base,
            refusal=refusal,
        ) from refusal
    return replace(
        found,
        name=phrase("{model} with {adapter}", model=found.name, adapter=folder.resolve().name),
        note=phrase("{note}; the adapter (LoRA) of {folder} merged into it", note=found.note, folder=folder),
        adapter=folder.resolve(),
    )


def _base_of(folder: Path) -> str | None:
    """The model that a folder's adapter can be merged into; None where there is none, or it is no LoRA of a model."""
    if not (folder / folders.ADAPTER).is_file() or (folder / "config.json").is_file():
        return None
    described = folders.read_json(folder / folders.ADAPTER)
    base = described.get("base_model_name_or_path")
    if described.get("peft_type") != "LORA" or not isinstance(base, str) or (Path(base) / folders.ADAPTER).is_file():
        return None
    return base


def check_here(name: str, limits: Limits) -> None:
    """Refuse a path where there is no model. What is no path, such as an id of the hub, passes. Raises: as `find`."""
    if name != DEFAULT and (_exists(Path(name).expanduser()) or _looks_like_path(name)):
        find(name, limits)


def to_download(name: str) -> int:
    """Bytes that the hub would send for the model by that name; 0 for one that is here, or that the hub does not give.

    Asks the hub, and waits for its answer for 5 seconds at most.
    """
    path = Path(name).expanduser()
    if _exists(path) and (base := _base_of(path)) is not None:
        return to_download(base)
    return 0 if name == DEFAULT or _exists(path) or _looks_like_path(name) else hub.would_send(name)


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


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for the disk, or with a NUL byte: no folder
        return False


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or Path(name).is_absolute()


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
