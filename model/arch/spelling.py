"""The bytes that one token stands for, read off the tokenizer's own decoder, whatever marks its pieces carry."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_LETTER = re.compile("[A-Za-z]")
_TRIED = 200  # words of the vocabulary that are tried as neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class _Neighbour:
    """A token that is put on either side of another: a decoder treats the first and the last one in its own way."""

    id: int
    before: str  # what it reads as in front of a token
    after: str  # and behind one

    def between(self, whole: str) -> str | None:
        """What stands between two of them, or None if they do not stand there."""
        if len(whole) < len(self.before + self.after):
            return None
        if not (whole.startswith(self.before) and whole.endswith(self.after)):
            return None
        return whole[len(self.before) : len(whole) - len(self.after)]


class Spelling:
    """What each token of a tokenizer spells, in bytes; a fragment of a character has bytes too."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.special = {each for each, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.special |= set(tokenizer.all_special_ids)
        self._added = set(tokenizer.added_tokens_decoder)
        named = {each for each, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
        self.markers = named - self.special  # such as <think>: the text keeps them, the vocabulary holds them whole
        self.byte_level = _uses_byte_letters(tokenizer)
        self._neighbour = None if self.byte_level else self._find_neighbour()
        self.missing = _missing_bytes(tokenizer) if self.byte_level else frozenset()

    def data(self, token_id: int) -> bytes:
        """The bytes that a token stands for in the middle of a text; a special token is its name."""
        piece = self._tokenizer.convert_ids_to_tokens(token_id)
        if piece is None:  # the embedding has more rows than the tokenizer has words
            return f"<id {token_id}>".encode()
        if token_id in self.special or (self.byte_level and token_id in self._added):
            return piece.encode()
        if self.byte_level:
            return bytes(_LETTER_TO_BYTE[letter] for letter in piece)
        text = self._decoded(token_id, piece)
        if (byte := _BYTE_PIECE.fullmatch(piece)) and text != piece:
            return bytes([int(byte[1], 16)])
        return text.encode("utf-8", "replace")

    def decode(self, ids: list[int]) -> str:
        """The library's own text of these ids."""
        return self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _decoded(self, token_id: int, piece: str) -> str:
        near = self._neighbour
        text = near and near.between(self.decode([near.id, token_id, near.id]))
        return piece.replace("\u2581", " ") if text is None else text

    def _find_neighbour(self) -> _Neighbour | None:
        """A word that reads alike on both sides, if there is one: then no blank of the decoder's is counted to it.

        Else a blank is put before words or after them, whichever leaves room for more of the vocabulary's pieces.
        Without a decoder the library puts blanks between the pieces, which belong to none of them.
        """
        if is_fast(self._tokenizer) and self._tokenizer.backend_tokenizer.decoder is None:
            return None
        found = list(islice(self._neighbours(), _TRIED))
        alike = next((each for each in found if each.before == each.after), None)
        if alike or not found:
            return alike
        blank_before = found[0]
        twice = blank_before.before + blank_before.after
        blank_after = replace(blank_before, before=twice.removesuffix(blank_before.before), after=blank_before.before)
        return max(blank_before, blank_after, key=self._n_placed)

    def _n_placed(self, near: _Neighbour) -> int:
        """How many of the first pieces of the vocabulary stand between this neighbour."""
        some = islice(self._tokenizer.get_vocab().values(), _TRIED)
        return sum(near.between(self.decode([near.id, each, near.id])) is not None for each in some)

    def _neighbours(self) -> Iterator[_Neighbour]:
        for piece, token_id in self._tokenizer.get_vocab().items():
            if token_id in self._added or _BYTE_PIECE.fullmatch(piece) or not _LETTER.search(piece):
                continue
            before, twice = self.decode([token_id]), self.decode([token_id, token_id])
            if before.isalpha() and twice.startswith(before):
                yield _Neighbour(id=token_id, before=before, after=twice.removeprefix(before))


def is_fast(tokenizer: Any) -> bool:
    """Whether it is one of the library `tokenizers`, which tells which part of a text a token stands for."""
    return getattr(tokenizer, "is_fast", False)


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
