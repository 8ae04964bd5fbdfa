"""Text to token ids and back: bytes, spans, special tokens, the chat template. Nothing is lost on the way."""

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import BadPrompt, BadSetting
from model.records.trace import Token
from model.texts import counted, phrase

_PLACEHOLDER = "\ue000message\ue001"  # private-use characters: stands for the person's text inside the chat template
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
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

    Raises: BadPrompt, if there is nothing to read; BadSetting, for a chat with a model that has no chat template.
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
    if not any(name in text for name in _special_names(tokenizer)):
        return _ids(tokenizer, _turn(tokenizer, text), add_special_tokens=False)
    before, found, after = _turn(tokenizer, _PLACEHOLDER).partition(_PLACEHOLDER)
    if not found or _PLACEHOLDER in after:
        raise BadPrompt(
            "the message names a special token, and this model's chat template rewrites messages, so it "
            "cannot be kept as text. Leave out the special token."
        )
    return [
        *_ids(tokenizer, before, add_special_tokens=False),
        *_ids(tokenizer, text, add_special_tokens=False, split_special_tokens=True),
        *_ids(tokenizer, after, add_special_tokens=False),
    ]


def _ids(tokenizer: Any, text: str, **options: bool) -> list[int]:
    return tokenizer(text, verbose=False, **options)["input_ids"]  # a long text is refused later, not warned about


def _turn(tokenizer: Any, text: str) -> str:
    message = [{"role": "user", "content": text}]
    try:
        return tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        raise BadSetting(
            "chat is on, but this model's chat template does not accept a single user message ({error}). "
            "Turn chat off.",
            error=error,
        ) from error


def _special_names(tokenizer: Any) -> set[str]:
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


class Reader:
    """Turns a tokenizer's ids into what they read as: bytes, text and spans."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._added = set(added)
        self._special = set(tokenizer.all_special_ids) | {each for each, token in added.items() if token.special}
        self._byte_level = _uses_byte_letters(tokenizer)
        self._missing = _missing_bytes(tokenizer) if self._byte_level else frozenset()
        self._texts: dict[int, str] = {}

    def losses(self, text: str) -> tuple[str, ...]:
        """A note on the characters of a text that the tokenizer drops without a word, if there are any."""
        if self._missing.isdisjoint(text.encode()):
            return ()
        lost = [each for each in dict.fromkeys(text) if not self._missing.isdisjoint(each.encode())]
        names = ", ".join(f"U+{ord(each):04X}" for each in lost[:_NAMED]) + (", ..." if len(lost) > _NAMED else "")
        return (phrase("This model's vocabulary cannot spell {names}: the model did not read them.", names=names),)

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
            special=token_id in self._special,
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
        return self._tokenizer.decode(
            [each for each in ids if each not in self._special], clean_up_tokenization_spaces=False
        )

    def data(self, token_id: int) -> bytes:
        """The bytes that a token stands for."""
        piece = self._tokenizer.convert_ids_to_tokens(token_id)
        if piece is None:  # the embedding has more rows than the tokenizer has words
            return f"<id {token_id}>".encode()
        if token_id in self._added:
            return piece.encode()
        if self._byte_level:
            return bytes(_LETTER_TO_BYTE[letter] for letter in piece)
        if byte := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return piece.replace("\u2581", " ").encode("utf-8", "replace")


def _byte_letters() -> dict[str, int]:
    """The letters in which GPT-2's vocabulary spells bytes: printable ones as themselves, the rest moved up by 256.

    Source: Radford et al. 2019, section 2.2, and the published encoder.
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("\xa1"), ord("\xac") + 1), *range(ord("\xae"), 256)]
    moved = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(moved)}


_LETTER_TO_BYTE = _byte_letters()


def _missing_bytes(tokenizer: Any) -> frozenset[int]:
    """Bytes without a letter of their own. SmolLM2 lacks six control characters: they were not in what it learned."""
    vocabulary = tokenizer.get_vocab()
    return frozenset(byte for letter, byte in _LETTER_TO_BYTE.items() if letter not in vocabulary)


def _uses_byte_letters(tokenizer: Any) -> bool:
    vocabulary = tokenizer.get_vocab()
    added = tokenizer.get_added_vocab()
    pieces = [piece for piece in vocabulary if piece not in added]
    return "\u0120" in "".join(pieces[:5000]) and all(letter in _LETTER_TO_BYTE for letter in "".join(pieces))
