"""The pieces that tear sheets are built of: sections, tiles, tables. Text in, HTML out; everything is escaped here.

Pure functions; what they return is `Html`, so that nothing is escaped twice and nothing is left out.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobnb.research.text import number

if TYPE_CHECKING:
    from jobnb.research.plots.look import Picture


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def esc(text: object) -> Html:
    """Return text as HTML; what is HTML already stays as it is."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def join(parts: Iterable[Html]) -> Html:
    """Put pieces one after the other."""
    return Html("\n".join(part for part in parts if part))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table with something to it."""

    text: object
    #: ``up``, ``down``, ``best``, ``left``.
    kind: str = ""
    style: str = ""
    hint: str = ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1, kind: str = "") -> Html:
    """Return a table; numbers are right of their columns, the first ``left`` columns are words."""
    if not (body := list(rows)):
        return Html("")
    titles = "".join(f"<th{' class=left' if i < left else ''}>{esc(name)}</th>" for i, name in enumerate(head))
    lines = "".join(
        "<tr>" + "".join(_cell(cell, words=i < left) for i, cell in enumerate(row)) + "</tr>\n" for row in body
    )
    return Html(
        f'<div class="wide"><table class="{kind}"><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _cell(cell: object, *, words: bool) -> str:
    made = cell if isinstance(cell, Cell) else Cell(text=cell)
    kinds = " ".join(filter(None, ("left" if words else "", made.kind)))
    more = f' class="{kinds}"' if kinds else ""
    more += f' style="{html.escape(made.style)}"' if made.style else ""
    more += f' title="{html.escape(made.hint)}"' if made.hint else ""
    return f"<td{more}>{esc(made.text)}</td>"


def section(title: str, *body: Html, note: str = "", kind: str = "") -> Html:
    """Return a section with a heading; empty if its body is."""
    inner = join(body)
    if not inner:
        return Html("")
    said = f"<p class=note>{esc(note)}</p>" if note else ""
    return Html(f'<section class="{kind}"><h2>{esc(title)}</h2>{said}\n{inner}\n</section>')


def columns(*parts: Html) -> Html:
    """Put sections side by side where there is room."""
    full = [part for part in parts if part]
    return Html(f"<div class=columns>{join(full)}</div>") if full else Html("")


def figure(picture: Picture, label: str) -> Html:
    """Return a picture as inline SVG."""
    from jobnb.research.report.figures import inline

    return Html(f"<figure>{inline(picture, label)}</figure>")


def tiles(items: Iterable[tuple[str, str, str, str]]) -> Html:
    """Return the headline numbers: (label, number, what stands below, ``up``, ``down`` or nothing)."""
    made = "".join(
        f'<div class="{kind}"><dt>{esc(label)}</dt><dd>{esc(value)}</dd><small>{esc(below)}</small></div>\n'
        for label, value, below, kind in items
    )
    return Html(f"<dl class=tiles>{made}</dl>")


def words(name: str) -> str:
    """Return the name of a metric in words."""
    return name.replace("_", " ").strip()


def sign(value: float) -> str:
    """Return the kind of a number that may be good or bad."""
    return "up" if value > 0 else "down" if value < 0 else ""


def percent(value: float, digits: int = 1) -> str:
    """Return a fraction as percent."""
    return "–" if math.isnan(value) else f"{100 * value:,.{digits}f} %".replace("-", "−")


def day(value: Any) -> str:
    """Return a time: its day, and the minute where the day is not all."""
    import pandas as pd

    if pd.isna(value):
        return "–"
    return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"


def days(value: float) -> str:
    """Return a time in days."""
    return "–" if math.isnan(value) else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def short(value: object) -> str:
    """Return a parameter."""
    if isinstance(value, float):
        return number("", value)
    return str(value)


def terms(options: Mapping[str, Any]) -> list[str]:
    """Return what a search assumed, in words; another engine's options are empty here."""
    from jobnb.errors import UsageProblem
    from jobnb.research.options import EngineOptions

    if not options:
        return ["costs and fills as the strategy itself says"]
    try:
        return EngineOptions.parse(options).texts
    except UsageProblem:
        # Of a newer jobnb.
        return [f"{words(name)} {value}" for name, value in options.items()]


def listed(pairs: Mapping[str, object]) -> Html:
    """Return names and values as chips."""
    return Html("".join(f"<code>{esc(name)} <b>{esc(short(value))}</b></code> " for name, value in pairs.items()))
