"""A chat as the model's template writes it out: which of the text is the template's, and which is whose message."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from model.errors import BadPrompt, BadSetting
from model.records.chat import Source, TemplateOption, Turn
from model.texts import phrase

_PLACEHOLDER = re.compile("\ue000message([0-9]+)\ue001", re.IGNORECASE)
# private-use characters: each stands for one message inside the template, which may change its case

Render = Callable[[list[dict[str, Any]]], str]
_Form = Callable[[str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat: the system prompt, an earlier turn (counted from 0), or the prompt itself."""

    source: Source
    turn: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of what the model reads: a message, or what the template put between messages."""

    text: str
    source: Source
    turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A chat as the template writes it. `pieces` make up the text; empty where they are not told apart."""

    text: str
    pieces: tuple[Piece, ...]
    verbatim: bool  # whether every message stands there as it was given, but for blanks around it
    notes: tuple[str, ...]


def conversation(text: str, system: str, turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The messages of a chat in order: the system prompt where there is one, the earlier turns, the prompt."""
    first = [Message(source="system", turn=None, text=system)] if system.strip() else []
    earlier = [Message(source=each.role, turn=at, text=each.content) for at, each in enumerate(turns)]
    return (*first, *earlier, Message(source="user", turn=None, text=text))


def write(tokenizer: Any, messages: Sequence[Message], options: Sequence[TemplateOption]) -> Written:
    """Write a chat out with the model's template, and find each message in it.

    Raises: BadSetting, for a model without a template, or whose template does not take such a chat or has no such
    option; BadPrompt, where it leaves out a part of what was typed.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise BadSetting("chat is on, but this model has no chat template. Turn chat off.")
    _check_options(tokenizer, options)
    render = _renderer(tokenizer, options)
    form, skeleton = _accepted(render, messages) or _refuse(tokenizer, messages, options)
    try:
        text = render([form(each.source, each.text) for each in messages])
    except Exception as error:
        raise BadPrompt(
            "this model's chat template does not accept this message ({error}). Turn chat off, or ask otherwise.",
            error=error,
        ) from error
    pieces = _pieces(skeleton, messages, text)
    found = {(each.source, each.turn): each.text for each in pieces if each.source != "template"}
    there = [found.get((each.source, each.turn), "" if pieces else text) for each in messages]
    notes = [note for each, read in zip(messages, there, strict=True) if (note := _left_out(each, read))]
    return Written(
        text=text,
        pieces=pieces,
        verbatim=all(each.text.strip() == read.strip() for each, read in zip(messages, there, strict=True)),
        notes=(*notes, *_idle(tokenizer, messages, form, options, skeleton)),
    )


def _renderer(tokenizer: Any, options: Sequence[TemplateOption]) -> Render:
    values = {each.name: each.handed_over for each in options}
    return lambda turns: tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **values)


def _as_text(role: str, message: str) -> dict[str, Any]:
    return {"role": role, "content": message}


