"""What is worth asking for first, as every form offers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.records.chat import Turn
from model.requests.batching import Serve, Text
from model.texts import phrase


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt worth running first."""

    label: str
    prompt: str
    chat: bool = False
    system: str = ""
    turns: tuple[Turn, ...] = ()


EXAMPLES = (
    Example(label=phrase("Facts"), prompt="The capital of France is Paris. The capital of Italy is"),
    Example(label=phrase("A story"), prompt="Once upon a time, a small robot found a door in the forest. Behind it"),
    Example(label=phrase("Code"), prompt="def is_even(n):\n    return"),
    Example(label="Español 🌍", prompt="Hola 👋 Me llamo Ana y vivo en"),
    Example(label=phrase("A question"), prompt="Why is the sky blue? Answer in one sentence.", chat=True),
    Example(
        label=phrase("A conversation"),
        prompt="And of Italy?",
        chat=True,
        system="Answer with one word.",
        turns=(
            Turn(role="user", content="What is the capital of France?"),
            Turn(role="assistant", content="Paris."),
        ),
    ),
)
DRAFTED = (  # for a draft before the model
    EXAMPLES[1],
    EXAMPLES[0],
    Example(
        label=phrase("A list that repeats"),
        prompt="Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, Monday, Tuesday, Wednesday, Thursday,",
    ),
    Example(label=phrase("Code"), prompt="def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return"),
)

_ENGINE = ("rate", "n_blocks", "block_size", "token_budget", "max_requests", "prefix_caching")
_SMALL = {"n_blocks": 48, "token_budget": 24}  # with the defaults of these, few of the scenes fill a tick or the cache


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Texts to be served that show something, with an engine that shows it."""

    label: str
    texts: tuple[Text, ...]
    changed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def engine(self) -> Mapping[str, Any]:
        """How the texts arrive and what the engine may do for them."""
        return {**{name: getattr(Serve, name) for name in _ENGINE}, **_SMALL, **self.changed}


def _texts(*rows: tuple[str, int]) -> tuple[Text, ...]:
    return tuple(Text(prompt=prompt, max_new_tokens=new) for prompt, new in rows)


_FOUR = _texts(  # two that begin alike, and lengths that differ
    ("The capital of France is Paris. The capital of Italy is", 8),
    ("The capital of France is Paris. The capital of Spain is", 16),
    ("Once upon a time, a small robot found a door in the forest. Behind it", 32),
    ("def is_even(n):\n    return", 12),
)
_GUIDE = "Here are some things that every child should know about animals and where they live. "
SCENES = (
    Scene(label=phrase("Four texts"), texts=_FOUR),
    Scene(
        label=phrase("The same prefix"),
        changed={"rate": 2},
        texts=_texts(*((f"{_GUIDE}{begun}", 20) for begun in ("A penguin lives", "A camel lives", "A whale lives"))),
    ),
    Scene(
        label=phrase("Two at a time"),
        changed={"max_requests": 2},
        texts=_texts(
            ("The best thing about winter is", 24),
            ("1, 2, 3, 4,", 8),
            ("She opened the old book and", 12),
            ("In the middle of the city there is", 16),
            ("A whale lives", 8),
        ),
    ),
    Scene(
        label=phrase("One long, five short"),
        texts=_texts(
            (_FOUR[2].prompt, 48),
            ("Hot is to cold as big is to", 6),
            ("A young dog is called a", 6),
            ("One, two, three, four,", 6),
            ("The opposite of early is", 6),
            ("Monday, Tuesday, Wednesday,", 6),
        ),
    ),
    Scene(
        label=phrase("Too few blocks"), changed={"n_blocks": 14}, texts=_texts(*((each.prompt, 32) for each in _FOUR))
    ),
)
OFFERED = (
    *(each.prompt for each in (*EXAMPLES, *DRAFTED)),
    *(each.prompt for scene in SCENES for each in scene.texts),
)  # every text that a form offers: no words of a person
