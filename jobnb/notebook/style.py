"""The style sheet of a card, inline in every card so that a saved one needs nothing else.

It speaks JupyterLab's theme variables with fallbacks; accents have a light and a dark set, each with a contrast of at
least 4.5 to 1 on the card's ground (tested). It must never fetch anything: no font, no image, no import.
"""

# ruff: noqa: E501  (one rule of CSS a line)
from __future__ import annotations

#: name: (on a light ground, on a dark ground).
ACCENTS: dict[str, tuple[str, str]] = {
    "accent": ("#2563d9", "#6ea8ff"),
    "good": ("#157a3f", "#4cc27d"),
    "bad": ("#c42b33", "#ff7b80"),
    "warn": ("#8f5a00", "#e0a63f"),
}
#: Ink, second ink, lines, ground where there is no JupyterLab: light, and what the dark gallery uses.
GROUND = ("#ffffff", "#1b1b1b")


def _accents(which: int) -> str:
    return "".join(f"--jn-{name}:{pair[which]};" for name, pair in ACCENTS.items())


_SHEET = """
.jn-card{--jn-ink:var(--jp-ui-font-color1,var(--vscode-editor-foreground,#1d1d1f));--jn-soft:var(--jp-ui-font-color2,var(--vscode-descriptionForeground,#65656b));--jn-line:var(--jp-border-color2,var(--vscode-widget-border,#e2e2e6));--jn-bg:var(--jp-layout-color1,var(--vscode-editor-background,#fff));--jn-mono:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);LIGHT}
[data-jp-theme-light="false"] .jn-card,[data-vscode-theme-kind$="dark"] .jn-card,[data-vscode-theme-kind$="high-contrast"] .jn-card{DARK}
section.jn-card.jn-card{font:13px/1.45 var(--jp-ui-font-family,system-ui,-apple-system,"Segoe UI",sans-serif);color:var(--jn-ink);background:var(--jn-bg);border:1px solid var(--jn-line);border-left:3px solid var(--jn-accent);border-radius:6px;padding:9px 12px;margin:2px 0 8px;max-width:820px;font-variant-numeric:tabular-nums;box-sizing:border-box;overflow-wrap:anywhere}
.jn-card.jn-card *{box-sizing:border-box}
.jn-card.jn-card header{display:flex;align-items:center;gap:8px;min-height:24px;margin:0;flex-wrap:nowrap}
.jn-card.jn-card .jn-name{font-weight:600;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;min-width:0;flex:0 1 auto}
.jn-card.jn-card b{font-weight:600;color:var(--jn-ink)}.jn-card.jn-card em{font-style:normal;color:var(--jn-ink)}
.jn-card.jn-card code{font:12px var(--jn-mono);color:var(--jn-soft);background:none!important;border:0;padding:0!important}
.jn-card.jn-card p code{color:var(--jn-ink)}
.jn-card .jn-kind{font-size:11px;color:var(--jn-soft);border:1px solid var(--jn-line);border-radius:9px;padding:0 7px;white-space:nowrap}
.jn-card .jn-right{flex:1 0 auto;text-align:right;color:var(--jn-soft);white-space:nowrap}
.jobnb-card .jn-b1 .jn-right{padding-right:72px}.jobnb-card .jn-b2 .jn-right{padding-right:160px}
.jn-card .jn-dot{width:8px;height:8px;border-radius:50%;background:var(--jn-accent);flex:none;display:inline-block}
.jn-queued.jn-queued,.jn-scheduled.jn-scheduled{border-left-color:var(--jn-soft)!important}.jn-queued .jn-dot,.jn-scheduled .jn-dot{background:none!important;box-shadow:inset 0 0 0 2px var(--jn-soft)}
.jn-running .jn-dot,.jn-cancelling .jn-dot{animation:jn-pulse 1.4s ease-in-out infinite;animation-delay:var(--jn-phase,0s)}
@keyframes jn-pulse{50%{opacity:.25}}
.jn-completed.jn-completed{border-left-color:var(--jn-good)!important}.jn-completed .jn-dot{background:var(--jn-good)!important}
.jn-failed.jn-failed{border-left-color:var(--jn-bad)!important}.jn-failed .jn-dot{background:var(--jn-bad)!important}
.jn-retrying.jn-retrying,.jn-cancelling.jn-cancelling{border-left-color:var(--jn-warn)!important}.jn-retrying .jn-dot,.jn-cancelling .jn-dot{background:var(--jn-warn)!important}
.jn-cancelled.jn-cancelled{border-left-color:var(--jn-line)!important}.jn-cancelled .jn-dot{background:var(--jn-soft)!important}
.jn-card .jn-bar{height:5px;border-radius:3px;background:var(--jn-line);overflow:hidden;margin:8px 0 5px}
.jn-card .jn-bar i{display:block;height:100%;background:var(--jn-accent);border-radius:3px;animation:jn-grow .3s linear}
.jn-cancelling .jn-bar i,.jn-cancelled .jn-bar i{background:var(--jn-soft)}.jn-failed .jn-bar i{background:var(--jn-bad)}
@keyframes jn-grow{from{width:var(--jn-from)}}
.jn-card.jn-card p{margin:5px 0 2px;color:var(--jn-soft);line-height:1.45}
.jn-card .jn-row{display:flex;align-items:center;gap:14px;margin-top:4px;flex-wrap:wrap}
.jn-card svg.jn-spark{width:120px;height:22px;flex:none}
.jn-card.jn-card details{margin-top:6px;color:var(--jn-soft);font-size:12px}.jn-card.jn-card summary{cursor:pointer;display:list-item}
.jn-card.jn-card pre{margin:4px 0 0;padding:0;border:0;background:none;font:11.5px/1.5 var(--jn-mono);white-space:pre-wrap;color:var(--jn-ink);max-height:26em;overflow:auto}
.jn-card.jn-card pre .jn-err{color:var(--jn-bad)}
.jn-card .jn-tiles{display:flex;flex-wrap:wrap;gap:4px 26px;margin:8px 0 6px}
.jn-card .jn-tile b{display:block;font-size:17px;line-height:1.25}.jn-card.jn-card .jn-tile b code{font-size:14px;color:inherit;font-weight:600}
.jn-card .jn-tile span{font-size:11px;color:var(--jn-soft)}.jn-card.jn-card .jn-up b{color:var(--jn-good)}.jn-card.jn-card .jn-down b{color:var(--jn-bad)}
.jn-card .jn-fig{position:relative;margin-top:4px}
.jn-card svg.jn-plot{width:100%;max-width:none;height:150px;display:block}
.jn-card .jn-line{fill:none;stroke:var(--jn-accent);stroke-width:1.6;vector-effect:non-scaling-stroke}
.jn-card .jn-line2{fill:none;stroke:var(--jn-soft);stroke-width:1;opacity:.75;vector-effect:non-scaling-stroke}
.jn-card .jn-zero{fill:none;stroke:var(--jn-soft);stroke-width:1;stroke-dasharray:2 4;opacity:.55;vector-effect:non-scaling-stroke}
.jn-card .jn-axis{fill:none;stroke:var(--jn-line);stroke-width:1;vector-effect:non-scaling-stroke}
.jn-card .jn-dd{fill:var(--jn-bad);opacity:.32}
.jn-card .jn-ends{display:flex;justify-content:space-between;gap:8px;font-size:11px;color:var(--jn-soft);flex-wrap:wrap}
.jn-card .jn-at{position:absolute;left:0;font-size:11px;line-height:1;color:var(--jn-soft);background:var(--jn-bg);padding:0 3px 1px 0;border-radius:2px;opacity:.9}
.jn-card.jn-card .jn-foot{margin:4px 0 0;font-size:11px;color:var(--jn-soft)}.jn-card.jn-card .jn-foot code{font-size:11px}
.jn-card .jn-key{margin-right:10px;white-space:nowrap}.jn-card .jn-key:before{content:"";display:inline-block;width:12px;height:2px;margin-right:4px;vertical-align:middle;background:var(--jn-accent)}
.jn-card .jn-key2:before{background:var(--jn-soft)}.jn-card .jn-key3:before{height:8px;background:var(--jn-bad);opacity:.4}
.jn-card .jn-two{display:grid;grid-template-columns:repeat(auto-fit,minmax(270px,1fr));gap:10px 18px;align-items:start}
.jn-card.jn-card table{border-collapse:collapse;width:100%;max-width:none;margin:0;font-size:12px;table-layout:auto;border:0;color:inherit}
.jn-card.jn-card tr.jn-r,.jn-card.jn-card tr.jn-r:nth-child(n):hover,.jn-card.jn-card tbody tr.jn-r:nth-child(n){background:none}
.jn-card.jn-card th{font-weight:500;color:var(--jn-soft);text-align:right;padding:2px 6px;border:0;border-bottom:1px solid var(--jn-line);white-space:nowrap;background:none}
.jn-card.jn-card td{text-align:right;padding:2px 6px;border:0;border-bottom:1px solid var(--jn-line);white-space:nowrap;background:none}
.jn-card.jn-card .jn-l{text-align:left;white-space:normal}.jn-card.jn-card tr.jn-first td{font-weight:600}
.jn-card svg.jn-heat{width:100%;max-width:none;height:132px;display:block;border-radius:3px;background:var(--jn-line)}
.jn-card .jn-mark{fill:none;stroke:#fff;stroke-width:2;vector-effect:non-scaling-stroke}.jn-card .jn-mark0{fill:none;stroke:#000;stroke-width:4;vector-effect:non-scaling-stroke}
.jn-card .jn-scale{white-space:nowrap}.jn-card .jn-scale i{display:inline-block;width:54px;height:7px;border-radius:2px;vertical-align:middle}
section.jn-card.jn-table.jn-table{border-left:1px solid var(--jn-line);max-width:1000px}
.jn-card.jn-card .jn-luck{margin:8px 0 0;padding-top:6px;border-top:1px solid var(--jn-line);font-size:12px;color:var(--jn-ink)}
.jn-card.jn-card .jn-code{font:600 11px var(--jn-mono);color:var(--jn-bad);margin-right:6px}.jn-card.jn-retrying .jn-code{color:var(--jn-warn)}
.jobnb-card{position:relative;max-width:min(820px,calc(100% - 20px));overflow:visible!important}
.jobnb-card .widget-html,.jobnb-card .widget-html-content{margin:0!important;width:100%;line-height:1.45;overflow:visible}
.jobnb-card .jobnb-buttons{position:absolute;top:10px;right:11px;width:auto;margin:0;gap:6px;overflow:visible}
.jobnb-buttons .jupyter-button.jupyter-button,.jobnb-controls .jupyter-button.jupyter-button{height:24px;line-height:22px;width:auto;margin:0;padding:0 10px;font-size:12px;border:1px solid var(--jp-border-color2,#e2e2e6);border-radius:4px;background:var(--jp-layout-color1,#fff);color:var(--jp-ui-font-color1,#1d1d1f);box-shadow:none}
.jobnb-buttons .jupyter-button.jupyter-button:hover,.jobnb-buttons .jupyter-button:focus-visible,.jobnb-controls .jupyter-button.jupyter-button:hover,.jobnb-controls .jupyter-button:focus-visible{border-color:var(--jp-ui-font-color2,#65656b)}
.jn-card.jn-table .jn-dot{animation:none!important}
.jn-card.jn-panel header{margin-bottom:4px;flex-wrap:wrap}.jn-card.jn-panel .jn-right{flex:1 1 auto;white-space:normal}
.jn-card.jn-table td .jn-bar{height:3px;margin:2px 0 1px;max-width:220px}.jn-card.jn-table td .jn-bar i{animation:none}
.jn-card.jn-card.jn-table tbody tr:last-child td{border-bottom:0}.jn-card.jn-table td{vertical-align:top}
.jn-card.jn-card.jn-table .jn-l,.jn-card.jn-card.jn-table td code{white-space:nowrap}.jn-card.jn-card.jn-table .jn-l.jn-wide{white-space:normal;min-width:8em}
.jn-card.jn-card .jn-warning{color:var(--jn-ink)}.jn-card.jn-card .jn-warning .jn-code{color:var(--jn-warn)}
.jobnb-card.jobnb-panel{max-width:min(1000px,calc(100% - 20px))}
.jobnb-panel .jobnb-controls{flex-wrap:wrap;gap:6px;margin:0 0 8px;width:auto;align-items:center;overflow:visible}
.jobnb-controls .widget-dropdown{width:auto;margin:0;height:24px}.jobnb-controls .widget-dropdown>select{height:24px;line-height:20px;padding-top:0;padding-bottom:0;font-size:12px;width:auto;max-width:300px;border-radius:4px}
.jobnb-controls.jobnb-controls .jupyter-button.jupyter-button{margin-right:12px}
@media (prefers-reduced-motion:reduce){.jn-card .jn-dot,.jn-card .jn-bar i{animation:none!important}}
"""

#: The whole element, ready to stand before a card.
STYLE = "<style>" + _SHEET.replace("LIGHT", _accents(0)).replace("DARK", _accents(1)).replace("\n", "") + "</style>"
