"""A model spread over devices when it is opened: is there such a device and such a part, and where do weights wait?"""

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from model.errors import BadSetting
from model.texts import phrase
from model.weights.device_map import DISK
from model.weights.sources import Source

Places = str | dict[str, str]
_NAMED = 6  # parts that a refusal names


@contextmanager
def options(source: Source, config: Any, places: Places | None) -> Iterator[dict[str, Any]]:
    """What `from_pretrained` takes to put the model there, with a new folder for weights that must be written anew,
    which goes where the block fails; nothing, where the device is chosen later.

    Raises: BadSetting, for a device that is not here, a part that the model has not, or parts without a device.
    """
    if places is None:
        yield {}
        return
    if source.adapter is not None:
        raise BadSetting(
            "{source} is merged with its adapter when it is opened, which takes the whole model on one device. Merge "
            "it before (merge_and_unload of peft), or leave out device_map.",
            source=source.name,
        )
    if isinstance(places, dict):
        for place in places.values():
            _require_here(place)
        _require_parts(source, config, places)
    folder = tempfile.mkdtemp(prefix="tokenoscope-offload-")
    try:
        yield {"device_map": places, "offload_folder": folder}
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def keep_folder(model: Any, placed: dict[str, Any]) -> None:
    """The folder with weights on the disk goes when the model goes."""
    weakref.finalize(model, shutil.rmtree, placed["offload_folder"], ignore_errors=True)


def _require_here(place: str) -> None:
    if place in ("cpu", DISK):
        return
    kind, _, number = place.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else int(kind == "mps" and torch.backends.mps.is_available())
    if int(number or 0) >= count:
        raise BadSetting(
            "device_map names {place}, and this machine has {devices}. Name one of these, or give auto.",
            place=place,
            devices=", ".join([*(f"cuda:{i}" for i in range(torch.cuda.device_count())), "cpu", DISK]),
        )


def _require_parts(source: Source, config: Any, places: dict[str, str]) -> None:
    """Check that each name is a part of the model, and that each weight has a device."""
    with torch.device("meta"):  # names and shapes alone
        skeleton = AutoModelForCausalLM.from_config(config)
    modules = [name for name, _ in skeleton.named_modules()]
    weights = [name for name, _ in (*skeleton.named_parameters(), *skeleton.named_buffers())]
    if unknown := sorted(places.keys() - {*modules, *weights}):
        raise BadSetting(
            "device_map names {part!r}, and {source} has no such part. Its parts are {choices}.",
            part=unknown[0],
            source=source.name,
            choices=_some([name for name in sorted(modules, key=lambda name: name.count(".")) if name]),
        )
    lacking = [
        name for name in weights if not any(part in ("", name) or name.startswith(f"{part}.") for part in places)
    ]
    if lacking:
        raise BadSetting(
            "device_map gives no device for {first} of {source}, {n} of its weights in all. Name a device for each "
            "part, or for '', the whole model.",
            first=lacking[0],
            source=source.name,
            n=len(lacking),
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return phrase("{names} and more", names=shown) if len(names) > _NAMED else shown
