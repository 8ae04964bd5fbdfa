"""The machine that measures: its name, and the two speeds that bound every pass, measured by a short probe and kept."""

import hashlib
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model.arch.placement import home
from model.capture.device import wait_for
from model.capture.hooked import HookedModel
from model.errors import Refusal
from model.limits import Limits
from model.records.schema import build, decode_fields, encode_fields, form_of
from model.records.strict_json import Wrong, parse
from model.records.timing import Machine
from model.texts import counted, phrase
from model.weights.disk import room_for

_ROW = 4096  # numbers of one row of the buffer
_BUFFER_BYTES = 512 * 1024 * 1024  # a server's caches hold a tenth of it
_SMALLEST, _LARGEST = 256, 8192  # sides of the matrix products that are tried
_LONG_ENOUGH_S = 0.08  # a product that takes this long hides what starting it costs
_TRIES = 9
_SECONDS = 1.2  # for each of the two speeds, at most about this long
_FORM = form_of(Machine)


def probe(
    hooked: HookedModel, limits: Limits, *, again: bool = False, between: Callable[[], None] = lambda: None
) -> Machine:
    """This machine's memory bandwidth and matrix speed, measured in about three seconds, or as measured before.

    Bandwidth is read as a decode pass reads the weights: one vector times a matrix that no cache can hold, fresh rows
    from the first to the last. Matrix speed is that of one large matrix product. Both in the model's own number type,
    on its device, with torch's threads; the median of several tries, with the slowest and the fastest. The result is
    kept in the cache folder for the next time, unless `again` asks for a new one; a damaged file is measured anew.
    `between` is called before every try; what it raises ends the probe, of which nothing is kept.
    Source: Williams, Waterman and Patterson 2009, "Roofline", for the two bounds; McCalpin 1995, STREAM, for a
    buffer far larger than the caches.
    """
    named = _Named.of(hooked)
    file = limits.cache / "machines" / f"{named.key}.json"
    if not again and (kept := _kept(file, named)) is not None:
        return kept
    with hooked.guard:
        machine = _measured(named, home(hooked.model), hooked.model.dtype, between)
    _keep(machine, file)
    return machine


def in_words(hooked: HookedModel) -> str:
    """The machine and how it works here, in a line: processor, threads, device, number type."""
    named = _Named.of(hooked)
    threads = counted(named.threads, "1 thread", "{n} threads")
    return phrase(
        "{processor}, {threads}, {device}, {dtype}, torch {torch}",
        processor=named.processor,
        threads=threads,
        device=named.device,
        dtype=named.dtype,
        torch=named.torch,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """All that the speeds depend on: where one of these changes, another probe is due."""

    processor: str
    system: str
    cores: int
    threads: int
    device: str
    dtype: str
    torch: str

    @classmethod
    def of(cls, hooked: HookedModel) -> "_Named":
        device = home(hooked.model)
        return cls(
            processor=torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
            system=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}, {platform.machine()}",
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            threads=torch.get_num_threads(),
            device=hooked.card.device,
            dtype=hooked.card.dtype,
            torch=torch.__version__,
        )

    def values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.values()).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor as the system names it; its architecture where it has no name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return platform.processor() or platform.machine()


def _measured(named: _Named, device: torch.device, dtype: torch.dtype, between: Callable[[], None]) -> Machine:
    with torch.inference_mode():
        bandwidths, speeds = _bandwidths(device, dtype, between), _matrix_speeds(device, dtype, between)
    return Machine(
        **named.values(),
        bandwidth=statistics.median(bandwidths),
        bandwidth_span=(min(bandwidths), max(bandwidths)),
        matrix_speed=statistics.median(speeds),
        matrix_span=(min(speeds), max(speeds)),
        probed=time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    )


def _bandwidths(device: torch.device, dtype: torch.dtype, between: Callable[[], None]) -> list[float]:
    rows = _BUFFER_BYTES // (_ROW * dtype.itemsize)
    buffer = torch.full((rows, _ROW), 0.001, device=device, dtype=dtype)  # unwritten memory would not be read
    vector = torch.full((1, _ROW), 0.5, device=device, dtype=dtype)
    seconds = _tries(lambda: torch.nn.functional.linear(vector, buffer), device, between)
    return [buffer.numel() * dtype.itemsize / each for each in seconds]


def _matrix_speeds(device: torch.device, dtype: torch.dtype, between: Callable[[], None]) -> list[float]:
    """Speeds of a product large enough to take a while, or as large as any that is tried."""
    side = _SMALLEST
    while True:
        between()
        product = partial(torch.mm, *(torch.full((side, side), 0.01, device=device, dtype=dtype) for _ in range(2)))
        if side >= _LARGEST or min(_seconds(product, device) for _ in range(2)) >= _LONG_ENOUGH_S:
            return [2 * side**3 / each for each in _tries(product, device, between)]
        side *= 2


def _tries(act: Callable[[], Any], device: torch.device, between: Callable[[], None]) -> list[float]:
    """Seconds of each try, the first left out; fewer tries where one takes long, but three."""
    _seconds(act, device)
    seconds: list[float] = []
    while len(seconds) < 3 or (len(seconds) < _TRIES and sum(seconds) < _SECONDS):
        between()
        seconds.append(_seconds(act, device))
    return seconds


def _seconds(act: Callable[[], Any], device: torch.device) -> float:
    wait_for(device)
    started = time.perf_counter()
    act()
    wait_for(device)
    return time.perf_counter() - started


def _kept(file: Path, named: _Named) -> Machine | None:
    """The probe in the file, if it is whole and of this very machine."""
    try:
        machine = build(Machine, decode_fields(parse(file.read_text("utf-8")), _FORM))
    except (OSError, UnicodeDecodeError, Wrong):
        return None
    same = all(getattr(machine, name) == value for name, value in named.values().items())
    speeds = (machine.bandwidth, machine.matrix_speed, *machine.bandwidth_span, *machine.matrix_span)
    return machine if same and min(speeds) > 0 else None


def _keep(machine: Machine, file: Path) -> None:
    """Write the probe down; a host without room for it measures anew each time."""
    text = json.dumps(encode_fields(machine, _FORM), indent=1)
    with suppress(OSError, Refusal), room_for(file.parent, len(text), phrase("the probe of this machine")):
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        part.write_text(text, "utf-8")
        os.replace(part, file)
