"""Every sentence that a person reads goes through here; its English is its key in another language's catalogue.

A catalogue is one file, assets/texts/<language>.json, from English templates to translated ones; the host names the
language in TOKENOSCOPE_LANGUAGE. What the file lacks is shown in English.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import LiteralString

FOLDER = Path(__file__).parent.parent / "assets" / "texts"


def read_catalogue(language: str) -> Mapping[str, str]:
    """The templates of a language, by their English; none for English itself.

    Raises: SystemExit, naming the languages that there are.
    """
    if language in ("", "en"):
        return {}
    there = sorted(path.stem for path in FOLDER.glob("*.json"))
    if language not in there:
        raise SystemExit(f"TOKENOSCOPE_LANGUAGE is {language!r}; there are: {', '.join(['en', *there])}.")
    return json.loads((FOLDER / f"{language}.json").read_text("utf-8"))


LANGUAGE = os.environ.get("TOKENOSCOPE_LANGUAGE", "").strip() or "en"
CATALOGUE = read_catalogue(LANGUAGE)


def phrase(template: LiteralString, /, **values: object) -> str:
    """A sentence with its values in place, as `str.format` puts them: `phrase("{n:,} tokens", n=3)`.

    The type says that a template is written in the code and never made from text of a model or a person.
    """
    return _filled(template, values)


def counted(n: int, one: LiteralString, many: LiteralString, /, **values: object) -> str:
    """The template for one, or the one for any other number, with the number as `{n}`: "1 token", "2 tokens"."""
    return _filled(one if n == 1 else many, {"n": n, **values})


def listed(words: Sequence[str]) -> str:
    """Several words in one: "A", "A and B", "A, B and C"; of none, nothing."""
    if not words:
        return ""
    *most, last = words
    return phrase("{words} and {last}", words=", ".join(most), last=last) if most else last


def translated(text: str) -> str:
    """What was written elsewhere in English, such as a docstring that is shown as a caption; it has no values."""
    return _filled(text, {})


def _filled(template: str, values: Mapping[str, object]) -> str:
    found = CATALOGUE.get(template, template)
    return found.format_map(values) if values else found  # without values, a brace is a brace
