"""What is posted is checked on the server: each field is named in the sentence that refuses it."""

import math
from typing import Any

import pytest

from model.errors import BadPrompt, BadSetting, NotAllowed, PromptTooLong, Refusal
from model.limits import Limits
from model.records.trace import Settings
from tests.app.visitor import FORM
from viz.examples import EXAMPLES
from viz.pages.form import read

MODELS = ("fake-1k", "other")


def asked(**form: Any):
    return read({**FORM, "model": "fake-1k", **form}, Limits(), MODELS)


def test_a_valid_form_becomes_settings():
    request = asked(temperature=0.7, top_k=50.0, seed=3, chat=True, model="other")
    assert request.settings == Settings(max_new_tokens=4, temperature=0.7, top_k=50, seed=3, chat=True)
    assert (request.prompt, request.model) == ("a b c", "other")


@pytest.mark.parametrize(
    ("form", "error", "words"),
    [
        ({"prompt": ""}, BadPrompt, "prompt is empty"),
        ({"prompt": " \n\t"}, BadPrompt, "prompt is empty"),
        ({"prompt": None}, BadPrompt, "not text"),
        ({"prompt": {"a": 1}}, BadPrompt, "not text"),
        ({"prompt": "é" * 16_001}, PromptTooLong, "32,002 bytes; .* at most 32,000"),
        ({"temperature": None}, BadSetting, "Temperature is empty"),
        ({"temperature": math.nan}, BadSetting, "Temperature is nan"),
        ({"temperature": math.inf}, BadSetting, "Temperature is inf"),
        ({"temperature": -0.1}, BadSetting, "Temperature is -0.1"),
        ({"temperature": "hot"}, BadSetting, "Temperature is 'hot', which is not a number"),
        ({"temperature": True}, BadSetting, "Temperature is True, which is not a number"),
        ({"top_p": 0}, BadSetting, "Top-p is 0"),
        ({"top_p": 1.5}, BadSetting, "Top-p is 1.5"),
        ({"min_p": 1.01}, BadSetting, "Min-p is 1.01"),
        ({"repetition_penalty": 0}, BadSetting, "Repetition penalty is 0"),
        ({"top_k": -1}, BadSetting, "Top-k is -1"),
        ({"top_k": 1.5}, BadSetting, "Top-k is 1.5; it must be a whole number"),
        ({"top_k": [1]}, BadSetting, "Top-k"),
        ({"seed": ""}, BadSetting, "Seed is empty"),
        ({"seed": 1e300}, BadSetting, "Seed is 1000"),
        ({"max_new_tokens": 0}, BadSetting, "New tokens is 0"),
        ({"max_new_tokens": 257}, BadSetting, "New tokens is 257; this host allows at most 256"),
        ({"chat": "yes"}, BadSetting, "Chat is 'yes'"),
        ({"model": "../../etc"}, NotAllowed, "not one that this host offers"),
        ({"model": ["\ud800"]}, NotAllowed, r"\\ud800"),
    ],
)
def test_a_bad_field_is_refused_by_name(form: dict[str, Any], error: type[Refusal], words: str):
    with pytest.raises(error, match=words) as refused:
        asked(**form)
    str(refused.value).encode()  # a sentence that can be sent


@pytest.mark.parametrize(
    "name",
    [
        "",
        "OTHER",
        " other",
        "./other",
        "other/..",
        "other/../other",
        "other/in",
        "/",
        "..",
        "~",
        "other\x00",
        "file://other",
        "a" * 5000,
        "\ud800",
    ],
)
def test_a_model_is_run_only_by_the_very_name_that_the_host_lists(name: str):
    with pytest.raises(NotAllowed) as refused:
        asked(model=name)
    assert len(str(refused.value).encode()) < 200


def test_a_missing_field_is_refused():
    with pytest.raises(BadSetting, match="Chat is None"):
        read({"prompt": "x"}, Limits(), MODELS)


def test_half_a_character_is_counted_and_left_to_the_one_who_reads_the_prompt():
    assert asked(prompt="a\ud800b 😀").prompt == "a\ud800b 😀"
    with pytest.raises(PromptTooLong, match="33,000 bytes") as refused:
        asked(prompt="\ud800" * 11_000)
    str(refused.value).encode()


def test_every_example_can_be_run():
    for example in EXAMPLES:
        assert asked(prompt=example.prompt, chat=example.chat).prompt == example.prompt
