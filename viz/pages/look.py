"""How the page's own parts look: Gradio's theme with the fonts of the machine, and the stylesheets of assets/css."""

import hashlib
from urllib.parse import quote

from gradio.themes import Base, sizes

from viz.server.routes import ASSETS, PREFIX

_FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_FONT_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

# Plain names of local fonts: a font by name of a service would be fetched from it.
THEME = Base(
    primary_hue="blue",
    neutral_hue="slate",
    font=_FONT,
    font_mono=_FONT_MONO,
    text_size=sizes.text_md,
    spacing_size=sizes.spacing_sm,
    radius_size=sizes.radius_md,
)

# Every page has this head, and the others do not show that run: there the browser would warn of it.
_PRELOAD = """<script>if (!window.gradio_config?.current_page) {
  const link = { rel: "preload", as: "fetch", crossOrigin: "anonymous", href: "FRAMES" };
  document.head.append(Object.assign(document.createElement("link"), link));
}</script>"""


def head(first: str | None) -> str:
    """What the browser may fetch while it still builds Gradio's page: the scope's scripts and styles, the first run.

    `first` names the recorded run that the page opens on.
    """
    place = f"{PREFIX.lstrip('/')}/assets"
    scripts = sorted(path.relative_to(ASSETS).as_posix() for path in (ASSETS / "js").rglob("*.js"))
    sheets = ["css/theme.css", "css/scope.css", "css/measure.css", "css/serve.css"]
    sheets += sorted(path.relative_to(ASSETS).as_posix() for path in (ASSETS / "css" / "views").glob("*.css"))
    entries = {f"js/{name}": f"js/{name}?v={assets_version()}" for name in ("board/page.js", "board/scope.js")}
    tags = [f'<link rel="stylesheet" href="{place}/{sheet}">' for sheet in sheets]
    tags += [f'<link rel="modulepreload" href="{place}/{entries.get(script, script)}">' for script in scripts]
    if first is not None:
        frames = f"{PREFIX.lstrip('/')}/recorded/{quote(first)}/frames?from=0"
        tags.append(_PRELOAD.replace("FRAMES", frames))
    return "\n".join(tags)


def assets_version() -> str:
    """Changes whenever a script or a style does, so that no browser shows an old one."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("js", "css") for path in (ASSETS / folder).rglob("*") if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def css() -> str:
    """The page's own styles; the scope brings its own."""
    return "\n".join((ASSETS / "css" / name).read_text(encoding="utf-8") for name in ("theme.css", "page.css"))
