"""The arrays of a run in progress: made once, for all positions that the run can reach, and filled pass by pass."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.capture.device import Sent, SentTogether
from model.texts import phrase

FEW = 4  # a pass over so few tokens waits with its copies and makes one for all layers: thirty calls become one
_IN_CACHE = ("keys", "values")  # the KV cache holds them anyway: copied when the pass's own memory is free again
_CHANGED_LATER = ("resid",)  # some models add to it in place
_POSITION_AXIS = {"queries": 1, "keys": 1, "values": 1}  # of one layer's rows; 0 for all others
_MOST_FLIGHTS = 32  # passes whose rows wait in pinned memory to be filed together
_SHARED = ("keys", "values")  # by query heads: a layer with fewer heads holds each several times


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """Rows on their way from an accelerator: those of one layer, or, where that is None, of all layers, stacked."""

    name: str
    layer: int | None
    n_layers: int
    rows: Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    """The rows of all layers of one pass, on their way from an accelerator."""

    first: int
    count: int
    rows: SentTogether


def _landed(flights: Sequence[_Flight]) -> Iterator[tuple[int, int, dict[str, torch.Tensor]]]:
    """First position, number of positions and rows of these passes; of those alike as one, which is filed faster: the
    positions of a head stand side by side, and those of two heads far apart.
    """
    if len({each.rows.forms for each in flights}) != 1:
        yield from ((each.first, each.count, each.rows.arrived()) for each in flights)
        return
    arrived = [each.rows.arrived() for each in flights]
    whole = {
        name: torch.cat([rows[name] for rows in arrived], dim=1 + _POSITION_AXIS.get(name, 0)) for name in arrived[0]
    }
    yield flights[0].first, sum(each.count for each in flights), whole


class Buffers:
    """One array for each name, [layer, ..., position, ...], in the host's memory.

    Rows on an accelerator stay there until their pass is over. Then all leave in one copy, those of a prompt in one a
    name; nobody waits, and they are filed when some passes have gathered, or somebody asks for them. What a pass over
    few tokens gives may be laid into `waiting` at once, by name and layer, as [1, ...], where the model leaves it as it
    is. `stream_stays`: it does so with the residual stream at each layer's entrance.
    """

    def __init__(self, capacity: int, *, stream_stays: bool = False) -> None:
        self._changed_later = () if stream_stays else _CHANGED_LATER
        self._misfits: dict[str, str] = {}
        self._filled: set[tuple[str, int]] = set()
        self._whole: set[str] = set()  # names of which all layers are filled
        self._capacity = capacity
        self._arrays: dict[str, torch.Tensor] = {}
        self.waiting: defaultdict[str, dict[int, torch.Tensor]] = defaultdict(dict)
        self._sent: list[_Sent] = []
        self._together: dict[str, torch.Tensor] = {}  # of all layers, to be sent as one
        self._flights: list[_Flight] = []  # of passes one after the other
        self._from_afar = False
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
        if self._sent or len(self._flights) >= _MOST_FLIGHTS or first != self._first + self._count:
            self.settle()
        self._first, self._count = first, count
        self.waiting.clear()

    def put(self, name: str, layer: int, rows: torch.Tensor, n_layers: int) -> None:
        """Keep one layer's rows [1, ...]: at once, or, where the model leaves them as they are, when the pass is over.

        The first axis is the batch's: it goes when the rows of all layers are put together.
        """
        if not _on_host(rows):
            self.waiting[name][layer] = rows.clone() if name in self._changed_later else rows
        elif name in _IN_CACHE or (self._count <= FEW and name not in _CHANGED_LATER):
            self.waiting[name][layer] = rows
        else:
            self._file(name, layer, rows[0], n_layers)

    def put_all(self, name: str, rows: torch.Tensor) -> None:
        """Keep every layer's rows, stacked."""
        if _on_host(rows):
            self._file_all(name, rows, self._first, self._count)
        elif self._count <= FEW:
            self._together[name] = rows
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
        for name, rows in self.waiting.items():
            n_rows = n_layers + (name == "resid")
            together = self._count <= FEW or not all(map(_on_host, rows.values()))
            if together and (stacked := stacked_layers(rows, n_rows)) is not None:
                self.put_all(name, stacked)
                continue
            for layer, each in rows.items():
                if _on_host(each):
                    self._file(name, layer, each[0], n_rows)
                else:
                    self._send(name, layer, each[0], n_rows)
        self.waiting.clear()
        if self._together:
            self._from_afar = True
            flight = _Flight(first=self._first, count=self._count, rows=SentTogether(self._together))
            self._flights.append(flight)
            self._together = {}
        if self._count > FEW:
            self.settle()  # it takes its time, which is not the next pass's

    @torch.inference_mode()
    def settle(self) -> None:
        """File what the latest pass has sent."""
        sent, self._sent = self._sent, []
        for each in sent:
            if each.layer is None:
                self._file_all(each.name, each.rows.arrived(), self._first, self._count)
            else:
                self._file(each.name, each.layer, each.rows.arrived(), each.n_layers)
        flights, self._flights = self._flights, []
        for first, count, arrived in _landed(flights):
            for name, rows in arrived.items():
                self._file_all(name, rows, first, count)

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
        self._from_afar = True
        self._sent.append(_Sent(name=name, layer=layer, n_layers=n_layers, rows=Sent(rows)))

    def _file_all(self, name: str, rows: torch.Tensor, first: int, count: int) -> None:
        axis = 1 + _POSITION_AXIS.get(name, 0)
        place = self._buffer(name, rows[0], len(rows)).narrow(axis, first, count)
        if place.shape == rows.shape:
            place.copy_(rows)
            if name not in self._whole:
                self._filled.update((name, layer) for layer in range(len(rows)))
                self._whole.add(name)
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
            made = self._arrays[name] = torch.empty(shape, dtype=dtype)
            if self._from_afar:
                made.zero_()  # its memory is taken now, in one go, and not bit by bit while passes are timed
        return self._arrays[name]


