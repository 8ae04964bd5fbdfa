"""The pieces of any tokenizer add up to the library's own text, their markers are not shown, and losses are told."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import CTRLTokenizer, PreTrainedTokenizerFast

from model import Ask, Limits, Settings, load, serve, trace
from model.arch.tokens import Reader
from tests.model.served_texts import BOUNDS, recorded
from tests.tiny import tiny_model

BLOCK = "\u2581"  # SentencePiece's mark of a blank
TEXT = "each of the readings, each x  each"
SNOWMAN = "each \u2603 x"


def numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: place for place, piece in enumerate(pieces)}


def metaspace(mark: str = BLOCK) -> PreTrainedTokenizerFast:
    """T5's and Marian's kind of blank, over BPE: the first word's is dropped when the text is put together."""
    pieces = ["<unk>", "<s>", mark, *"abcdefghinorstx,", mark + "e", "ac", mark + "eac", mark + "each"]
    merges = [(mark, "e"), ("a", "c"), (mark + "e", "ac"), (mark + "eac", "h")]
    built = Tokenizer(BPE(numbered(pieces), merges, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Metaspace(replacement=mark)
    built.decoder = decoders.Metaspace(replacement=mark)
    return PreTrainedTokenizerFast(tokenizer_object=built, unk_token="<unk>", bos_token="<s>")


def unigram() -> PreTrainedTokenizerFast:
    words = [BLOCK, BLOCK + "each", BLOCK + "the", "read", "ing", *"abcdefghinorstx,"]
    built = Tokenizer(Unigram([("<unk>", 0.0), *((word, -2.0 - place / 10) for place, word in enumerate(words))], 0))
    built.pre_tokenizer, built.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=built, unk_token="<unk>")


def wordpiece() -> PreTrainedTokenizerFast:
    """BERT's kind: a piece that goes on a word is marked, and the blank between words is the decoder's."""
    pieces = ["[UNK]", "[CLS]", "each", "of", "the", "read", "##ing", "##s", "x", ",", "##a"]
    built = Tokenizer(WordPiece(numbered(pieces), unk_token="[UNK]"))
    built.pre_tokenizer, built.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=built, unk_token="[UNK]")


def word_ends() -> PreTrainedTokenizerFast:
    """The first GPT's kind: the piece that ends a word is marked."""
    letters = "abcdefghinorstx,"
    pieces = ["<unk>", *letters, *(letter + "</w>" for letter in letters), "ea", "eac", "each</w>"]
    merges = [("e", "a"), ("ea", "c"), ("eac", "h</w>")]
    built = Tokenizer(BPE(numbered(pieces), merges, unk_token="<unk>", end_of_word_suffix="</w>"))
    built.pre_tokenizer, built.decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder(suffix="</w>")
    return PreTrainedTokenizerFast(tokenizer_object=built, unk_token="<unk>")


def byte_fallback() -> PreTrainedTokenizerFast:
    """Gemma's kind: no blank is put in front, runs of blanks are added tokens, unknown characters become bytes."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), BLOCK, *"abcdefghinorstx,"]
    built = Tokenizer(BPE(numbered(pieces), [], byte_fallback=True, unk_token="<unk>"))
    built.normalizer = normalizers.Replace(" ", BLOCK)
    built.add_tokens([AddedToken(BLOCK * 2, special=False, normalized=True)])
    built.decoder = decoders.Sequence([decoders.Replace(BLOCK, " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=built, unk_token="<unk>")


def in_python() -> CTRLTokenizer:
    """CTRL's kind, written in Python: the piece that goes on is marked, and other ones are followed by a blank."""
    letters = "abcdefghinorstx,"
    pieces = ["<unk>", *letters, *(letter + "@@" for letter in letters), "ea@@", "eac@@", "each"]
    with TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps(numbered(pieces)))
        merges.write_text("#version: 0.2\ne a\nea c\neac h</w>\n")
        return CTRLTokenizer(vocabulary, merges)


