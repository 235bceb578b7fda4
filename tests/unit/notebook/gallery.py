"""Every card in every state on one page, light and dark: ``python tests/unit/notebook/gallery.py out.html``."""

import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import examples

from jobnb.notebook import card_html, card_text, panel_view
from jobnb.notebook.style import STYLE

#: What JupyterLab sets in its two themes.
THEMES = {
    "true": "--jp-layout-color0:#fff;--jp-layout-color1:#fff;--jp-border-color2:#e0e0e0;"
    "--jp-ui-font-color1:rgba(0,0,0,.87);--jp-ui-font-color2:rgba(0,0,0,.62)",
    "false": "--jp-layout-color0:#111;--jp-layout-color1:#1b1b1b;--jp-border-color2:#3a3a3a;"
    "--jp-ui-font-color1:rgba(255,255,255,.87);--jp-ui-font-color2:rgba(255,255,255,.62)",
}


def page(names=None, text=False):
    """Return the page as HTML."""
    shown = {k: v for k, v in examples.views().items() if not names or k in names}
    columns = []
    for light, variables in THEMES.items():
        cards = "".join(
            card_html.render(view, live=not view.job.status.final, style=False, grow_from=0.3)
            for view in shown.values()
        )
        if not names or "panel" in names:
            cards += panel_view.render(examples.panel(), style=False)
        columns.append(
            f'<div data-jp-theme-light="{light}" style="{variables};background:var(--jp-layout-color0);'
            f'padding:18px;flex:1;min-width:0">{cards}</div>'
        )
    said = [*(card_text.render(v) for v in shown.values()), panel_view.text(examples.panel())]
    terminal = "\n\n".join(said) if text else ""
    body = f'<div style="display:flex">{"".join(columns)}</div><pre>{escape(terminal)}</pre>'
    return f'<!doctype html><meta charset="utf-8"><title>jobnb cards</title>{STYLE}<body style="margin:0">{body}'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
