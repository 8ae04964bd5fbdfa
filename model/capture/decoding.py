"""The decode loop, one forward pass at a time: prefill, then one new token after the other, from a KV cache.

It runs inside the transformers library's own `generate`, through its `custom_generate` door: the library prepares
the processors, the stopping criteria and the cache, and this file does what its `_sample` does, a step at a time. It
is the only file that calls the loop's private methods; a contract test compares it with `generate`, bit for bit.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria
from transformers.utils.generic import ModelOutput

from model.arch.placement import home, layer_homes
from model.capture.cache_size import bytes_where_unlike, cache_bytes, state_bytes_by_layer
from model.capture.captured import CapturedPass, CapturedPasses, NotCaptured
from model.capture.generation_config import check_one_pass_a_token, generate_options, stop_options
from model.capture.restored import NotRestorable, restore
from model.capture.sampling import Chosen, choose, skip_draws
from model.capture.tracer import Tracer
from model.errors import NotANumber, NotShown
from model.records.trace import Ended, Path, Settings, Step
from model.texts import phrase

_OF_THE_LOOP = ("logits_processor", "stopping_criteria", "generation_config")  # what no forward pass takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One forward pass that has just run: its record, the choice made from it, and its raw logits."""

    step: Step
    chosen: Chosen
    logits: torch.Tensor  # float32 [1, V]
    ending: Ended | None  # why no pass follows; None if one does
    path: Path = "solo"
    why_solo: str = ""  # why it was not captured, where it was to be


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Earlier:
    """What a new run takes over from an earlier one of the same prompt and settings: its first passes.

    With keys [L, G, S, D] and values [L, G, S, E], of the S positions that these passes read, the model's cache is
    rebuilt and nothing is computed again. Without them, the passes are run again, each in its own shape: one prefill
    over all of their tokens would round otherwise.
    """

    ids: tuple[int, ...]  # the token that followed each of the passes
    kv_bytes: int  # of the cache after the last of them
    d_vocab: int
    keys: np.ndarray | None = None
    values: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """One pass of the earlier run was replayed, or its whole cache was restored."""

    n_reused: int  # positions that were not computed again
    n_replayed: int
    seconds: float  # since the start, the time between two values left out
    logits: torch.Tensor | None = None  # float32 [1, V], of a pass that was run again
    ending: Ended | None = None  # why no pass follows; None if one does


def passes(
    model: Any,
    ids: Sequence[int],
    settings: Settings,
    tracer: Tracer | None,
    *,
    tokenizer: Any = None,
    forced: Sequence[int] = (),
    cache: Any = None,
    captured: CapturedPasses | None = None,
) -> Generator[Pass]:
    """Run a model on token ids, one pass at each `next`, and record every pass with the tracer, if there is one.

    With `forced`, every choice is made as ever, but the next pass reads these tokens in place of the chosen ones, and
    the run ends with the last of them. `cache` is an empty cache of the caller's own, in place of the library's.
    With `captured`, passes after the prompt's are replayed from a captured one where they can be.
    The tokenizer is needed where the model's generation config names strings that end a text.
    Nothing is computed ahead, and global random state is not touched: the run draws with a generator of its own.
    Raises: NotShown, at once, if the generation config asks for what is not one token a pass, and later, if the model
    reads what is not in its text, or drops the caller's cache; NotANumber, if the model computes NaN; Cancelled, if
    the tracer is told to stop.
    """
    loop = _Loop(settings.seed, tracer, forced=tuple(forced), cache=cache, captured=captured)
    return _generate(model, ids, settings, loop, tokenizer)


def continued(
    model: Any,
    ids: Sequence[int],
    settings: Settings,
    tracer: Tracer | None,
    earlier: Earlier,
    *,
    tokenizer: Any = None,
    captured: CapturedPasses | None = None,
) -> Generator[Resumed | Pass]:
    """Go on with an earlier run of the prompt `ids`: first how far it has been taken up, then new passes.

    The library prepares the run from its prompt, as it did then; mask, positions and random numbers are brought to
    where they stood, and only passes that are run are traced. A run that has ended is not taken up: it gives
    one Resumed.
    Raises: as `passes`; NotRestorable, if keys and values do not make this model's cache.
    """
    return _generate(model, ids, settings, _Loop(settings.seed, tracer, earlier=earlier, captured=captured), tokenizer)


def _generate(model: Any, ids: Sequence[int], settings: Settings, loop: "_Loop", tokenizer: Any) -> Any:
    check_one_pass_a_token(model)
    return model.generate(
        torch.tensor([list(ids)], device=home(model)),
        custom_generate=loop.decode,
        **({} if loop.cache is None else {"past_key_values": loop.cache}),
        **stop_options(model, tokenizer),
        **generate_options(settings),
    )


