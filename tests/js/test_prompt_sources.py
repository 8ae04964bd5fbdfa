"""Where each token of a chat's prompt comes from, as the browser tells it: by the record's spans, or found without."""

import pytest

from tests.js.node import in_node

TOLD = """
  import { promptSources, origin, nameOf } from "@/data/prompt_sources.js";
  const [settings, spans, prompt, tokens] = given;
  const hex = (text) => [...new TextEncoder().encode(text)].map((b) => b.toString(16).padStart(2, "0")).join("");
  let at = 0;
  const made = tokens.map((token) => {
    const text = token.replace(/^[!+]/, "");
    const data = hex(text);
    return { text, hex: data, span: [at, at += data.length / 2], special: token[0] === "!", marker: token[0] === "+" };
  });
  const run = { tokens: made, nPrompt: made.length - 1, head: { prompt, settings, spans } };
  const sources = promptSources(run);
  const answer = [sources && sources.map(nameOf), made.map((_, i) => origin(run, i, sources))];
"""
TOKENS = ["!<s>", "Be", "hi", "yes", "you", "!</s>", "+<think>"]
SPANS = [
    {"first": 0, "stop": 1, "source": "template", "turn": None},
    {"first": 1, "stop": 2, "source": "system", "turn": None},
    {"first": 2, "stop": 3, "source": "user", "turn": 0},
    {"first": 3, "stop": 4, "source": "assistant", "turn": 1},
    {"first": 4, "stop": 5, "source": "user", "turn": None},
    {"first": 5, "stop": 6, "source": "template", "turn": None},
]
SAID = [
    "added by the chat template, a special token",
    "from the system prompt",
    "from earlier turn 1, user",
    "from earlier turn 2, assistant",
    "from the prompt",
    "added by the chat template, a special token",
    "written by the model, an added token",
]
NAMES = ["chat template", "system prompt", "turn 1, user", "turn 2, assistant", "prompt", "chat template"]
_MARK = "from the prompt, a special token"
PLAIN = [_MARK, *["from the prompt"] * 4, _MARK, SAID[6]]


@pytest.mark.parametrize(
    ("settings", "spans", "names", "said"),
    [
        ({"chat": True}, SPANS, NAMES, SAID),
        ({"chat": False}, None, None, PLAIN),
        ({"chat": True, "turns": [{"role": "user", "content": "hi"}]}, None, None, PLAIN),
    ],
    ids=["by its spans", "a plain prompt", "a chat that is not told apart"],
)
def test_each_token_of_a_prompt_is_told_where_it_comes_from(settings, spans, names, said):
    assert in_node(TOLD, [settings, spans, "you", TOKENS]) == [names, said]


def test_of_a_record_from_before_there_were_spans_the_typed_part_is_found():
    tokens = ["!<s>", "user", "you", "!</s>", "!<s>", "x"]
    names, said = in_node(TOLD, [{"chat": True}, None, "you", tokens])
    assert names == ["chat template", "chat template", "prompt", "chat template", "chat template"]
    assert said[1] == "added by the chat template"
