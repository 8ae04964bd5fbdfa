"""The hub: whether it has a model, what it would send, and the model once it has come."""

import threading
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from model.errors import BadWeights, Refusal, UnknownModel
from model.limits import Limits
from model.texts import phrase
from model.weights import folders, packaged
from model.weights.disk import is_full, room_for
from model.weights.packaged import Progress

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo
    from tqdm.auto import tqdm
HUB_SECONDS = 5.0  # a hub that does not answer within this time counts as unreachable
_T = TypeVar("_T")


def would_send(name: str) -> int:
    """Bytes of a model that are not here yet; 0 where the hub does not answer, or may not be asked."""
    from huggingface_hub import is_offline_mode

    if is_offline_mode():
        return 0
    try:
        info = _within(HUB_SECONDS, lambda: _ask_hub(name))
    except Exception:  # noqa: BLE001 - whatever it is, `fetched` says it
        return 0
    return _missing_bytes(name, info.sha, _wanted(_files(info)))


def fetched(name: str, limits: Limits, progress: Progress | None) -> Path:
    """The folder of a model of the hub; fetched, if it is not here yet. Raises: as `sources.find`."""
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
    return _download(name, info, progress)


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


def _from_hub_cache(name: str, otherwise: UnknownModel) -> Path:
    """The model as it was fetched before, or the refusal."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    if not isinstance(config, str):
        raise otherwise
    folder = Path(config).parent
    try:
        folders.check_folder(folder)
    except (UnknownModel, BadWeights):  # fetched in part
        raise otherwise from None
    return folder


def _download(name: str, info: "ModelInfo", progress: Progress | None) -> Path:
    """Fetches the model's files into the hub's cache: those that say what it is first, its weights when they pass."""
    from huggingface_hub import constants, snapshot_download

    files = _files(info)
    if "config.json" not in files:
        if folders.ADAPTER in files:
            folders.refuse_adapter(Path(snapshot_download(name, allow_patterns=[folders.ADAPTER])))
        raise UnknownModel(
            "{name} on the hub holds no config.json, so it holds no model that can be opened here.", name=name
        )
    folders.check_weight_names(list(files), phrase("{name} on the hub", name=name))
    sizes = _wanted(files)
    cache = Path(constants.HF_HUB_CACHE)
    with room_for(
        cache, _missing_bytes(name, info.sha, sizes), phrase("the model {name}", name=name), setting="HF_HOME"
    ):
        try:
            configs = [file for file in sizes if file.endswith("config.json")]
            folders.refuse_code(
                Path(snapshot_download(name, allow_patterns=configs, tqdm_class=_reporting(name, 0, None)))
            )
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
    folders.check_folder(folder)
    return folder


def _files(info: "ModelInfo") -> dict[str, int]:
    """A model's files on the hub, and their sizes.

    Folders, and `consolidated` files, hold the same weights once more, for other programs.
    """
    files = {file.rfilename: file.size or 0 for file in info.siblings or () if "/" not in file.rfilename}
    return {file: size for file, size in files.items() if not file.startswith("consolidated")}


def _wanted(files: Mapping[str, int]) -> dict[str, int]:
    return {file: size for file, size in files.items() if any(fnmatch(file, pattern) for pattern in folders.WANTED)}


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
