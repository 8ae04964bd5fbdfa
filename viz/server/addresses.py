"""The page's own addresses: they come from where it was loaded, so that a proxy may put it at any path of any host."""

import hashlib
from functools import cache

from viz import markup
from viz.server.routes import ASSETS, PREFIX

_FOLDER = PREFIX.lstrip("/")

# The page's own last segment, which Gradio names, is no part of the path that it stands at.
_BASE = (
    'const page = globalThis.gradio_config?.current_page ?? "";\n'
    'const path = location.pathname.replace(/\\/+$/, "");\n'
    "const place = page && path.endsWith(`/${page}`) ? path.slice(0, -page.length - 1) : path;\n"
)


def script(module: str, then: str) -> str:
    """JavaScript that imports a module of assets/js/board, with all that it imports, and hands it to a function."""
    return f"{_BASE}import(new URL(`${{place}}/{bundle(module)}`, location.origin).href).then({then});\n"


def bundle(module: str) -> str:
    """Where a module of assets/js/board is served with all that it imports."""
    return f"{_FOLDER}/assets/js/bundles/{module}?v={version()}"


def styles() -> str:
    """Where all styles of the pictures are served."""
    return f"{_FOLDER}/assets/css/bundles/pictures.css?v={version()}"


@cache
def version() -> str:
    """Changes whenever a script or a style does, so that no browser shows an old one."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("js", "css") for path in (ASSETS / folder).rglob("*") if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(markup.module_source(markup.CATALOGUE_MODULE).encode())
    return digest.hexdigest()[:12]
