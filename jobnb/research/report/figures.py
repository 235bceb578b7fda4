"""A figure as inline SVG: its colours are the page's variables, its text the page's font, its bytes always the same.

Used by the tear sheet. It changes only what matplotlib wrote, never the text within.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

from jobnb.research.plots.look import Inks

if TYPE_CHECKING:
    from jobnb.research.plots.look import Picture

#: The colours a page has, light and dark. Those of `INKS` stand in the figures, as written here for light.
COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1d1d20", "#e9e9ec"),
    "soft": ("#66666d", "#a0a0a8"),
    "line": ("#c9c9d0", "#4b4b54"),
    "accent": ("#2563da", "#6ea8ff"),
    "good": ("#157a40", "#4cc27e"),
    "bad": ("#c42b34", "#ff7b81"),
    "warn": ("#8f5a01", "#e0a640"),
}
INKS = Inks(**{name: light for name, (light, _) in COLOURS.items()})

_VARIABLES = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}


def inline(figure: Picture, label: str) -> str:
    """Return a figure as an ``<svg>`` to stand in a page.

    Parameters
    ----------
    figure : Picture
        Drawn with `INKS`.
    label : str
        What it shows, for those who do not see it; escaped here.
    """
    import html

    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}), warnings.catch_warnings():
        # Names may be in letters that the font lacks; the browser has others.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r' d="[^"]*"', lambda found: _short(found[0]), text)
    text = re.sub(r' (?:x|y)="[-\d.]+"', lambda found: _short(found[0]), text)
    text = re.sub(r"<g( clip-path=\"[^\"]*\")?>\s*((?:<use [^>]*/>\s*)+)</g>", _marks, text)
    text = re.sub(r"font: ((?:\w+ )*?[\d.]+px) [^;\"]*", _font, text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _VARIABLES.get(found[0], found[0]), text)
    wide, tall = (float(n) * 96 for n in figure.get_size_inches())
    head = f'<svg role="img" aria-label="{html.escape(label)}" viewBox=\\1 style="aspect-ratio:{wide:.0f}/{tall:.0f}">'
    text = re.sub(r'<svg [^>]*?viewBox=("[^"]*")[^>]*>', head, text, count=1)
    return re.sub(r"\n\s*", "\n", text).strip().replace("xlink:href", "href")


def _short(found: str) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", found).replace("\n", "")


def _marks(found: re.Match[str]) -> str:
    """Say the style of many equal marks once."""
    styles = set(re.findall(r' style="([^"]*)"', found[2]))
    if len(styles) != 1:
        return found[0]
    (style,) = styles
    inner = found[2].replace(f' style="{style}"', "")
    return f'<g{found[1] or ""} style="{style}">\n{inner}</g>'


def _font(found: re.Match[str]) -> str:
    *style, size = found[1].split()
    weight = next((word for word in style if word == "bold" or word.isdigit()), "")
    return f"font-size: {size}" + (f"; font-weight: {weight}" if weight else "")
