"""A run replayed with a compressed KV cache, quantized or with evicted tokens: bytes saved, and damage.

A replay runs the loop of `decoding` on the tokens of the run, whatever the compressed cache would have chosen; only the
cache differs (`cache_layers`). Positions are absolute: a token keeps its position in the text when tokens before it are
evicted. StreamingLLM renumbers the remaining tokens; here the damage of eviction is not mixed with that of moving them.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch

from model.api.job import Job, records_of
from model.capture.cache_layers import compressed_cache, odd_layers
from model.capture.decoding import Pass, passes
from model.capture.hooked import HookedModel
from model.capture.prompts import check_lengths, read_prompt
from model.capture.same_model import check_same_model, check_unedited, logits_may_differ
from model.errors import BadPrompt, BadSetting, BadTrace, Cancelled, NotShown, PromptTooLong
from model.limits import Limits
from model.records.cache import CacheKind, CacheTrial, CacheTrials
from model.records.trace import Settings, Token, Trace
from model.requests.cache import TryCaches
from model.texts import phrase

_NO_LIMITS = Limits()  # a replay's settings have bounds of their own; none is the host's
_TOKEN_BYTES = 500  # of the Python objects of one token
_STEP_BYTES = 500  # of one step of a trial: three numbers, and the text of the chosen token
_EVICTING = ("window", "sink + window", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """One compression to try. `window` and `sink` count the tokens that stay in the cache between two passes."""

    kind: CacheKind
    sink: int = 0
    window: int = 0
    dropped: tuple[int, ...] = ()  # positions of the prompt that are evicted after the prefill

    @property
    def name(self) -> str:
        """Its name, such as "sink 4 + window 16"."""
        if self.kind == "window":
            return phrase("window {window}", window=self.window)
        if self.kind == "sink + window":
            return phrase("sink {sink} + window {window}", sink=self.sink, window=self.window)
        if self.kind == "dropped":
            count = len(self.dropped)
            return (
                phrase("without position {dropped}", dropped=self.dropped[0])
                if count == 1
                else phrase("without {count} positions", count=count)
            )
        return self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The tokens that a replay reads. Without any after the prompt, the exact cache writes them first."""

    prompt: str  # as typed
    ids: tuple[int, ...]  # prompt and written tokens
    n_prompt: int
    settings: Settings

    @classmethod
    def of(cls, trace: Trace) -> "Script":
        """The tokens of a run."""
        return cls(
            prompt=trace.prompt,
            ids=tuple(token.id for token in trace.tokens),
            n_prompt=trace.n_prompt,
            settings=trace.settings,
        )

    @classmethod
    def to_write(cls, hooked: HookedModel, prompt: str | Sequence[int], settings: Settings, limits: Limits) -> "Script":
        """A prompt alone. Raises: Refusal, as a run would, if this model or this host does not take it."""
        read = read_prompt(hooked, prompt, settings)
        check_lengths(hooked, len(read.ids), settings, limits)
        return cls(prompt=read.text, ids=tuple(read.ids), n_prompt=len(read.ids), settings=settings)

    @property
    def written(self) -> tuple[int, ...]:
        """The tokens after the prompt."""
        return self.ids[self.n_prompt :]


def usual(
    hooked: HookedModel, window: int, sink: int = TryCaches.sink, dropped: Sequence[int] = ()
) -> tuple[Compression, ...]:
    """The usual compressions: int8, int4, a window, a sink with a window, and evicted positions, if any are given.

    Only quantization works for a model without positions.
    """
    bits = (Compression(kind="int8"), Compression(kind="int4"))
    if hooked.anatomy.positions is None:
        return bits
    windows = (Compression(kind="window", window=window), Compression(kind="sink + window", sink=sink, window=window))
    return (*bits, *windows, *([Compression(kind="dropped", dropped=tuple(dropped))] if dropped else []))


def trials(
    hooked: HookedModel,
    run: Trace | Script,
    asked: Sequence[Compression] | None = None,
    *,
    job: Job | None = None,
) -> Generator[CacheTrials]:
    """Replay a run with the exact cache, then with each compressed one; yields the record so far after each of them.

    Without `asked`, the `usual` ones are tried. Stopping `job` ends the iteration between two passes, as closing the
    generator does; its progress counts passes. The model's guard is held during a pass only.

    Each distribution is compared by the Kullback-Leibler divergence KL(exact || trial), in nats, over the whole
    vocabulary, in float64. The prefill uses the exact cache, so the first token never changes.
    Source: Kullback and Leibler 1951; windows and sinks: Xiao et al. 2023, StreamingLLM; fewer bits: Liu et al. 2024,
    KIVI.
    Raises: NotShown, if this model's cache cannot be compressed so; BadTrace, if another model made the run;
    BadSetting, for a cache that means nothing; BadPrompt or PromptTooLong, for tokens that this model cannot read.
    """
    return records_of(trials_in_passes(hooked, run, asked, job=job or Job()))


