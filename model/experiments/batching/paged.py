"""The library's engine for continuous batching, a tick at a time: the only file that knows what is private in it.

The engine is run as its own loop runs it (prepare, forward, update), without its thread, so that each step can be
looked at. A model is switched to an attention that reads the paged cache for the length of a tick and back after it,
whatever happens meanwhile. All of this is private to the library and moves with each of its releases: a contract test
holds it to the known version.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import AttentionInterface

from model.arch.transformers_version import is_known, other_version
from model.capture.cache_layers import odd_layers
from model.capture.device import own_randomness, wait_for
from model.capture.hooked import HookedModel
from model.errors import NotShown
from model.records.batching import Share, Table
from model.texts import phrase

EAGER = "paged|eager"
SMALLEST_BLOCK = 4  # tokens: the engine takes no smaller ones
_FULL = "full_attention"

_HEARD: ContextVar["_Heard | None"] = ContextVar("heard", default=None)


def _pass_through(module: Any, *args: Any, **kwargs: Any) -> Any:
    """The library's own paged attention; its weights are told to whoever hears them in this thread."""
    from transformers.integrations.eager_paged import eager_paged_attention_forward  # another release may not have it

    result: Any = eager_paged_attention_forward(module, *args, **kwargs)
    if (heard := _HEARD.get()) is not None:
        heard.layer(result[1][0])
    return result


AttentionInterface.register(EAGER, _pass_through)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One tick: what it read and wrote, and the cache after it. Blocks are numbered from 0."""

    began: float  # by time.perf_counter
    ended: float
    shares: tuple[Share, ...]
    keys: tuple[tuple[int, int], ...]
    tables: tuple[Table, ...]
    waiting: tuple[int, ...]
    over: tuple[int, ...]  # requests that wrote their last token
    put_back: tuple[int, ...]
    reused: tuple[tuple[int, int], ...]
    n_free: int
    cached: tuple[int, ...]
    shared: tuple[tuple[int, int], ...]
    attention: torch.Tensor | None  # float32 [layers, heads, tokens of the pass, keys of the pass]; None if not kept
    stray: float | None  # the largest weight that a token gave to one of another request; None if none was heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an engine may use: its cache, and how much of it and of a pass."""

    block_size: int  # tokens
    n_blocks: int
    token_budget: int  # the most tokens that a tick reads
    max_requests: int  # the most requests that have a share in a tick
    sharing: bool  # whether prompts that begin alike share blocks


class NoBlockLeft(Exception):
    """The engine can go on with no request: the blocks that are left hold none of them."""


class _Heard:
    """The attention of one pass as it comes, a layer at a time, of which no more is kept than there is room for."""

    def __init__(self, running: Sequence[Any], n_layers: int, n_heads: int, room: int) -> None:
        names = [each.state.request_id for each in running]
        read = torch.tensor([each.query_length for each in running])
        stand = torch.tensor([each.state.position_offset for each in running])
        place = torch.arange(len(names))
        self._others = place.repeat_interleave(read)[:, None] != place.repeat_interleave(stand)
        self.fits = n_layers * n_heads * self._others.numel() <= room
        self.stray = 0.0
        self._layers: list[torch.Tensor] = []

    def layer(self, weights: torch.Tensor) -> None:
        """Hear one layer, [heads, tokens, keys]."""
        told = weights.float().cpu()
        if self.fits:
            self._layers.append(told)
        if bool(torch.isnan(told).any()):
            self.stray = math.nan
        elif bool(self._others.any()):
            self.stray = max(self.stray, float(told[:, self._others].max()))

    def weights(self) -> torch.Tensor | None:
        """[layers, heads, tokens, keys], or None where they do not fit."""
        return torch.stack(self._layers) if self._layers else None


