"""The one place where text becomes HTML: escaping, sandboxed frames, and the scripts and styles of assets/."""

import base64
import hashlib
import re
from html import escape
from pathlib import Path, PurePosixPath

ASSETS = Path(__file__).parent.parent / "assets"
STYLES = ("theme.css", "scope.css")

_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\./|\.\./)([\w/]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)


def text(value: str) -> str:
    """Text of a person or a model, made inert for HTML, in an element or a quoted attribute.

    NUL, which HTML cannot hold, becomes its visible symbol.
    """
    return escape(value.replace("\x00", "\u2400"), quote=True)


def frame(page: str, *, title: str, height: int) -> str:
    """A whole page in a frame that may run its own scripts and reach nothing of the page around it."""
    return (
        f'<iframe class="ts-frame" sandbox="allow-scripts" width="100%" height="{height}" loading="lazy" '
        f'style="border:0" title="{text(title)}" srcdoc="{text(page)}"></iframe>'
    )


def foreign(body: str, *, title: str, height: int) -> str:
    """HTML of another library in such a frame, without any network."""
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
    return frame(f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>", title=title, height=height)


def style() -> str:
    """Every style of the pictures, as one sheet."""
    return "\n".join((ASSETS / "css" / name).read_text(encoding="utf-8") for name in STYLES)


def script(entry: str = "scope.js") -> str:
    """The modules behind one entry as a single classic script, which also runs from a file: `tokenoscopePage(page)`.

    A browser loads no module from a file, so each module becomes a function that returns what it exports. It relies
    on how assets/js is written: named imports on one line, exports before declarations.
    """
    names: dict[str, str] = {}
    parts = _bundle(PurePosixPath(entry), names)
    body = "\n".join(parts)
    return f'"use strict";\nconst tokenoscopePage = (() => {{\n{body}\nreturn {names[entry]}.mountPage;\n}})();\n'


def integrity(source: str) -> str:
    """What a content security policy calls this very script or style."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii") + "'"


def _bundle(path: PurePosixPath, names: dict[str, str]) -> list[str]:
    """This module's source after those of all that it imports, each once; `names` says how each is called."""
    source = (ASSETS / "js" / path).read_text(encoding="utf-8")
    parts: list[str] = []

    def imported(match: re.Match[str]) -> str:
        wanted = _resolve(path.parent, match[2] + match[3])
        if str(wanted) not in names:
            parts.extend(_bundle(wanted, names))
        bindings = re.sub(r"\bas\b", ":", match[1].strip())
        return f"const {{ {bindings} }} = {names[str(wanted)]};\n"

    body = _IMPORT.sub(imported, source)
    exports = _EXPORT.findall(body)
    body = _EXPORT.sub("", body).replace("import.meta.url", "document.baseURI")
    names[str(path)] = name = f"module{len(names)}"
    parts.append(f"const {name} = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();")
    return parts


def _resolve(folder: PurePosixPath, address: str) -> PurePosixPath:
    parts: list[str] = []
    for part in (folder / address).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)
