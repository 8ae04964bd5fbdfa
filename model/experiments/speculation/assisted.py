"""The library's own assisted generation, recorded: the only file that uses its private methods.

`generate` drafts a few tokens with a candidate generator and verifies them in one pass. It returns neither drafts nor
verdicts, so two methods of the generator are wrapped for one run, and so is the function that draws the random numbers
of the verification. A contract test checks this against the library.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import LongTensor, Tensor
from transformers.generation import utils
from transformers.generation.candidate_generator import CandidateGenerator

from model.api.job import Job
from model.arch.transformers_version import versions
from model.capture.device import own_randomness, wait_for
from model.errors import NotShown
from model.texts import phrase

library: Any = utils  # whose private parts are patched

Make = Callable[..., CandidateGenerator]
"""Makes a draft's candidate generator from what `generate` knows: generation_config, logits_processor, ..."""


@dataclass(slots=True, kw_only=True)
class Verified:
    """One round: the drafted tokens, their verification and the written tokens."""

    first: int  # position of the first drafted token
    drafted: list[int]
    q: Tensor | None  # the draft's scores, processed, float32 [k, V]; None if it has none
    draft_s: float
    n_read: int  # tokens that the verification pass reads
    p: Tensor | None = None  # the target's scores, processed, float32 [k + 1, V]; kept only in a recorded run
    randoms: list[float] = field(default_factory=list)  # one per drafted token, if the verification samples
    n_accepted: int = 0  # accepted tokens; the text may end before the last of them
    written: list[int] = field(default_factory=list)
    verify_s: float = 0.0


@contextmanager
def watched(
    model: Any,
    *,
    record: bool,
    job: Job | None = None,
    make: Make | None = None,
    rounds: list[Verified] | None = None,
) -> Iterator[list[Verified]]:
    """Record a model's assisted generation inside this context; yields the list to which the rounds are added.

    `make` replaces the candidate generator that the library would make. Without `record` only times and token ids are
    kept. If `job` was stopped, the run ends with `Cancelled` before the next round. The model and the library are
    restored when the context ends, also after an error.
    Raises: NotShown, if this version of the library works differently, which may be known only after the run.
    """
    _check_library(model)
    rounds = [] if rounds is None else rounds
    theirs = model._get_candidate_generator
    sampling = library._speculative_sampling

    def candidate_generator(**given: Any) -> CandidateGenerator:
        generator = theirs(**given) if make is None else make(**given)
        return _Watch(generator, rounds, record, job or Job()).installed()

    def speculative_sampling(*given: Any, **named: Any) -> Any:
        if record and rounds:
            told = inspect.signature(sampling).bind(*given, **named).arguments
            rounds[-1].randoms = _peeked(told["candidate_logits"], told["candidate_length"])
        return sampling(*given, **named)

    model._get_candidate_generator = candidate_generator
    library._speculative_sampling = speculative_sampling
    try:
        yield rounds
    finally:
        library._speculative_sampling = sampling
        del model._get_candidate_generator
    if not rounds:
        raise _other_version(phrase("a run was over, and none of its rounds had been seen"))


@contextmanager
def drafting(model: Any, n_draft: int) -> Iterator[None]:
    """Inside this context a model drafts n_draft tokens a round, whatever its generation config says."""
    config, sizes = model.generation_config, _sizes(model)
    names = ("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold")
    before, n_layers = {name: getattr(config, name, None) for name in names}, sizes.num_hidden_layers
    config.num_assistant_tokens, config.num_assistant_tokens_schedule = n_draft, "constant"
    config.assistant_confidence_threshold = 0.0  # otherwise it stops at a low confidence
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
        sizes.num_hidden_layers = (
            n_layers  # early exit lowers it while it drafts, and does not restore it after an error
        )