class Paged:
    """A continuous-batching engine with a paged cache of its own, for greedy requests, stepped from outside.

    Raises: NotShown, if this model's cache cannot be paged, or if the library is not the one that is known here.
    """

    def __init__(self, hooked: HookedModel, bounds: Bounds, *, eager: bool) -> None:
        check_model(hooked)
        self._model, self._n_layers, self._n_heads = hooked.model, hooked.card.n_layers, hooked.card.n_heads
        self._attention = EAGER if eager or hooked.card.attention == "eager" else hooked.card.attention
        with _as_known(), self._switched(), own_randomness(self._model.device):  # which it seeds
            self._manager, self._processor = _engine(
                self._model,
                page_size=bounds.block_size,
                num_blocks=bounds.n_blocks,
                max_batch_tokens=bounds.token_budget,
                max_requests_per_batch=bounds.max_requests,
                allow_block_sharing=bounds.sharing,
            )
            self._scheduler, self._cache = self._processor.scheduler, self._processor.cache
            self._blocks = self._cache.cache_allocators[_FULL]
            self._first_block = 2 * self._blocks.blocks_per_sector  # the engine keeps two sectors for padding
            self.n_blocks: int = self._blocks.num_blocks
            self.block_bytes: int = self._blocks.bytes_per_block
        self._joined: set[str] = set()

    def add(self, request: int, ids: Sequence[int], max_new_tokens: int) -> None:
        """Hand it a request by its number, with the ids of its prompt; it waits from the next tick on."""
        with _as_known():
            self._manager.add_request(list(ids), request_id=str(request), max_new_tokens=max_new_tokens)

    def tick(self, *, room: int | None = None) -> Seen | None:
        """One forward pass for whoever has a share in it; None when nobody is left.

        With `room` its attention is heard, which needs `eager`, and kept if it is of no more numbers than that; NaN
        in it makes `stray` NaN. Raises: NoBlockLeft, when requests are left and none of them can go on.
        """
        scheduler, batch = self._scheduler, self._processor.inputs_and_outputs
        with _as_known(), self._switched(), torch.no_grad():
            began = time.perf_counter()
            before = list(scheduler.active_requests)
            if not self._prepared():
                return None
            put_back = tuple(each for each in before if each in scheduler.waiting_requests)
            self._joined.difference_update(put_back)
            running = list(batch.requests_in_batch)
            heard = None if room is None else _Heard(running, self._n_layers, self._n_heads, room)
            self._forward(heard)
            shares = _shares(running, batch.prepare_batch_update()[1])
            reused = self._reused(running)
            tables = {each.state.request_id: self._table(each.state) for each in running}
            self._processor.update_batch()
            over = tuple(name for name in tables if name not in scheduler.active_requests)
            going_on = {name: self._table(state) for name, state in scheduler.active_requests.items()}
            return Seen(
                began=began,
                ended=time.perf_counter(),
                shares=shares,
                keys=tuple((int(each.state.request_id), each.state.position_offset) for each in running),
                tables=tuple(sorted((tables | going_on).values(), key=lambda table: table.request)),
                waiting=tuple(map(int, scheduler.waiting_requests_order)),
                over=tuple(map(int, over)),
                put_back=tuple(map(int, put_back)),
                reused=reused,
                attention=heard and heard.weights(),
                stray=heard and heard.stray,
                **self._state_of_blocks(),
            )

    def _prepared(self) -> bool:
        """Whether a pass is ready to run; the engine has then chosen who has a share in it, and found them blocks."""
        try:
            ready = self._processor.prepare_next_batch()
        except RuntimeError as error:
            if "No requests can be scheduled" in str(error):
                raise NoBlockLeft from error
            raise
        if not ready and self._scheduler.has_pending_requests():
            raise NoBlockLeft
        return ready

    def _forward(self, heard: _Heard | None) -> None:
        token = _HEARD.set(heard)
        try:
            self._processor._generation_step(self._model)
        finally:
            _HEARD.reset(token)
        wait_for(self._model.device)

    def _reused(self, running: Sequence[Any]) -> tuple[tuple[int, int], ...]:
        """Of each request that joins: the tokens that it found in the cache, and holds even if it does not run yet."""
        states = self._scheduler.active_requests
        joining = [name for name in states if name not in self._joined]
        self._joined.update(joining)
        read = {each.state.request_id: each.query_length for each in running}
        found = ((int(name), states[name].position_offset - read.get(name, 0)) for name in joining)
        return tuple((request, count) for request, count in found if count)

    def _table(self, state: Any) -> Table:
        blocks = self._blocks.block_table.get(state.request_id, [])
        return Table(request=int(state.request_id), blocks=self._numbered(blocks), n_tokens=state.position_offset)

    def _numbered(self, blocks: Sequence[int]) -> tuple[int, ...]:
        return tuple(block - self._first_block for block in blocks)

    def _state_of_blocks(self) -> dict[str, Any]:
        blocks, pool = self._blocks, self._cache.pool
        counts = blocks.ledger.shared_ref_counts
        return dict(
            n_free=len(pool.free_sectors) * blocks.blocks_per_sector + pool.count_free_blocks(blocks.index),
            cached=tuple(sorted(self._numbered(list(blocks.ledger.cached_blocks)))),
            shared=tuple((block - self._first_block, counts[block]) for block in sorted(counts)),
        )

    @contextmanager
    def _switched(self) -> Iterator[None]:
        """The model's attention reads the paged cache inside, and is what it was after it."""
        before = self._model.config._attn_implementation
        self._model.set_attn_implementation(self._attention)
        try:
            yield
        finally:
            self._model.set_attn_implementation(before)