def _as_parts(role: str, message: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": message}]}


_FORMS: tuple[_Form, ...] = (_as_text, _as_parts)


def _skeleton(render: Render, form: _Form, messages: Sequence[Message]) -> str:
    """The chat with a placeholder for each message."""
    return render([form(each.source, f"\ue000message{at}\ue001") for at, each in enumerate(messages)])


def _missing(skeleton: str, messages: Sequence[Message]) -> Message | None:
    """The first message that a template leaves out."""
    there = {int(found[1]) for found in _PLACEHOLDER.finditer(skeleton)}
    return next((each for at, each in enumerate(messages) if at not in there), None)


def _accepted(render: Render, messages: Sequence[Message]) -> tuple[_Form, str] | None:
    """The form of a message in which this template passes them all on, its text or a list of parts; and the skeleton.

    None if there is no such form.
    """
    for form in _FORMS:
        try:
            skeleton = _skeleton(render, form, messages)
        except Exception:  # noqa: BLE001, S112 - a template is a program, and may raise anything
            continue
        if _missing(skeleton, messages) is None:
            return form, skeleton
    return None


def _refuse(tokenizer: Any, messages: Sequence[Message], options: Sequence[TemplateOption]) -> NoReturn:
    """Say why a template passes no such chat on: what it leaves out, or else what it does without. Raises."""
    error: Exception | None = None
    for form in _FORMS:
        try:
            left_out = _missing(_skeleton(_renderer(tokenizer, options), form, messages), messages)
        except Exception as raised:  # noqa: BLE001 - as above
            error = error or raised
        else:
            assert left_out is not None, "this form would have been taken"
            _refuse_left_out(left_out)
    if options and _accepted(_renderer(tokenizer, ()), messages):
        raise BadSetting(
            "template_options has {options}, which this model's chat template does not accept ({error}). "
            "Choose other values, or leave them out.",
            options=", ".join(f"{each.name}={each.value}" for each in options),
            error=error,
        ) from error
    render = _renderer(tokenizer, options)
    if messages[0].source == "system" and _accepted(render, messages[1:]):
        raise BadSetting(
            "this model's chat template takes no system prompt ({error}). Leave it out, or say it at the beginning of "
            "the first message.",
            error=error,
        ) from error
    if any(each.turn is not None for each in messages):
        raise BadSetting(
            "this model's chat template does not accept these earlier turns ({error}). Most want a user's turn first, "
            "then one of each in turn, and an assistant's last.",
            error=error,
        ) from error
    raise BadSetting(
        "chat is on, but this model's chat template does not accept a single user message ({error}). Turn chat off.",
        error=error,
    ) from error


def _refuse_left_out(message: Message) -> NoReturn:
    if message.source == "system":
        raise BadSetting(
            "this model's chat template leaves the system prompt out: the model would not read it. Say it at the "
            "beginning of the first message."
        )
    if message.turn is not None:
        raise BadSetting(
            "this model's chat template leaves out earlier turn {n} ({role}): the model would not read it. Remove "
            "that turn.",
            n=message.turn + 1,
            role=message.source,
        )
    raise BadSetting(
        "chat is on, but this model's chat template leaves the message out: the model would not read it. Turn chat off."
    )


def _check_options(tokenizer: Any, options: Sequence[TemplateOption]) -> None:
    """The template has a variable of each option's name. Raises: BadSetting."""
    if not options:
        return
    from model.arch.template_variables import variables_of  # it takes a quarter of a second, and few chats need it

    names = [each.name for each in variables_of(tokenizer)]
    for option in options:
        if option.name in names:
            continue
        if not names:
            raise BadSetting(
                "template_options has {name}, but this model's chat template has no variables to set. Leave it out.",
                name=option.name,
            )
        raise BadSetting(
            "template_options has {name}; this model's chat template has {choices}. Choose among them.",
            name=option.name,
            choices=", ".join(names),
        )


def _pieces(skeleton: str, messages: Sequence[Message], text: str) -> tuple[Piece, ...]:
    """The text cut where the skeleton has its placeholders; empty if the template's own text is not the same there."""
    first, *rest = _PLACEHOLDER.split(skeleton)  # the template's, a message's number, the template's, ...
    if not text.startswith(first):
        return ()
    pieces, at = [Piece(text=first, source="template")], len(first)
    for number, after in zip(rest[::2], rest[1::2], strict=True):
        message = messages[int(number)]
        end = _end(message.text, text, at, after, is_last=len(pieces) == len(rest) - 1)
        if end is None:
            return ()
        pieces.append(Piece(text=text[at:end], source=message.source, turn=message.turn))
        pieces.append(Piece(text=after, source="template"))
        at = end + len(after)
    return tuple(each for each in pieces if each.text) if at == len(text) else ()


def _end(message: str, text: str, at: int, after: str, *, is_last: bool) -> int | None:
    """Where a message ends that begins at `at` and has `after` behind it; None if it is not there.

    The template may have taken the blanks around it, or rewritten it.
    """
    for known in (message, message.rstrip(), message.lstrip(), message.strip()):
        end = at + len(known)
        if (
            text.startswith(known, at)
            and text.startswith(after, end)
            and (not is_last or end + len(after) == len(text))
        ):
            return end
    if is_last:
        end = len(text) - len(after)
        return end if text.endswith(after) and end >= at else None
    end = text.find(after, at) if after else -1
    return end if end >= 0 else None


def _left_out(message: Message, found: str) -> str:
    """A note where a template leaves out a part of an earlier answer, as it does with the reasoning in it.

    Raises: BadPrompt, for a part of anything else.
    """
    if _stands_in(message.text, found):
        return ""
    if message.source == "assistant":
        return phrase(
            "The chat template leaves out a part of earlier turn {n} (assistant), as most do with reasoning: the model "
            "does not read it.",
            n=0 if message.turn is None else message.turn + 1,
        )
    raise BadPrompt(
        "this model's chat template leaves out a part of this message: the model would not read what was typed. "
        "Turn chat off, or ask otherwise."
    )


def _stands_in(message: str, written: str) -> bool:
    """Whether a template passed a message on; it may change its blanks and its case."""
    return "".join(message.split()).casefold() in "".join(written.split()).casefold()


def _idle(
    tokenizer: Any, messages: Sequence[Message], form: _Form, options: Sequence[TemplateOption], skeleton: str
) -> list[str]:
    """Notes on options that change nothing here."""
    notes = []
    for option in options:
        others = [each for each in options if each is not option]
        try:
            same = _skeleton(_renderer(tokenizer, others), form, messages) == skeleton
        except Exception:  # noqa: BLE001 - without it the template takes no such chat
            same = False
        if same:
            notes.append(
                phrase(
                    "The template option {name}={value} changes nothing in this prompt.",
                    name=option.name,
                    value=option.value,
                )
            )
    return notes
