"""A run continued from a step of another: the same token gives the same run, and nothing of the prefix runs again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Trace, load, trace
from model.arch.anatomy import attached
from model.capture import embeddings, logit_lens
from model.capture.continuation import Continuation
from model.capture.generation import Generation
from model.capture.post_run import with_post_run
from model.errors import BadSetting, BadTrace, PromptTooLong
from model.limits import Limits
from tests.fakes import AFTER_RUN
from tests.tiny import tiny, tiny_model, tiny_tokenizer

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18]  # longer than the windows of the tiny models
NEW = 6
EVERY_PROCESSOR = {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2, "seed": 7}
SETTINGS: dict[str, dict[str, Any]] = {"greedy": {"repetition_penalty": 1.3}, "sampled": EVERY_PROCESSOR}
RESTORED = ("llama", "gpt2", "mistral", "gemma2", "gpt_oss", "llama4_text")
REPLAYED = {"bamba": "keys", "deepseek_v3": "another form", "gemma3n_text": "of its own", "falcon_h1": "Linear"}

UNTIMED: dict[str, Any] = {"seconds": 0, "entered_s": ()}  # what two runs of the same may differ in


@pytest.fixture(scope="module")
def models() -> dict[str, HookedModel]:
    return {family: tiny(family) for family in (*RESTORED, *REPLAYED)}


@pytest.fixture(scope="module")
def llama(models: dict[str, HookedModel]) -> HookedModel:
    return models["llama"]


def written(hooked: HookedModel, **settings: Any) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW, additions=False, **settings)


def go_on(hooked: HookedModel, run: Trace, step: int, token_id: int) -> Trace:
    continuation = Continuation(hooked, run, step=step, token_id=token_id, limits=Limits())
    for _ in continuation:
        pass
    return continuation.trace()


def another(run: Trace, step: int) -> int:
    """A likely token that the run did not choose."""
    return next(each.id for each in run.choices[step].candidates if each.id not in (run.choices[step].id, 1))


def assert_same(one: Trace, other: Trace, step: int) -> None:
    """One run, but for who chose at the step, the origin, and the seconds."""
    assert one.arrays().keys() == other.arrays().keys()
    for name, array in one.arrays().items():
        assert array.tobytes() == other.arrays()[name].tobytes(), name
    plain = {each.name for each in fields(Trace)} - one.arrays().keys() - {"steps", "origin", "texts", "model"}
    for name in plain:
        assert repr(getattr(one, name)) == repr(getattr(other, name)), name
    for at, (mine, theirs) in enumerate(zip(one.steps, other.steps, strict=True)):
        (choice,) = theirs.choices
        if at == step:
            choice = replace(choice, chosen_by="person", draw=())
        assert repr(replace(mine, **UNTIMED)) == repr(replace(theirs, **UNTIMED, choices=(choice,))), at
    assert one.texts.items() <= other.texts.items()  # all but what only the draw of the step named


@contextmanager
def read(hooked: HookedModel) -> Iterator[list[int]]:
    """How many tokens each pass inside the block looks up in the embedding."""
    counts: list[int] = []

    def count(_: Any, args: tuple[torch.Tensor, ...], __: Any) -> None:
        counts.append(args[0].numel())

    with attached([(hooked.anatomy.embedding.register_forward_hook, count)]):
        yield counts


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("family", [*RESTORED, *REPLAYED])
def test_the_token_that_was_chosen_gives_the_same_run_bit_for_bit(
    models: dict[str, HookedModel], family: str, settings: dict[str, Any]
) -> None:
    run = written(models[family], **settings)
    for step in range(run.n_generated):
        assert_same(go_on(models[family], run, step, run.choices[step].id), run, step)


@pytest.mark.parametrize("family", RESTORED)
def test_nothing_of_the_prefix_is_computed_again_where_the_cache_is_restored(
    models: dict[str, HookedModel], family: str
) -> None:
    hooked = models[family]
    run = written(hooked)
    assert hooked.card.reason_against("resume") is None
    for step in range(NEW):
        with read(hooked) as counts:
            found = go_on(hooked, run, step, another(run, step))
        assert counts == [1] * (found.n_generated - step - 1)
        assert found.origin is not None
        assert (found.origin.n_reused, found.origin.n_replayed) == (len(PROMPT) + step, 0)
        assert found.origin.recorded_s == sum(each.seconds for each in run.steps[: step + 1])
        assert found.origin.restore_s > 0 and found.origin.note == ""


@pytest.mark.parametrize("family", REPLAYED)
def test_other_families_run_the_recorded_passes_again_each_in_its_own_shape(
    models: dict[str, HookedModel], family: str
) -> None:
    hooked = models[family]
    run = written(hooked)
    with read(hooked) as counts:
        found = go_on(hooked, run, 2, another(run, 2))
    assert found.origin is not None
    assert counts == [len(PROMPT)] + [1] * (found.n_fed - len(PROMPT))
    assert (found.origin.n_reused, found.origin.n_replayed) == (0, len(PROMPT) + 2)
    assert (found.origin.recorded_s, found.origin.saved_s) == (0, 0) and found.origin.restore_s > 0
    assert REPLAYED[family] in found.origin.note == hooked.card.reason_against("resume")
    with read(hooked) as counts:
        last = go_on(hooked, run, NEW - 1, another(run, NEW - 1))
    assert last.origin is not None
    assert counts == [] and (last.origin.n_reused, last.origin.note) == (len(PROMPT) + NEW - 1, "")


class Forced:
    """The library's own `generate`, told which tokens to begin with."""

    def __init__(self, ids: list[int]) -> None:
        self.ids, self.at = ids, 0

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.at < len(self.ids):
            scores = torch.full_like(scores, -1e9).index_fill(1, torch.tensor([self.ids[self.at]]), 0.0)
        self.at += 1
        return scores


