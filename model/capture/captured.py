"""Decode passes captured once and replayed: one pass of a model as a CUDA graph, on memory that stays where it is.

An accelerator waits for the program in an ordinary decode pass: to launch a kernel takes the program longer than the
kernel takes to run. A captured graph launches all of them at once. Keys and values stand in a cache with room for all
positions, and what is recorded is written to fixed memory by the same hooks, which ran when the graph was captured.
Without a graph (`graph=False`) the same pass is run kernel by kernel: the numbers are the same, and no GPU is needed.
"""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from transformers.cache_utils import Cache, StaticLayer
from transformers.generation.utils import GenerationMixin

from model.arch.anatomy import Anatomy
from model.arch.hooks import count_hooks
from model.arch.placement import devices_in_words, spread_over
from model.capture.buffers import Gathered, Unlike
from model.capture.cache_layers import odd_layers
from model.capture.device import Sent
from model.capture.sampling import Likeliest, likeliest
from model.capture.tracer import Tracer
from model.texts import phrase

_ROOM = 64  # positions: capacities are multiples of it, so that runs of similar length share a graph
_KEPT = 2  # captured passes that are kept for later runs of a model
_WARM_UP = 2  # passes before a capture, in which libraries take their memory
_MASKS = ("sdpa", "eager")  # implementations of attention whose masks are known: truth values, and numbers to add
_MOVING = ("dynamic", "longrope")  # kinds of rotation that change with the length of the text


class NotCaptured(Exception):
    """Why a model's decode passes cannot be captured, in words."""


def why_not_captured(model: Any, anatomy: Anatomy) -> str | None:
    """Why this model's decode passes are not captured, as far as can be told without a try; None if they may be."""
    if spread_over(model):
        return phrase("it is spread over {devices}", devices=devices_in_words(model))
    if anatomy.own_attention:
        return phrase("its family computes attention without the library's interface")
    if held := odd_layers(model):
        return phrase("its cache holds {held}", held=held)
    if model.config._attn_implementation not in _MASKS:
        return phrase("its attention runs on {kind}", kind=model.config._attn_implementation)
    if type(model).prepare_inputs_for_generation is not vars(GenerationMixin)["prepare_inputs_for_generation"]:
        return phrase("its family prepares the input of a pass in a way of its own")
    if any(word in kind for kind in _rotations(model) for word in _MOVING):
        return phrase("its rotation changes with the length of the text")
    if not model._can_compile_fullgraph:
        return phrase("what its passes compute depends on the numbers in them")
    return None


def _rotations(model: Any) -> list[str]:
    """The kinds of rotation that a model's configuration names, of all layers."""
    told = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    each_kind = [told, *(each for each in told.values() if isinstance(each, dict))]
    return [str(each["rope_type"]) for each in each_kind if "rope_type" in each]