def leaves_early(model: Any, ids: Tensor, layers: Any, exit_layer: int) -> bool:
    """Test by running the model on one token [1, 1] whether early exit skips layers.

    Many families loop over all their layers whatever the config says, and for some the library does not find it.
    """
    if not hasattr(model, model.base_model_prefix):
        return False
    ran: list[bool] = []
    sizes = _sizes(model)
    hook, n_layers = layers[exit_layer].register_forward_hook(lambda *_: ran.append(True)), sizes.num_hidden_layers
    try:
        sizes.num_hidden_layers = exit_layer
        with torch.inference_mode():
            model(ids[:, :1], use_cache=False)
    finally:
        sizes.num_hidden_layers = n_layers
        hook.remove()
    return not ran


def _sizes(model: Any) -> Any:
    """The config whose number of layers early exit lowers: that of the model within, where there is one."""
    return getattr(model, model.base_model_prefix, model).config


class _Watch:
    """Wraps the two methods of one candidate generator."""

    def __init__(self, generator: CandidateGenerator, rounds: list[Verified], record: bool, job: Job) -> None:
        self._generator, self._rounds, self._record, self._job = generator, rounds, record, job
        self._propose, self._update = generator.get_candidates, generator.update_candidate_strategy
        self._drafted_at = 0.0

    def installed(self) -> CandidateGenerator:
        """The generator, watched."""
        setattr(self._generator, "get_candidates", self._get)  # noqa: B010  (a method, replaced on this one object)
        setattr(self._generator, "update_candidate_strategy", self._verify)  # noqa: B010
        return self._generator

    def _get(self, input_ids: Tensor, **given: Any) -> tuple[Tensor, Tensor | None]:
        self._job.check()
        started = time.perf_counter()
        ids, scores = self._propose(cast("LongTensor", input_ids), **given)
        wait_for(ids.device)
        self._drafted_at = time.perf_counter()
        first = input_ids.shape[1]
        drafted = ids[0, first:].tolist()
        n_before = first - 1 if self._rounds else 0
        self._rounds.append(
            Verified(
                first=first,
                drafted=drafted,
                draft_s=self._drafted_at - started,
                n_read=first + len(drafted) - n_before,
                q=scores[0].float().clone() if self._record and scores is not None and drafted else None,
            )
        )
        return ids, scores

    def _verify(self, input_ids: Tensor, scores: Tensor, num_matches: int) -> None:
        done = self._rounds[-1]
        done.verify_s = time.perf_counter() - self._drafted_at
        done.written = input_ids[0, done.first :].tolist()
        pairs = zip(done.drafted, done.written, strict=False)
        shorter = min(len(done.drafted), len(done.written))
        done.n_accepted = next((at for at, (said, wrote) in enumerate(pairs) if said != wrote), shorter)
        if self._record:
            done.p = scores[0].clone()
        self._update(cast("LongTensor", input_ids), scores, num_matches)


def _peeked(scores: Tensor, length: int) -> list[float]:
    """The random numbers that the library draws next, one per drafted token; its generator's state is restored."""
    with own_randomness(scores.device):
        return torch.rand_like(scores.new_empty(length, dtype=torch.float32)).tolist()


def _check_library(model: Any) -> None:
    needed = [(model, "_get_candidate_generator"), (model, "_assisted_decoding"), (library, "_speculative_sampling")]
    if missing := [name for home, name in needed if not hasattr(home, name)]:
        raise _other_version(phrase("it has no {missing}", missing=missing[0]))
    takes = inspect.signature(library._speculative_sampling).parameters
    if missing := [name for name in ("candidate_logits", "candidate_length") if name not in takes]:
        raise _other_version(phrase("_speculative_sampling takes no {missing}", missing=missing[0]))


def _other_version(why: str) -> NotShown:
    return NotShown(
        "the assisted generation of transformers {version} differs from that of {known}, the version whose assisted "
        'generation can be recorded here ({why}). Install the known one: pip install "transformers~={known}.0".',
        why=why,
        **versions(),
    )
