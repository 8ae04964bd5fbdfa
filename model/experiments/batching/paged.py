"""transformers' continuous-batching engine, one tick at a time: the only file that uses its private parts.

Each tick runs the three steps of the engine's own loop (prepare, forward, update), without its thread, so that each
step can be recorded. The model is switched to paged attention for the length of a tick and restored after it, also
after an error. These parts are private to the library and change between releases: a contract test pins the version.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from model.arch.attention_calls import watched
from model.arch.placement import spread_over
from model.arch.transformers_version import is_known, versions
from model.capture.cache_layers import odd_layers
from model.capture.device import own_randomness, wait_for
from model.capture.hooked import HookedModel
from model.errors import NotShown
from model.records.batching import BlockTable, ScheduledChunk
from model.texts import phrase

EAGER = "paged|eager"
_FULL = "full_attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTick:
    """One tick of the engine, in the words of the record's `Tick`. Blocks are numbered from 0."""

    began: float  # by time.perf_counter
    ended: float
    scheduled: tuple[ScheduledChunk, ...]
    key_lengths: tuple[tuple[int, int], ...]
    block_tables: tuple[BlockTable, ...]
    waiting: tuple[int, ...]
    finished: tuple[int, ...]  # requests that wrote their last token
    preempted: tuple[int, ...]
    n_cached_tokens: tuple[tuple[int, int], ...]
    n_free_blocks: int
    cached_blocks: tuple[int, ...]
    shared_blocks: tuple[tuple[int, int], ...]
    attention: torch.Tensor | None  # float32 [layers, heads, tokens of the pass, keys of the pass]; None if not kept
    cross_request_weight: float | None  # the largest attention weight between two requests; None: not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The limits of an engine: its cache, and the size of a tick."""

    block_size: int  # tokens
    n_blocks: int
    token_budget: int  # the most tokens that a tick reads
    max_requests: int  # the most requests that a tick schedules
    prefix_caching: bool  # whether prompts with the same prefix share blocks


class NoBlockLeft(Exception):
    """The engine can continue no request: too few blocks are free."""