@pytest.mark.parametrize("family", [*RESTORED, *REPLAYED])
def test_another_token_gives_what_the_library_writes_after_it_bit_for_bit(
    models: dict[str, HookedModel], family: str
) -> None:
    from transformers import LogitsProcessorList

    hooked = models[family]
    run = written(hooked)
    for step in (0, 3):
        token = another(run, step)
        found = go_on(hooked, run, step, token)
        prefix = [*(choice.id for choice in run.choices[:step]), token]
        own = hooked.model.generate(
            torch.tensor([PROMPT]),
            max_new_tokens=NEW,
            do_sample=False,
            logits_processor=LogitsProcessorList([Forced(prefix)]),
            output_logits=True,
            return_dict_in_generate=True,
        )
        assert [each.id for each in found.tokens] == own.sequences[0].tolist()
        assert np.array_equal(found.logits, torch.cat(own.logits).numpy())
        whole = hooked.model.generate(
            torch.tensor([PROMPT + prefix]), max_new_tokens=NEW - step - 1, do_sample=False, attention_mask=None
        )
        assert whole[0].tolist() == own.sequences[0].tolist()  # and after one prefill over prompt and prefix


def test_a_persons_choice_stands_beside_what_the_model_offered(llama: HookedModel) -> None:
    run = written(llama, **EVERY_PROCESSOR)
    for place in (0, 5, 19):
        candidate = run.choices[3].candidates[place]
        choice = go_on(llama, run, 3, candidate.id).choices[3]
        assert (choice.id, choice.chosen_by, choice.draw) == (candidate.id, "person", ())
        assert (choice.logit, choice.probability, choice.rank) == (candidate.score, candidate.probability, place)
        assert repr(choice.stages) == repr(run.choices[3].stages)
        assert choice.entropy == run.choices[3].entropy
    assert {each.chosen_by for each in run.choices} == {"model"}


def test_a_sampled_run_draws_on_as_if_it_had_never_stopped(llama: HookedModel) -> None:
    run = written(llama, temperature=3.0, seed=2)
    found = go_on(llama, run, 2, another(run, 2))
    waits = [[each.wait for each in choice.draw] for choice in found.choices]
    generator = torch.Generator().manual_seed(2)
    for at in range(NEW):
        drawn = torch.empty(1, run.model.d_vocab).exponential_(1, generator=generator)
        assert waits[at] == [drawn[0, each.id].item() for each in found.choices[at].draw]
    assert waits[2] == [] and len(waits[5]) == 5


