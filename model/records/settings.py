"""What a person asks of a run, checked when it is asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from model.limits import Limits
from model.records.chat import TemplateOption, Turn, check_chat, options_of, turns_of
from model.records.fields import fields_of, setting

_UNBOUNDED = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a person asks of a run. Neutral values (0, 0, 1, 0, 1) switch a processor off; temperature 0 is greedy.

    Raises: BadSetting, naming the setting, what was given and what would do.
    """

    max_new_tokens: int = setting(
        32,
        kind="whole",
        label="New tokens",
        low=1,
        metavar="N",
        help="The most tokens to generate; each takes one pass through the model.",
    )
    temperature: float = setting(
        0.0,
        kind="number",
        label="Temperature",
        low=0,
        slider=(0, 2),
        step=0.05,
        metavar="T",
        help="0 always takes the most likely token; higher values make unlikely tokens more likely. "
        "At 0, top-k, top-p, min-p and the seed change nothing.",
    )
    top_k: int = setting(
        0,
        kind="whole",
        label="Top-k",
        low=0,
        off=0,
        slider=(0, 200),
        metavar="K",
        help="Above temperature 0: sample only from the k most likely tokens. 0 is off.",
    )
    top_p: float = setting(
        1.0,
        kind="number",
        label="Top-p",
        low=0,
        high=1,
        above=True,
        off=1,
        slider=(0.01, 1),
        step=0.01,
        metavar="P",
        help="Above temperature 0: sample only from the most likely tokens that together reach this probability. "
        "1 is off.",
    )
    min_p: float = setting(
        0.0,
        kind="number",
        label="Min-p",
        low=0,
        high=1,
        off=0,
        step=0.01,
        metavar="P",
        help="Above temperature 0: drop tokens that are less likely than this share of the most likely one. 0 is off.",
    )
    repetition_penalty: float = setting(
        1.0,
        kind="number",
        label="Repetition penalty",
        low=0,
        above=True,
        off=1,
        slider=(0.5, 2),
        step=0.05,
        metavar="R",
        help="Above 1, tokens that already occur become less likely. 1 is off.",
    )
    seed: int = setting(
        0,
        kind="whole",
        label="Seed",
        low=0,
        high=2**63 - 1,
        metavar="S",
        help="Above temperature 0: the same seed samples the same tokens.",
    )
    chat: bool = setting(
        False,
        kind="switch",
        label="Chat",
        help="The prompt is a user's turn in the model's chat template.",
    )
    system: str = setting(
        "",
        kind="text",
        label="System prompt",
        help="In a chat: what the model is told before the first turn, such as how to answer.",
        placeholder="Such as: You are a patient teacher. Answer in one sentence.",
        metavar="TEXT",
        added=True,
    )
    turns: tuple[Turn, ...] = setting(
        (),
        kind="turns",
        label="Earlier turns",
        help="In a chat: an earlier turn, as user: TEXT or assistant: TEXT; given once for each turn, in order. "
        "The prompt is the turn after them.",
        flag="turn",
        metavar="TURN",
        added=True,
    )
    template_options: tuple[TemplateOption, ...] = setting(
        (),
        kind="options",
        label="Template options",
        help="In a chat: a variable of the model's chat template and its value, such as enable_thinking=false; given "
        "once for each variable. Others are as the template has them.",
        flag="template-option",
        metavar="NAME=VALUE",
        added=True,
    )

    def __post_init__(self) -> None:
        for name, field in fields_of(type(self)).items():
            field.check(name, getattr(self, name), _UNBOUNDED)
        check_chat(self)

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Settings whose turns and template options may be written as a program likes.

        Turns are pairs of role and text, or "user: text"; options a mapping, or "name=value". Raises: BadSetting.
        """
        readers: dict[str, Callable[[str, Any], Any]] = {"turns": turns_of, "template_options": options_of}
        read = {name: readers[name](name, value) for name, value in given.items() if name in readers}
        return cls(**{**given, **read})

    @property
    def greedy(self) -> bool:
        """Whether every step takes the likeliest token instead of drawing one."""
        return self.temperature == 0
