"""What a person typed is found in what the model read, whatever the model's chat template adds."""

import pytest

from tests.js.node import in_node

# What typedPart answers for a prompt of these tokens ("!" before a mark of the format).
TYPED = """
  import { typedPart } from "@/data/running_text.js";
  const [typed, tokens] = given;
  const hex = (text) => [...new TextEncoder().encode(text)].map((b) => b.toString(16).padStart(2, "0")).join("");
  let at = 0;
  const made = tokens.map((token) => {
    const text = token.replace(/^!/, "");
    const data = hex(text);
    const span = [at, at += data.length / 2];
    return { text, hex: data, span, special: token.startsWith("!") };
  });
  const answer = typedPart({ tokens: made, nPrompt: made.length, head: { prompt: typed } });
"""


@pytest.mark.parametrize(
    ("typed", "tokens", "found"),
    [
        ("Hello there", ["Hello", " there"], [0, 2]),
        ("Hello there", ["!<s>", "Hello", " there"], [1, 3]),
        ("user", ["!<s>", "user", "\n", "user", "!</s>", "\n", "!<s>", "assistant", "\n"], [3, 4]),
        ("assistant", ["!<s>", "user", "\n", "assistant", "!</s>", "\n", "!<s>", "assistant", "\n"], [3, 4]),
        ("Be kind", ["!<s>", "Be", " kind", "!</s>", "user", "\n", "Be", " kind", "!</s>"], [6, 8]),
        (" trimmed\n", ["!<s>", "user", "\n", "trimmed", "!</s>"], [3, 4]),
        ("\nmerged", ["!<s>", "user", "\n\n", "merged", "!</s>"], [2, 4]),
        ("né", ["!<s>", "n", "é", "!</s>"], [1, 3]),
        ("Rewritten", ["!<s>", "rewritten", "!</s>"], None),
    ],
)
def test_what_was_typed_is_found_in_what_was_read(typed, tokens, found):
    assert in_node(TYPED, [typed, tokens]) == found
