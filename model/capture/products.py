"""Which product of the weights with a few rows is the fastest here: measured once a process, taken by passes that may.

On some processors torch's `linear` takes twice as long for two rows as for one, though it reads the same weights. With
its operands turned round the same product takes little longer than for one row, and differs by rounding (1e-6 of the
largest). So a pass that claims to be `generate()`'s own, bit for bit, keeps `linear`; batched and drafted passes, whose
tolerance is stated, take what is fastest for their number of rows.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.arch.placement import spread_over
from model.records.products import FewRows

MOST_ROWS = 8  # a pass of more rows is torch's own: there `linear` is as fast as any
_TRIES = 5
_PIECE = 1_000_000  # numbers that a try reads: a fresh piece each time, as a pass finds no weight in a cache
_CLEARLY = 0.95  # of `linear`'s time: what gains less is not taken

Forward = Callable[[Tensor], Tensor]
Product = Callable[[Tensor, Tensor], Tensor]  # x [1, rows, d_in], weight [1, d_out, d_in] -> [1, rows, d_out]


def _turned(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(weight, x.mT).mT.contiguous()


def _turned_even(x: Tensor, weight: Tensor) -> Tensor:
    """As `_turned`, with the first row once more: an odd number of rows may take longer than the next even one."""
    return torch.bmm(weight, torch.cat([x, x[:, :1]], dim=1).mT)[..., : x.shape[1]].mT.contiguous()


_PRODUCTS: dict[str, Product] = {"turned": _turned, "turned even": _turned_even}  # beside torch's `linear`
Case = tuple[int, int, int, int]  # d_out, d_in, rows, torch's threads
_SECONDS: dict[Case, dict[str, float]] = {}  # of each product of a whole weight matrix; of this process
_MEASURING = threading.Lock()


class Products:
    """The linear layers of a model, and the product that each of them takes for a few rows.

    Layers of another kind, device or number type keep their own.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = () if spread_over(model) else model.modules()  # accelerate's hooks stand where a product would
        self._layers = [each for each in layers if type(each) is nn.Linear and _is_plain(each.weight)]
        self._forwards: list[tuple[dict[str, Any], Forward]] = []  # of layers that another product is faster for

    def measure(self, rows: Iterable[int]) -> tuple[FewRows, ...]:
        """Time the products of so many rows, some 30 ms for each number that is new to this process; the results.

        Call it before a run, where nothing else is timed or works, and where the model is not in use. No number of
        rows above MOST_ROWS is looked at; a model without such layers has no results.
        """
        few = sorted({each for each in rows if 1 < each <= MOST_ROWS})
        if not self._layers or not few:
            return ()
        weights: dict[tuple[int, int], list[Tensor]] = {}
        for layer in self._layers:
            weights.setdefault(_shape(layer.weight), []).append(layer.weight)
        with _MEASURING, torch.inference_mode():
            for shape, all_of_it in weights.items():
                _measure(shape, all_of_it, (1, *few))
        others = {shape: _others(shape) for shape in weights}
        self._forwards = [
            (vars(layer), _forward_by(others[_shape(layer.weight)], layer.weight, layer.bias))
            for layer in self._layers
            if others[_shape(layer.weight)]
        ]
        return tuple(self._few_rows(n_rows) for n_rows in few)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Inside, the layers take the fastest product for each number of rows that was measured; after it, their own.

        Hold the model's guard around it. It never measures.
        """
        changed: list[dict[str, Any]] = []
        try:
            for own, forward in self._forwards:
                if "forward" not in own:  # set on this one object; setattr would take as long as a small product
                    own["forward"] = forward
                    changed.append(own)
            yield
        finally:
            for own in changed:
                del own["forward"]

    def _few_rows(self, n_rows: int) -> FewRows:
        one = linear = taken = turned = 0.0
        for layer in self._layers:
            case, of_one = _case(_shape(layer.weight), n_rows), _case(_shape(layer.weight), 1)
            seconds, fastest = _SECONDS[case], _fastest(case)
            one, linear, taken = one + _SECONDS[of_one]["linear"], linear + seconds["linear"], taken + seconds[fastest]
            turned += layer.weight.numel() * (fastest != "linear")
        n_weights = sum(layer.weight.numel() for layer in self._layers)
        return FewRows(n_rows=n_rows, linear=linear / one, taken=taken / one, share_turned=turned / n_weights)


def _is_plain(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and type(weight) is nn.Parameter


def _shape(weight: Tensor) -> tuple[int, int]:
    return weight.shape[0], weight.shape[1]


def _case(shape: tuple[int, int], n_rows: int) -> Case:
    return (*shape, n_rows, torch.get_num_threads())


def _forward_by(others: dict[int, Product], weight: Tensor, bias: Tensor | None) -> Forward:
    """What a layer computes, with another product for some numbers of rows."""
    as_batch = weight.unsqueeze(0)

    def forward(input: Tensor) -> Tensor:  # noqa: A002  (as the layer's own)
        if (product := others.get(input.numel() // input.shape[-1])) is None:
            return functional.linear(input, weight, bias)
        if input.dim() == 3 and len(input) == 1:  # as nearly always: a view less is a tenth of a small product
            out = product(input, as_batch)
        else:
            out = product(input.reshape(1, -1, input.shape[-1]), as_batch).view(*input.shape[:-1], -1)
        return out if bias is None else out + bias

    return forward


def _others(shape: tuple[int, int]) -> dict[int, Product]:
    """By number of rows, the products that are faster than `linear`, where that was measured."""
    cases = {n_rows: _case(shape, n_rows) for n_rows in range(2, MOST_ROWS + 1)}
    names = {n_rows: _fastest(case) for n_rows, case in cases.items() if case in _SECONDS}
    return {n_rows: _PRODUCTS[name] for n_rows, name in names.items() if name != "linear"}


def _fastest(case: Case) -> str:
    seconds = _SECONDS[case]
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < _CLEARLY * seconds["linear"] else "linear"


def _measure(shape: tuple[int, int], weights: Sequence[Tensor], rows: Sequence[int]) -> None:
    """Seconds of the fastest of a few tries of each product, in turns; what is known already is not timed again."""
    d_out, d_in = shape
    size = min(d_out, max(1, _PIECE // d_in))
    pieces = cycle([weight[at : at + size] for weight in weights for at in range(0, d_out - size + 1, size)])
    for n_rows in rows:
        case = _case(shape, n_rows)
        if case not in _SECONDS:
            x, names = torch.ones(1, n_rows, d_in), _tried(n_rows)
            turns = [{name: _timed(name, x, next(pieces)) for name in names} for _ in range(_TRIES)]
            _SECONDS[case] = {name: min(turn[name] for turn in turns) * d_out / size for name in names}


def _tried(n_rows: int) -> tuple[str, ...]:
    """One row is for comparison only: it keeps `linear`."""
    if n_rows == 1:
        return ("linear",)
    return ("linear", "turned", "turned even") if n_rows % 2 else ("linear", "turned")


def _timed(name: str, x: Tensor, weight: Tensor) -> float:
    """Seconds of one product, with all that a layer does for it."""
    forward = _forward_by({} if name == "linear" else {x.shape[1]: _PRODUCTS[name]}, weight, None)
    started = time.perf_counter()
    forward(x)
    return time.perf_counter() - started
