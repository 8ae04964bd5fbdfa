"""Prompts worth running first, as every form offers them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt worth running first."""

    label: str
    prompt: str
    chat: bool = False


EXAMPLES = (
    Example(label="Facts", prompt="The capital of France is Paris. The capital of Italy is"),
    Example(label="A story", prompt="Once upon a time, a small robot found a door in the forest. Behind it"),
    Example(label="Code", prompt="def is_even(n):\n    return"),
    Example(label="Español 🌍", prompt="Hola 👋 Me llamo Ana y vivo en"),
    Example(label="A question", prompt="Why is the sky blue? Answer in one sentence.", chat=True),
)
