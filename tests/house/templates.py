"""Every template of a sentence that a person reads: `python -m tests.house.templates` prints a catalogue.

Calls are read from the sources, which do not run. What is English elsewhere and looked up where it is shown (captions
and titles of pictures, what fields of a request say) is asked of the program.
"""

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from model import errors

ROOT = Path(__file__).parents[2]
SOURCES = ("model", "viz", "tokenoscope", "app.py")
REFUSALS = {name for name, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.Refusal)}
KEYED = {"phrase", "Wrong", "_Failed", "_check_index", *REFUSALS}  # whose first argument is a template
_SHOWN = {"progress": 2, "say": 0, "add_argument_group": 0}  # which argument a person reads
_HANDED_ON = ("template", "way_out")  # parameters of type LiteralString
_NAMES = re.compile(r"(?<!\{)\{(\w+)[^{}]*\}")
_IN_SCRIPTS = re.compile(r'\b(?:phrase|phraseParts)\(\s*("(?:[^"\\]|\\.)*")')
_COUNTED_IN_SCRIPTS = re.compile(r'\bcounted\([^"]*?("(?:[^"\\]|\\.)*"),\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call that says something: where, its templates, and the values it gives; None: some are not named there."""

    where: str
    templates: tuple[str | None, ...]  # None for one that is not written there
    values: frozenset[str] | None


def placeholders(template: str) -> set[str]:
    """The names of the values that stand in a template."""
    return set(_NAMES.findall(template))


def faults(call: Call) -> list[str]:
    """What is wrong with a call: a template that is no literal, a value that is missing or that no template shows."""
    if None in call.templates:
        return [f"{call.where}: the template is not written in the call"]
    if call.values is None or not call.values:
        return []  # without values, a brace is a brace
    shown = set[str]().union(*(placeholders(each or "") for each in call.templates))
    wrong = shown ^ call.values if "n" in call.values or len(call.templates) == 1 else shown - {"n"} ^ call.values
    return [f"{call.where}: {sorted(wrong)} stand only in the template or only in the values"] if wrong else []


def unlike(catalogue: Mapping[str, str]) -> list[str]:
    """The templates of a catalogue whose translation shows other values than the English one."""
    return [english for english, other in catalogue.items() if placeholders(english) != placeholders(other)]


def calls(root: Path = ROOT) -> list[Call]:
    """Every call of the sources that says something."""
    return [call for file in sources(root) for call in in_source(file.read_text("utf-8"), str(file.relative_to(root)))]


def sources(root: Path = ROOT) -> list[Path]:
    """The files that say something."""
    files = [file for each in SOURCES for file in sorted((root / each).rglob("*.py"))]
    return files + [root / each for each in SOURCES if (root / each).is_file()]


def in_source(source: str, name: str) -> Iterator[Call]:
    """The calls of one module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (templates := _templates(node)):
            named = {each.arg: each.value for each in node.keywords}
            way_out = named.pop("way_out", None) if _called(node) == "Wrong" else None
            values = None if None in named else frozenset(name for name in named if name)
            found = tuple(_literal(each) for each in (*templates, *([] if way_out is None else [way_out])))
            yield Call(where=f"{name}:{node.lineno}", templates=found, values=values)


def unkeyed(source: str, name: str) -> Iterator[str]:
    """Texts that are shown as they stand in the code: a job's progress, and what the command line says."""
    for node in ast.walk(ast.parse(source)):
        place = _SHOWN.get(_called(node)) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Call) and place is not None and any(map(_literal, node.args[place : place + 1])):
            yield f"{name}:{node.lineno}: {ast.unparse(node)}"


def _templates(node: ast.Call) -> list[ast.expr]:
    """The arguments that are templates; none of a call that hands on what it was given, whose type says what it is."""
    first = node.args[0] if node.args else None
    if isinstance(first, ast.Name) and first.id in _HANDED_ON:
        return []
    name = _called(node)
    if name == "counted":
        return node.args[1:3]
    is_type = isinstance(node.func, ast.Call) and _called(node.func) == "type"
    return node.args[:1] if name in KEYED or (is_type and node.keywords) else []


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def in_scripts(root: Path = ROOT) -> list[str]:
    """The templates of the page's scripts."""
    found: list[str] = []
    for file in sorted((root / "assets" / "js").rglob("*.js")):
        text = file.read_text("utf-8")
        found += [json.loads(each) for each in _IN_SCRIPTS.findall(text)]
        found += [json.loads(each) for pair in _COUNTED_IN_SCRIPTS.findall(text) for each in pair]
    return found


def elsewhere() -> list[str]:
    """What is English elsewhere: of pictures, of fields, and of the kinds of experiments."""
    from model.records.batching import SCHEDULER_LABELS
    from model.records.fields import Field, fields_of
    from model.requests.registry import EXPERIMENTS
    from viz import views

    told = [*SCHEDULER_LABELS.values()]
    for kind in EXPERIMENTS:
        told += [kind.label, kind.about]
        told += [text for each in views.all_views(kind.record) for text in (each.title, each.lead, each.more) if text]
        described: list[Field] = list(kind.request.fields().values())
        described += [field for each in described if each.row for field in fields_of(each.row).values()]
        for field in described:
            told += [field.label, field.unit, field.help, field.placeholder, *(label for _, label in field.choices)]
    return told


def every() -> list[str]:
    """All templates, each once, in order."""
    written = [each for call in calls() for each in call.templates if each is not None]
    told = {each for each in (*written, *in_scripts(), *elsewhere()) if re.search(r"[A-Za-z]", _NAMES.sub("", each))}
    return sorted(told)


if __name__ == "__main__":
    json.dump({each: each for each in every()}, sys.stdout, ensure_ascii=False, indent=2)
