"""Speculative decoding of a prompt: the drafted tokens, their verification, and the speedup.

Every round runs in the library's own assisted generation (`assisted` records it); plain decoding is its own
`generate`. The times that are compared come from separate runs without recording.
"""

import statistics
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import StoppingCriteriaList

from model.api.job import Job, records_of
from model.api.pieces import Contexts, in_pieces
from model.arch.placement import home
from model.arch.rounding import why_texts_differ
from model.capture.cache_layers import takes_cache
from model.capture.decoding import prefilled
from model.capture.device import Randomness, wait_for
from model.capture.generation_config import check_plain, generate_options
from model.capture.hooked import HookedModel
from model.capture.machine import in_words
from model.capture.prompts import check_lengths, read_prompt
from model.errors import Cancelled, NotShown
from model.experiments.speculation.assisted import Make, Verified, drafting, watched
from model.experiments.speculation.draft import Draft, OwnDraft, Thoughts, borrowed_head, thoughts
from model.experiments.speculation.drafters import Drafter, check_device, drafters_of, verdict_on
from model.experiments.speculation.half_weights import HalfLinear, halved, pays
from model.experiments.speculation.verified import ids_of, round_of
from model.limits import Limits
from model.records.products import FewRows
from model.records.speculation import Attempt, Speculation
from model.records.trace import Settings, Token
from model.requests.request import check_repeats
from model.requests.speculation import Mode, Speculate, check_modes
from model.texts import phrase

_TRIES = 9  # of each size of a verification pass: on a busy machine the median of few is far off
_TOKEN_BYTES = 500  # of the Python objects of one token
_DRAFTED_BYTES = 3000  # of those of one drafted token, with the likeliest tokens of both distributions
_ALONE = threading.Lock()  # a run seeds the process's random generators and patches the library: one at a time
_PIECE_S = 0.5  # of a recorded run, after which other jobs may use the model
Pause = Callable[[], None]
_Make = Callable[[], AbstractContextManager[Any]]


def speculate(
    hooked: HookedModel,
    prompt: str | Sequence[int],
    settings: Settings,
    limits: Limits,
    *,
    modes: Sequence[Mode] = Speculate.modes,
    n_draft: int = Speculate.n_draft,
    exit_layer: int | None = None,
    draft: HookedModel | None = None,
    repeats: int = 3,
    job: Job | None = None,
) -> Generator[Speculation]:
    """Continue a prompt by plain decoding, then with each draft; yields the record so far after each piece.

    modes: "prompt lookup" copies what followed an earlier occurrence of the last two tokens, or of the last one; "early
    exit" drafts with the model's first `exit_layer` layers (by default half of them); "own draft" with the small draft
    that the project ships; "draft model" with the model `draft`. A round drafts n_draft tokens. Each mode runs once
    with recording, then `repeats` times without, in turns with plain decoding; the last record has these times. A mode
    that this model does not support becomes a note.
    Stopping `job` ends the iteration between two passes; its progress counts runs.
    At temperature 0 the tokens equal those of plain decoding, but for near-ties in bfloat16 and float16, which a pass
    over several tokens rounds otherwise; above 0 they are sampled from the same distribution.
    Raises: Refusal, at once, for what cannot be run; NotShown, if none of the modes is supported.
    Source: Leviathan, Kalman, Matias 2023, "Fast Inference from Transformers via Speculative Decoding", algorithm 1;
    Saxena 2023, "Prompt Lookup Decoding"; Elhoushi et al. 2024, "LayerSkip" (early exit).
    """
    pieces = speculate_in_runs(
        hooked,
        prompt,
        settings,
        limits,
        modes=modes,
        n_draft=n_draft,
        exit_layer=exit_layer,
        draft=draft,
        repeats=repeats,
        job=job or Job(),
    )
    return records_of(pieces)