def test_a_continued_run_is_continued_and_so_is_one_from_a_file(llama: HookedModel, tmp_path: Path) -> None:
    run = written(llama, **EVERY_PROCESSOR)
    first = go_on(llama, run, 1, another(run, 1))
    first.save(tmp_path / "first.trace")
    second = go_on(llama, Trace.open(tmp_path / "first.trace"), 4, another(first, 4))
    assert [each.chosen_by for each in second.choices] == ["model", "person", "model", "model", "person", "model"]
    assert [each.id for each in second.choices[:4]] == [each.id for each in first.choices[:4]]
    assert second.origin is not None and second.origin.instead_of == first.choices[4].id
    assert_same(go_on(llama, second, 4, first.choices[4].id), first, 4)
    back = go_on(llama, first, 1, run.choices[1].id)
    assert_same(back, run, 1)


def test_a_token_that_ends_the_text_ends_the_run_without_a_pass(llama: HookedModel) -> None:
    run = written(llama)
    with read(llama) as counts:
        found = go_on(llama, run, 2, 1)
    assert (found.n_generated, found.ended, counts) == (3, "end of sequence", [])
    assert go_on(llama, run, NEW - 1, another(run, NEW - 1)).ended == "length"


def test_an_end_of_sequence_as_the_last_allowed_token_is_an_end_of_sequence() -> None:
    model = tiny_model("llama")
    free = trace(load(model=model, tokenizer=tiny_tokenizer()), PROMPT, max_new_tokens=3, additions=False)
    model.generation_config.eos_token_id = [free.tokens[-1].id, 1]
    hooked = load(model=model, tokenizer=tiny_tokenizer())
    whole = trace(hooked, PROMPT, max_new_tokens=3, additions=False)
    assert (whole.n_generated, whole.ended) == (3, "end of sequence")
    assert go_on(hooked, whole, 2, whole.tokens[-1].id).ended == "end of sequence"
    assert go_on(hooked, whole, 1, whole.choices[1].id).ended == "end of sequence"
    assert trace(hooked, PROMPT, max_new_tokens=2, additions=False).ended == "length"


def test_a_run_that_was_stopped_is_continued_to_its_length(llama: HookedModel) -> None:
    whole = written(llama)
    stopped = Generation(llama, PROMPT, whole.settings, Limits())
    next(stopped)
    next(stopped)
    stopped.close()
    assert (stopped.trace().ended, stopped.trace().n_generated) == ("stopped", 2)
    assert_same(go_on(llama, stopped.trace(), 1, whole.choices[1].id), whole, 1)


def test_a_prompt_with_padding_in_it_keeps_its_mask(llama: HookedModel) -> None:
    padded = trace(llama, [2, 2, *PROMPT], max_new_tokens=NEW, additions=False)
    unmasked = trace(llama, [3, 3, *PROMPT], max_new_tokens=NEW, additions=False)
    assert padded.masks is not None and unmasked.masks is None  # the library took the pad tokens for padding
    for step in (0, 3):
        assert_same(go_on(llama, padded, step, padded.choices[step].id), padded, step)


def test_notes_of_the_prompt_are_kept_and_those_of_the_runs_length_are_not(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "WORDS", 3)
    monkeypatch.setattr(logit_lens, "WHOLE_UP_TO", 3)
    run = with_post_run(llama, replace(written(llama), notes=("A broken character became U+FFFD.",)))
    assert len(run.notes) == 3
    assert go_on(llama, run, 0, 9).notes == ("A broken character became U+FFFD.",)


def test_a_run_without_keys_is_replayed(llama: HookedModel) -> None:
    run = written(llama)
    bare = replace(run, queries=None, keys=None, values=None, rules=())
    found = go_on(llama, bare, 1, another(run, 1))
    assert found.origin is not None
    assert found.origin.n_replayed == len(PROMPT) + 1 and "without keys" in found.origin.note
    assert found.queries is None and found.rules == () and found.resid is not None
    assert np.array_equal(found.logits, go_on(llama, run, 1, another(run, 1)).logits)


