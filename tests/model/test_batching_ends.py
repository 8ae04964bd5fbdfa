"""How a serving ends: done, failed, closed, cancelled or refused at the door, and the model as it was after each."""

import math
import re
from typing import Any

import pytest
import torch

from model import Batching, HookedModel, Settings, serve
from model.arch.hooks import count_hooks
from model.engine.engine import Engine
from model.errors import BadPrompt, BadSetting, NotShown, PromptTooLong, Refusal
from model.experiments.batching.batching import Ask
from model.experiments.speculation.speculative import speculate
from model.limits import Limits
from model.requests.batching import Serve
from tests.model.jobs import StopsAfter, Told
from tests.model.served_texts import ASKED, BOUNDS, PROMPTS, check_conserved, last, tokens
from tests.model.waiting import ended
from tests.tiny import shared


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return shared()


@pytest.fixture(scope="module")
def record(hooked: HookedModel) -> Batching:
    return last(serve(hooked, ASKED, Settings(), Limits(), **BOUNDS))


class Broken(Exception):
    """Raised in the middle of a pass."""


def fails_in_the_middle(hooked: HookedModel) -> None:
    def fail(*_: Any) -> None:
        raise Broken

    records = serve(hooked, ASKED, Settings(), Limits(), **BOUNDS)
    next(records)
    handle = hooked.anatomy.layers[1].register_forward_hook(fail)
    try:
        with pytest.raises(Broken):
            last(records)
    finally:
        handle.remove()


def is_closed(hooked: HookedModel) -> None:
    records = serve(hooked, ASKED, Settings(), Limits(), **BOUNDS)
    next(records)
    records.close()


def is_cancelled(hooked: HookedModel) -> None:
    for most in (0, 1, 4, 40, 60, 90):  # before the first tick, between ticks, and in the timed runs
        record = last(serve(hooked, ASKED, Settings(), Limits(), job=StopsAfter(most), **BOUNDS))
        stopped = [each.ended == "stopped" for each in record.requests]
        assert all(stopped) if most < 2 else len(record.schedulers) < 3


def is_done(hooked: HookedModel) -> None:
    last(serve(hooked, ASKED, Settings(), Limits(), **BOUNDS))


@pytest.mark.parametrize("end", [is_done, fails_in_the_middle, is_closed, is_cancelled])
def test_after_any_end_the_model_works_as_before(hooked: HookedModel, end: Any) -> None:
    ids, model = torch.tensor([[5, 6, 7, 8]]), hooked.model
    before, state, names = model(ids).logits, torch.get_rng_state(), set(vars(model))
    config = model.generation_config.to_dict()
    end(hooked)
    assert torch.equal(model(ids).logits, before) and torch.equal(torch.get_rng_state(), state)
    assert model.config._attn_implementation == hooked.card.attention and set(vars(model)) == names
    assert count_hooks(model) == 0 and not hooked.guard.locked() and model.generation_config.to_dict() == config


def test_between_two_ticks_the_model_is_free_and_as_it_was(hooked: HookedModel) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    before = hooked.model(ids).logits
    for _ in serve(hooked, ASKED, Settings(), Limits(), **BOUNDS):
        assert not hooked.guard.locked() and torch.equal(hooked.model(ids).logits, before)


def test_it_is_a_job_of_the_engine(hooked: HookedModel, record: Batching) -> None:
    engine, job = Engine(hooked, Limits()), Told()
    try:
        engine.enqueue(job, serve(hooked, ASKED, Settings(), Limits(), job=job, **BOUNDS))
        assert ended(job).state == "done"
        assert tokens(job.record) == tokens(record) and len(job.record.schedulers) == 3
    finally:
        engine.close()
    said = job.said
    assert said[0][2] == "tick 0" and said[-1] == (said[-1][1], said[-1][1], "done")
    assert all(0 <= done <= total for done, total, _ in said)


# What is refused


