"""Reads the imports of the page's scripts without running them, and says where they point the wrong way.

A type in a comment, `import("./x.js").T`, names no room above its own either, as it does in Python; it may name
another card's folder, and closes no circle.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

SCRIPTS = "assets/js"
ROOMS = ("core", "data", "views", "board")  # each may import itself and those before it

_QUOTED = r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`"""
_STRING_OR_COMMENT = re.compile(rf"({_QUOTED})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_IMPORT = re.compile(
    rf"""^\s*(?:import|export)\b[^;"'`]*?\bfrom\s*({_QUOTED})  # import {{ a }} from "b", over several lines too
       | ^\s*import\s*({_QUOTED})                              # import "b"
       | (?<![\w.])import\s*\(\s*({_QUOTED})?                  # import("b"), or of what is no plain string
    """,
    re.MULTILINE | re.VERBOSE,
)

_TYPE = re.compile(r"""\bimport\("([^"]+)"\)\.[A-Z]""")


@dataclass(frozen=True, kw_only=True)
class Import:
    """One import: which script makes it, and what it names."""

    importer: str
    address: str  # as it is written
    target: str | None  # None: no script of ours


def wrong_directions(root: Path) -> list[str]:
    """Every import that a room of the page's scripts may not make."""
    found = [*((one, _forbidden(one)) for one in _imports(root)), *((one, _upward(one)) for one in _types(root))]
    return [f"{one.importer}: {one.address} ({reason})" for one, reason in found if reason]


def circles(root: Path) -> list[str]:
    """A circle of scripts that import each other, where there is one."""
    edges: dict[str, set[str]] = {script: set() for script in _scripts(root)}
    for one in _imports(root):
        if one.target is not None:
            edges[one.importer].add(one.target)
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return [" -> ".join(reversed(error.args[1]))]
    return []


def homeless(root: Path) -> list[str]:
    """Scripts that stand in no room: beside the rooms, in one of another name, or in views/ outside a card's folder."""
    return [script for script in _scripts(root) if not _is_at_home(PurePosixPath(script))]


def _is_at_home(script: PurePosixPath) -> bool:
    room = script.parts[0]
    return room in ROOMS and len(script.parts) == (3 if room == "views" else 2)


def _forbidden(one: Import) -> str | None:
    """Why this import may not be, or None."""
    if one.target is None:
        return f"names no script of {SCRIPTS}/"
    if reason := _upward(one):
        return reason
    importer, target = PurePosixPath(one.importer).parts, PurePosixPath(one.target).parts
    if importer[0] == target[0] == "views" and importer[1] != target[1]:
        return "a card's folder imports no other card's"
    return None


def _upward(one: Import) -> str | None:
    """Why this import, or this type, may not be named from a room below."""
    if one.target is None:
        return None
    importer, target = PurePosixPath(one.importer).parts[0], PurePosixPath(one.target).parts[0]
    if importer not in ROOMS or target not in ROOMS:
        return None  # homeless() finds it
    return f"{importer}/ stands below {target}/" if ROOMS.index(target) > ROOMS.index(importer) else None


def _scripts(root: Path) -> dict[str, Path]:
    """The page's scripts by their paths within assets/js."""
    return {file.relative_to(root / SCRIPTS).as_posix(): file for file in sorted((root / SCRIPTS).rglob("*.js"))}


def _types(root: Path) -> Iterator[Import]:
    """What comments name as types."""
    scripts = _scripts(root)
    for importer, file in scripts.items():
        for address in _TYPE.findall(file.read_text("utf-8")):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(importer), address))
            yield Import(importer=importer, address=address, target=target if target in scripts else None)


def _imports(root: Path) -> Iterator[Import]:
    scripts = _scripts(root)
    for importer, file in scripts.items():
        code = _STRING_OR_COMMENT.sub(lambda found: found[1] or " ", file.read_text("utf-8"))
        for found in _IMPORT.finditer(code):
            address = (found[1] or found[2] or found[3] or "")[1:-1]
            target = posixpath.normpath(posixpath.join(posixpath.dirname(importer), address.partition("?")[0]))
            is_ours = address.startswith(("./", "../")) and target in scripts
            yield Import(importer=importer, address=address, target=target if is_ours else None)
