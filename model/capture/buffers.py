"""The arrays of a run in progress: made once, for all positions that the run can reach, and filled pass by pass."""

from typing import Any

import numpy as np
import torch

from model.texts import phrase

_FEW = 4  # a pass over so few tokens waits with its copies and makes one for all layers: thirty calls become one
_IN_CACHE = ("keys", "values")  # the KV cache holds them anyway: copied when the pass's own memory is free again
_CHANGED_LATER = ("resid",)  # some models add to it in place
_POSITION_AXIS = {"queries": 1, "keys": 1, "values": 1}  # of one layer's rows; 0 for all others
_SHARED = ("keys", "values")  # by query heads: a layer with fewer heads holds each several times


class Buffers:
    """One array for each name, [layer, ..., position, ...], on the device where its rows come from.

    `misfits` says, in words, which arrays hold layers of different shapes and are therefore of no use.
    """

    def __init__(self, capacity: int) -> None:
        self.misfits: dict[str, str] = {}
        self.filled: set[tuple[str, int]] = set()
        self._capacity = capacity
        self._device: dict[str, torch.Tensor] = {}
        self._host: dict[str, torch.Tensor] = {}
        self._waiting: dict[str, dict[int, torch.Tensor]] = {}
        self._first = self._count = 0

    def begin(self, first: int, count: int) -> None:
        """A pass over `count` positions from `first` on begins."""
        self._first, self._count = first, count
        self._waiting.clear()

    def put(self, name: str, layer: int, rows: torch.Tensor, n_layers: int) -> None:
        """Keep one layer's rows: at once, or, where the model leaves them as they are, at the end of the pass."""
        if name in _IN_CACHE or (self._count <= _FEW and name not in _CHANGED_LATER):
            self._waiting.setdefault(name, {})[layer] = rows
        else:
            self._copy(name, layer, rows, n_layers)

    def put_all(self, name: str, rows: torch.Tensor) -> None:
        """Keep every layer's rows, stacked."""
        axis = 1 + _POSITION_AXIS.get(name, 0)
        buffer = self._buffer(name, rows[0], len(rows))
        place = buffer.narrow(axis, self._first, self._count)
        if place.shape == rows.shape:
            place.copy_(rows)
            self.filled.update((name, layer) for layer in range(len(rows)))
        else:
            self.misfits[name] = phrase(
                "this pass has the shape {shape}, earlier ones {expected}",
                shape=tuple(rows.shape),
                expected=tuple(place.shape),
            )

    def take_over(self, name: str, rows: np.ndarray, device: torch.device) -> None:
        """Begin with these rows, of all layers and the first positions, as an earlier run recorded them."""
        given = torch.tensor(rows, device=device)
        axis = 1 + _POSITION_AXIS.get(name, 0)
        count = given.shape[axis]
        buffer = self._buffer(name, given[0], len(given))
        for each in {id(held): held for held in (buffer, self._host[name])}.values():
            each.narrow(axis, 0, count).copy_(given)
        self.filled.update((name, layer) for layer in range(len(given)))

    def end(self, n_layers: int) -> None:
        """The pass is over: make the copies that waited, and bring the new rows to the host."""
        for name, rows in self._waiting.items():
            if self._count <= _FEW and len(rows) == n_layers and len({each.shape for each in rows.values()}) == 1:
                self.put_all(name, torch.stack([rows[layer] for layer in sorted(rows)]))
            else:
                for layer, each in rows.items():
                    self._copy(name, layer, each, n_layers)
        self._waiting.clear()
        for name, buffer in self._device.items():
            if self._host[name] is not buffer:
                axis = 1 + _POSITION_AXIS.get(name, 0)
                new = buffer.narrow(axis, self._first, self._count)
                self._host[name].narrow(axis, self._first, self._count).copy_(new)

    def arrays(self, n_fed: int, *, own: bool = False) -> dict[str, np.ndarray]:
        """The first n_fed positions as numpy, sharing memory with the run.

        With `own`, arrays that hold more room than that are copied, so that the room can be given back.
        """
        arrays = {
            name: host.narrow(1 + _POSITION_AXIS.get(name, 0), 0, n_fed).numpy() for name, host in self._host.items()
        }
        return {name: array.copy() for name, array in arrays.items()} if own and n_fed < self._capacity else arrays

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of all layers' rows of this name, or None if there are none."""
        return tuple(self._host[name].shape) if name in self._host else None

    def latest(self, name: str) -> torch.Tensor | None:
        """The rows of the latest pass, all layers, or None if there are none of this name."""
        buffer = self._device.get(name)
        if buffer is None:
            return None
        return buffer.narrow(1 + _POSITION_AXIS.get(name, 0), self._first, self._count)

    def _copy(self, name: str, layer: int, rows: torch.Tensor, n_layers: int) -> None:
        axis = _POSITION_AXIS.get(name, 0)
        rows = self._as_wide(name, rows, n_layers)
        place = self._buffer(name, rows, n_layers)[layer].narrow(axis, self._first, self._count)
        if place.shape == rows.shape:
            place.copy_(rows)
            self.filled.add((name, layer))
        else:
            self.misfits[name] = phrase(
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
            on_device = buffer is self._host[name]
            for kept in (self._device, self._host):
                kept[name] = torch.stack([filled_up(each, n_heads, width) for each in kept[name]])
            if on_device:
                self._host[name] = self._device[name]
        return filled_up(rows, n_heads, width)

    def _buffer(self, name: str, rows: torch.Tensor, n_layers: int) -> torch.Tensor:
        if name not in self._device:
            axis = _POSITION_AXIS.get(name, 0)
            shape = (n_layers, *rows.shape[:axis], self._capacity, *rows.shape[axis + 1 :])
            dtype: Any = torch.float32 if rows.is_floating_point() else torch.int32
            buffer = self._device[name] = torch.empty(shape, dtype=dtype, device=rows.device)
            self._host[name] = buffer if rows.device.type == "cpu" else torch.empty(shape, dtype=dtype)
        return self._device[name]


def filled_up(rows: torch.Tensor, n_heads: int, width: int) -> torch.Tensor:
    """Rows [heads, n, d] as [n_heads, n, width]: zeros after each vector, and each head as often as it takes.

    Neither changes a score: zeros add nothing, and a query head still meets the key head that it shared.
    Rows whose heads do not go evenly into n_heads come back as they are.
    """
    if n_heads % rows.shape[0]:
        return rows
    padded = torch.nn.functional.pad(rows, (0, width - rows.shape[2]))
    return padded.repeat_interleave(n_heads // rows.shape[0], dim=0)
