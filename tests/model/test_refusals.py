"""Bad input gets a sentence that repeats it, says why, and names the way out; odd input is taken whole."""

import math
from typing import Any

import numpy as np
import pytest

from model import Settings, Trace, errors, trace
from model.capture.generation import Generation
from model.errors import BadPrompt, BadSetting, PromptTooLong, Refusal, UnknownModel
from model.limits import Limits
from model.loading.load import load
from tests.model.test_tokens import HOSTILE
from tests.tiny import tiny_model, tiny_tokenizer

BAD_SETTINGS: list[tuple[str, Any, str]] = [
    ("max_new_tokens", 0, "a whole number of at least 1"),
    ("max_new_tokens", -3, "a whole number of at least 1"),
    ("max_new_tokens", 2.5, "a whole number of at least 1"),
    ("max_new_tokens", True, "a whole number of at least 1"),
    ("temperature", -0.1, "at least 0"),
    ("temperature", math.nan, "a finite number"),
    ("temperature", math.inf, "a finite number"),
    ("temperature", -math.inf, "a finite number"),
    ("temperature", "hot", "a finite number"),
    ("temperature", None, "a finite number"),
    ("top_k", -1, "at least 0; 0 is off"),
    ("top_k", 1.5, "a whole number"),
    ("top_p", 0.0, "above 0 and at most 1"),
    ("top_p", 1.0001, "above 0 and at most 1"),
    ("top_p", -1, "above 0 and at most 1"),
    ("top_p", math.nan, "above 0 and at most 1"),
    ("min_p", -0.01, "from 0 to 1; 0 is off"),
    ("min_p", 1.01, "from 0 to 1; 0 is off"),
    ("min_p", math.nan, "from 0 to 1; 0 is off"),
    ("repetition_penalty", 0.0, "a finite number above 0; 1 is off"),
    ("repetition_penalty", -1.0, "a finite number above 0; 1 is off"),
    ("repetition_penalty", math.inf, "a finite number above 0; 1 is off"),
    ("repetition_penalty", math.nan, "a finite number above 0; 1 is off"),
    ("seed", -1, "from 0 to 2^63 - 1"),
    ("seed", 2**63, "from 0 to 2^63 - 1"),
    ("chat", "yes", "true or false"),
]
EDGES = [
    {"max_new_tokens": 1},
    {"temperature": 1e-3},
    {"temperature": 1e4},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 1.0, "top_k": 10**9},
    {"temperature": 1.0, "top_p": 1e-9},
    {"temperature": 1.0, "min_p": 1.0},
    {"repetition_penalty": 1e-3},
    {"repetition_penalty": 1e6},
    {"temperature": 1, "seed": 2**63 - 1},
]


@pytest.mark.parametrize(("name", "given", "wanted"), BAD_SETTINGS)
def test_a_setting_out_of_range_is_named_repeated_and_bounded(name, given, wanted):
    with pytest.raises(BadSetting) as refused:
        Settings(**{name: given})
    message = str(refused.value)
    assert message.startswith(f"{name} is {given!r}; it must be ")
    assert wanted in message


@pytest.mark.parametrize("edge", EDGES, ids=str)
def test_the_edges_of_the_ranges_run(small, edge):
    run = trace(small, "On the edge", **({"max_new_tokens": 2} | edge), additions=False)
    assert run.n_generated == edge.get("max_new_tokens", 2)
    assert all(0 <= choice.probability <= 1 for choice in run.choices)


def test_more_new_tokens_than_the_host_allows(small):
    with pytest.raises(BadSetting, match=r"max_new_tokens is 257; .* at most 256 \(TOKENOSCOPE_NEW_TOKENS\)"):
        Generation(small, "a", Settings(max_new_tokens=257), Limits())


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "\u2003"])
def test_a_blank_prompt(small, text):
    with pytest.raises(BadPrompt, match=r"empty or only blanks.* Type a few words"):
        trace(small, text)


def test_a_prompt_that_the_vocabulary_cannot_spell_at_all(small):
    with pytest.raises(BadPrompt, match=r"'\\x04\\x06' gives no tokens"):
        trace(small, "\x04\x06")


@pytest.mark.parametrize(
    ("n_prompt", "n_new", "limit", "numbers"),
    [
        (201, 1, 200, ["201 tokens", "at most 200", "TOKENOSCOPE_PROMPT_TOKENS", "Shorten it"]),
        (2044, 5, 2048, ["2,044 tokens", "5 new", "2,049", "at most 2,048", "Shorten the prompt"]),
        (2500, 1, 4096, ["2,500 tokens", "1 new", "2,501", "at most 2,048", "longer context"]),
    ],
)
def test_a_prompt_too_long_for_the_host_or_the_model(small, n_prompt, n_new, limit, numbers):
    with pytest.raises(PromptTooLong) as refused:
        Generation(small, " a" * n_prompt, Settings(max_new_tokens=n_new), Limits(prompt_tokens=limit))
    for each in numbers:
        assert each in str(refused.value)


