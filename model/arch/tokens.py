"""Text to token ids and back: bytes, spans, special tokens, the chat template. Nothing is lost on the way."""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

from model.arch.chat import Message, Piece, Written, conversation, write
from model.arch.spelling import Spelling, is_fast
from model.errors import BadPrompt
from model.records.chat import PromptSpan, TemplateOption, Turn
from model.records.trace import Token
from model.texts import counted, phrase

_NAMED = 8  # lost characters that a note names
_ENCODING = threading.Lock()  # `split_special_tokens` is a switch on the shared tokenizer: two threads would mix it up


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt as the model will read it: token ids, and what had to be changed to make them."""

    text: str  # as typed, with what could not be text replaced
    ids: tuple[int, ...]
    notes: tuple[str, ...]
    spans: tuple[PromptSpan, ...] = ()  # of a chat: where its tokens come from, where that is known


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


def encode(
    tokenizer: Any,
    text: str,
    *,
    chat: bool,
    system: str = "",
    turns: Sequence[Turn] = (),
    template_options: Sequence[TemplateOption] = (),
) -> Prompt:
    """Cut a text into the model's tokens, as it is or as a person's turn of a chat.

    In a chat, `system` and the earlier `turns` come before it, and `template_options` are handed to the template.
    In a plain prompt the name of a special token, such as <|im_start|>, becomes that token, as in the library
    itself. In a chat it stays text: a message cannot forge the format.

    Raises: BadPrompt, if there is nothing to read, or the chat template leaves out a part of it; BadSetting, for a
    chat with a model that has no chat template, or one that takes no such chat.
    """
    text, notes = readable(text)
    spans: tuple[PromptSpan, ...] = ()
    if chat:
        messages = conversation(text, system, turns)
        written = write(tokenizer, messages, template_options)
        notes += written.notes
        with _ENCODING:
            ids, spans = _chat_ids(tokenizer, written, messages)
    else:
        with _ENCODING:
            ids = _ids(tokenizer, text)
    if not ids:
        raise BadPrompt(
            "the prompt {text!r} gives no tokens with this model's tokenizer. Type a few words.", text=text[:40]
        )
    return Prompt(text=text, ids=tuple(ids), notes=notes, spans=spans)


def _chat_ids(
    tokenizer: Any, written: Written, messages: Sequence[Message]
) -> tuple[list[int], tuple[PromptSpan, ...]]:
    """A chat's tokens, and which of them come from where."""
    names = _special_names(tokenizer)
    if not any(name in each.text for each in messages for name in names):
        return _whole_chat(tokenizer, written)
    if not written.verbatim or not written.pieces:
        raise BadPrompt(
            "the message names a special token, and this model's chat template rewrites messages, so it "
            "cannot be kept as text. Leave out the special token."
        )
    cut = [
        _ids(tokenizer, each.text, add_special_tokens=False, split_special_tokens=each.source != "template")
        for each in written.pieces
    ]
    owners = [piece for piece, ids in zip(written.pieces, cut, strict=True) for _ in ids]
    return [each for ids in cut for each in ids], _spans(owners)


def _whole_chat(tokenizer: Any, written: Written) -> tuple[list[int], tuple[PromptSpan, ...]]:
    """The tokens of the chat as the library cuts it: in one piece. A token across a border is the message's."""
    if not written.pieces or not is_fast(tokenizer):  # a slow tokenizer does not say where its tokens stand
        return _ids(tokenizer, written.text, add_special_tokens=False), ()
    cut = tokenizer(written.text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    ends = list(accumulate(len(each.text) for each in written.pieces))

    def owner(first: int, stop: int) -> Piece:
        at, last = (min(bisect_right(ends, place), len(ends) - 1) for place in (first, max(first, stop - 1)))
        over = written.pieces[at : last + 1]
        return next((each for each in over if each.source != "template"), over[0])

    return cut["input_ids"], _spans([owner(*place) for place in cut["offset_mapping"]])


def _spans(owners: Sequence[Piece]) -> tuple[PromptSpan, ...]:
    """The tokens that lie together and come from one place, by the piece that each comes from."""
    found: list[PromptSpan] = []
    for (source, turn), tokens in groupby(owners, lambda piece: (piece.source, piece.turn)):
        first = found[-1].stop if found else 0
        found.append(PromptSpan(first=first, stop=first + len(list(tokens)), source=source, turn=turn))
    return tuple(found)


def _ids(tokenizer: Any, text: str, **options: bool) -> list[int]:
    return tokenizer(text, verbose=False, **options)["input_ids"]  # a long text is refused later, not warned about


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
            marker=token_id in self._spelling.markers,
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