def prefilled(model: Any, ids: torch.Tensor) -> Any:
    """The cache as `generate` has it once it has read these token ids [B, n]."""
    prepared = _prepared(model, ids, use_cache=True)
    _forward(model, ids, True, prepared)
    return prepared["past_key_values"]


def next_pass(model: Any, ids: torch.Tensor, cache: Any = None) -> Callable[[], torch.Tensor]:
    """The pass that `generate` would run next, ready to be run: it gives the logits [B, V] after the last id.

    `cache` holds all of the ids [B, n] but the last, and the pass adds that to it; without one, all are read.
    """
    prepared = _prepared(model, ids, use_cache=cache is not None)
    if cache is not None:
        prepared["past_key_values"] = cache
    return lambda: _forward(model, ids, cache is None, prepared).logits[:, -1]


@dataclass(slots=True)
class _Stand:
    """Where a run stands between two passes."""

    model: Any
    ids: torch.Tensor  # prompt and written tokens so far: int64 [1, n]
    kwargs: dict[str, Any]  # what the library hands from pass to pass: the cache, the mask
    processors: Any
    generator: torch.Generator | None
    capacity: int  # positions that it reaches at most
    n_read: int = 0  # tokens that have been read
    captured: CapturedPass | None = None  # the one that it replays, once it does
    why_solo: str = ""

    @property
    def kv_bytes(self) -> int:
        """Size of its KV cache in bytes."""
        return cache_bytes(self.kwargs.get("past_key_values")) if self.captured is None else self.captured.kv_bytes

    @property
    def layer_bytes(self) -> tuple[int, ...]:
        """The bytes of each layer's, where layers differ: those of a captured pass are all alike."""
        return bytes_where_unlike(self.kwargs.get("past_key_values"))

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """Of those, the bytes of states, where some layer keeps one."""
        return state_bytes_by_layer(self.kwargs.get("past_key_values"))

    def follow(self, token: int, ids: torch.Tensor | None = None) -> None:
        """The pass is over, and this token follows it; `ids` [1] is the same where the model is."""
        self.n_read = self.ids.shape[1]
        self.ids = torch.cat([self.ids, self.ids.new_tensor([[token]]) if ids is None else ids[None]], dim=-1)

    def take_up(self, earlier: Earlier) -> None:
        """Come to stand where an earlier run stood, without a pass."""
        for token in earlier.ids:
            self.kwargs = self.model._update_model_kwargs_for_generation(ModelOutput(), self.kwargs)
            self.follow(token)
        cache, like = self.kwargs.get("past_key_values"), torch.empty(0, dtype=self.model.dtype, device=self.ids.device)
        restore(cache, earlier.keys, earlier.values, like=like, homes=layer_homes(self.model))
        if cache_bytes(cache) != earlier.kv_bytes:
            raise NotRestorable(
                phrase(
                    "the cache had {n_bytes:,} bytes, but the keys and values that attention read take "
                    "{expected:,}: the cache stores them in another form",
                    n_bytes=earlier.kv_bytes,
                    expected=cache_bytes(cache),
                )
            )
        if self.generator is not None:
            skip_draws(self.generator, torch.empty(1, earlier.d_vocab, device=self.ids.device), len(earlier.ids))


