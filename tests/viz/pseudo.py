"""The program in a language that does not exist: each template stands between marks, so that what has none is seen.

`python -m tests.viz.pseudo` prints, as JSON, all that a person would read without marks, by where it stands. It is a
process of its own, as many texts are looked up when a module is imported.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

from model import texts

OPEN, CLOSE = "\u27e6", "\u27e7"


class Marked(dict[str, str]):
    """A catalogue that has every template, between marks."""

    def get(self, template: str, _default: Any = None) -> str:
        return f"{OPEN}{template}{CLOSE}"


_INNERMOST = re.compile(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}")
_WORD = re.compile(r"[^\W\d_]{2,}")
_LETTERS = re.compile("[A-L]{2}")  # two texts by their letters
_READ = ("title", "aria-label", "placeholder", "alt")  # attributes
_SHOWN = ("text", "name", "hovertemplate", "customdata", "ticktext", "x", "y")  # of plotly
_SYMBOLS = {  # units, quantities by their letters, and names that are nobody's language
    *("ms", "kB", "MB", "GB", "TB", "max", "top", "min", "TTFT", "ITL", "TPOT", "MBU", "MFU", "KL"),
    *("\u00b5s", "int", "Tokenoscope", "Español"),
}


def unmarked(text: str, own: frozenset[str] = frozenset()) -> list[str]:
    """The words of a text that stand in no template and are neither symbols nor words of a record."""
    text = re.sub(r"<extra>.*?</extra>|<br>|%\{[^}]*\}", " ", text)
    while (less := _INNERMOST.sub(" ", text)) != text:
        text = less
    words = [word for word in _WORD.findall(text) if word not in _SYMBOLS and word not in own]
    cut = "\u2026" in text  # a text of a person or a model that was shortened
    return [word for word in words if not _LETTERS.fullmatch(word) and not (cut and _is_part(word, own))]


def _is_part(word: str, own: frozenset[str]) -> bool:
    return any(each.startswith(word) or each.endswith(word) for each in own)


class _Reader(HTMLParser):
    """What a person reads of markup: text, and what some attributes say."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped += tag in ("script", "style")
        self.read += [value for name, value in attrs if name in _READ and value]

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.read.append(data)


def of_html(markup: str) -> list[str]:
    """What a person reads of a piece of markup."""
    reader = _Reader()
    reader.feed(markup)
    return [" ".join(reader.read)]


def of_figure(value: Any, key: str = "") -> Iterator[str]:
    """What a person reads of plotly's description of a figure."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if name not in ("template", "font", "marker", "line"):
                yield from of_figure(each, name)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from of_figure(each, key)
    elif isinstance(value, str) and key in _SHOWN:
        yield value


def words_of(value: Any) -> Iterator[str]:
    """All words that stand in a record: of a model, of a person, or of the host when it was made."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from words_of(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from words_of(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from words_of(each)
    elif isinstance(value, str):
        yield from _WORD.findall(value)


def _records() -> Iterator[tuple[str, Any]]:
    from model.records.file import kind_of
    from model.requests.registry import EXPERIMENTS
    from tests.app.fakes_served import drafted
    from tests.fakes import fake_trace
    from tests.fakes_measured import fake_measurement, fake_trials
    from tests.fakes_serving import fake_batching
    from viz.markup import ASSETS

    yield from (("trace", fake_trace()), ("measurement", fake_measurement()), ("trials", fake_trials()))
    yield from (("batching", fake_batching()), ("no attention", fake_batching(weights=False)))
    settings = dataclasses.replace(fake_trace().settings, temperature=0.7)
    yield "drafted", drafted("a", settings, ("prompt lookup", "early exit", "own draft"))
    for path in sorted((ASSETS.parent / "tests" / "samples").glob("*.*")):
        if path.suffix != ".md":
            kind = next(each.record for each in EXPERIMENTS if each.record.__name__ == kind_of(path))
            yield path.name, kind.open(path)


def in_views() -> Iterator[tuple[str, list[str]]]:
    """What has no marks in each picture of each record, in its accounts and its steps."""
    from viz import views

    for name, record in _records():
        own = frozenset(words_of(record))
        account = views.account_of(record)
        yield f"{name}, account", unmarked(" ".join((account.title(record), account.summary(record))), own)
        yield f"{name}, facts", unmarked(" ".join(account.facts(record)), own)
        for shown in views.all_views(type(record)):
            yield f"{name}, {shown.name}, title", unmarked(f"{shown.title} {shown.caption}")
            if (missing := shown.missing(record)) is not None:
                yield f"{name}, {shown.name}, missing", unmarked(missing)
                continue
            places = account.steps.places(record, shown.follows)[:8] if account.steps else []
            for at in places or [account.first(record)]:
                drawn = shown.draw(record, at)
                read = of_html(drawn) if isinstance(drawn, str) else list(of_figure(drawn.to_plotly_json()))
                yield f"{name}, {shown.name}", [word for each in read for word in unmarked(each, own)]


def in_pages() -> Iterator[tuple[str, list[str]]]:
    """What has no marks in the parts of the app's pages that Python makes."""
    import app
    from model.limits import Limits
    from tests.app.fakes_engine import FakeEngine, FakeModels
    from viz.server.store import Store

    made = app.build(FakeModels(FakeEngine()), Limits(), Store(10**8, 10**8))
    made.store.close()
    for each in made.demo.config["components"]:
        props = each["props"]
        read = [str(props.get(name) or "") for name in ("label", "info", "placeholder")]
        read += [str(props["value"])] if each["type"] in ("button", "markdown") else []
        read += [str(shown) for shown, _ in props.get("choices") or () if each["type"] == "checkboxgroup"]
        read += of_html(str(props.get("html_template") or ""))
        yield f"{each['type']} {props.get('elem_id')}", [word for text in read for word in unmarked(text)]


def in_help() -> Iterator[tuple[str, list[str]]]:
    """What has no marks in what the command line says of its arguments."""
    from model.cli.arguments import everything, sub_command
    from model.requests.registry import EXPERIMENTS

    names = frozenset(each.name for each in EXPERIMENTS)
    for parser in (everything(), *map(sub_command, EXPERIMENTS)):
        yield f"{parser.prog}, description", unmarked(parser.description or "", names)
        for group in parser._action_groups[2:]:  # argparse has no other way to ask; the first two are its own
            yield f"{parser.prog}, group", unmarked(group.title or "")
        for action in parser._actions:
            if action.dest not in ("help", "version"):
                yield f"{parser.prog} --{action.dest}", unmarked(action.help or "")


def main() -> None:
    """Print what was found."""
    texts.CATALOGUE = Marked()
    found = {where: words for part in (in_views(), in_pages(), in_help()) for where, words in part if words}
    json.dump(found, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