class CapturedPasses:
    """The captured decode passes of one model. A run takes one for itself, and gives it back for the next run.

    Whoever takes one holds the model's guard.
    """

    def __init__(self, model: Any, anatomy: Anatomy, *, graph: bool = True) -> None:
        self._model, self._anatomy, self._graph = model, anatomy, graph
        self._free: list[CapturedPass] = []
        self._lock = threading.Lock()  # a run that nobody ends gives back when it is collected, in any thread

    def take(self, kwargs: dict[str, Any], capacity: int, *, traced: bool) -> "CapturedPass":
        """A decode pass for a run that reaches `capacity` positions, from where it stands.

        `kwargs` is what the library hands from pass to pass: its cache holds the positions that have been read.
        Raises: NotCaptured.
        """
        if reason := why_not_captured(self._model, self._anatomy) or _why_not_now(self._model, kwargs):
            raise NotCaptured(reason)
        room = -(-capacity // _ROOM) * _ROOM
        with self._lock:
            found = next((each for each in self._free if each.fits(room, traced)), None)
            self._free = [each for each in self._free if each is not found]
        if found is None:
            found = self._captured(kwargs["past_key_values"], room, traced)
        found.take_over(kwargs["past_key_values"])
        return found

    def _captured(self, like: Cache, room: int, traced: bool) -> "CapturedPass":
        try:
            return CapturedPass(self._model, self._anatomy, like, room, traced, self._graph)
        except torch.OutOfMemoryError as error:
            raise NotCaptured(phrase("the device has no memory left for it")) from error
        except Unlike as error:
            raise NotCaptured(str(error)) from error

    def give_back(self, taken: "CapturedPass") -> None:
        """The run that took it is over."""
        with self._lock:
            self._free = [taken, *self._free][:_KEPT]


def _why_not_now(model: Any, kwargs: dict[str, Any]) -> str | None:
    mask = kwargs.get("attention_mask")
    if mask is not None and not bool(mask.all()):
        return phrase("its prompt holds tokens that the library takes for padding and hides")
    if count_hooks(model):
        return phrase("the model carries hooks of somebody else, which a captured pass would leave out")
    return None


class CapturedPass:
    """One decode pass of a model on memory of its own: inputs, cache, logits and rows stay where they are.

    `logits` [1, V] float32, and `rows`, each [layer, ..., 1, ...] by the names of `records.Trace`, in the model's own
    precision, are those of the latest pass; on an accelerator, once it has come so far.
    Raises: NotCaptured, if the model cannot be run like this.
    """

    def __init__(self, model: Any, anatomy: Anatomy, like: Cache, room: int, traced: bool, graph: bool) -> None:
        self._model, self._room = model, room
        self._stood = _standing(model)
        device = model.device
        self._id = torch.zeros(1, 1, dtype=torch.int64, device=device)
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        self._places = torch.arange(room, device=device)
        self._keys, self._values = (_room_for(like, name, room) for name in ("keys", "values"))
        pairs = zip(self._keys, self._values, strict=True)
        self._cache = Cache(layers=[_Fixed(keys, values, self._at) for keys, values in pairs])
        self._tracer = _FixedTracer(anatomy) if traced else None
        self.n_read = 0
        self.logits = torch.empty(0)
        self._likeliest: Likeliest | None = None
        self._told: Sent | None = None
        self.rows: dict[str, torch.Tensor] = {}
        self._graph = _captured(self._compute, device) if graph else None
        if self._graph is None:
            self._compute()
        self._require_own_keys()

    def fits(self, room: int, traced: bool) -> bool:
        """Whether it has this room, and the model still stands as it did."""
        return self._room == room and (self._tracer is not None) == traced and self._stood == _standing(self._model)

    def take_over(self, cache: Cache) -> None:
        """Stand where a run stands whose cache this is."""
        for mine, name in ((self._keys, "keys"), (self._values, "values")):
            mine.zero_()  # also what an earlier run left: a NaN would show through a mask
            held = torch.stack([getattr(layer, name) for layer in cache.layers])
            mine.narrow(3, 0, held.shape[3]).copy_(held)
        self.n_read = cache.get_seq_length()

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values of the positions that have been read; the rest of the room is empty."""
        whole = (self._keys, self._values)
        return sum(each.numel() * each.element_size() for each in whole) // self._room * self.n_read

    def run(self, token: torch.Tensor) -> None:
        """Read one more token [1]. On an accelerator this returns at once."""
        self._id.copy_(token[None])
        self._at.fill_(self.n_read)
        self._compute() if self._graph is None else self._graph.replay()
        assert self._likeliest is not None
        self._told = Sent(self._likeliest.numbers)  # before all rows: the next token is chosen by them
        self.n_read += 1

    def likeliest(self) -> Likeliest:
        """The likeliest token after the latest pass: this waits for it."""
        assert self._likeliest is not None and self._told is not None
        return replace(self._likeliest, numbers=self._told.arrived())

    def _compute(self) -> None:
        with torch.inference_mode(), self._model._optimize_model_for_decode(), self._watching():
            output = self._model(
                input_ids=self._id,
                position_ids=self._at[None],
                attention_mask=self._mask(),
                past_key_values=self._cache,
                use_cache=True,
                return_dict=True,
            )
        with torch.inference_mode():
            self.logits = output.logits[:, -1].to(torch.float32, copy=True)
            self._likeliest = likeliest(self.logits)
            if self._tracer is not None:
                at = {"keys": self._keys, "values": self._values}
                self.rows = self._tracer.rows() | {
                    name: whole.index_select(3, self._at)[:, 0] for name, whole in at.items()
                }

    def _watching(self) -> Any:
        return nullcontext() if self._tracer is None else self._tracer.watching_one()

    def _mask(self) -> torch.Tensor:
        """What is added to the scores of a token that sees all positions up to its own.

        For sdpa the library would hand truth values over, of which torch makes these numbers in every layer anew.
        """
        lowest = -torch.inf if self._model.config._attn_implementation == "sdpa" else torch.finfo(self._model.dtype).min
        hidden = (self._places > self._at)[None, None, None]
        return torch.zeros(hidden.shape, dtype=self._model.dtype, device=hidden.device).masked_fill(hidden, lowest)

    def _require_own_keys(self) -> None:
        """Attention was called, once in each layer, with what the cache holds. Raises: NotCaptured."""
        if self._tracer is None:
            return
        held = [(keys.data_ptr(), values.data_ptr()) for keys, values in zip(self._keys, self._values, strict=True)]
        if self._tracer.read != dict(enumerate(held)):
            raise NotCaptured(phrase("its attention reads other keys and values than its cache holds"))


class _Fixed(StaticLayer):
    """One layer's keys and values [1, G, room, D]; a pass writes its own where `at` points to."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, at: torch.Tensor) -> None:
        super().__init__(max_cache_len=keys.shape[2])
        self.keys, self.values, self.cumulative_length = keys, values, at[0]
        self._keys, self._values = keys, values
        self.device, self.dtype, self.batch_size, self.num_heads = keys.device, keys.dtype, 1, keys.shape[1]
        self._at, self.is_initialized = at, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the keys and values of one token [1, G, 1, D]; returns the whole room."""
        return self._keys.index_copy_(2, self._at, key_states), self._values.index_copy_(2, self._at, value_states)


class _FixedTracer(Tracer):
    """Gathers the rows of one pass that reads one token from a cache with more room than it fills."""

    def __init__(self, anatomy: Anatomy) -> None:
        super().__init__(anatomy, 1, buffers=Gathered(stream_stays=anatomy.stream_stays))
        self.read: dict[int, tuple[int, int]] = {}  # by layer: where the keys and values stood that attention read

    @contextmanager
    def watching_one(self) -> Iterator[None]:
        self.begin(0, 1)
        with self.watching():
            yield

    def rows(self) -> dict[str, torch.Tensor]:
        """Every layer's rows by name. Raises: NotCaptured, if something was not recorded."""
        assert isinstance(self.buffers, Gathered)
        if self.buffers.misfits:
            raise NotCaptured(next(iter(self.buffers.misfits.values())))
        return self.buffers.rows

    def _keep_attention(self, layer: int, query: Any, key: Any, value: Any, mask: Any, told: dict[str, Any]) -> None:
        del mask, told
        self._put("queries", layer, query)
        self.read[layer] = key.data_ptr(), value.data_ptr()


def _captured(compute: Any, device: torch.device) -> torch.cuda.CUDAGraph:
    """A graph of what `compute` does on the device."""
    own = torch.cuda.Stream(device)
    own.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(own):
        for _ in range(_WARM_UP):
            compute()
    torch.cuda.current_stream(device).wait_stream(own)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads work on with the device
        compute()
    return graph


def _room_for(like: Cache, name: str, room: int) -> torch.Tensor:
    """Zeros [L, 1, G, room, D] for the keys or values of every layer. Raises: NotCaptured, if layers differ."""
    held: list[torch.Tensor] = [getattr(layer, name) for layer in like.layers]
    shapes = {(*each.shape[:2], each.shape[3]) for each in held}
    if len(shapes) != 1:
        raise NotCaptured(phrase("its layers cache keys and values of several sizes"))
    (batch, n_heads, width), first = shapes.pop(), held[0]
    return torch.zeros(len(held), batch, n_heads, room, width, dtype=first.dtype, device=first.device)


def _standing(model: Any) -> tuple[Any, ...]:
    """How a model computes attention, and where its weights stand in memory: a graph reads them there."""
    held = (each.data_ptr() for each in itertools.chain(model.parameters(), model.buffers()))
    return model.config._attn_implementation, *held