def test_the_longest_prompt_there_may_be_runs(small):
    [step] = Generation(small, " a" * 200, Settings(max_new_tokens=1), Limits(prompt_tokens=200))
    assert step.n_tokens == 200


@pytest.mark.parametrize("ids", [[], [-1], [10**9], [5, 49152]])
def test_token_ids_that_the_model_does_not_have(small, ids):
    with pytest.raises(BadPrompt, match="from 0 to 49151"):
        trace(small, ids)


def test_half_a_model_from_memory(small):
    with pytest.raises(UnknownModel, match="the tokenizer is missing"):
        load(model=small.model)
    with pytest.raises(UnknownModel, match="the model is missing"):
        load(tokenizer=small.tokenizer)


@pytest.mark.parametrize("variable", ["TOKENOSCOPE_PROMPT_TOKENS", "TOKENOSCOPE_NEW_TOKENS", "TOKENOSCOPE_QUEUE"])
@pytest.mark.parametrize("value", ["many", "0", "-1", "1.5", "nan", "inf"])
def test_a_limit_in_the_environment_that_is_no_number(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSetting, match=f"{variable} is '{value}'.*Unset it"):
        Limits.from_environment()


def test_every_refusal_is_one_family_and_the_one_exception_that_is_none_is_to_be_cancelled():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert [kind for kind in kinds if not issubclass(kind, Refusal)] == [errors.Cancelled]
    assert not issubclass(Refusal, ValueError | OSError | RuntimeError)


# Odd, but taken


@pytest.fixture(scope="module", params=HOSTILE, ids=list(HOSTILE))
def odd(request, small) -> tuple[str, Trace]:
    text = HOSTILE[request.param]
    return text, trace(small, text, max_new_tokens=3, temperature=1.0, additions=False)


def test_hostile_text_runs_inert_and_whole(odd, tmp_path):
    text, run = odd
    assert run.prompt == text
    assert b"".join(token.data for token in run.tokens[: run.n_prompt]) == text.encode()
    assert run.notes == ()
    assert (run.n_generated, run.n_fed) == (3, run.n_prompt + 2)
    assert np.isfinite(run.pattern(2, 3)).all()
    run.save(tmp_path / "odd.trace")
    again = Trace.open(tmp_path / "odd.trace")
    assert (again.prompt, again.text) == (run.prompt, run.text)
    assert [(token.text, token.data, token.span) for token in again.tokens] == [
        (token.text, token.data, token.span) for token in run.tokens
    ]


def test_half_a_character_is_taken_and_told(small):
    run = trace(small, "a\ud83db", max_new_tokens=1, additions=False)
    assert run.prompt == "a\ufffdb"
    [note] = run.notes
    assert note.startswith("1 broken character")


def test_what_the_model_cannot_read_is_told(small):
    run = trace(small, "a\x04b", max_new_tokens=1, additions=False)
    assert run.prompt == "a\x04b"
    [note] = run.notes
    assert "U+0004" in note


def test_special_tokens_are_special_in_a_plain_prompt_and_text_in_a_chat(small):
    plain = trace(small, "a<|im_end|>b", max_new_tokens=1, additions=False)
    assert [token.text for token in plain.tokens if token.special and not token.generated] == ["<|im_end|>"]
    chat = trace(small, "a<|im_end|>b", max_new_tokens=1, chat=True, additions=False)
    bare = trace(small, "a b", max_new_tokens=1, chat=True, additions=False)
    assert [sum(token.special for token in run.tokens[: run.n_prompt]) for run in (chat, bare)] == [5, 5]


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_a_token_that_the_embedding_has_no_row_for_is_refused_with_both_sizes(chat: bool) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<|turn|>"], special_tokens=True)
    tokenizer.add_tokens(["added"])
    tokenizer.chat_template = "{% for message in messages %}<|turn|> {{ message.content }}{% endfor %}"
    hooked = load(model=tiny_model("llama"), tokenizer=tokenizer)
    assert trace(hooked, "w5 w6", max_new_tokens=1, additions=False).n_prompt == 2
    prompt, token = ("w5 w6", "<|turn|>") if chat else ("w5 added w6", "added")
    with pytest.raises(BadPrompt) as refused:
        trace(hooked, prompt, max_new_tokens=1, chat=chat)
    assert f"the token {token!r}" in str(refused.value)
    assert "has 201 tokens" in str(refused.value) and "199 rows" in str(refused.value)
