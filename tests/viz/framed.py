"""What the tests of frames share: runs, texts that break things, and how the browser reads packed rows."""

import numpy as np

from model.records.trace import Trace
from tests.fakes import fake_trace

HOSTILE = (
    "<script>alert(1)</script>",
    "</script>",
    "${alert(1)}",
    "{{constructor}}",
    "\x00\x01\x1b[31m",
    "\u202eevil\u202c",
    "x" * 4096,
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\n",
    " ",
    "\ufffd",
    "\u2028",
)


def words(count: int, start: str) -> tuple[str, ...]:
    return tuple(f" {start}{i}" for i in range(count))


def big(n_prompt: int, n_new: int) -> Trace:
    """A run of the default model's shape: 30 layers, 9 heads of 64, 3 key/value heads."""
    return fake_trace(
        words(n_prompt, "p"),
        words(n_new, "g"),
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        d_head=64,
        d_vocab=1000,
        lens=False,
    )


def unpack(packed: np.ndarray, first: int, n_tokens: int) -> list[np.ndarray]:
    """Rows of positions first.. as the browser cuts them: each as long as its position + 1."""
    lengths = [first + r + 1 for r in range(n_tokens)]
    return np.split(packed, np.cumsum(lengths)[:-1], axis=-1)


def weights(packed: np.ndarray) -> np.ndarray:
    return (packed.astype(np.float64) / 255) ** 2
