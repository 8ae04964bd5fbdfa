"""Beam search: what is recorded is what transformers searched, and every number in it can be worked out again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import BeamSearch, HookedModel, Limits, Settings, load, search_beams, trace
from model.errors import BadSetting, BadTrace
from model.experiments.beams.search import begin
from tests.tiny import changed, shared

PROMPT = "w5 w37 w40 w8 w120 w5"


@contextmanager
def configured(hooked: HookedModel, **asked: Any) -> Iterator[None]:
    """The model's generation config with these values for a while."""
    config = hooked.model.generation_config
    before = {name: getattr(config, name) for name in asked}
    try:
        for name, value in asked.items():
            setattr(config, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


def ids_of(searched: BeamSearch) -> torch.Tensor:
    return torch.tensor([[token.id for token in searched.tokens]])


def own(hooked: HookedModel, searched: BeamSearch, **asked: Any) -> Any:
    """The library's own result, all beams of it."""
    ids = ids_of(searched)
    return hooked.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_beams=searched.n_beams,
        num_return_sequences=searched.n_beams,
        max_new_tokens=searched.max_new_tokens,
        length_penalty=searched.length_penalty,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **asked,
    )


@pytest.mark.parametrize(
    ("family", "n_beams", "penalty", "ends"),
    [("llama", 4, 1.0, None), ("gpt2", 2, 0.0, None), ("llama", 3, -1.0, 7), ("mistral", 5, 2.0, [3, 11, 19])],
)
def test_texts_and_scores_are_those_of_generate_bit_for_bit(family, n_beams, penalty, ends):
    hooked = shared(family)
    with configured(hooked, eos_token_id=likely(hooked, ends)):
        searched = search_beams(hooked, PROMPT, n_beams=n_beams, length_penalty=penalty, max_new_tokens=7)
        result = own(hooked, searched)
    n_prompt = len(searched.tokens)
    assert len(searched.answers) == n_beams
    for answer, row, score in zip(searched.answers, result.sequences, result.sequences_scores, strict=True):
        written = searched.ids_of(answer.step, answer.rank)
        assert list(written) == row[n_prompt : n_prompt + len(written)].tolist()
        assert answer.score == float(score)
        total = searched.log_probability(answer)
        assert answer.score == pytest.approx(total / len(written) ** penalty, rel=1e-6)


def likely(hooked: HookedModel, ends: Any) -> Any:
    """Where texts are to end: tokens that this model is likely to write, so that some do."""
    if ends is None:
        return None
    run = trace(hooked, PROMPT, max_new_tokens=3, additions=False)
    found = [each.id for each in run.choices[2].candidates]
    return found[1] if isinstance(ends, int) else found[1 : 1 + len(ends)]


def test_some_texts_end_by_themselves_and_are_searched_no_further():
    hooked = shared("llama")
    with configured(hooked, eos_token_id=likely(hooked, 7)):
        searched = search_beams(hooked, PROMPT, n_beams=4, length_penalty=0.0, max_new_tokens=8)
        end = hooked.model.generation_config.eos_token_id
    early = [each for each in searched.answers if each.step < 7]
    assert early
    for answer in early:
        assert answer.ended
        assert searched.ids_of(answer.step, answer.rank)[-1] == end
        assert searched.beams[answer.step, answer.rank] == -1


def test_every_sum_is_that_of_the_models_own_log_probabilities():
    hooked = shared("llama")
    searched = search_beams(hooked, PROMPT, n_beams=3, max_new_tokens=5)
    prompt = ids_of(searched)[0].tolist()
    for step in range(5):
        for rank in range(searched.ids.shape[1]):
            text = [*prompt, *searched.ids_of(step, rank)]
            with torch.inference_mode():
                steps = hooked.model(torch.tensor([text])).logits[0].log_softmax(-1)
            told = [float(steps[at - 1, text[at]]) for at in range(len(prompt), len(text))]
            assert float(searched.scores[step, rank]) == pytest.approx(sum(told), abs=1e-4)
            assert searched.probability(step, rank) == pytest.approx(np.exp(told[-1]), abs=1e-5)
        assert (np.diff(searched.scores[step]) <= 0).all()  # the likeliest first


