"""Text to token ids and back: bytes, spans, special tokens, the chat template. Nothing is lost on the way."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from model.arch.spelling import Spelling, is_fast
from model.errors import BadPrompt, BadSetting
from model.records.trace import Token
from model.texts import counted, phrase

_PLACEHOLDER = "\ue000message\ue001"  # private-use characters: stands for the person's text inside the chat template
_NAMED = 8  # lost characters that a note names
_ENCODING = threading.Lock()  # `split_special_tokens` is a switch on the shared tokenizer: two threads would mix it up


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt as the model will read it: token ids, and what had to be changed to make them."""

    text: str  # as typed, with what could not be text replaced
    ids: tuple[int, ...]
    notes: tuple[str, ...]


def readable(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with halves of characters replaced, and a note that says so. Raises: BadPrompt, if nothing is left.

    A lone surrogate is half of a character, left over when a text is cut between its UTF-16 units; no tokenizer
    takes it.
    """
    if not isinstance(text, str):
        raise BadPrompt("the prompt is a {kind}; it must be text.", kind=type(text).__name__)
    if not text.strip():
        raise BadPrompt(
            "the prompt is empty or only blanks; the model needs at least one token to go on from. Type a few words."
        )
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    lost = whole.count("\ufffd") - text.count("\ufffd")
    if not lost:
        return whole, ()
    return whole, (
        counted(
            lost,
            "1 broken character (half of a UTF-16 pair) in the prompt became U+FFFD.",
            "{n} broken characters (half of a UTF-16 pair) in the prompt became U+FFFD.",
        ),
    )


def encode(tokenizer: Any, text: str, *, chat: bool) -> Prompt:
    """Cut a text into the model's tokens, as they are or as a person's turn of a chat.

    In a plain prompt the name of a special token, such as <|im_start|>, becomes that token, as in the library
    itself. In a chat it stays text: a message cannot forge the format.

    Raises: BadPrompt, if there is nothing to read, or the chat template leaves out a part of it; BadSetting, for a
    chat with a model that has no chat template, or one that takes no message.
    """
    text, notes = readable(text)
    with _ENCODING:
        ids = _chat_ids(tokenizer, text) if chat else _ids(tokenizer, text)
    if not ids:
        raise BadPrompt(
            "the prompt {text!r} gives no tokens with this model's tokenizer. Type a few words.", text=text[:40]
        )
    return Prompt(text=text, ids=tuple(ids), notes=notes)


def _chat_ids(tokenizer: Any, text: str) -> list[int]:
    if not getattr(tokenizer, "chat_template", None):
        raise BadSetting("chat is on, but this model has no chat template. Turn chat off.")
    turn = _form_of_turn(tokenizer)
    whole = _whole_turn(tokenizer, turn, text)
    if not any(name in text for name in _special_names(tokenizer)):
        return _ids(tokenizer, whole, add_special_tokens=False)
    # The blanks around the message are the template's to keep or to trim.
    before, found, after = _render(tokenizer, turn(text.replace(text.strip(), _PLACEHOLDER))).partition(_PLACEHOLDER)
    if not found or _PLACEHOLDER in after:
        raise BadPrompt(
            "the message names a special token, and this model's chat template rewrites messages, so it "
            "cannot be kept as text. Leave out the special token."
        )
    return [
        *_ids(tokenizer, before, add_special_tokens=False),
        *_ids(tokenizer, text.strip(), add_special_tokens=False, split_special_tokens=True),
        *_ids(tokenizer, after, add_special_tokens=False),
    ]


def _ids(tokenizer: Any, text: str, **options: bool) -> list[int]:
    return tokenizer(text, verbose=False, **options)["input_ids"]  # a long text is refused later, not warned about


def _form_of_turn(tokenizer: Any) -> "_Turn":
    """The form of a turn in which this model's chat template passes a message on: its text, or a list of parts."""
    errors: list[Exception] = []
    for turn in (_as_text, _as_parts):
        try:
            if _stands_in(_PLACEHOLDER, _render(tokenizer, turn(_PLACEHOLDER))):
                return turn
        except Exception as error:  # noqa: BLE001 - a template is a program, and may raise anything
            errors.append(error)
    if len(errors) < 2:
        raise BadSetting(
            "chat is on, but this model's chat template leaves the message out: the model would not read it. "
            "Turn chat off."
        )
    raise BadSetting(
        "chat is on, but this model's chat template does not accept a single user message ({error}). Turn chat off.",
        error=errors[0],
    ) from errors[0]


def _whole_turn(tokenizer: Any, turn: "_Turn", text: str) -> str:
    try:
        rendered = _render(tokenizer, turn(text))
    except Exception as error:
        raise BadPrompt(
            "this model's chat template does not accept this message ({error}). Turn chat off, or ask otherwise.",
            error=error,
        ) from error
    if not _stands_in(text, rendered):
        raise BadPrompt(
            "this model's chat template leaves out a part of this message: the model would not read what was typed. "
            "Turn chat off, or ask otherwise."
        )
    return rendered


def _stands_in(message: str, rendered: str) -> bool:
    """Whether a template passed a message on; it may change its blanks and its case."""
    return "".join(message.split()).casefold() in "".join(rendered.split()).casefold()


_Turn = Callable[[str], dict[str, Any]]


def _as_text(message: str) -> dict[str, Any]:
    return {"role": "user", "content": message}


def _as_parts(message: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": message}]}


def _render(tokenizer: Any, turn: dict[str, Any]) -> str:
    return tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)


def _special_names(tokenizer: Any) -> set[str]:
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


class Reader:
    """Turns a tokenizer's ids into what they read as: bytes, text and spans."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._spelling = Spelling(tokenizer)
        self._data: dict[int, bytes] = {}
        self._texts: dict[int, str] = {}

    def losses(self, text: str) -> tuple[str, ...]:
        """Notes on the characters of a text that the tokenizer drops or replaces without a word, if there are any."""
        if not self._spelling.byte_level:
            return self._unread(text)
        return _dropped(each for each in text if not self._spelling.missing.isdisjoint(each.encode()))

    def tokens(self, ids: Sequence[int]) -> tuple[Token, ...]:
        """The prompt's ids, each as a Token, its span counted in bytes from the first one's start."""
        tokens: list[Token] = []
        for token_id in ids:
            tokens.append(self.token(token_id, tokens[-1].span[1] if tokens else 0, generated=False))
        return tuple(tokens)

    def token(self, token_id: int, start: int, *, generated: bool) -> Token:
        """One id as a Token whose bytes begin at `start` in the text of the run."""
        data = self.data(token_id)
        return Token(
            id=token_id,
            text=self.text(token_id),
            data=data,
            span=(start, start + len(data)),
            special=token_id in self._spelling.special,
            generated=generated,
        )

    def text(self, token_id: int) -> str:
        """What one token reads as; a fragment of a character reads as U+FFFD."""
        if token_id not in self._texts:
            self._texts[token_id] = self.data(token_id).decode("utf-8", "replace")
        return self._texts[token_id]

    def texts(self, ids: Iterable[int]) -> dict[int, str]:
        """What each of these ids reads as."""
        return {token_id: self.text(token_id) for token_id in set(ids)}

    def fragments(self, ids: Iterable[int]) -> dict[int, bytes]:
        """The bytes of those of these ids that are parts of a character, which their text cannot tell."""
        return {token_id: self.data(token_id) for token_id in set(ids) if "\ufffd" in self.text(token_id)}

    def joined(self, ids: Sequence[int]) -> str:
        """The text that the ids spell together, without special tokens."""
        return self._spelling.decode([each for each in ids if each not in self._spelling.special])

    def written(self, prompt: Sequence[int], ids: Sequence[int]) -> str:
        """The text that the ids add to that of the prompt, without special tokens.

        It is the text of all without the prompt's: a decoder drops the blank in front of a text's first word.
        """
        before, whole = self.joined(prompt), self.joined([*prompt, *ids])
        while not whole.startswith(before):  # the prompt ended inside a character
            before = before[:-1]
        return whole.removeprefix(before)

    def data(self, token_id: int) -> bytes:
        """The bytes that a token stands for."""
        if token_id not in self._data:
            self._data[token_id] = self._spelling.data(token_id)
        return self._data[token_id]

    def _unread(self, text: str) -> tuple[str, ...]:
        name = _unknown(self._tokenizer)
        unknown = None if name is None else self._tokenizer.convert_tokens_to_ids(name)
        text = text.replace(name, " ") if name else text  # who types its name has it read
        places = _places(self._tokenizer, text)
        read = {place for _, span in places for place in range(*span)}
        dropped = [letter for place, letter in enumerate(text) if place not in read and letter.strip()]
        replaced = [text[slice(*span)] for token, span in places if token == unknown]
        return (*_dropped(dropped), *_replaced(replaced, name))


def _places(tokenizer: Any, text: str) -> list[tuple[int, tuple[int, int]]]:
    """The tokens of a text, each with the first and last-plus-one character that it stands for."""
    if not is_fast(tokenizer):  # it does not tell: each character is cut alone
        ids = {letter: _ids(tokenizer, letter, add_special_tokens=False) for letter in set(text)}
        return [(token_id, (place, place + 1)) for place, letter in enumerate(text) for token_id in ids[letter]]
    with _ENCODING:
        cut = tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    return list(zip(cut["input_ids"], cut["offset_mapping"], strict=True))


def _unknown(tokenizer: Any) -> str | None:
    """The token that stands for what the vocabulary lacks, if there is one."""
    return tokenizer.unk_token or (
        getattr(tokenizer.backend_tokenizer.model, "unk_token", None) if is_fast(tokenizer) else None
    )


def _dropped(parts: Iterable[str]) -> tuple[str, ...]:
    names = _named(parts)
    said = phrase("This model's vocabulary cannot spell {names}: the model did not read them.", names=names)
    return (said,) if names else ()


def _replaced(parts: Iterable[str], unknown: str | None) -> tuple[str, ...]:
    names = _named(parts)
    said = phrase(
        "This model's vocabulary cannot spell {names}: the model read {unknown} in their place.",
        names=names,
        unknown=unknown,
    )
    return (said,) if names else ()


def _named(parts: Iterable[str]) -> str:
    """Parts of a text, each once: a character by its number, a longer one quoted."""
    each_once = list(dict.fromkeys(parts))
    names = [f"U+{ord(part):04X}" if len(part) == 1 else repr(part) for part in each_once[:_NAMED]]
    return ", ".join(names) + (", ..." if len(each_once) > _NAMED else "")
