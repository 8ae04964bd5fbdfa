"""How the page's own parts look: Gradio's theme with the fonts of the machine, and the stylesheets of assets/css."""

from gradio.themes import Base, sizes

from viz.pages.routes import ASSETS

_FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_FONT_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

# Plain names of local fonts: a font by name of a service would be fetched from it.
THEME = Base(primary_hue="blue", neutral_hue="slate", font=_FONT, font_mono=_FONT_MONO, text_size=sizes.text_md,
             spacing_size=sizes.spacing_sm, radius_size=sizes.radius_md)  # fmt: skip


def css() -> str:
    """The page's own styles; the scope brings its own."""
    return "\n".join((ASSETS / "css" / name).read_text(encoding="utf-8") for name in ("theme.css", "page.css"))
