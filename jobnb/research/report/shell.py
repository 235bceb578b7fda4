"""The page around a tear sheet: head, style sheet, foot. It must never fetch anything: no font, no image, no script."""

from __future__ import annotations

from collections.abc import Mapping

from jobnb.research.report.figures import COLOURS
from jobnb.research.report.parts import Html, esc, join

_SHEET = """
:root{color-scheme:light dark;LIGHT;--bg:#fff;--soft-bg:#f5f5f7}
@media (prefers-color-scheme:dark){:root{DARK;--bg:#17171a;--soft-bg:#212126}}
@media print{:root{color-scheme:light;LIGHT;--bg:#fff;--soft-bg:#f5f5f7}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:13px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}
main{max-width:1080px;margin:0 auto;padding:26px 28px 30px}
header .kind{color:var(--soft);font-size:12px;margin:0}
h1{font-size:23px;line-height:1.2;font-weight:650;margin:2px 0 8px;letter-spacing:-.01em;overflow-wrap:anywhere}
header p{margin:4px 0;color:var(--soft);overflow-wrap:anywhere}
header .terms{color:var(--ink)}
code{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--soft-bg);border-radius:4px;padding:2px 6px;margin-right:3px;display:inline-block;color:var(--soft)}
code b{color:var(--ink);font-weight:600}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(112px,1fr));gap:0;margin:16px 0 4px;border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
.tiles div{padding:9px 10px 8px 0}
.tiles dt{font-size:11.5px;color:var(--soft)}
.tiles dd{margin:1px 0 0;font-size:20px;line-height:1.2;font-weight:620;letter-spacing:-.01em;white-space:nowrap}
.tiles small{font-size:11px;color:var(--soft);display:block;min-height:1.3em}
.up dd,td.up{color:var(--good)}.down dd,td.down{color:var(--bad)}
section{margin:20px 0 0;min-width:0}
h2{font-size:13px;font-weight:650;margin:0 0 6px}
.part{font-size:17px;margin:34px 0 0;padding-top:16px;border-top:2px solid var(--ink);font-weight:650}
.note{color:var(--soft);margin:-3px 0 6px;font-size:12px;max-width:92ch}
.luck{background:var(--soft-bg);border-left:3px solid var(--warn);border-radius:4px;padding:9px 13px;margin:14px 0 0}
.luck.calm{border-left-color:var(--good)}
.luck b{font-weight:650}.luck p{margin:2px 0 0;color:var(--soft)}
figure{margin:0}
figure svg{display:block;width:100%;height:auto;overflow:visible}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(430px,100%),1fr));gap:0 34px;align-items:start}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:12px}
th{font-weight:500;color:var(--soft);text-align:right;padding:3px 0 4px 12px;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:bottom}
td{text-align:right;padding:2.5px 0 2.5px 12px;border-bottom:1px solid color-mix(in srgb,var(--line) 45%,transparent);white-space:nowrap}
th:first-child,td:first-child{padding-left:0}
.left{text-align:left}
tr.best td,td.best{font-weight:650}
table.months th,table.months td{text-align:center;padding:3px 2px;width:7%}
table.months td{border:1px solid var(--bg);border-radius:3px}
table.months td:first-child{text-align:left;width:5%;color:var(--soft)}
table.months th:first-child{text-align:left}
table.months td:last-child{font-weight:650}
.numbers{columns:3 250px;column-gap:34px}
.numbers section{break-inside:avoid;margin:0 0 16px}
.numbers h2{border-bottom:1px solid var(--line);padding-bottom:3px;margin-bottom:2px}
.numbers td:first-child{white-space:normal;color:var(--soft)}
.numbers td{border-bottom:0;padding-top:1.5px;padding-bottom:1.5px}
footer{margin-top:30px;padding-top:9px;border-top:1px solid var(--line);color:var(--soft);font-size:11px;overflow-wrap:anywhere}
footer p{margin:2px 0}
@page{size:A4;margin:11mm}
@media print{main{max-width:none;padding:0}body{font-size:10.5px;-webkit-print-color-adjust:exact;print-color-adjust:exact}
table{font-size:9.5px}section,figure,tr{break-inside:avoid}h2{break-after:avoid}.wide{overflow:visible}.columns{grid-template-columns:1fr 1fr;gap:0 20px}.tiles{grid-template-columns:repeat(8,1fr)}.tiles dd{font-size:14px}.tiles dt,.tiles small{font-size:9px}.numbers{columns:3}}
"""  # noqa: E501  (one rule of CSS a line)


def shell(title: str, body: list[Html], about: Mapping[str, object]) -> str:
    """Return the whole page.

    Parameters
    ----------
    title : str
        Of the window; escaped here.
    body : list of Html
    about : mapping
        Lines of the foot, name to text; escaped here.
    """
    from jobnb import __version__

    light, dark = (";".join(f"--{name}:{pair[i]}" for name, pair in COLOURS.items()) for i in (0, 1))
    sheet = _SHEET.replace("LIGHT", light).replace("DARK", dark).strip()
    lines = join(Html(f"<p>{esc(name)}: {esc(text)}</p>") for name, text in about.items() if text)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="generator" content="jobnb {__version__}">
<title>{esc(title)}</title>
<style>
{sheet}
</style>
</head>
<body>
<main>
{join(body)}
<footer>
{lines}
<p>jobnb {__version__}. A backtest tells what would have been, not what will be.</p>
</footer>
</main>
</body>
</html>
"""


def head(kind: str, name: str, lines: list[Html]) -> Html:
    """Return the head of the page: what it is, its name, and lines below."""
    below = "".join(f"<p>{line}</p>\n" for line in lines if line)
    return Html(f"<header><p class=kind>{esc(kind)}</p>\n<h1>{esc(name)}</h1>\n{below}</header>")