@pytest.mark.parametrize(
    ("asked", "how", "bounds", "refusal", "said"),
    [
        ([], {}, {}, BadPrompt, "no text to serve"),
        ([Ask(prompt="")], {}, {}, BadPrompt, "text A cannot be served: "),
        ([Ask(prompt=[5])] * 13, {}, {}, BadSetting, "at most 12 at once (TOKENOSCOPE_REQUESTS)"),
        ([Ask(prompt=[5], arrives_s=-1.0)], {}, {}, BadSetting, "text A arrives at -1.0 s"),
        ([*ASKED, Ask(prompt=[5], arrives_s=60.5)], {}, {}, BadSetting, "text E arrives at 60.5 s; it must"),
        ([Ask(prompt=[5], arrives_s=math.nan)], {}, {}, BadSetting, "arrives at nan s"),
        ([Ask(prompt=[5], max_new_tokens=0)], {}, {}, BadSetting, "max_new_tokens is 0"),
        ([Ask(prompt=[5] * 120, max_new_tokens=9)], {}, {}, PromptTooLong, "at most 128"),
        ([*ASKED, Ask(prompt=[5] * 3001)], {}, {}, PromptTooLong, "text E cannot be served: the prompt has 3,001"),
        (ASKED, {"temperature": 0.5}, {}, BadSetting, "Set it to 0"),
        (ASKED, {"repetition_penalty": 1.2}, {}, BadSetting, "the engine does not support it"),
        (ASKED, {"chat": True}, {}, BadSetting, "chat"),
        (ASKED, {}, {"block_size": 3}, BadSetting, "from 4 to 4,096"),
        (ASKED, {}, {"n_blocks": 0}, BadSetting, "n_blocks is 0"),
        (ASKED, {}, {"token_budget": 0}, BadSetting, "token_budget is 0"),
        (ASKED, {}, {"max_requests": 0}, BadSetting, "max_requests is 0"),
        (ASKED, {}, {"repeats": 0}, BadSetting, "repeats is 0"),
        (ASKED, {}, {"n_blocks": 2000}, BadSetting, "TOKENOSCOPE_CACHE_TOKENS"),
        (ASKED, {}, {"token_budget": 5000}, BadSetting, "TOKENOSCOPE_CACHE_TOKENS"),
        (ASKED, {}, {"n_blocks": 6}, BadSetting, "text D needs 7 blocks"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_door(
    hooked: HookedModel, asked: Any, how: Any, bounds: Any, refusal: type[Refusal], said: str
) -> None:
    if how.get("chat"):
        asked = [Ask(prompt="w5 w6")]
    with pytest.raises(refusal) as refused:
        serve(hooked, asked, Settings(**how), Limits(), **(BOUNDS | bounds))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "bounds",
    [{"block_size": 3}, {"n_blocks": 0}, {"n_blocks": 2000}, {"token_budget": 5000}, {"max_requests": 13}],
    ids=str,
)
def test_the_library_refuses_with_the_words_of_the_request(hooked: HookedModel, bounds: dict[str, Any]) -> None:
    asked = BOUNDS | bounds
    with pytest.raises(BadSetting) as at_the_form:
        Serve.read({"texts": [["a", 4]], **asked}).check(Limits())
    with pytest.raises(BadSetting) as in_the_library:
        serve(hooked, ASKED, Settings(), Limits(), **asked)
    assert str(in_the_library.value) == str(at_the_form.value)


def test_a_text_that_just_fits_is_served(hooked: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooked.model.generation_config, "eos_token_id", None)
    bounds: dict[str, Any] = {**BOUNDS, "n_blocks": 7}
    record = last(serve(hooked, ASKED, Settings(), Limits(), **bounds))
    assert {each.ended for each in record.requests} == {"length"}
    check_conserved(record)


def test_a_model_that_cannot_be_paged_is_refused_at_the_door() -> None:
    with pytest.raises(NotShown, match="window"):
        serve(shared("mistral"), ASKED, Settings(), Limits(), **BOUNDS)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("no_repeat_ngram_size", 2),
        ("bad_words_ids", [[5]]),
        ("num_beams", 2),
        ("stop_strings", ["w9"]),
        ("return_dict_in_generate", True),
        ("use_cache", False),
        ("cache_implementation", "static"),
        ("prompt_lookup_num_tokens", 2),
        ("assistant_early_exit", 1),
        ("min_new_tokens", 3),
        ("min_length", 3),
        ("encoder_repetition_penalty", 1.5),
        ("max_time", 1.0),
    ],
)
def test_a_model_that_asks_for_more_than_plain_decoding_is_refused_at_the_door(
    setting: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, plain_one = shared(), shared(copy=1)
    monkeypatch.setattr(asking.model.generation_config, setting, value, raising=False)
    said = re.escape(f"sets {setting} = {value!r} in its generation config")
    with pytest.raises(NotShown, match=said):
        serve(asking, ASKED, Settings(), Limits(), **BOUNDS)
    with pytest.raises(NotShown, match=said):
        speculate(asking, PROMPTS[0], Settings(), Limits(), modes=["prompt lookup"])
    with pytest.raises(NotShown, match=said):
        speculate(plain_one, PROMPTS[0], Settings(), Limits(), modes=["draft model"], draft=asking)
