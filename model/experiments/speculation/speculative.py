"""A prompt continued with a draft before the model: what was drafted, how it was judged, and whether it paid.

Every round runs in the library's own assisted generation (`assisted` watches it); plain decoding is its own
`generate`. The times that are compared come from runs of their own that record nothing.
"""

import statistics
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from transformers import StoppingCriteriaList

from model.capture.decoding import check_plain, generate_options, prefilled
from model.capture.device import own_randomness, wait_for
from model.capture.hooked import HookedModel
from model.capture.machine import in_words
from model.capture.prompts import check_lengths, read_prompt
from model.capture.tracer import Cancelled
from model.errors import BadSetting, NotShown
from model.experiments.speculation.assisted import Judged, Make, drafting, leaves_early, watched
from model.experiments.speculation.draft import Draft, OwnDraft, borrowed_head, own_draft, thoughts
from model.experiments.speculation.verified import ids_of, round_of
from model.limits import Limits
from model.records.speculation import Attempt, Speculation
from model.records.trace import Settings, Token

Mode = Literal["prompt lookup", "early exit", "own draft", "draft model"]
MODES: tuple[Mode, ...] = get_args(Mode)

_TRIES = 9  # of each size of a verify pass: on a busy machine the median of few is far off
_MOST_DRAFTED = 16
_ALONE = threading.Lock()  # a run seeds the process's random generators and watches the library: one at a time
_EVEN = 0.02  # of the speed: less than that is the noise of a quiet machine
_LEAVES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # of each model, whether it can stop after fewer layers


