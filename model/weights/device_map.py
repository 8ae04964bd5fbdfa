"""Where a model's weights are to lie, as a person says it: on one device, or spread over several. No torch."""

import re
from collections.abc import Mapping

from model.errors import BadSetting

MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Ways to spread a model over the accelerators here, then the CPU, then the disk. Source: transformers, device_map."""
DISK = "disk"
DeviceMap = str | Mapping[str, str | int]
_DEVICE = re.compile(r"(cpu|cuda|mps)(:\d+)?")


def read_device_map(given: object) -> str | dict[str, str]:
    """A device map as transformers takes it: one of MAPS, or devices by the names of parts, "" for the whole model.

    A number is an accelerator of CUDA, as it is there. Raises: BadSetting, for what is neither.
    """
    if isinstance(given, str) and given in MAPS:
        return given
    if isinstance(given, Mapping) and given and all(isinstance(part, str) for part in given):
        return {part: _place(place) for part, place in given.items()}
    if isinstance(given, Mapping):
        raise BadSetting(
            "device_map is {given!r}; it names the model's parts, each with its device, such as "
            "{{'model': 'cuda:0', 'lm_head': 'cpu'}}. Give one of {choices} to have it made.",
            given=given,
            choices=", ".join(MAPS),
        )
    return {"": _place(given)}


def _place(given: object) -> str:
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return f"cuda:{given}"
    place = str(given)
    if place == DISK or _DEVICE.fullmatch(place):
        return place
    raise BadSetting(
        "device_map names {given!r}; it takes one of {choices}, a device such as cpu or cuda:0, or a table of parts "
        "with a device or {disk!r} for each.",
        given=given,
        choices=", ".join(MAPS),
        disk=DISK,
    )