SCHEMES: dict[str, tuple[Callable[[], Any], str]] = {
    "metaspace": (metaspace, BLOCK),
    "metaspace with a mark of its own": (lambda: metaspace("_"), "_"),
    "unigram": (unigram, BLOCK),
    "wordpiece": (wordpiece, "##"),
    "marked ends of words": (word_ends, "</w>"),
    "byte fallback": (byte_fallback, BLOCK),
    "in Python": (in_python, "@@"),
}
over_schemes = pytest.mark.parametrize(("build", "mark"), SCHEMES.values(), ids=SCHEMES)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@over_schemes
def test_the_pieces_add_up_to_the_library_s_text_and_show_no_mark(build, mark):
    tokenizer = build()
    ids = ids_of(tokenizer, TEXT)
    tokens = Reader(tokenizer).tokens(ids)
    assert tokenizer.decode(ids).replace(" ", "") == TEXT.replace(" ", "")
    assert b"".join(token.data for token in tokens).decode().strip(" ") == tokenizer.decode(ids).strip(" ")
    assert not any(mark in token.text for token in tokens)
    ends = [0, *(token.span[1] for token in tokens)]
    assert [token.span for token in tokens] == list(pairwise(ends))
    assert all(token.span[1] - token.span[0] == len(token.data) > 0 for token in tokens)


@over_schemes
def test_what_is_written_is_the_whole_text_without_the_prompt_s(build, mark):
    tokenizer = build()
    ids, reader = ids_of(tokenizer, TEXT), Reader(tokenizer)
    for cut in range(len(ids) + 1):
        prompt = tokenizer.decode(ids[:cut]).removesuffix(mark)  # CTRL's decoder leaves one at the end of a text
        assert prompt + reader.written(ids[:cut], ids[cut:]) == tokenizer.decode(ids)


def test_a_character_that_begins_in_the_prompt_is_written_whole():
    tokenizer = byte_fallback()
    ids = ids_of(tokenizer, "a\u2603x")
    assert Reader(tokenizer).written(ids[:2], ids[2:]) == "\u2603x"


@pytest.mark.parametrize(
    ("build", "text", "named"),
    [
        (metaspace, SNOWMAN, "U+2603: the model read <unk> in their place"),
        (unigram, "each \u2603\u2604 x", "'\u2603\u2604': the model read <unk> in their place"),
        (wordpiece, "each x\u2603 x", "'x\u2603': the model read [UNK] in their place"),
        (word_ends, SNOWMAN, "U+2603: the model read <unk> in their place"),
        (in_python, SNOWMAN, "U+2603: the model read <unk> in their place"),
    ],
)
def test_a_character_that_becomes_unknown_is_told(build, text, named):
    reader = Reader(build())
    [note] = reader.losses(text)
    assert named in note
    assert reader.losses(TEXT) == ()
    assert reader.losses(f"each {reader.text(0)} x") == (), "the unknown token's own name was typed"


def test_a_character_that_is_dropped_is_told():
    built = Tokenizer(BPE(numbered([*"abc"]), []))
    built.decoder = decoders.BPEDecoder()
    [note] = Reader(PreTrainedTokenizerFast(tokenizer_object=built)).losses("a\u2603b\u2603")
    assert "U+2603: the model did not read them" in note


def test_bytes_spell_what_the_vocabulary_lacks_so_nothing_is_told():
    assert Reader(byte_fallback()).losses(SNOWMAN) == ()


def test_a_run_and_a_serving_write_the_blank_of_their_first_word():
    tokenizer = metaspace()
    hooked = load(model=tiny_model("llama"), tokenizer=tokenizer)
    each = tokenizer.get_vocab()[BLOCK + "each"]
    hooked.model.lm_head.register_forward_hook(
        lambda _module, _inputs, logits: logits.index_fill(-1, logits.new_tensor([each]).long(), 1e4)
    )
    run = trace(hooked, "x", max_new_tokens=2, temperature=0.0, additions=False)
    greedy = Settings(temperature=0.0)
    served = recorded(serve(hooked, [Ask(prompt="x", max_new_tokens=2)], greedy, Limits(), **BOUNDS))
    assert run.text == served.requests[0].text == " each each"