@pytest.mark.parametrize(
    ("step", "token_id", "said"),
    [
        (NEW, 5, "step is 6; this run has steps 0 to 5"),
        (-1, 5, "step is -1; this run has steps 0 to 5"),
        (True, 5, "step is True"),
        (2.5, 5, "step is 2.5"),
        (0, 199, "token_id is 199; LlamaForCausalLM has tokens 0 to 198"),
        (0, -1, "token_id is -1"),
        (0, " Rome", "token_id is ' Rome'"),
    ],
)
def test_a_step_or_a_token_that_is_not_there_is_refused(
    llama: HookedModel, step: Any, token_id: Any, said: str
) -> None:
    with pytest.raises(BadSetting, match=f"{said}.*Choose among them"):
        Continuation(llama, written(llama), step=step, token_id=token_id, limits=Limits())


def test_another_models_run_is_refused_with_what_was_given_and_the_way_out(models: dict[str, HookedModel]) -> None:
    run = written(models["gpt2"])
    with pytest.raises(BadTrace, match=r"made by GPT2LMHeadModel .*family gpt2.* LlamaForCausalLM .*Load that one"):
        Continuation(models["llama"], run, step=0, token_id=5, limits=Limits())


@pytest.mark.parametrize("family", ["llama", "bamba"])  # found by the head alone, and by the passes that are run again
def test_other_weights_of_the_same_shape_are_refused(models: dict[str, HookedModel], family: str) -> None:
    weights = tiny_model(family)
    with torch.no_grad():
        weights.get_output_embeddings().weight *= 1.1
    other, run = load(model=weights, tokenizer=tiny_tokenizer()), written(models[family])
    with pytest.raises(BadTrace, match=r"has other weights; .*Load that one"):
        go_on(other, run, 1, 9)
    with pytest.raises(BadTrace, match=r"differ from the run's by .* other weights made it"):
        go_on(other, replace(run, model=replace(run.model, fingerprint="")), 1, 9)  # as in older records


def test_a_model_of_which_one_matrix_was_changed_is_another() -> None:
    def found(change: float) -> str:
        model = tiny_model("llama")
        with torch.no_grad():
            model.model.layers[1].self_attn.q_proj.weight += change
        return load(model=model, tokenizer=tiny_tokenizer()).card.fingerprint

    assert found(0) == found(0) == tiny().card.fingerprint != found(0.001)


def test_a_run_longer_than_this_host_allows_is_refused(llama: HookedModel) -> None:
    with pytest.raises(PromptTooLong, match="this host allows at most 5"):
        Continuation(llama, written(llama), step=0, token_id=5, limits=Limits(prompt_tokens=5))


def test_a_run_that_does_not_write_one_token_a_step_is_refused(llama: HookedModel) -> None:
    run = written(llama)
    chunk, rest = replace(run.steps[0], n_tokens=4, choices=()), replace(run.steps[0], first=4, n_tokens=9)
    with pytest.raises(BadTrace, match="step 0 of the run reads 4 tokens and chooses 0"):
        Continuation(llama, replace(run, steps=(chunk, rest, *run.steps[1:])), step=2, token_id=5, limits=Limits())


def test_others_may_have_the_model_between_two_passes_that_are_run_again(models: dict[str, HookedModel]) -> None:
    hooked = models["bamba"]
    run = written(hooked)
    continuation = Continuation(hooked, run, step=3, token_id=another(run, 3), limits=Limits())
    reached = []
    for count in continuation.resuming():
        assert not hooked.guard.locked()
        origin = continuation.trace().origin
        reached.append((count, origin and origin.n_replayed))
    assert reached == [(at + 1, len(PROMPT) + at) for at in range(4)]
    assert list(continuation.resuming()) == []


@pytest.mark.long
def test_the_default_model_is_continued_bit_for_bit(default_folder: Path, tmp_path: Path) -> None:
    hooked = load()
    run = trace(hooked, "The capital of Italy is", max_new_tokens=8, temperature=0.8, seed=3)
    run.save(tmp_path / "run.trace")
    run = replace(Trace.open(tmp_path / "run.trace"), **dict.fromkeys(AFTER_RUN))
    for step in (0, 4):
        assert_same(go_on(hooked, run, step, run.choices[step].id), run, step)
    with read(hooked) as counts:
        found = go_on(hooked, run, 3, 7268)
    assert found.choices[3].id == 7268 and counts == [1] * 4
    assert found.origin is not None and found.origin.saved_s > 0
