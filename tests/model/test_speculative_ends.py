"""What a draft leaves behind, however its run ends: models, library and random numbers as they were."""

# pyright: reportPrivateUsage=false

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers.generation import utils as library

from model import HookedModel
from model.arch.hooks import count_hooks
from model.capture.device import own_randomness
from model.errors import NotShown
from model.experiments.speculation import speculative
from model.experiments.speculation.assisted import watched
from model.experiments.speculation.speculative import speculate
from model.limits import Limits
from model.records.settings import Settings
from model.records.speculation import Speculation
from model.requests.speculation import Mode
from tests.model.drafted import NEW, PROMPT, SAMPLED, last, plainly, watched_once, written
from tests.model.jobs import StopsAfter
from tests.tiny import shared


def state(*models: HookedModel) -> list[Any]:
    """All that a run may leave behind."""
    each = [
        (
            one.model.config.to_dict(),
            one.model.config._attn_implementation,
            one.model.generation_config.to_dict(),
            count_hooks(one.model),
            sorted(vars(one.model)),
            plainly(one, new=4),
        )
        for one in models
    ]
    return [*each, library._speculative_sampling, torch.get_rng_state().tolist()]


def runs_to_its_end(pieces: Iterator[Speculation], _hooked: HookedModel) -> None:
    assert last(pieces).attempts[0].plain_s


def fails_in_the_middle(pieces: Iterator[Speculation], hooked: HookedModel) -> None:
    next(pieces)  # plain decoding: what fails is the run that is watched
    hook = hooked.model.model.layers[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(pieces)
    hook.remove()


def is_cancelled(pieces: Iterator[Speculation], _hooked: HookedModel) -> None:
    assert len(list(pieces)) == 2  # plain decoding, and what there was when it ended


@pytest.mark.parametrize("end", [runs_to_its_end, fails_in_the_middle, is_cancelled])
@pytest.mark.parametrize("mode", ["prompt lookup", "early exit", "draft model"])
def test_after_any_end_both_models_and_the_library_are_as_before(mode: Mode, end: Any) -> None:
    hooked, draft = shared(), shared(copy=1)
    before = state(hooked, draft)
    most = NEW + 4 if end is is_cancelled else 10**6  # looks: one a token of plain decoding, and a few of the next run
    pieces = speculate(
        hooked,
        PROMPT,
        Settings(max_new_tokens=NEW),
        Limits.from_environment(),
        modes=[mode],
        exit_layer=1,
        draft=draft,
        repeats=1,
        job=StopsAfter(most),
    )
    end(pieces, hooked)
    assert state(hooked, draft) == before


@pytest.mark.parametrize("end", [pytest.param(fails_in_the_middle, marks=pytest.mark.long), is_cancelled])
def test_after_a_run_of_the_draft_of_our_own_that_did_not_end_the_model_is_as_before(
    default_model: HookedModel, end: Any
) -> None:
    before = state(default_model)
    most = NEW + 4 if end is is_cancelled else 10**6
    pieces = speculate(
        default_model,
        "Once upon a time",
        Settings(max_new_tokens=NEW),
        Limits.from_environment(),
        modes=["own draft"],
        repeats=1,
        job=StopsAfter(most),
    )
    end(pieces, default_model)
    assert state(default_model) == before


def test_who_seeds_numbers_for_another_model_meanwhile_changes_no_text() -> None:
    hooked = shared()

    def drawn() -> list[int]:
        return written(watched_once(hooked, "early exit", exit_layer=1, settings=SAMPLED).attempts[0])

    alone, over = drawn(), threading.Event()

    def seed() -> None:
        while not over.is_set():
            with own_randomness(torch.device("cpu")):
                torch.manual_seed(0)

    other = threading.Thread(target=seed)
    other.start()
    try:
        assert [drawn() for _ in range(3)] == [alone] * 3
    finally:
        over.set()
        other.join()


def test_a_library_that_works_in_another_way_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(library, "_speculative_sampling")
    with pytest.raises(NotShown, match="_speculative_sampling"), watched(shared().model, record=True):
        pass


def test_a_library_that_does_not_call_what_is_watched_is_said_to() -> None:
    hooked, ids = shared(), torch.tensor([PROMPT])
    with pytest.raises(NotShown, match="none of its rounds had been seen"), watched(hooked.model, record=True):
        hooked.model.generate(ids, max_new_tokens=2, do_sample=False)
    assert "_get_candidate_generator" not in vars(hooked.model)


def test_a_library_that_names_its_arguments_is_watched_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    of_library = library._speculative_sampling
    names = ("candidate_input_ids", "candidate_logits", "candidate_length", "new_logits")
    asked: dict[str, Any] = {"exit_layer": 1, "settings": SAMPLED}
    before = watched_once(shared(), "early exit", **asked)

    @contextmanager
    def named(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with watched(*args, **kwargs) as rounds:
            inner = library._speculative_sampling
            library._speculative_sampling = lambda *given, **more: inner(**dict(zip(names, given, strict=True)), **more)
            yield rounds  # and the watch puts the library's own back

    monkeypatch.setattr(speculative, "watched", named)
    after = watched_once(shared(), "early exit", **asked)
    assert [each.random for one in after.attempts[0].rounds for each in one.drafted] == [
        each.random for one in before.attempts[0].rounds for each in one.drafted
    ]
    assert library._speculative_sampling is of_library


def test_the_library_still_calls_what_is_watched() -> None:
    """The contract with the pinned version: rounds are seen, with scores of every drafted token and one more."""
    hooked, ids, read = shared(), torch.tensor([PROMPT]), []
    hook = hooked.model.get_input_embeddings().register_forward_hook(lambda _, args, __: read.append(args[0].shape[1]))
    with watched(hooked.model, record=True) as rounds:
        hooked.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, prompt_lookup_num_tokens=3
        )
    hook.remove()
    assert rounds
    assert [each.n_read for each in rounds] == read
    assert read[1:] == [1 + len(each.drafted) for each in rounds[1:]]
    for each in rounds:
        assert each.p is not None
        assert each.p.shape == (len(each.drafted) + 1, hooked.card.d_vocab)
        assert each.written


def test_two_models_that_draft_for_each_other_do_not_wait_for_ever() -> None:
    one, other = shared(), shared(copy=1)
    done: list[Speculation] = []

    def drafts(hooked: HookedModel, draft: HookedModel) -> None:
        done.extend(watched_once(hooked, "draft model", draft=draft, new=4) for _ in range(4))

    before, pause = library._speculative_sampling, sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        runs = [threading.Thread(target=drafts, args=pair, daemon=True) for pair in ((one, other), (other, one))]
        for each in runs:
            each.start()
        for each in runs:
            each.join(60)
    finally:
        sys.setswitchinterval(pause)
    assert len(done) == 8
    assert library._speculative_sampling is before
