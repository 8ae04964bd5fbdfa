"""What is posted from the page Serve: read as it was meant, or refused with the words it came in."""

import json
from typing import Any

import pytest

from model.errors import BadPrompt, BadSetting, NotAllowed, PromptTooLong, Refusal
from model.limits import Limits
from viz.pages.serving_form import read_serving, read_speculating
from viz.server.requested import Serving, Speculating, Text

LIMITS = Limits(requests=3, cache_tokens=256, new_tokens=20, prompt_bytes=100)
NAMES = ("one", "two")
BATCHING: dict[str, Any] = {
    "texts": json.dumps([["a b", 5], ["a c", 7]]),
    "rate": 1.5,
    "n_blocks": 16,
    "block_size": 8,
    "token_budget": 24,
    "max_requests": 2,
    "sharing": True,
}
SPECULATION: dict[str, Any] = {
    "prompt": "a b",
    "chat": False,
    "modes": ["early exit", "prompt lookup"],
    "n_draft": 4,
    "max_new_tokens": 9,
    "temperature": 0.5,
    "exit_layer": 0,
    "seed": 3,
}


def serving(**values: Any) -> Serving:
    return read_serving({**BATCHING, **values}, LIMITS, NAMES)


def speculating(**values: Any) -> Speculating:
    return read_speculating({**SPECULATION, **values}, LIMITS, NAMES)


def test_texts_are_read_as_they_were_typed():
    asked = serving()
    assert asked.texts == (Text(prompt="a b", max_new_tokens=5), Text(prompt="a c", max_new_tokens=7))
    assert (asked.rate, asked.n_blocks, asked.block_size, asked.token_budget) == (1.5, 16, 8, 24)
    assert (asked.max_requests, asked.sharing, asked.model, asked.kind) == (2, True, "one", "batching")
    assert asked.settings.greedy


def test_a_text_with_a_draft_is_read_as_it_was_typed():
    asked = speculating()
    assert (asked.modes, asked.n_draft, asked.exit_layer) == (("prompt lookup", "early exit"), 4, None)
    assert (asked.settings.temperature, asked.settings.seed, asked.settings.max_new_tokens) == (0.5, 3, 9)
    assert speculating(exit_layer=7).exit_layer == 7
    assert speculating(modes=["draft model"], draft="two").models == ("two", "one")
    assert speculating(draft="two").models == ("one",), "nobody asked for a draft model"


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"texts": "[]"}, BadPrompt, "no text"),
        ({"texts": json.dumps([["a", 1]] * 4)}, BadSetting, "4 texts.*at most 3.*TOKENOSCOPE_REQUESTS"),
        ({"texts": json.dumps([["a", 1], ["  ", 1]])}, BadPrompt, "Text B is empty"),
        ({"texts": json.dumps([["a", 21]])}, BadSetting, "New tokens of text A is 21.*1 to 20"),
        ({"texts": json.dumps([["a", 0]])}, BadSetting, "New tokens of text A is 0"),
        ({"texts": json.dumps([["a", 1.5]])}, BadSetting, "New tokens of text A is 1.5"),
        ({"texts": json.dumps([["a", None]])}, BadSetting, "New tokens of text A is empty"),
        ({"texts": json.dumps([["é" * 30, 1], ["é" * 30, 1]])}, PromptTooLong, "120 bytes.*at most 100"),
        ({"texts": "[[1, 2]]"}, BadPrompt, "Text A"),
        ({"texts": "[1]"}, BadSetting, r"texts are '\[1\]'"),
        ({"texts": "{"}, BadSetting, "texts are"),
        ({"texts": "[" * 100_000}, BadSetting, "texts are"),
        ({"texts": None}, BadSetting, "texts are None"),
        ({"n_blocks": 33}, BadSetting, "33 blocks of 8 tokens hold 264 tokens.*256.*TOKENOSCOPE_CACHE_TOKENS"),
        ({"n_blocks": 0}, BadSetting, "Blocks of the cache is 0"),
        ({"block_size": "8"}, BadSetting, "Tokens a block is '8'"),
        ({"token_budget": 1e9}, BadSetting, "Token budget is 1000000000"),
        ({"max_requests": 4}, BadSetting, "Texts at once is 4"),
        ({"max_requests": True}, BadSetting, "Texts at once is True"),
        ({"rate": float("nan")}, BadSetting, "Arrivals is nan"),
        ({"rate": -1}, BadSetting, "Arrivals is -1"),
        ({"sharing": "yes"}, BadSetting, "Sharing is 'yes'"),
        ({"model": "three"}, NotAllowed, "three"),
    ],
)
def test_what_cannot_be_served_is_refused(values: dict[str, Any], kind: type[Refusal], words: str):
    with pytest.raises(kind, match=words):
        serving(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modes": []}, "Who drafts is empty"),
        ({"modes": None}, "Who drafts is empty"),
        ({"modes": ["guess"]}, "'guess'"),
        ({"modes": [["own draft"]]}, "own draft"),
        ({"n_draft": 0}, "Drafted tokens a round is 0"),
        ({"n_draft": 33}, "Drafted tokens a round is 33"),
        ({"exit_layer": -1}, "Early exit after layer is -1"),
        ({"modes": ["draft model"]}, "Draft model is None"),
        ({"modes": ["draft model"], "draft": "one"}, "Draft model is 'one'"),
        ({"modes": ["draft model"], "draft": "/etc"}, "Draft model is '/etc'"),
        ({"max_new_tokens": 21}, "New tokens|max_new_tokens is 21"),
        ({"temperature": -1}, "Temperature is -1"),
    ],
)
def test_what_cannot_be_drafted_is_refused(values: dict[str, Any], words: str):
    with pytest.raises(BadSetting, match=words):
        speculating(**values)