class _AttentionRecorder:
    """Records the attention weights of one pass, layer by layer; keeps them if they are at most `room` numbers."""

    def __init__(self, running: Sequence[Any], n_layers: int, n_heads: int, room: int) -> None:
        names = [each.state.request_id for each in running]
        read = torch.tensor([each.query_length for each in running])
        stand = torch.tensor([each.state.position_offset for each in running])
        place = torch.arange(len(names))
        self._others = place.repeat_interleave(read)[:, None] != place.repeat_interleave(stand)
        self.fits = n_layers * n_heads * self._others.numel() <= room
        self.cross_request_weight = 0.0
        self._layers: list[torch.Tensor] = []

    def attend(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Compute one layer's attention as the library does, and record its weights."""
        result = original(*args, **kwargs)
        self.layer(result[1][0])
        return result

    def layer(self, weights: torch.Tensor) -> None:
        """Record one layer, [heads, tokens, keys]."""
        recorded = weights.float().cpu()
        if self.fits:
            self._layers.append(recorded)
        if bool(torch.isnan(recorded).any()):
            self.cross_request_weight = math.nan
        elif bool(self._others.any()):
            self.cross_request_weight = max(self.cross_request_weight, float(recorded[:, self._others].max()))

    def weights(self) -> torch.Tensor | None:
        """[layers, heads, tokens, keys], or None if they do not fit."""
        return torch.stack(self._layers) if self._layers else None


class Paged:
    """A continuous-batching engine with a paged cache of its own, for greedy requests, stepped from outside.

    Raises: NotShown, if this model's cache cannot be paged, or if the library is not the one that is known here.
    """

    def __init__(self, hooked: HookedModel, bounds: Bounds, *, eager: bool) -> None:
        check_model(hooked)
        self._model, self._n_layers, self._n_heads = hooked.model, hooked.card.n_layers, hooked.card.n_heads
        self._products = hooked.products
        self._attention = EAGER if eager or hooked.card.attention == "eager" else hooked.card.attention
        with _as_known(), self._switched(), own_randomness(self._model.device):  # which it seeds
            self._manager, self._processor = _engine(
                self._model,
                page_size=bounds.block_size,
                num_blocks=bounds.n_blocks,
                max_batch_tokens=bounds.token_budget,
                max_requests_per_batch=bounds.max_requests,
                allow_block_sharing=bounds.prefix_caching,
            )
            self._scheduler, self._cache = self._processor.scheduler, self._processor.cache
            self._blocks = self._cache.cache_allocators[_FULL]
            self._first_block = 2 * self._blocks.blocks_per_sector  # the engine keeps two sectors for padding
            self.n_blocks: int = self._blocks.num_blocks
            self.block_bytes: int = self._blocks.bytes_per_block
        self._started: set[str] = set()

    def add(self, request: int, ids: Sequence[int], max_new_tokens: int) -> None:
        """Add a request to the waiting queue, by its number, with the ids of its prompt."""
        with _as_known():
            self._manager.add_request(list(ids), request_id=str(request), max_new_tokens=max_new_tokens)

    def tick(self, *, room: int | None = None) -> EngineTick | None:
        """One forward pass for all scheduled requests; None when no request is left.

        With `room` its attention is recorded, which needs `eager`, and kept if it has at most `room` numbers; NaN in
        it makes `cross_request_weight` NaN. Raises: NoBlockLeft, when requests are left and none can continue.
        """
        scheduler, batch = self._scheduler, self._processor.inputs_and_outputs
        with _as_known(), self._switched(), torch.no_grad():
            began = time.perf_counter()
            before = list(scheduler.active_requests)
            if not self._prepared():
                return None
            preempted = tuple(each for each in before if each in scheduler.waiting_requests)
            self._started.difference_update(preempted)
            running = list(batch.requests_in_batch)
            recorder = None if room is None else _AttentionRecorder(running, self._n_layers, self._n_heads, room)
            self._forward(recorder)
            scheduled = _scheduled(running, batch.prepare_batch_update()[1])
            n_cached_tokens = self._n_cached_tokens(running)
            tables = {each.state.request_id: self._table(each.state) for each in running}
            self._processor.update_batch()
            finished = tuple(name for name in tables if name not in scheduler.active_requests)
            continued = {name: self._table(state) for name, state in scheduler.active_requests.items()}
            return EngineTick(
                began=began,
                ended=time.perf_counter(),
                scheduled=scheduled,
                key_lengths=tuple((int(each.state.request_id), each.state.position_offset) for each in running),
                block_tables=tuple(sorted((tables | continued).values(), key=lambda table: table.request)),
                waiting=tuple(map(int, scheduler.waiting_requests_order)),
                finished=tuple(map(int, finished)),
                preempted=tuple(map(int, preempted)),
                n_cached_tokens=n_cached_tokens,
                attention=recorder and recorder.weights(),
                cross_request_weight=recorder and recorder.cross_request_weight,
                **self._state_of_blocks(),
            )

    def _prepared(self) -> bool:
        """Whether a pass is ready to run: the engine has scheduled requests and allocated their blocks."""
        try:
            ready = self._processor.prepare_next_batch()
        except RuntimeError as error:
            if "No requests can be scheduled" in str(error):
                raise NoBlockLeft from error
            raise
        if not ready and self._scheduler.has_pending_requests():
            raise NoBlockLeft
        return ready

    def _forward(self, recorder: _AttentionRecorder | None) -> None:
        with self._products.taken(), nullcontext() if recorder is None else watched(recorder.attend):
            self._processor._generation_step(self._model)
        wait_for(self._model.device)

    def _n_cached_tokens(self, running: Sequence[Any]) -> tuple[tuple[int, int], ...]:
        """Prefix tokens found in the cache by each request that starts; it may be scheduled in a later tick only."""
        states = self._scheduler.active_requests
        starting = [name for name in states if name not in self._started]
        self._started.update(starting)
        read = {each.state.request_id: each.query_length for each in running}
        found = ((int(name), states[name].position_offset - read.get(name, 0)) for name in starting)
        return tuple((request, count) for request, count in found if count)

    def _table(self, state: Any) -> BlockTable:
        blocks = self._blocks.block_table.get(state.request_id, [])
        return BlockTable(request=int(state.request_id), blocks=self._numbered(blocks), n_tokens=state.position_offset)

    def _numbered(self, blocks: Sequence[int]) -> tuple[int, ...]:
        return tuple(block - self._first_block for block in blocks)

    def _state_of_blocks(self) -> dict[str, Any]:
        blocks, pool = self._blocks, self._cache.pool
        counts = blocks.ledger.shared_ref_counts
        return dict(
            n_free_blocks=len(pool.free_sectors) * blocks.blocks_per_sector + pool.count_free_blocks(blocks.index),
            cached_blocks=tuple(sorted(self._numbered(list(blocks.ledger.cached_blocks)))),
            shared_blocks=tuple((block - self._first_block, counts[block]) for block in sorted(counts)),
        )

    @contextmanager
    def _switched(self) -> Iterator[None]:
        """Inside, the model's attention reads the paged cache; it is restored after."""
        before = self._model.config._attn_implementation
        self._model.set_attn_implementation(self._attention)
        try:
            yield
        finally:
            self._model.set_attn_implementation(before)


def check_model(hooked: HookedModel) -> None:
    """Check that the engine can page this model's cache. Raises: NotShown, with the reason, if it cannot."""
    if reason := _reason_against(hooked):
        raise NotShown(
            "{model} cannot be served from a paged cache: {reason}. Pick a model whose layers all attend to the whole "
            "text, such as the default.",
            model=hooked.card.name,
            reason=reason,
        )


def _reason_against(hooked: HookedModel) -> str:
    model = hooked.model
    if spread_over(model):
        return phrase(
            "it is spread over {devices}, and the cache's blocks lie on one device", devices=hooked.card.device
        )
    if odd := odd_layers(model):
        return phrase("it keeps {odd}; only one block table for all layers is supported", odd=odd)
    if not model._can_set_attn_implementation():
        return phrase("its own attention implementation cannot read a paged cache")
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        return phrase("its attention caps its scores, which the engine's does not")
    return ""


def _engine(model: Any, **bounds: Any) -> tuple[Any, Any]:
    """The library's manager and its batch processor, made as its own loop makes them, without a thread."""
    config = transformers.ContinuousBatchingConfig(
        **bounds, auto_switch_to_flash=False, use_async_batching=False, use_cuda_graph=False
    )
    manager = model.init_continuous_batching(
        generation_config=_greedy(model.generation_config), continuous_batching_config=config
    )
    manager.batch_processor = processor = manager._create_batch_processor()
    return manager, processor


def _greedy(given: Any) -> Any:
    """The model's own generation settings, with greedy decoding."""
    config = deepcopy(given)
    config.do_sample, config.num_return_sequences, config.repetition_penalty = False, 1, None
    config.temperature = config.top_k = config.top_p = config.min_p = None
    if config.eos_token_id is None:
        config.eos_token_id = -1  # the engine's value for "none"
    return config


def _scheduled(running: Sequence[Any], sampled: Sequence[int]) -> tuple[ScheduledChunk, ...]:
    """The chunk of each running request; sampled tokens stand in the order of the requests that have a new one."""
    tokens = iter(sampled)
    return tuple(
        ScheduledChunk(
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
    """Raises: NotShown, naming the version, if another transformers version has an engine with other parts."""
    try:
        yield
    except (AttributeError, TypeError, ImportError, KeyError, ValueError) as error:
        if is_known():
            raise
        raise NotShown(
            "the engine of transformers {version} differs from that of {known}, the version whose engine can be run "
            'tick by tick here ({why}). Install the known one: pip install "transformers~={known}.0".',
            why=f"{type(error).__name__}: {error}",
            **versions(),
        ) from error