def test_greedy_decoding_is_followed_for_as_long_as_its_text_is_a_beam():
    hooked = shared("gpt2")
    written = [token.id for token in trace(hooked, PROMPT, max_new_tokens=6, additions=False).tokens]
    for n_beams in (2, 6):
        searched = search_beams(hooked, PROMPT, n_beams=n_beams, max_new_tokens=6)
        path = searched.greedy()
        n_prompt = len(searched.tokens)
        assert [int(searched.ids[place]) for place in path] == written[n_prompt : n_prompt + len(path)]
        dropped = len(path) < 6
        assert dropped == (searched.beams[path[-1]] == -1 and path[-1][0] < 5)


def test_a_model_that_asks_for_beams_is_loaded_and_searched_as_the_library_does_and_a_run_says_that_it_is_one_text():
    hooked = shared("llama")
    plain = trace(hooked, PROMPT, max_new_tokens=4, additions=False)
    with configured(hooked, num_beams=3, length_penalty=0.5):
        again = load(model=hooked.model, tokenizer=hooked.tokenizer)
        assert all(check.passed for check in again.card.checks)
        run = trace(again, PROMPT, max_new_tokens=4, additions=False)
        assert [each.id for each in run.tokens] == [each.id for each in plain.tokens]
        assert any("asks for beam search (num_beams = 3)" in note for note in run.notes)
        searched = search_beams(hooked, PROMPT, n_beams=3, length_penalty=0.5, max_new_tokens=4)
        ids = ids_of(searched)
        plain = hooked.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    best = searched.answers[0]
    assert list(searched.ids_of(best.step, best.rank)) == plain[0, len(searched.tokens) :].tolist()


def test_a_search_that_is_ended_leaves_the_model_as_it_was():
    hooked = shared("llama")
    running = begin(hooked, PROMPT, Settings(max_new_tokens=6), Limits(), n_beams=3, length_penalty=1.0)
    first = next(running)
    assert (len(first.ids), first.answers) == (1, ())
    running.close()
    assert not changed()
    assert not hooked.guard.locked()
    assert "_get_top_k_continuations" not in vars(hooked.model)
    search_beams(hooked, PROMPT, n_beams=2, max_new_tokens=2)
    assert "_get_top_k_continuations" not in vars(hooked.model)


def test_each_pass_adds_to_the_record_and_changes_nothing_before():
    hooked = shared("llama")
    running = begin(hooked, PROMPT, Settings(max_new_tokens=5), Limits(), n_beams=3, length_penalty=1.0)
    *growing, last = running
    assert [len(each.ids) for each in growing] == [1, 2, 3, 4, 5]
    for each in growing:
        assert np.array_equal(each.ids, last.ids[: len(each.ids)])
        assert np.array_equal(each.beams, last.beams[: len(each.ids)])
        assert each.answers == ()
    assert len(last.answers) == 3
    assert (last.beams[-1] == -1).all()  # at the length, nothing goes on


def test_it_comes_back_from_its_file_and_what_does_not_fit_together_is_refused(tmp_path: Path):
    searched = search_beams(shared("llama"), PROMPT, n_beams=3, max_new_tokens=4)
    searched.save(tmp_path / "a.beams")
    back = BeamSearch.open(tmp_path / "a.beams")
    assert back.answers == searched.answers
    assert all(np.array_equal(back.arrays()[name], array) for name, array in searched.arrays().items())
    for name, value in (("parents", 3), ("beams", 3), ("ids", 198)):
        array = searched.arrays()[name].copy()
        array[1, 0] = value
        texts = {each: text for each, text in searched.texts.items() if each != 198}
        with pytest.raises(BadTrace):
            replace(searched, texts=texts, **{name: array})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n_beams": 1}, "n_beams is 1; it must be a whole number from 2 to 16"),
        ({"n_beams": 2.5}, "n_beams is 2.5"),
        ({"length_penalty": 9}, "length_penalty is 9; it must be a finite number from -4 to 4"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
    ],
)
def test_what_cannot_be_searched_is_refused(asked, said):
    with pytest.raises(BadSetting, match=said):
        search_beams(shared("llama"), PROMPT, **asked)