@dataclass(frozen=True, slots=True)
class _Loop:
    seed: int
    tracer: Tracer | None
    forced: tuple[int, ...] = ()
    earlier: Earlier | None = None
    cache: Any = None
    captured: CapturedPasses | None = None

    def decode(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> Generator[Pass | Resumed]:
        """The library's sampling loop. inference_mode stands around each pass, never around a yield: a generator may
        be resumed by another thread, and would take the mode away with it.
        """
        generator = None
        if generation_config.do_sample:
            generator = torch.Generator(device=input_ids.device).manual_seed(self.seed)
        at = _Stand(model, input_ids, model_kwargs, logits_processor, generator, generation_config.max_length)
        with self._giving_back(at):
            yield from self._passes(at, stopping_criteria)

    @contextmanager
    def _giving_back(self, at: _Stand) -> Iterator[None]:
        """Whenever the run ends, others may use the captured pass that it took."""
        try:
            yield
        finally:
            if self.captured is not None and at.captured is not None:
                self.captured.give_back(at.captured)

    def _passes(self, at: _Stand, stopping_criteria: Any) -> Generator[Pass | Resumed]:
        ending: Ended | None = None
        ends, n_prompt = _Ends(stopping_criteria), at.ids.shape[1]
        if self.earlier is not None:
            ending = yield from self._resume(at, self.earlier, ends)
        while ending is None:
            started = time.perf_counter()
            n_before, stop = at.n_read, at.ids.shape[1]
            with torch.inference_mode():
                first, logits, chosen = self._pass(at)
                written = at.ids.shape[1] - n_prompt
                token = self.forced[written] if self.forced else chosen.choice.id
                at.follow(token, None if self.forced else chosen.ids)
                ending = "length" if written + 1 == len(self.forced) else ends.met(at.ids, token)
            step = Step(
                kind="prefill" if n_before == 0 else "reread" if first < n_before else "decode",
                first=first,
                n_tokens=stop - first,
                kv_bytes=at.kv_bytes,
                seconds=time.perf_counter() - started,
                choices=(chosen.choice,),
                entered_s=self._entered(started, at.ids.device),
                layer_bytes=at.layer_bytes,
                state_bytes=at.state_bytes,
            )
            yield Pass(
                step=step,
                chosen=chosen,
                logits=logits,
                ending=ending,
                path="solo" if at.captured is None else "captured",
                why_solo=at.why_solo,
            )

    def _resume(self, at: _Stand, earlier: Earlier, ends: "_Ends") -> Generator[Resumed, None, Ended | None]:
        """Come to stand where the earlier run stood. Returns why nothing is left to be written, if nothing is."""
        started = time.perf_counter()
        with torch.inference_mode():
            whole = torch.cat([at.ids, at.ids.new_tensor([earlier.ids])], dim=-1)
            ending = ends.met(whole, earlier.ids[-1])
            if restored := ending is None and earlier.keys is not None:
                at.take_up(earlier)
        seconds = time.perf_counter() - started
        if ending or restored:
            yield Resumed(n_reused=whole.shape[1] - 1, n_replayed=0, seconds=seconds, ending=ending)
            return ending
        for token in earlier.ids:
            started = time.perf_counter()
            with torch.inference_mode():
                _, logits, _ = self._pass(at)
                at.follow(token)
            seconds += time.perf_counter() - started
            yield Resumed(n_reused=0, n_replayed=at.n_read, seconds=seconds, logits=logits)
        return None

    def _pass(self, at: _Stand) -> tuple[int, torch.Tensor, Chosen]:
        """One forward pass: where it began to read, its logits, and the choice after it."""
        replayed = self._taken(at)
        first, logits = self._prepared_pass(at) if replayed is None else self._replayed_pass(at, replayed)
        if replayed is None or at.processors or at.generator is not None:
            self._refuse_nan(logits, at.model.dtype)
            return first, logits, choose(logits, at.processors, at.ids, at.generator)
        chosen = choose(logits, at.processors, at.ids, at.generator, replayed.likeliest())
        if math.isnan(chosen.choice.probability):  # as it is of every token where one logit is
            self._refuse_nan(logits, at.model.dtype)
        return first, logits, chosen

    def _taken(self, at: _Stand) -> CapturedPass | None:
        """The captured pass that the next one is to replay: none for a prompt, nor where it cannot be had."""
        if self.captured is None or at.n_read == 0 or at.why_solo:
            return None
        if at.captured is None:
            try:
                at.captured = self.captured.take(at.kwargs, at.capacity, traced=self.tracer is not None)
            except NotCaptured as reason:
                at.why_solo = str(reason)
            else:
                at.kwargs = {}  # the captured pass has a cache of its own
        return at.captured

    def _replayed_pass(self, at: _Stand, captured: CapturedPass) -> tuple[int, torch.Tensor]:
        if self.tracer is not None:
            self.tracer.check()
        captured.run(at.ids[:, -1])
        first = at.ids.shape[1] - 1
        if self.tracer is not None:
            self.tracer.keep(first, captured.rows)
        return first, captured.logits.clone()

    def _prepared_pass(self, at: _Stand) -> tuple[int, torch.Tensor]:
        """A pass as the model prepares it."""
        watching = nullcontext() if self.tracer is None else self.tracer.watching()
        with self._counted(at) as began, watching:
            output = _forward(at.model, at.ids, at.n_read == 0, at.kwargs)
        at.kwargs = at.model._update_model_kwargs_for_generation(output, at.kwargs)
        logits = output.logits[:, -1].to(copy=True, dtype=torch.float32, device=at.ids.device)
        return began[0], logits

    @contextmanager
    def _counted(self, at: _Stand) -> Iterator[list[int]]:
        """Inside the block, a list that comes to hold the position of the first token that the pass reads.

        It is counted at the embedding: the last token that it is asked for is the last of the text.
        """
        began: list[int] = []

        def look_up(_: Any, args: tuple[torch.Tensor, ...]) -> None:
            if not began:
                count = args[0].numel()
                began.append(at.ids.shape[1] - count)
                self._require_read(at, count)
                if self.tracer is not None:
                    self.tracer.begin(began[0], count)

        handle = at.model.get_input_embeddings().register_forward_pre_hook(look_up)
        try:
            yield began
        finally:
            handle.remove()
        if not began:
            self._require_read(at, 0)

    def _require_read(self, at: _Stand, count: int) -> None:
        """A pass reads all that has not been read, nothing that is not there, and the caller's cache."""
        kind, stop = type(at.model).__name__, at.ids.shape[1]
        if not stop - at.n_read <= count <= stop:
            raise NotShown(
                "{kind} reads {n} tokens where its text has {stop}, {n_read} of them read before: what it computes is "
                "not told by the tokens of its text. Pick another model.",
                kind=kind,
                n=count,
                stop=stop,
                n_read=at.n_read,
            )
        if self.cache is not None and count > stop - at.n_read:
            raise NotShown(
                "{kind} drops its cache when its text has {stop} tokens, and reads them all again: no other cache can "
                "be tried beyond that. Shorten the text.",
                kind=kind,
                stop=stop,
            )

    def _entered(self, started: float, device: torch.device) -> tuple[float, ...]:
        """When each layer of the latest pass was entered. An accelerator is told of layers before it comes to them."""
        if self.tracer is None or device.type != "cpu" or not self.tracer.entered_once:
            return ()
        return tuple(at - started for at in self.tracer.entered)

    def _refuse_nan(self, logits: torch.Tensor, dtype: torch.dtype) -> None:
        if bool(torch.isnan(logits).any()):
            place = (self.tracer and self.tracer.first_nan()) or phrase("the output head")
            raise NotANumber(
                "the model computed NaN (not a number), first in {place}. Its weights are damaged, or overflow in "
                "{dtype}. Load other weights, or load these in float32.",
                place=place,
                dtype=str(dtype).removeprefix("torch."),
            )


class _Ends:
    """What ends a run: the criteria that the library has made ready.

    The two that nearly every run has are asked here, as plain numbers: asked as tensors, they make an accelerator wait.
    """

    def __init__(self, criteria: Sequence[Any]) -> None:
        self._longest = [each.max_length for each in criteria if isinstance(each, MaxLengthCriteria)]
        lasts = [each.eos_token_id.flatten().tolist() for each in criteria if isinstance(each, EosTokenCriteria)]
        self._lasts = {token for tokens in lasts for token in tokens}
        self._others = [each for each in criteria if not isinstance(each, MaxLengthCriteria | EosTokenCriteria)]

    def met(self, ids: torch.Tensor, token: int) -> Ended | None:
        """Why nothing follows these ids [1, n], the last of which is this token; None if something does.

        An end of sequence goes before the length, as it may be the last token that was allowed.
        """
        if token in self._lasts:
            return "end of sequence"
        if any(ids.shape[1] >= longest for longest in self._longest):
            return "length"
        return "criterion" if any(bool(each(ids, None).all()) for each in self._others) else None


def _prepared(model: Any, ids: torch.Tensor, *, use_cache: bool) -> dict[str, Any]:
    """What the library makes ready before the first pass: positions, an empty cache, how many logits to keep."""

    def keep(*_: Any, **given: Any) -> dict[str, Any]:
        return {name: value for name, value in given.items() if name not in _OF_THE_LOOP}

    all_text = torch.ones_like(ids)  # said, or the library would look for padding among the ids
    return model.generate(
        ids,
        attention_mask=all_text,
        custom_generate=keep,
        max_new_tokens=1,
        do_sample=False,
        num_beams=1,
        use_cache=use_cache,
        stop_strings=None,
    )


def _forward(model: Any, input_ids: torch.Tensor, prefill: bool, model_kwargs: dict[str, Any]) -> Any:
    if prefill:
        inputs = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **model_kwargs)
        return model(**inputs, return_dict=True)
    n_next = 1 if model_kwargs["use_cache"] else None  # as the library's `_sample`: without a cache, all of the text
    inputs = model.prepare_inputs_for_generation(input_ids, next_sequence_length=n_next, **model_kwargs)
    with model._optimize_model_for_decode():
        return model(**inputs, return_dict=True)