def check_model(hooked: HookedModel) -> None:
    """Look whether the engine can page this model's cache. Raises: NotShown, with the reason, if it cannot."""
    if reason := _reason_against(hooked):
        raise NotShown(
            "{model} cannot be served from a paged cache: {reason}. Pick a model whose layers all attend to the whole "
            "text, such as the default.",
            model=hooked.card.name,
            reason=reason,
        )


def _reason_against(hooked: HookedModel) -> str:
    model = hooked.model
    if odd := odd_layers(model):
        return phrase("it keeps {odd}; only one block table for all layers is supported", odd=odd)
    if not model._can_set_attn_implementation():
        return phrase("its own attention implementation cannot read a paged cache")
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        return phrase("its attention caps its scores, which the engine's does not")
    return ""


def _engine(model: Any, **bounds: Any) -> tuple[Any, Any]:
    """The library's manager and its batch processor, as its own loop makes them, but without a thread."""
    config = transformers.ContinuousBatchingConfig(
        **bounds, auto_switch_to_flash=False, use_async_batching=False, use_cuda_graph=False
    )
    manager = model.init_continuous_batching(
        generation_config=_greedy(model.generation_config), continuous_batching_config=config
    )
    manager.batch_processor = processor = manager._create_batch_processor()
    return manager, processor


def _greedy(given: Any) -> Any:
    """The model's own generation settings, with every choice the likeliest token."""
    config = deepcopy(given)
    config.do_sample, config.num_return_sequences, config.repetition_penalty = False, 1, None
    config.temperature = config.top_k = config.top_p = config.min_p = None
    if config.eos_token_id is None:
        config.eos_token_id = -1  # as the engine says that there is none
    return config


def _shares(running: Sequence[Any], chosen: Sequence[int]) -> tuple[Share, ...]:
    """Who read what; the chosen tokens come in the order of those whose prompt has been read to the end."""
    tokens = iter(chosen)
    return tuple(
        Share(
            request=int(each.state.request_id),
            phase="prefill"
            if (first := each.state.position_offset - each.query_length) < len(each.state.initial_tokens)
            else "decode",
            first=first,
            n_tokens=each.query_length,
            written=next(tokens) if each.has_new_token else None,
        )
        for each in running
    )


@contextmanager
def _as_known() -> Iterator[None]:
    """Says that another version of the library is the reason, where one is and its engine has other parts."""
    try:
        yield
    except (AttributeError, TypeError, ImportError, KeyError, ValueError) as error:
        if is_known():
            raise
        raise other_version("engine", "stepped", f"{type(error).__name__}: {error}") from error