def speculate_in_runs(
    hooked: HookedModel,
    prompt: str | Sequence[int],
    settings: Settings,
    limits: Limits,
    *,
    modes: Sequence[Mode],
    n_draft: int,
    exit_layer: int | None,
    draft: HookedModel | None,
    repeats: int = 3,
    job: Job,
) -> Generator[Speculation | None]:
    """As `speculate`, but also yields None where other jobs may use the model.

    That is between pieces of a recorded run, and after a timed one.
    Sets the job's `expected_bytes`.
    """
    read = read_prompt(hooked, prompt, settings)
    ids = read.ids
    check_lengths(hooked, len(ids), settings, limits)
    check_modes(modes)
    Speculate.check_values(
        limits, hooked.card, max_new_tokens=settings.max_new_tokens, n_draft=n_draft, exit_layer=exit_layer
    )
    check_repeats(repeats, limits)
    check_plain(hooked.model, hooked.card.name)
    check_device(hooked)
    if not takes_cache(hooked.model):
        raise NotShown(
            "{model} keeps no KV cache: each pass reads the whole text again, so a draft that is verified in one pass "
            "saves none. Pick a model with a cache, such as the default.",
            model=hooked.card.name,
        )
    drafters, reasons = drafters_of(hooked, ids, modes, exit_layer, draft)
    if not drafters:
        raise NotShown("{reasons}", reasons=" ".join(reasons))
    setup = _Setup(ids=tuple(ids), prompt=read.text, settings=settings, n_draft=n_draft, repeats=repeats)
    of_tokens = (len(ids) + settings.max_new_tokens) * (1 + len(drafters)) * _TOKEN_BYTES
    job.expected_bytes = of_tokens + settings.max_new_tokens * len(drafters) * (n_draft + 1) * _DRAFTED_BYTES
    return _Speculating(hooked, setup, drafters, (*read.notes, *reasons), job).records()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setup:
    ids: tuple[int, ...]
    prompt: str
    settings: Settings
    n_draft: int
    repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    written: list[int]
    rounds: list[Verified]
    seconds: float