def speculate(
    hooked: HookedModel,
    prompt: str | Sequence[int],
    settings: Settings,
    limits: Limits,
    *,
    modes: Sequence[Mode] = ("prompt lookup", "early exit", "own draft"),
    n_draft: int = 2,
    exit_layer: int | None = None,
    draft: HookedModel | None = None,
    repeats: int = 3,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
) -> Generator[Speculation]:
    """Continue a prompt plainly and then with a draft before the model; yields the record so far after each piece.

    modes: "prompt lookup" drafts what followed the same two tokens, or the same one, before; "early exit" the model's
    own first `exit_layer` layers (half of them, unless it is said); "own draft" the small draft that the project
    ships; "draft model" the model `draft`. n_draft tokens are drafted in a round. Each mode is run once to be
    recorded, and then `repeats` times in turns with plain decoding, unrecorded; of those the last record tells. A mode
    that this model cannot do becomes a note.
    `cancelled` is asked between passes, and ends the iteration; `progress(done, total, what)` counts runs.
    With temperature 0 every token is plain decoding's own; else tokens are drawn, and follow the same distribution.
    Raises: Refusal, at once, for what cannot be run; NotShown, if no mode of those can be done.
    Source: Leviathan, Kalman, Matias 2023, "Fast Inference from Transformers via Speculative Decoding", algorithm 1;
    Saxena 2023, "Prompt Lookup Decoding"; Elhoushi et al. 2024, "LayerSkip" (early exit).
    """
    read = read_prompt(hooked, prompt, settings)
    ids = read.ids
    check_lengths(hooked, len(ids), settings, limits)
    if settings.max_new_tokens < 2:
        raise BadSetting(f"max_new_tokens is {settings.max_new_tokens}; with fewer than 2 there is nothing to draft.")
    if not 1 <= n_draft <= _MOST_DRAFTED:
        raise BadSetting(f"n_draft is {n_draft}; a round drafts 1 to {_MOST_DRAFTED} tokens.")
    check_plain(hooked.model, hooked.card.name)
    drafts, reasons = _drafts(hooked, ids, modes, exit_layer, draft)
    if not drafts:
        raise NotShown(" ".join(reasons) or f"no way to draft was asked for; there are {', '.join(MODES)}.")
    asked = _Asked(ids=tuple(ids), prompt=read.text, settings=settings, n_draft=n_draft, repeats=max(repeats, 1))
    return _Speculating(hooked, asked, drafts, (*read.notes, *reasons), cancelled, progress).records()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    ids: tuple[int, ...]
    prompt: str
    settings: Settings
    n_draft: int
    repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One way to draft: what `generate` is told, and what takes the place of its candidate generator."""

    mode: Mode
    name: str
    options: dict[str, Any]
    drafter: Any = None  # the library's model that drafts, whose generation config is set for the run
    own: Draft | None = None
    other: HookedModel | None = None  # whose model drafts, when it is not the target itself


def _drafts(
    hooked: HookedModel, ids: Sequence[int], modes: Sequence[Mode], exit_layer: int | None, draft: HookedModel | None
) -> tuple[list[_Way], tuple[str, ...]]:
    """The ways that this model can go, and of the others why not. Raises: BadSetting, for a mode that there is not."""
    ways, reasons = [], []
    for mode in dict.fromkeys(modes):
        if mode not in MODES:
            raise BadSetting(f"there is no draft {mode!r}; there are {', '.join(MODES)}.")
        try:
            ways.append(_way(hooked, ids, mode, exit_layer, draft))
        except NotShown as reason:
            reasons.append(f"{mode} was left out: {reason}")
    return ways, tuple(reasons)


def _way(
    hooked: HookedModel, ids: Sequence[int], mode: Mode, exit_layer: int | None, draft: HookedModel | None
) -> _Way:
    if mode == "prompt lookup":
        return _Way(mode=mode, name="prompt lookup", options={"max_matching_ngram_size": 2})
    if mode == "own draft":
        return _Way(mode=mode, name="own draft", options={}, own=own_draft(hooked))
    if mode == "draft model":
        other = _fitting(hooked, draft)
        return _Way(
            mode=mode,
            name=f"{other.card.name} drafts",
            options={"assistant_model": other.model},
            drafter=other.model,
            other=other,
        )
    layers = hooked.card.n_layers
    if layers < 2 and exit_layer is None:
        raise NotShown(f"{hooked.card.name} has one layer, so that none can be left out. Choose another draft.")
    at = layers // 2 if exit_layer is None else exit_layer
    if not 1 <= at < layers:
        raise BadSetting(
            f"an early exit after layer {at} is asked for (exit_layer); {hooked.card.name} has {layers} layers, so "
            f"1 to {layers - 1} would do."
        )
    if hooked.model not in _LEAVES:  # one pass, which would disturb the clock of whoever has the model now: once
        with hooked.guard:
            _LEAVES[hooked.model] = leaves_early(
                hooked.model, torch.tensor([list(ids)], device=hooked.model.device), hooked.anatomy.layers, at
            )
    if not _LEAVES[hooked.model]:
        raise NotShown(
            f"{hooked.card.name} runs all its layers whatever it is told ({hooked.card.family}), so that it would "
            "draft with itself. Choose another draft."
        )
    return _Way(
        mode=mode,
        name=f"early exit after {at} of {layers} layers",
        options={"assistant_early_exit": at},
        drafter=hooked.model,
    )


def _fitting(hooked: HookedModel, draft: HookedModel | None) -> HookedModel:
    if draft is None:
        raise NotShown("no draft model was named. Name a smaller model with the same tokenizer.")
    if draft is hooked:
        raise NotShown(f"{hooked.card.name} cannot draft for itself. Name a smaller model with the same tokenizer.")
    if draft.tokenizer.get_vocab() != hooked.tokenizer.get_vocab() or draft.card.d_vocab != hooked.card.d_vocab:
        raise NotShown(
            f"{draft.card.name} has other tokens than {hooked.card.name}: what one drafts the other cannot judge. "
            "Name a draft with the same tokenizer."
        )
    check_plain(draft.model, draft.card.name)
    return draft


class _Speculating:
    """The runs of one prompt, one after the other, and what has come of them."""

    def __init__(
        self,
        hooked: HookedModel,
        asked: _Asked,
        ways: Sequence[_Way],
        reasons: tuple[str, ...],
        cancelled: Callable[[], bool],
        progress: Callable[[int, int, str], None],
    ) -> None:
        self._hooked, self._asked, self._ways = hooked, asked, ways
        self._cancelled, self._progress = cancelled, progress
        self._machine, self._reasons = in_words(hooked), reasons
        self._done = 0
        self._plain: list[int] = []  # what plain decoding writes
        self._attempts: list[Attempt] = []
        self._mentioned: set[int] = set()
        self._verify: list[list[float]] = []

    def records(self) -> Generator[Speculation]:
        try:
            yield from self._pieces()
        except Cancelled:
            if self._plain:
                yield self._record()

    def _pieces(self) -> Generator[Speculation]:
        self._plain, _ = self._run("plain decoding")
        yield self._record()
        for way in self._ways:
            self._attempts.append(self._recorded(way))
            yield self._record()
        for at, way in enumerate(self._ways):
            for timed in self._timed(way, self._attempts[at]):  # nothing is yielded: to draw it would disturb the clock
                self._attempts[at] = timed
        self._verify = self._verified()
        yield self._record()

    def _recorded(self, way: _Way) -> Attempt:
        rounds: list[Judged] = []
        written, _ = self._run(way.name, way, rounds, record=True)
        kept = [round_of(each) for each in rounds]
        self._mentioned |= {each for one in kept for each in ids_of(one)}
        greedy = self._asked.settings.greedy
        return Attempt(
            mode=way.mode,
            name=way.name,
            n_draft=self._asked.n_draft,
            rounds=tuple(kept),
            tokens=self._tokens(written),
            same_tokens=written == self._plain if greedy else None,
            plain_s=(),
            speculated_s=(),
            plain_tokens=len(self._plain),
            speculated_tokens=len(written),
            draft_token_s=None,
        )

    def _timed(self, way: _Way, attempt: Attempt) -> Generator[Attempt]:
        """The attempt with its times so far: plain, speculated, plain, speculated, ..."""
        drafted: list[float] = []
        for turn in range(1, self._asked.repeats + 1):
            of = f"timed, {turn} of {self._asked.repeats}"
            plain, plain_s = self._run(f"plain decoding beside {way.name}, {of}")
            rounds: list[Judged] = []
            written, speculated_s = self._run(f"{way.name}, {of}", way, rounds)
            self._compare(way, (len(plain), len(written)), (attempt.plain_tokens, attempt.speculated_tokens))
            drafted += [each.draft_s / len(each.drafted) for each in rounds if each.drafted]
            attempt = replace(
                attempt,
                plain_s=(*attempt.plain_s, plain_s),
                speculated_s=(*attempt.speculated_s, speculated_s),
                draft_token_s=statistics.median(drafted) if drafted else None,
            )
            attempt = replace(attempt, notes=_why(way, attempt))
            yield attempt

    def _compare(self, way: _Way, timed: tuple[int, int], recorded: tuple[int, int]) -> None:
        """A speed is reckoned with the tokens of the recorded runs: a timed one that wrote others is told of."""
        note = f"a timed run of {way.name} wrote another number of tokens than the recorded one, so its speed is off."
        if timed != recorded and note not in self._reasons:
            self._reasons = (*self._reasons, note)

    def _run(
        self, what: str, way: _Way | None = None, rounds: list[Judged] | None = None, *, record: bool = False
    ) -> tuple[list[int], float]:
        """The token ids that one run writes, and its seconds. Global random state is as before afterwards."""
        self._go_on(what)
        model, asked = self._hooked.model, self._asked
        ids = torch.tensor([list(asked.ids)], device=model.device)
        options = generate_options(asked.settings) | ({} if way is None else self._options(way))
        with ExitStack() as stack:
            stack.enter_context(_ALONE)  # before any model: two runs that draft for each other would wait for ever
            stack.enter_context(self._hooked.guard)
            if way is not None and way.other is not None:
                stack.enter_context(way.other.guard)
            stack.enter_context(own_randomness(model.device))
            torch.manual_seed(asked.settings.seed)
            seen: list[Judged] = []
            if way is not None:
                if way.drafter is not None:
                    stack.enter_context(drafting(way.drafter, asked.n_draft))
                seen = stack.enter_context(
                    watched(model, record=record, make=self._make(way, stack), cancelled=self._cancelled)
                )
            started = time.perf_counter()
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                stopping_criteria=StoppingCriteriaList([self._asks]),
                **options,
            )
            wait_for(model.device)
            seconds = time.perf_counter() - started
        if rounds is not None:
            rounds += seen
        self._done += 1
        return out[0, len(asked.ids) :].tolist(), seconds

    def _options(self, way: _Way) -> dict[str, Any]:
        """What `generate` is told. A generator of our own comes in by the door of prompt lookup."""
        if way.drafter is not None:
            return way.options
        return {"prompt_lookup_num_tokens": self._asked.n_draft, **way.options}

    def _make(self, way: _Way, stack: ExitStack) -> Make | None:
        if way.own is None:
            return None
        draft, head = way.own, borrowed_head(self._hooked, way.own)  # copied here, before the clock runs
        thought = stack.enter_context(thoughts(self._hooked, draft.shape.reads))

        def make(*, generation_config: Any, logits_processor: Any, **_: Any) -> OwnDraft:
            return OwnDraft(
                self._hooked,
                draft,
                head,
                thought,
                n_draft=self._asked.n_draft,
                max_length=generation_config.max_length,
                sample=generation_config.do_sample,
                processors=logits_processor,
            )

        return make

    def _asks(self, ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        """A stopping criterion that never stops, and is where a run can be cancelled."""
        if self._cancelled():
            raise Cancelled
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    def _verified(self) -> list[list[float]]:
        """Seconds of a pass of the target that reads 1, 2, ... n_draft + 1 tokens after the run's context."""
        model, sizes = self._hooked.model, range(1, self._asked.n_draft + 2)
        ids = torch.tensor([[*self._asked.ids, *self._plain]], device=model.device)
        known = max(1, ids.shape[1] - sizes[-1])
        tail = ids[:, known:] if ids.shape[1] > known else ids[:, -1:]
        with self._hooked.guard, torch.inference_mode():
            cache = prefilled(model, ids[:, :known])
        cache.activate_past_recording()
        tries: list[list[float]] = [[] for _ in sizes]
        for _ in range(_TRIES + 1):
            for at, size in enumerate(sizes):
                self._go_on("passes that judge, timed")
                read = tail[:, :1].expand(1, size) if tail.shape[1] < size else tail[:, :size]
                with self._hooked.guard, torch.inference_mode():
                    started = time.perf_counter()
                    model(read, past_key_values=cache, use_cache=True)
                    wait_for(model.device)
                    tries[at].append(time.perf_counter() - started)
                    cache.crop(-size)
        return [each[1:] for each in tries]  # the first of each warms up

    def _go_on(self, what: str) -> None:
        if self._cancelled():
            raise Cancelled
        runs = 1 + len(self._ways) * (1 + 2 * self._asked.repeats) + 1
        self._progress(self._done, runs, what)

    def _tokens(self, written: Sequence[int]) -> tuple[Token, ...]:
        reader = self._hooked.reader
        tokens = list(reader.tokens(self._asked.ids))
        for each in written:
            tokens.append(reader.token(each, tokens[-1].span[1], generated=True))
        return tuple(tokens)

    def _record(self) -> Speculation:
        asked = self._asked
        return Speculation(
            model=self._hooked.card,
            machine=self._machine,
            prompt=asked.prompt,
            settings=asked.settings,
            n_prompt=len(asked.ids),
            tokens=self._tokens(self._plain),
            texts=self._hooked.reader.texts(self._mentioned),
            attempts=tuple(self._attempts),
            notes=self._reasons,
            verify_sizes=np.arange(1, len(self._verify) + 1, dtype=np.int32),
            verify_s=np.array(self._verify, np.float64).reshape(len(self._verify), _TRIES),
        )


