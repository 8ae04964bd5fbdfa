"""A chat as a person asks for it, and which part of the prompt each token came from. A record holds both."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from model.errors import BadPrompt, BadSetting
from model.records.fields import shown

if TYPE_CHECKING:
    from model.records.settings import Settings

Speaker = Literal["user", "assistant"]
Source = Literal["template", "system", "user", "assistant"]
_WANTED = {"system": "text", "turns": "a tuple of Turn", "template_options": "a tuple of TemplateOption"}
_SPEAKERS: tuple[str, ...] = get_args(Speaker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One earlier turn of a chat: who spoke, and what was said."""

    role: Speaker
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateOption:
    """A variable of the chat template with the value that it is given, as text: `handed_over` is what it becomes."""

    name: str
    value: str

    @property
    def handed_over(self) -> bool | int | str:
        """What the template gets: true and false as such, a whole number as a number, anything else as text."""
        if self.value in ("true", "false"):
            return self.value == "true"
        return int(self.value) if re.fullmatch(r"-?[0-9]{1,18}", self.value, re.ASCII) else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVariable:
    """A variable that a chat template reads and that only a person can set, such as enable_thinking.

    A "switch" is compared with true and false, or tested; "text" is anything else. `values` are those that the
    template itself compares a text with.
    """

    name: str
    kind: Literal["switch", "text"]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSpan:
    """Tokens of a chat's prompt that come from one place: the template, the system prompt, or what somebody said."""

    first: int  # position of the first token
    stop: int  # after the last one
    source: Source
    turn: int | None  # which of the earlier turns, counted from 0; None for the prompt itself, and for no turn


def turns_of(name: str, given: Any) -> tuple[Turn, ...]:
    """Turns as a person or a program gives them: "user: text", [role, text], or {"role": ..., "content": ...}.

    Raises: BadSetting, for anything else.
    """
    if not isinstance(given, list | tuple):
        raise BadSetting("{name} is {given}; it must be a list of turns.", name=name, given=shown(given))
    return tuple(_turn(name, each) for each in given)


def options_of(name: str, given: Any) -> tuple[TemplateOption, ...]:
    """Template options as a person or a program gives them: a mapping, or a list of "name=value" or [name, value].

    Raises: BadSetting, for anything else, and for a name that is given twice.
    """
    entries = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(entries, list | tuple):
        raise BadSetting("{name} is {given}; it must be a list of name=value.", name=name, given=shown(given))
    options = tuple(_option(name, each) for each in entries)
    names = [each.name for each in options]
    if twice := next((each for each in names if names.count(each) > 1), None):
        raise BadSetting("{name} names {option} twice. Give it once.", name=name, option=shown(twice))
    return options


def check_chat(settings: "Settings") -> None:
    """Check what belongs to a chat: nothing of it is given outside of one, and every text is one.

    Raises: BadSetting, BadPrompt.
    """
    for name, kind in (("system", str), ("turns", tuple), ("template_options", tuple)):
        given = getattr(settings, name)
        if not isinstance(given, kind):
            raise BadSetting("{name} is {given}; it must be {kind}.", name=name, given=shown(given), kind=_WANTED[name])
        if given and not settings.chat:
            raise BadSetting("{name} is given, but chat is off. Turn chat on, or leave it out.", name=name)
    _check_whole("system", settings.system)
    for at, turn in enumerate(settings.turns):
        if not turn.content.strip():
            raise BadPrompt(
                "turns has nothing in turn {n} ({role}). Type what was said there, or remove the turn.",
                n=at + 1,
                role=turn.role,
            )
        _check_whole("turns", turn.content)
    for option in settings.template_options:
        _check_whole("template_options", option.name + option.value)


def _turn(name: str, given: Any) -> Turn:
    if isinstance(given, Turn):
        return given
    role, content = _pair(given, ":", ("role", "content"))
    if role not in _SPEAKERS or not isinstance(content, str):
        raise BadSetting(
            "{name} has {given}; a turn says who spoke and what: user: text, or assistant: text.",
            name=name,
            given=shown(given),
        )
    return Turn(role="user" if role == "user" else "assistant", content=content)


def _option(name: str, given: Any) -> TemplateOption:
    if isinstance(given, TemplateOption):
        return given
    option, value = _pair(given, "=", ("name", "value"))
    if isinstance(value, bool | int):
        value = str(value).lower()
    if not isinstance(option, str) or not option.isidentifier() or not isinstance(value, str):
        raise BadSetting(
            "{name} has {given}; write the variable's name and its value, as in enable_thinking=false.",
            name=name,
            given=shown(given),
        )
    return TemplateOption(name=option, value=value)


def _pair(given: Any, mark: str, names: tuple[str, str]) -> tuple[Any, Any]:
    """Two values from "first MARK second", [first, second] or a mapping of both names; (None, None) from others."""
    if isinstance(given, str) and mark in given:
        first, _, second = given.partition(mark)
        return first.strip(), second.strip()
    if isinstance(given, list | tuple) and len(given) == 2:
        return given[0], given[1]
    if isinstance(given, Mapping) and given.keys() == set(names):
        return given[names[0]], given[names[1]]
    return None, None


def _check_whole(name: str, text: str) -> None:
    """A text has no half of a character, which no file can hold. Raises: BadPrompt."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BadPrompt(
            "{name} has a broken character (half of a UTF-16 pair): {given}. Take it out.",
            name=name,
            given=shown(text),
        )