class Keeping:
    """Inside, what fails says why these arrays are not recorded, and the model's own pass goes on."""

    __slots__ = ("_buffers", "_names")

    def __init__(self, buffers: Buffers, *names: str) -> None:
        self._buffers, self._names = buffers, names

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if not isinstance(error, Exception):
            return False
        why = phrase("recording it fails ({kind}: {error})", kind=type(error).__name__, error=str(error)[:200])
        for name in self._names:
            self._buffers.misfits.setdefault(name, why)
        return True


class Logits:
    """The raw logits of every step of a run, [step, V], in the host's memory."""

    def __init__(self, n_steps: int, d_vocab: int) -> None:
        self._rows = torch.empty(n_steps, d_vocab)
        self._sent: tuple[int, Sent] | None = None

    def put(self, step: int, logits: torch.Tensor) -> None:
        """Keep one step's [V]; those that are on an accelerator are filed later."""
        self.settle()
        self._sent = step, Sent(logits)

    @torch.inference_mode()
    def settle(self) -> None:
        """File what was sent."""
        if self._sent is not None:
            step, logits = self._sent
            self._rows[step] = logits.arrived()
            self._sent = None

    def first(self, n: int) -> np.ndarray:
        """Those of the first n steps, sharing memory with the run."""
        self.settle()
        return self._rows[:n].numpy()


class Unlike(Exception):
    """Layers gave rows of several shapes, or some gave none, in words."""


class Gathered(Buffers):
    """The rows of one pass, stacked by name, where they are: [layer, ..., position, ...]."""

    def __init__(self, *, stream_stays: bool = False) -> None:
        super().__init__(1, stream_stays=stream_stays)
        self.rows: dict[str, torch.Tensor] = {}

    def begin(self, first: int, count: int) -> None:
        """A pass begins."""
        super().begin(first, count)
        self.rows = {}

    def put(self, name: str, layer: int, rows: torch.Tensor, n_layers: int) -> None:  # noqa: ARG002
        """Keep one layer's rows until the pass is over."""
        self.waiting[name][layer] = rows.clone() if name in self._changed_later else rows

    def put_all(self, name: str, rows: torch.Tensor) -> None:
        """Keep every layer's rows, stacked."""
        self.rows[name] = rows

    def end(self, n_layers: int) -> None:
        """The pass is over. Raises: Unlike."""
        for name, rows in self.waiting.items():
            stacked = stacked_layers(rows, n_layers + (name == "resid"))
            if stacked is None:
                raise Unlike(phrase("its layers differ in their {name}", name=name))
            self.put_all(name, stacked)
        self.waiting.clear()


def stacked_layers(rows: Mapping[int, torch.Tensor], n_layers: int) -> torch.Tensor | None:
    """Every layer's rows [1, ...], from the first layer on, as [layer, ...]; None where layers differ.

    Of a family that folds something else into the batch's axis, the first of it counts.
    """
    if len(rows) != n_layers:
        return None
    try:
        together = torch.cat([rows[layer] for layer in sorted(rows)])
        return together if len(together) == n_layers else torch.cat([rows[layer][:1] for layer in sorted(rows)])
    except RuntimeError:  # of other shapes; to look at all of them beforehand takes longer than to put them together
        return None


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
