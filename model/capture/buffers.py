"""The arrays of a run in progress: made once, for all positions that the run can reach, and filled pass by pass."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.texts import phrase

_FEW = 4  # a pass over so few tokens waits with its copies and makes one for all layers: thirty calls become one
_IN_CACHE = ("keys", "values")  # the KV cache holds them anyway: copied when the pass's own memory is free again
_CHANGED_LATER = ("resid",)  # some models add to it in place
_POSITION_AXIS = {"queries": 1, "keys": 1, "values": 1}  # of one layer's rows; 0 for all others
_MOST_PINNED = 2**22  # numbers: a decode step's rows, not a prompt's, as pinned memory is taken from all programs
_SHARED = ("keys", "values")  # by query heads: a layer with fewer heads holds each several times


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """Rows on their way from an accelerator: those of one layer, or, where that is None, of all layers, stacked."""

    name: str
    layer: int | None
    n_layers: int
    rows: torch.Tensor  # in the host's memory, and filled once the copy has been made


class Buffers:
    """One array for each name, [layer, ..., position, ...], in the host's memory.

    Rows on an accelerator stay there until their pass is over. Then all layers' leave in one copy a name, nobody waits,
    and they are filed when the next pass begins or somebody asks for them.
    """

    def __init__(self, capacity: int) -> None:
        self._misfits: dict[str, str] = {}
        self._filled: set[tuple[str, int]] = set()
        self._capacity = capacity
        self._arrays: dict[str, torch.Tensor] = {}
        self._waiting: dict[str, dict[int, torch.Tensor]] = {}
        self._sent: list[_Sent] = []
        self._stream: torch.cuda.Stream | None = None  # on which what was sent is on its way, if it is
        self._arrived: torch.cuda.Event | None = None
        self._first = self._count = 0

    @property
    def misfits(self) -> dict[str, str]:
        """Which arrays hold layers of different shapes and are therefore of no use: why, in words."""
        self.settle()
        return self._misfits

    @property
    def filled(self) -> set[tuple[str, int]]:
        """Which layers' rows of which names have been kept."""
        self.settle()
        return self._filled

    def begin(self, first: int, count: int) -> None:
        """A pass over `count` positions from `first` on begins."""
        self.settle()
        self._first, self._count = first, count
        self._waiting.clear()

    def put(self, name: str, layer: int, rows: torch.Tensor, n_layers: int) -> None:
        """Keep one layer's rows: at once, or, where the model leaves them as they are, at the end of the pass."""
        if not _on_host(rows):
            self._waiting.setdefault(name, {})[layer] = rows.clone() if name in _CHANGED_LATER else rows
        elif name in _IN_CACHE or (self._count <= _FEW and name not in _CHANGED_LATER):
            self._waiting.setdefault(name, {})[layer] = rows
        else:
            self._file(name, layer, rows, n_layers)

    def put_all(self, name: str, rows: torch.Tensor) -> None:
        """Keep every layer's rows, stacked."""
        if _on_host(rows):
            self._file_all(name, rows)
        else:
            self._send(name, None, rows, len(rows))

    def take_over(self, name: str, rows: np.ndarray) -> None:
        """Begin with these rows, of all layers and the first positions, as an earlier run recorded them."""
        given = torch.tensor(rows)
        axis = 1 + _POSITION_AXIS.get(name, 0)
        self._buffer(name, given[0], len(given)).narrow(axis, 0, given.shape[axis]).copy_(given)
        self._filled.update((name, layer) for layer in range(len(given)))

    def end(self, n_layers: int) -> None:
        """The pass is over: make the copies that waited, and send what is on an accelerator on its way."""
        for name, rows in self._waiting.items():
            alike = len(rows) == n_layers + (name == "resid") and len({each.shape for each in rows.values()}) == 1
            if alike and (self._count <= _FEW or not _on_host(rows[0])):
                self.put_all(name, torch.stack([rows[layer] for layer in sorted(rows)]))
                continue
            for layer, each in rows.items():
                if _on_host(each):
                    self._file(name, layer, each, n_layers)
                else:
                    self._send(name, layer, each, n_layers + (name == "resid"))
        self._waiting.clear()
        if self._stream is not None:
            self._arrived, self._stream = self._stream.record_event(), None

    @torch.inference_mode()
    def settle(self) -> None:
        """File what the latest pass has sent."""
        sent, self._sent = self._sent, []
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        for each in sent:
            if each.layer is None:
                self._file_all(each.name, each.rows)
            else:
                self._file(each.name, each.layer, each.rows, each.n_layers)

    def arrays(self, n_fed: int, *, own: bool = False) -> dict[str, np.ndarray]:
        """The first n_fed positions as numpy, sharing memory with the run.

        With `own`, arrays that hold more room than that are copied, so that the room can be given back.
        """
        self.settle()
        arrays = {
            name: held.narrow(1 + _POSITION_AXIS.get(name, 0), 0, n_fed).numpy() for name, held in self._arrays.items()
        }
        return {name: array.copy() for name, array in arrays.items()} if own and n_fed < self._capacity else arrays

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of all layers' rows of this name, or None if there are none."""
        self.settle()
        return tuple(self._arrays[name].shape) if name in self._arrays else None

    def latest(self, name: str) -> torch.Tensor | None:
        """The rows of the latest pass, all layers, or None if there are none of this name."""
        self.settle()
        if name not in self._arrays:
            return None
        return self._arrays[name].narrow(1 + _POSITION_AXIS.get(name, 0), self._first, self._count)

    def _send(self, name: str, layer: int | None, rows: torch.Tensor, n_layers: int) -> None:
        if rows.device.type == "cuda" and rows.numel() <= _MOST_PINNED:
            self._stream = torch.cuda.current_stream(rows.device)
            there = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True).copy_(rows, non_blocking=True)
        else:
            there = rows.cpu()
        self._sent.append(_Sent(name=name, layer=layer, n_layers=n_layers, rows=there))

    def _file_all(self, name: str, rows: torch.Tensor) -> None:
        axis = 1 + _POSITION_AXIS.get(name, 0)
        place = self._buffer(name, rows[0], len(rows)).narrow(axis, self._first, self._count)
        if place.shape == rows.shape:
            place.copy_(rows)
            self._filled.update((name, layer) for layer in range(len(rows)))
        else:
            self._misfits[name] = phrase(
                "this pass has the shape {shape}, earlier ones {expected}",
                shape=tuple(rows.shape),
                expected=tuple(place.shape),
            )

    def _file(self, name: str, layer: int, rows: torch.Tensor, n_layers: int) -> None:
        axis = _POSITION_AXIS.get(name, 0)
        rows = self._as_wide(name, rows, n_layers)
        place = self._buffer(name, rows, n_layers)[layer].narrow(axis, self._first, self._count)
        if place.shape == rows.shape:
            place.copy_(rows)
            self._filled.add((name, layer))
        else:
            self._misfits[name] = phrase(
                "layer {layer} has the shape {shape}, earlier ones {expected}",
                layer=layer,
                shape=tuple(rows.shape),
                expected=tuple(place.shape),
            )

    def _as_wide(self, name: str, rows: torch.Tensor, n_layers: int) -> torch.Tensor:
        """A layer's rows [heads, n, width] as the array holds those of all: see `filled_up`. Others as they are."""
        buffer = self._buffer(name, rows, n_layers)
        if name not in _POSITION_AXIS or (buffer.shape[1], buffer.shape[3]) == (rows.shape[0], rows.shape[2]):
            return rows
        n_heads, width = max(buffer.shape[1], rows.shape[0]), max(buffer.shape[3], rows.shape[2])
        if name not in _SHARED and buffer.shape[1] != rows.shape[0]:
            return rows  # a misfit
        if (n_heads, width) != (buffer.shape[1], buffer.shape[3]):
            self._arrays[name] = torch.stack([filled_up(each, n_heads, width) for each in self._arrays[name]])
        return filled_up(rows, n_heads, width)

    def _buffer(self, name: str, rows: torch.Tensor, n_layers: int) -> torch.Tensor:
        if name not in self._arrays:
            axis = _POSITION_AXIS.get(name, 0)
            shape = (n_layers, *rows.shape[:axis], self._capacity, *rows.shape[axis + 1 :])
            dtype: Any = torch.float32 if rows.is_floating_point() else torch.int32
            self._arrays[name] = torch.empty(shape, dtype=dtype)
        return self._arrays[name]


def _on_host(rows: torch.Tensor) -> bool:
    return rows.device.type == "cpu"


def filled_up(rows: torch.Tensor, n_heads: int, width: int) -> torch.Tensor:
    """Rows [heads, n, d] as [n_heads, n, width]: zeros after each vector, and each head as often as it takes.

    Neither changes a score: zeros add nothing, and a query head still meets the key head that it shared.
    Rows whose heads do not go evenly into n_heads come back as they are.
    """
    if n_heads % rows.shape[0]:
        return rows
    padded = torch.nn.functional.pad(rows, (0, width - rows.shape[2]))
    return padded.repeat_interleave(n_heads // rows.shape[0], dim=0)
