"""Changes what a model computes while a pass runs: what heads and MLPs give, the residual stream, who looks at whom.

Hooks stand on a model only inside `Edits.applied`, whatever ends it. Every text of a batch has changes of its own, so
that one pass computes many variants. A change belongs to positions of the text, so that a pass that reads tokens again
changes them again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import nn

from model.arch.anatomy import Anatomy, attached, hidden, layer_input
from model.arch.attention_calls import TAKES, watched

Hook = tuple[Callable[..., Any], Callable[..., Any]]


class Around(Protocol):
    """What stands around the passes of a run: edits, or what listens at the places where edits are made."""

    def begin(self, first: int, count: int) -> None:
        """The next pass reads `count` tokens from position `first` on."""
        ...

    def applied(self) -> AbstractContextManager[None]:
        """Around one pass."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place where numbers are changed: what a module of a layer is given, or what it gives."""

    layer: int  # in which the module is called
    module: nn.Module
    side: Literal["input", "output"]
    columns: slice = field(default_factory=lambda: slice(None))  # of its last axis

    @property
    def place(self) -> tuple[int, int, str]:
        """The same for sites of other columns."""
        return self.layer, id(self.module), self.side


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """Other numbers at a site, for the positions first to stop-1 (None: to the end) of one text of the batch."""

    site: Site
    value: torch.Tensor | None  # [W], or [S, W] by position; None: zero
    add: bool = False  # to what is there; else it takes its place
    first: int = 0
    stop: int | None = None
    row: int = 0

    def make(self, rows: torch.Tensor, first: int, count: int) -> None:
        """Change what a pass computes [row, count, W] of the positions from `first` on."""
        start, stop = max(self.first, first), min(first + count if self.stop is None else self.stop, first + count)
        if start >= stop:
            return
        place = rows[self.row, start - first : stop - first, self.site.columns]
        if self.value is None:
            place.zero_()
            return
        value = self.value[start:stop] if self.value.ndim == 2 else self.value
        value = value.to(place.device, place.dtype)
        place.add_(value) if self.add else place.copy_(value.expand_as(place))

    def reaches(self, first: int, count: int) -> bool:
        """Whether it changes any position of a pass."""
        return self.first < first + count and (self.stop is None or self.stop > first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One token does not look at another: in every layer, in one, or in one head of it."""

    query: int
    key: int
    layer: int | None = None
    head: int | None = None
    row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Swap:
    """Another key or value [G, D] of one position, as one layer's attention reads it."""

    layer: int
    name: Literal["key", "value"]
    position: int
    value: torch.Tensor
    row: int = 0


class _Places:
    """Which positions a pass reads, and which layer it is in."""

    def __init__(self, anatomy: Anatomy) -> None:
        self._layers = anatomy.layers
        self._layer = self._first = self._count = 0

    def begin(self, first: int, count: int) -> None:
        """The next pass reads `count` tokens from position `first` on."""
        self._first, self._count = first, count

    def _hooks(self, sites: Iterable[Site], act: Callable[[Site, torch.Tensor], torch.Tensor | None]) -> list[Hook]:
        """Follow the layers of a pass, and have `act` see what stands at each site in its layer."""

        def at_home(site: Site, tensor: torch.Tensor) -> torch.Tensor | None:
            return act(site, tensor) if site.layer == self._layer else None  # layers may share a module

        entrances = [
            (layer.register_forward_pre_hook, self._entrance(place)) for place, layer in enumerate(self._layers)
        ]
        return [*entrances, *(_hook(site, at_home) for site in sites)]

    def _entrance(self, place: int) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self._layer = place

        return enter


class Edits(_Places):
    """The changes that one run, or each text of a batch, is computed with."""

    def __init__(
        self,
        anatomy: Anatomy,
        changes: Sequence[Change] = (),
        *,
        cuts: Sequence[Cut] = (),
        swaps: Sequence[Swap] = (),
        n_rows: int = 1,
    ) -> None:
        super().__init__(anatomy)
        self._n_rows = n_rows
        self._cuts, self._swaps = tuple(cuts), tuple(swaps)
        self._at: dict[tuple[int, int, str], list[Change]] = {}
        for change in changes:
            self._at.setdefault(change.site.place, []).append(change)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, passes are computed with the changes; after it the model is as it was."""
        attention = watched(self._attend) if self._cuts or self._swaps else nullcontext()
        sites = [changes[0].site for changes in self._at.values()]
        with attached(self._hooks(sites, self._changed)), attention:
            yield

    def _changed(self, site: Site, tensor: torch.Tensor) -> torch.Tensor | None:
        """What stands at a site after the changes; None where none is made."""
        changes = [each for each in self._at[site.place] if each.reaches(self._first, self._count)]
        if not changes:
            return None
        rows = tensor.clone().reshape(self._n_rows, self._count, -1)
        for change in changes:
            change.make(rows, self._first, self._count)
        return rows.reshape(tensor.shape)

    def _attend(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One layer's attention, with other keys and values and without the edges that are cut."""
        told = dict(zip(TAKES, args, strict=False)) | kwargs
        told.setdefault("attention_mask", None)
        for swap in self._swaps:
            if swap.layer == self._layer:
                told[swap.name] = self._swapped(told[swap.name], swap)
        cuts = [each for each in self._cuts if each.layer in (None, self._layer)]
        cuts = [each for each in cuts if self._first <= each.query < self._first + self._count]
        if cuts:
            told["attention_mask"] = self._cut(told["attention_mask"], told["query"], told["key"].shape[2], cuts)
        given = [told.pop(name) for name in TAKES]
        return original(*given, **told)

    def _swapped(self, rows: torch.Tensor, swap: Swap) -> torch.Tensor:
        at = swap.position - (self._first + self._count - rows.shape[2])
        if not 0 <= at < rows.shape[2]:
            return rows
        changed = rows.clone()
        n_heads, width = rows.shape[1], rows.shape[3]
        value = swap.value[:: len(swap.value) // n_heads, :width]  # as a record fills up smaller layers
        changed[swap.row, :, at] = value.to(rows.device, rows.dtype)
        return changed

    def _cut(self, mask: Any, query: torch.Tensor, n_keys: int, cuts: Sequence[Cut]) -> torch.Tensor:
        """The mask [B, 1 or H, n, K] that also hides these keys from these queries."""
        count = query.shape[2]
        if mask is None:  # the library's own function sees to it that a token looks at none after it
            later = torch.ones(count, n_keys, dtype=torch.bool, device=query.device).triu(n_keys - count + 1)
            mask = torch.zeros(1, 1, count, n_keys, dtype=query.dtype, device=query.device)
            mask = mask.masked_fill(later, torch.finfo(query.dtype).min)
        n_heads = query.shape[1] if any(each.head is not None for each in cuts) else mask.shape[1]
        mask = mask.expand(self._n_rows, n_heads, -1, -1).clone()
        hidden_as = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        for cut in cuts:
            at = cut.key - (self._first + self._count - n_keys)
            if at >= 0:  # else a window hides it already
                heads = slice(None) if cut.head is None else cut.head
                mask[cut.row, heads, cut.query - self._first, at] = hidden_as
        return mask


class Heard(_Places):
    """What a run computes at some sites: float [S, W] each, in the order of the sites, all columns."""

    def __init__(self, anatomy: Anatomy, sites: Sequence[Site], n_positions: int) -> None:
        super().__init__(anatomy)
        self._sites, self._n = {each.place: each for each in sites}, n_positions
        self._rows: dict[tuple[int, int, str], torch.Tensor] = {}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, what passes compute at the sites is kept."""
        with attached(self._hooks(self._sites.values(), self._hear)):
            yield

    def at(self, site: Site) -> torch.Tensor:
        """What was heard at a site [S, W], its columns alone."""
        return self._rows[site.place][:, site.columns]

    def _hear(self, site: Site, tensor: torch.Tensor) -> None:
        rows = tensor.reshape(self._count, -1)
        if site.place not in self._rows:
            self._rows[site.place] = rows.new_zeros(self._n, rows.shape[1])
        self._rows[site.place][self._first : self._first + self._count] = rows


def _hook(site: Site, act: Callable[[Site, torch.Tensor], torch.Tensor | None]) -> Hook:
    """Have `act` see what stands at a site in a pass, and put in its place what it gives, if it gives anything."""

    def on_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changed = act(site, layer_input(args, kwargs))
        if changed is None:
            return None
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

    def on_output(_: nn.Module, __: Any, output: Any) -> Any:
        changed = act(site, hidden(output))
        return changed if changed is None or not isinstance(output, tuple | list) else (changed, *output[1:])

    if site.side == "output":
        return site.module.register_forward_hook, on_output
    return lambda hook: site.module.register_forward_pre_hook(hook, with_kwargs=True), on_input
