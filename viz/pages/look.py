"""How the page's own parts look: Gradio's theme with the fonts of the machine, and the stylesheets of assets/css."""

from urllib.parse import quote

from gradio.themes import Base, sizes

from viz.server import addresses
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
  const link = { rel: "preload", as: "fetch", crossOrigin: "anonymous", href: "PARTS" };
  document.head.append(Object.assign(document.createElement("link"), link));
}</script>"""


def head(first: str | None) -> str:
    """What the browser may fetch while it still builds Gradio's page: scripts, styles, the first record.

    Addresses are relative, as Gradio's own are. `first` is the record that the page opens on.
    """
    tags = [
        f'<link rel="stylesheet" href="{addresses.styles()}">',
        f'<link rel="modulepreload" href="{addresses.bundle("page.js")}">',
    ]
    if first is not None:
        parts = f"{PREFIX.lstrip('/')}/records/{quote(first)}/parts?since=0"
        tags.append(_PRELOAD.replace("PARTS", parts))
    return "\n".join(tags)


def css() -> str:
    """The page's own styles; the scope brings its own."""
    return "\n".join(
        (ASSETS / "css" / name).read_text(encoding="utf-8") for name in ("theme.css", "page.css", "chat.css")
    )