def trials_in_passes(
    hooked: HookedModel, run: Trace | Script, asked: Sequence[Compression] | None = None, *, job: Job
) -> Generator[CacheTrials | None]:
    """As `trials`, but also yields None after every pass: others may use the model there.

    Sets the job's `expected_bytes`.
    """
    script = run if isinstance(run, Script) else Script.of(run)
    _check_script(hooked, script)
    if isinstance(run, Trace):
        check_same_model(hooked, run)
        check_unedited(run)
    if asked is None:
        n_context = len(script.ids) + (0 if script.written else script.settings.max_new_tokens) - 1
        asked = usual(hooked, max(1, n_context // 2))
    wanted = [_in_range(each, script.n_prompt) for each in asked if each.kind != "exact"]
    _check_cache(hooked, wanted)
    count = len(script.written) or script.settings.max_new_tokens
    job.expected_bytes = len(script.ids) * _TOKEN_BYTES + (len(wanted) + 1) * count * _STEP_BYTES
    logits = run.logits if isinstance(run, Trace) else None
    return _Replays(hooked, script, logits, job).all([Compression(kind="exact"), *wanted])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replayed:
    """One replay: of each written token, the KL divergence, the token that is chosen instead, and the cache's bytes."""

    asked: Compression
    kl: list[float]
    chosen: list[int]
    kv_bytes: list[int]


class _Replays:
    """The replays of one run, one after the other, and their results."""

    def __init__(
        self,
        hooked: HookedModel,
        script: Script,
        logits: np.ndarray | None,
        job: Job,
    ) -> None:
        self._hooked, self._script, self._logits, self._job = hooked, script, logits, job
        self._written = script.written
        self._exact: list[torch.Tensor] = []  # log-probabilities, float64 [V], of each written token
        self._done: list[_Replayed] = []

    def all(self, asked: Sequence[Compression]) -> Generator[CacheTrials | None]:
        """The record after each replay, None after each pass."""
        try:
            for each in asked:
                replayed = yield from self._replay(each, len(asked))
                self._written = self._written or tuple(replayed.chosen)
                self._done.append(replayed)
                yield self._record()
        except Cancelled:
            return

    def _replay(self, asked: Compression, n_trials: int) -> Generator[None, None, _Replayed]:
        """One replay. Raises: Cancelled."""
        row = _Replayed(asked=asked, kl=[], chosen=[], kv_bytes=[])
        with closing(self._passes(asked)) as replay:
            while True:
                self._job.check()
                count = len(self._written) or self._script.settings.max_new_tokens
                self._job.progress(len(self._done) * count + len(row.kl), n_trials * count, asked.name)
                with self._hooked.guard:
                    done = next(replay, None)
                if done is None:
                    return row
                row.kl.append(self._divergence(done, len(row.kl), asked.kind == "exact"))
                row.chosen.append(done.chosen.choice.id)
                row.kv_bytes.append(done.step.kv_bytes)
                yield

    def _passes(self, asked: Compression) -> Any:
        cache = None
        if asked.kind != "exact":  # which runs on the library's own
            cache = compressed_cache(self._hooked.card.n_layers, asked.kind, asked.sink, asked.window, asked.dropped)
        prompt = self._script.ids[: self._script.n_prompt]
        return passes(self._hooked.model, prompt, self._script.settings, None, forced=self._written, cache=cache)

    def _divergence(self, done: Pass, at: int, exact: bool) -> float:
        """KL(exact || trial) of one written token, in nats; the exact replay is kept for the comparison."""
        here = torch.log_softmax(done.logits[0].cpu().double(), dim=-1)
        if exact:
            self._check_logits(done.logits[0], at)
            self._exact.append(here)
            return 0.0
        there = self._exact[at]
        return max(0.0, float((there.exp() * (there - here)).sum()))  # rounding alone makes it negative

    def _check_logits(self, logits: torch.Tensor, at: int) -> None:
        if self._logits is None:
            return
        kept = torch.tensor(self._logits[at])
        gap = float((logits.cpu() - kept).abs().max() / kept.abs().max())
        if not gap <= logits_may_differ(self._hooked):
            raise BadTrace(
                "replayed with the full cache, the logits differ from those of the run by {gap:.2g} of the "
                "largest: other weights made the run. Load the model that made it, or run the prompt again.",
                gap=gap,
            )

    def _record(self) -> CacheTrials:
        script, done = self._script, self._done
        return CacheTrials(
            model=self._hooked.card,
            prompt=script.prompt,
            settings=script.settings,
            n_prompt=script.n_prompt,
            tokens=self._tokens(),
            texts=self._hooked.reader.texts(token for each in done for token in each.chosen),
            trials=tuple(_trial(each, done[0].chosen) for each in done),
            kl=np.array([each.kl for each in done], np.float64),
            chosen=np.array([each.chosen for each in done], np.int32),
            kv_bytes=np.array([each.kv_bytes for each in done], np.int64),
        )

    def _tokens(self) -> tuple[Token, ...]:
        reader = self._hooked.reader
        tokens = list(reader.tokens(self._script.ids[: self._script.n_prompt]))
        for each in self._written:
            tokens.append(reader.token(each, tokens[-1].span[1], generated=True))
        return tuple(tokens)


def _trial(replayed: _Replayed, exact: Sequence[int]) -> CacheTrial:
    """The result beside what the exact cache chooses: a token of the run that a person chose is nobody's change."""
    asked, pairs = replayed.asked, zip(replayed.chosen, exact, strict=True)
    return CacheTrial(
        kind=asked.kind,
        name=asked.name,
        sink=asked.sink,
        window=asked.window,
        dropped=asked.dropped,
        n_bytes=replayed.kv_bytes[-1],
        first_changed=next((at for at, (chosen, own) in enumerate(pairs) if chosen != own), None),
    )


def _check_script(hooked: HookedModel, script: Script) -> None:
    d_vocab, n_ctx, most = hooked.card.d_vocab, hooked.card.n_ctx, script.settings.max_new_tokens
    bad = [each for each in script.ids if not 0 <= each < d_vocab]
    if bad:
        raise BadPrompt(
            "the run has the token id {bad}; this model has token ids 0 to {last}.", bad=bad[0], last=d_vocab - 1
        )
    if not 1 <= script.n_prompt <= len(script.ids):
        raise BadPrompt(
            "{n_prompt} of {n} tokens were given as the prompt; a replay needs at least one, and no more than there "
            "are.",
            n_prompt=script.n_prompt,
            n=len(script.ids),
        )
    if len(script.written) > most:
        raise BadPrompt(
            "the run has {n_written} generated tokens to replay, but the settings allow {most}. "
            "Replay them with the settings of their run.",
            n_written=len(script.written),
            most=most,
        )
    longest = script.n_prompt + (len(script.written) or most)
    if longest > n_ctx:
        raise PromptTooLong(
            "the run has {longest:,} tokens; {model} reads at most {n_ctx:,} at once. Replay a shorter one.",
            longest=longest,
            model=hooked.card.name,
            n_ctx=n_ctx,
        )


def _in_range(asked: Compression, n_prompt: int) -> Compression:
    """The compression with its positions in order. Raises: BadSetting, if its values make no sense."""
    if asked.kind not in get_args(CacheKind):
        raise BadSetting(
            "there is no cache compression {kind!r}; there are {choices}.",
            kind=asked.kind,
            choices=", ".join(get_args(CacheKind)[1:]),
        )
    if asked.kind in ("window", "sink + window"):
        TryCaches.check_values(_NO_LIMITS, window=asked.window)
    if asked.kind == "sink + window":
        TryCaches.check_values(_NO_LIMITS, sink=asked.sink)
    if bad := [each for each in asked.dropped if not 0 <= each < n_prompt]:
        raise BadSetting(
            "position {bad} cannot be evicted after the prefill: the prompt has positions 0 to {last}. "
            "Choose among them.",
            bad=bad[0],
            last=n_prompt - 1,
        )
    return Compression(
        kind=asked.kind,
        sink=asked.sink if asked.kind == "sink + window" else 0,
        window=asked.window if asked.kind in ("window", "sink + window") else 0,
        dropped=tuple(sorted(set(asked.dropped))) if asked.kind == "dropped" else (),
    )


def _check_cache(hooked: HookedModel, asked: Sequence[Compression]) -> None:
    card = hooked.card
    if odd := odd_layers(hooked.model):
        raise NotShown(
            "{model} keeps {odd}, not the keys and values of all tokens: compressing such a cache is not supported. "
            "Pick a model whose layers all attend to the whole text, such as the default.",
            model=card.name,
            odd=odd,
        )
    evicting = next((each for each in asked if each.kind in _EVICTING), None)
    if evicting is not None and hooked.anatomy.positions is None:
        raise NotShown(
            "{evicting} cannot be tried on {model}: tokens can be evicted from a cache only where each key carries its "
            "own position, and here it does not ({reason}). Try int8 or int4.",
            evicting=evicting.name,
            model=card.name,
            reason=card.reason_against("positions"),
        )
