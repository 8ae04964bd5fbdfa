"""The one place where text becomes markup: escaping, visible tokens, sandboxed frames, scripts and styles."""

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from model import texts
from model.records.trace import Token
from model.texts import phrase

ASSETS = Path(__file__).parent.parent / "assets"
CATALOGUE_MODULE = PurePosixPath("core/catalogue.js")
STYLES = ("theme.css", "scope.css")  # before those of the views

_NAMED = {
    0x09: "\u21e5",
    0x0A: "\u21b5",
    0x20: "\u2423",
    0x7F: "\u2421",
    0xA0: "\u237d",
    0xAD: "[SHY]",
    0x61C: "[ALM]",
    0x200B: "[ZWSP]",
    0x200C: "[ZWNJ]",
    0x200D: "[ZWJ]",
    0x200E: "[LRM]",
    0x200F: "[RLM]",
    0x2028: "[LS]",
    0x2029: "[PS]",
    0x202A: "[LRE]",
    0x202B: "[RLE]",
    0x202C: "[PDF]",
    0x202D: "[LRO]",
    0x202E: "[RLO]",
    0x2060: "[WJ]",
    0x2066: "[LRI]",
    0x2067: "[RLI]",
    0x2068: "[FSI]",
    0x2069: "[PDI]",
    0xFEFF: "[BOM]",
}
_IMPORT = re.compile(r'^import \{([^}]*)\} from "((?:\.\.?/)+[\w/]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const) (\w+))", re.MULTILINE)


def text(value: str) -> str:
    """Text of a person or a model, made inert for HTML, in an element or a quoted attribute.

    NUL, which HTML cannot hold, becomes its visible symbol.
    """
    return escape(value.replace("\x00", "\u2400"), quote=True)


def visible(token: Token) -> str:
    """A token's text as a person can see it, on one line: spaces, line ends, controls and direction marks as symbols.

    The same as `label` in assets/js/core/format.js; a test compares them.
    """
    if "\ufffd" in token.text and token.data and b"\xef\xbf\xbd" not in token.data:
        data = token.data.hex(" ").upper()
        return phrase("bytes {hex}", hex=data) if len(token.data) > 1 else phrase("byte {hex}", hex=data)
    if not token.text:
        return phrase("(empty)")
    before, after = (None, *token.text[:-1]), (*token.text[1:], None)
    return "".join(map(_symbol, token.text, before, after))


def short(token: Token, most: int = 24) -> str:
    """The same, cut to this many characters."""
    shown = visible(token)
    return shown if len(shown) <= most else shown[: most - 1] + "\u2026"


def plotly_text(value: str) -> str:
    """Text for a plotly label, which reads a few HTML tags: none of them is left."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def frame(page: str, *, title: str, height: int, downloads: bool = False) -> str:
    """A whole page in a frame that may run its own scripts and reach nothing of the page around it.

    `downloads`: it may hand files to the person, as a page of ours does whose pictures can be saved.
    """
    allowed = "allow-scripts allow-downloads" if downloads else "allow-scripts"
    return (
        f'<iframe class="ts-frame" sandbox="{allowed}" width="100%" height="{height}" loading="lazy" '
        f'style="border:0" title="{text(title)}" srcdoc="{text(page)}"></iframe>'
    )


def foreign(body: str, *, title: str, height: int, style: str = "") -> str:
    """HTML of another library in such a frame, without any network."""
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><style>{style}</style>'
    return frame(f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>", title=title, height=height)


def style(*more: str) -> str:
    """Every style of the pictures as one sheet, and these files of assets/css after them."""
    sheets = [ASSETS / "css" / name for name in (*STYLES, *more)] + sorted((ASSETS / "css" / "views").glob("*.css"))
    return "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)


def script(entry: str = "board/saved_page.js") -> str:
    """The modules behind one entry as a single classic script, which also runs from a file: `tokenoscopePage(page)`.

    A browser loads no module from a file, so each module becomes a function that returns what it exports. It relies
    on how assets/js is written: named imports on one line, exports before declarations.
    """
    names: dict[str, str] = {}
    parts = _bundle(PurePosixPath(entry), names)
    body = "\n".join(parts).replace("import.meta.url", "document.baseURI")
    return f'"use strict";\nconst tokenoscopePage = (() => {{\n{body}\nreturn {names[entry]}.mountPage;\n}})();\n'


def bundle(entry: str) -> str:
    """The modules behind one entry as a single module that exports what the entry does: one request instead of a
    hundred. It must be served as deep in assets/js as the entry is, for its own address stands for theirs.
    """
    names: dict[str, str] = {}
    parts = _bundle(PurePosixPath(entry), names)
    exports = ", ".join(_EXPORT.findall(module_source(PurePosixPath(entry))))
    return "\n".join([*parts, f"const {{ {exports} }} = {names[entry]};", f"export {{ {exports} }};\n"])


def module_source(path: PurePosixPath) -> str:
    """A module of assets/js as browsers get it: the catalogue of texts is that of the host's language."""
    if path == CATALOGUE_MODULE:
        return f"export const CATALOGUE = new Map({_inert(list(texts.CATALOGUE.items()))});\n"
    return (ASSETS / "js" / path).read_text(encoding="utf-8")


def integrity(source: str) -> str:
    """What a content security policy calls this very script or style."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii") + "'"


def _symbol(point: str, before: str | None, after: str | None) -> str:
    code = ord(point)
    if code in (0x200C, 0x200D) and all(side is not None and ord(side) > 0x2FF for side in (before, after)):
        return point  # inside an emoji or a script that needs it
    if code in _NAMED:
        return _NAMED[code]
    if code < 0x20:
        return chr(0x2400 + code)
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000:
        return f"[U+{code:04X}]"
    return point


def _bundle(path: PurePosixPath, names: dict[str, str]) -> list[str]:
    """This module's source after those of all that it imports, each once; `names` says how each is called."""
    source = module_source(path)
    parts: list[str] = []

    def imported(match: re.Match[str]) -> str:
        wanted = _resolve(path.parent, match[2])
        if str(wanted) not in names:
            parts.extend(_bundle(wanted, names))
        bindings = re.sub(r"\bas\b", ":", match[1].strip())
        return f"const {{ {bindings} }} = {names[str(wanted)]};\n"

    body = _IMPORT.sub(imported, source)
    exports = _EXPORT.findall(body)
    body = _EXPORT.sub("", body)
    names[str(path)] = name = f"module{len(names)}"
    parts.append(f"const {name} = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();")
    return parts


def _inert(value: Any) -> str:
    """JSON that can stand in a script of a page: nothing in it ends the script."""
    return (
        json.dumps(value, ensure_ascii=False)
        .replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def _resolve(folder: PurePosixPath, address: str) -> PurePosixPath:
    parts: list[str] = []
    for part in (folder / address).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)