def _why(way: _Way, attempt: Attempt) -> tuple[str, ...]:
    """What a person should know of how it went: whether it pays here, and if not, what stands in its way."""
    speedup, turns = attempt.speedup, attempt.turns
    if speedup is None:
        return ()
    by = f"{speedup:.2f} times the speed of plain decoding"
    if speedup > 1 + _EVEN and min(turns) > 1:
        return (f"It pays on this text: {by}, and faster in every turn.",)
    if speedup < 1 - _EVEN and max(turns) < 1:
        pays = f"It loses on this text: {by}, and slower in every turn."
    elif all(abs(each - 1) <= _EVEN for each in turns):
        pays = f"It breaks even on this text: {by}."
    else:
        pays = (
            f"It is not clear whether it pays on this text: {by}, in turns from {min(turns):.2f} to {max(turns):.2f}."
        )
    silent = sum(not each.drafted for each in attempt.rounds)
    why = {
        "prompt lookup": f"It had nothing to copy in {silent} of {len(attempt.rounds)} rounds: it lives on text that "
        "repeats itself.",
        "early exit": "Few models are trained to speak after so few layers, and each guess costs as much of a pass as "
        "the layers that it runs through.",
        "own draft": ""
        if way.own is None
        else f"The draft reads what the model last thought, can say its "
        f"{way.own.shape.n_tokens:,} commonest tokens, and was trained on text of {way.own.made_for}.",
        "draft model": "A draft pays if it is much smaller and says mostly what the model would say.",
    }[attempt.mode]
    return (pays, why)