class _BetweenPasses:
    """A stopping criterion that never stops: it lets the job cancel a run, and lets other jobs use the model."""

    def __init__(self, job: Job, around: Contexts, pause: Pause | None) -> None:
        self._job, self._around, self._pause, self._since = job, around, pause, time.monotonic()

    def __call__(self, ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        self._job.check()
        if self._pause is not None and time.monotonic() - self._since >= _PIECE_S:
            with self._around.left():
                self._pause()
            self._since = time.monotonic()
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    with lock:
        yield


class _Speculating:
    """The runs of one prompt, one after the other, and their results."""

    def __init__(
        self,
        hooked: HookedModel,
        setup: _Setup,
        drafters: Sequence[Drafter],
        reasons: tuple[str, ...],
        job: Job,
    ) -> None:
        self._hooked, self._setup, self._drafters, self._job = hooked, setup, drafters, job
        self._machine, self._reasons = in_words(hooked), reasons
        self._done = 0
        self._plain: list[int] = []  # the tokens of plain decoding
        self._attempts: list[Attempt] = []
        self._mentioned: set[int] = set()
        self._verify: list[list[float]] = []
        self._products: tuple[FewRows, ...] = ()
        self._head: nn.Module | None = None  # of the draft of our own

    def records(self) -> Generator[Speculation | None]:
        """The record after each recorded run and at the end, None in between where other jobs may use the model."""
        try:
            yield from self._pieces()
        except Cancelled:
            if self._plain:
                yield self._record()

    def _pieces(self) -> Generator[Speculation | None]:
        self._prepare()
        self._plain = (yield from self._run_recorded(phrase("plain decoding"))).written
        yield self._record()
        for drafter in self._drafters:
            self._attempts.append(self._attempt(drafter, (yield from self._run_recorded(drafter.name, drafter))))
            yield self._record()
        for at, drafter in enumerate(self._drafters):
            yield from self._timed(at, drafter)
        yield from self._timed_passes()
        yield self._record()

    def _prepare(self) -> None:
        """Measure how this host multiplies fastest what only drafted runs read: a few rows, and the draft's weights."""
        self._job.check()
        with self._job.clock(), self._hooked.guard:
            self._products = self._hooked.products.measure(range(2, self._setup.n_draft + 2))
            for draft in (drafter.own for drafter in self._drafters if drafter.own is not None):
                head = self._head = borrowed_head(self._hooked, draft)
                if pays(head.weight):
                    self._head = HalfLinear(head.weight)
                    halved(draft)

    def _attempt(self, drafter: Drafter, ran: _Run) -> Attempt:
        """The recorded run of a draft, without times, which come later."""
        written, kept = ran.written, [round_of(each) for each in ran.rounds]
        self._mentioned |= {each for one in kept for each in ids_of(one)}
        greedy = self._setup.settings.greedy
        why = why_texts_differ(self._hooked.model)
        if greedy and written != self._plain and why is not None and why not in self._reasons:
            self._reasons = (*self._reasons, why)
        return Attempt(
            mode=drafter.mode,
            name=drafter.name,
            n_draft=self._setup.n_draft,
            rounds=tuple(kept),
            tokens=self._tokens(written),
            same_tokens=written == self._plain if greedy else None,
            plain_s=(),
            speculated_s=(),
            plain_tokens=len(self._plain),
            speculated_tokens=len(written),
            draft_token_s=None,
        )

    def _timed(self, at: int, drafter: Drafter) -> Generator[None]:
        """Times for one attempt: plain, speculated, plain, speculated, ...

        None after each run and no record: drawing it would disturb the runs after it.
        """
        attempt, drafted = self._attempts[at], list[float]()
        for turn in range(1, self._setup.repeats + 1):
            of = phrase("timed, {turn} of {repeats}", turn=turn, repeats=self._setup.repeats)
            plain = self._run_timed(phrase("plain decoding beside {drafter}, {of}", drafter=drafter.name, of=of))
            yield
            with_draft = self._run_timed(f"{drafter.name}, {of}", drafter)
            wrote = (len(plain.written), len(with_draft.written))
            self._compare(drafter, wrote, (attempt.plain_tokens, attempt.speculated_tokens))
            drafted += [each.draft_s / len(each.drafted) for each in with_draft.rounds if each.drafted]
            attempt = replace(
                attempt,
                plain_s=(*attempt.plain_s, plain.seconds),
                speculated_s=(*attempt.speculated_s, with_draft.seconds),
                draft_token_s=statistics.median(drafted) if drafted else None,
            )
            attempt = replace(attempt, notes=verdict_on(drafter, attempt))
            self._attempts[at] = attempt
            yield

    def _compare(self, drafter: Drafter, timed: tuple[int, int], recorded: tuple[int, int]) -> None:
        """A speed is computed with the token counts of the recorded runs: note a timed run that has another count."""
        note = phrase(
            "a timed run of {drafter} wrote another number of tokens than the recorded one, so its speed is off.",
            drafter=drafter.name,
        )
        if timed != recorded and note not in self._reasons:
            self._reasons = (*self._reasons, note)

    def _run(
        self, what: str, drafter: Drafter | None = None, *, record: bool = False, pause: Pause | None = None
    ) -> _Run:
        """One run. The global random state is restored after it, and while it is paused."""
        self._go_on(what)
        model, setup = self._hooked.model, self._setup
        ids = torch.tensor([list(setup.ids)], device=home(model))
        options = generate_options(setup.settings) | ({} if drafter is None else self._options(drafter))
        rounds: list[Verified] = []
        with Contexts(*self._around(drafter, rounds, record)) as around:
            started = time.perf_counter()
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                stopping_criteria=StoppingCriteriaList([_BetweenPasses(self._job, around, pause)]),
                **options,
            )
            wait_for(home(model))
            seconds = time.perf_counter() - started
        self._done += 1
        return _Run(written=out[0, len(setup.ids) :].tolist(), rounds=rounds, seconds=seconds)

    def _run_timed(self, what: str, drafter: Drafter | None = None) -> _Run:
        with self._job.clock():
            return self._run(what, drafter)

    def _run_recorded(self, what: str, drafter: Drafter | None = None) -> Generator[None, None, _Run]:
        return in_pieces(lambda pause: self._run(what, drafter, record=True, pause=pause))

    def _around(self, drafter: Drafter | None, rounds: list[Verified], record: bool) -> list[_Make]:
        """The contexts of a run: locks, random numbers, and changes to the models and the library."""
        model = self._hooked.model
        locks = [_ALONE, self._hooked.guard]  # this order: two runs that draft for each other would deadlock
        if drafter is not None and drafter.other is not None:
            locks.append(drafter.other.guard)
        around: list[_Make] = [partial(_held, lock) for lock in locks]
        around.append(Randomness(home(model), self._setup.settings.seed).drawn)
        if drafter is None:
            return around
        if drafter.model is not None:
            around.append(partial(drafting, drafter.model, self._setup.n_draft))
        make = None
        if drafter.own is not None:
            kept = Thoughts()
            around.append(partial(thoughts, self._hooked, drafter.own.shape.reads, kept))
            make = self._own_draft(drafter.own, kept)
        around.append(self._hooked.products.taken)
        around.append(partial(watched, model, record=record, job=self._job, make=make, rounds=rounds))
        return around

    def _options(self, drafter: Drafter) -> dict[str, Any]:
        """The options of `generate`. A candidate generator of our own uses those of prompt lookup."""
        if drafter.model is not None:
            return drafter.options
        return {"prompt_lookup_num_tokens": self._setup.n_draft, **drafter.options}

    def _own_draft(self, draft: Draft, kept: Thoughts) -> Make:
        assert self._head is not None
        head = self._head

        def make(*, generation_config: Any, logits_processor: Any, **_: Any) -> OwnDraft:
            return OwnDraft(
                self._hooked,
                draft,
                head,
                kept,
                n_draft=self._setup.n_draft,
                max_length=generation_config.max_length,
                sample=generation_config.do_sample,
                processors=logits_processor,
            )

        return make

    def _timed_passes(self) -> Generator[None]:
        """Time a pass of the target that reads 1, 2, ... n_draft + 1 tokens after the run's context."""
        model, sizes = self._hooked.model, range(1, self._setup.n_draft + 2)
        ids = torch.tensor([[*self._setup.ids, *self._plain]], device=home(model))
        known = max(1, ids.shape[1] - sizes[-1])
        tail = ids[:, known:] if ids.shape[1] > known else ids[:, -1:]
        with self._hooked.guard, torch.inference_mode():
            cache = prefilled(model, ids[:, :known])
        cache.activate_past_recording()
        tries: list[list[float]] = [[] for _ in sizes]
        for _ in range(_TRIES + 1):
            for at, size in enumerate(sizes):
                self._go_on(phrase("verification passes, timed"))
                read = tail[:, :1].expand(1, size) if tail.shape[1] < size else tail[:, :size]
                products = nullcontext() if size == 1 else self._hooked.products.taken()
                with self._job.clock(), self._hooked.guard, products, torch.inference_mode():
                    started = time.perf_counter()
                    model(read, past_key_values=cache, use_cache=True)
                    wait_for(home(model))
                    tries[at].append(time.perf_counter() - started)
                    cache.crop(-size)
            yield
        self._verify = [each[1:] for each in tries]  # the first of each warms up

    def _go_on(self, what: str) -> None:
        self._job.check()
        runs = 1 + len(self._drafters) * (1 + 2 * self._setup.repeats) + 1
        self._job.progress(self._done, runs, what)

    def _tokens(self, written: Sequence[int]) -> tuple[Token, ...]:
        reader = self._hooked.reader
        tokens = list(reader.tokens(self._setup.ids))
        for each in written:
            tokens.append(reader.token(each, tokens[-1].span[1], generated=True))
        return tuple(tokens)

    def _record(self) -> Speculation:
        setup = self._setup
        return Speculation(
            model=self._hooked.card,
            machine=self._machine,
            prompt=setup.prompt,
            settings=setup.settings,
            n_prompt=len(setup.ids),
            tokens=self._tokens(self._plain),
            texts=self._hooked.reader.texts(self._mentioned),
            attempts=tuple(self._attempts),
            notes=self._reasons,
            products=self._products,
            verify_sizes=np.arange(1, len(self._verify) + 1, dtype=np.int32),
            verify_s=np.array(self._verify, np.float64).reshape(len(self._verify), _TRIES),
        )
