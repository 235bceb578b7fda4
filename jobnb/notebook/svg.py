"""The three pictures of a card as SVG text: equity with drawdown, a sparkline, and a heat map.

Pure functions on plain numbers, run in the kernel. They must never hold a script, a reference to anything outside,
or text of the user that is not escaped; each picture carries a text alternative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from jobnb.notebook import look

WIDTH, HEIGHT = 560, 150
#: The share of the plot's height that the drawdown gets.
_DRAWDOWN = 32
#: More points than this on a line cannot be seen and only fatten the saved notebook.
_POINTS = 280
#: Above this many cells a heat map is drawn in blocks, each showing its best cell.
_CELLS = 4700
#: Beyond this ratio of highest to lowest equity only a logarithmic scale shows the early years.
_LOG_RATIO = 6.0

#: A perceptually even ramp, dark to light (the anchor colours of viridis).
_RAMP = (
    (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
    (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
)  # fmt: skip
_SHADES = 24


def finite(values: Sequence[object]) -> list[float]:
    """Return the values as floats, what is no finite number as NaN."""
    return [
        float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) else math.nan
        for v in values
    ]


def thin(values: Sequence[float], points: int = _POINTS) -> list[float]:
    """Return at most about ``points`` of the values, keeping the lowest and highest of each stretch."""
    n = len(values)
    if n <= points:
        return list(values)
    kept: list[float] = []
    stretches = points // 2
    for i in range(stretches):
        part = [v for v in values[i * n // stretches : (i + 1) * n // stretches] if not math.isnan(v)]
        if not part:
            kept += [math.nan, math.nan]
            continue
        low, high = min(part), max(part)
        kept += [low, high] if part.index(low) <= part.index(high) else [high, low]
    kept[-1] = values[-1]
    return kept


def _path(values: Sequence[float], low: float, high: float, height: float, width: float = WIDTH) -> str:
    span = (high - low) or 1.0
    last = max(len(values) - 1, 1)
    steps: list[str] = []
    pen = "M"
    for i, value in enumerate(values):
        if math.isnan(value):
            pen = "M"
            continue
        steps.append(f"{pen}{i * width / last:.1f},{height - (value - low) / span * height:.1f}")
        pen = "L"
    return "".join(steps)


def sparkline(values: Sequence[object], label: str = "best so far over time") -> str:
    """Return a small line of the best values so far, or an empty string where there are not two."""
    line = thin(finite(values), 60)
    known = [v for v in line if not math.isnan(v)]
    if len(known) < 2:
        return ""
    d = _path(line, min(known), max(known), 18, 120)
    return (
        f'<svg class="jn-spark" viewBox="0 -2 120 22" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><path d="{d}" class="jn-line"/></svg>'
    )


@dataclass(frozen=True, kw_only=True)
class Plot:
    """An equity picture and what must stand beside it in words."""

    svg: str
    #: Lowest and highest equity of the picture, relative to its start, and the deepest drawdown.
    low: float
    high: float
    worst: float
    log: bool


def equity(curve: Mapping[str, object], label: str = "equity and drawdown") -> Plot | None:
    """Draw equity, buy and hold, and below them the drawdown; None where there is nothing to draw.

    Parameters
    ----------
    curve : mapping
        ``equity``, ``hold`` and ``drawdown``: lists over the same bars, any of them may be missing.
    label : str
        The text alternative.
    """
    lines = {name: thin(finite(_list(curve.get(name)))) for name in ("hold", "equity", "drawdown")}
    own = [v for v in lines["equity"] if not math.isnan(v)]
    if len(own) < 2:
        return None
    seen = own + [v for v in lines["hold"] if not math.isnan(v)]
    low, high = min(seen), max(seen)
    log = low > 0 and high / low > _LOG_RATIO
    scale = math.log if log else float
    start = next(v for v in lines["equity"] if not math.isnan(v))
    depths = [min(v, 0.0) for v in lines["drawdown"] if not math.isnan(v)]
    worst = min(depths, default=0.0)
    height = HEIGHT - _DRAWDOWN - 8 if worst < 0 else HEIGHT - 4

    parts = [
        f'<svg class="jn-plot" viewBox="0 -2 {WIDTH} {HEIGHT + 2}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">'
    ]
    zero = height - (scale(start) - scale(low)) / ((scale(high) - scale(low)) or 1.0) * height
    parts.append(f'<path d="M0,{zero:.1f}H{WIDTH}" class="jn-zero"/>')
    for name, css in (("hold", "jn-line2"), ("equity", "jn-line")):
        if lines[name]:
            scaled = [v if math.isnan(v) or (log and v <= 0) else scale(v) for v in lines[name]]
            parts.append(f'<path d="{_path(scaled, scale(low), scale(high), height)}" class="{css}"/>')
    if worst < 0:
        depth = [0.0 if math.isnan(v) else min(v, 0.0) for v in lines["drawdown"]]
        d = _path(depth, worst, 0.0, _DRAWDOWN)
        parts.append(
            f'<g transform="translate(0,{HEIGHT - _DRAWDOWN})"><path d="M0,0H{WIDTH}" class="jn-axis"/>'
            f'<path d="M0,0{d.replace("M", "L")}L{WIDTH},0Z" class="jn-dd"/></g>'
        )
    parts.append("</svg>")
    base = start or 1.0
    return Plot(svg="".join(parts), low=low / base - 1, high=high / base - 1, worst=worst, log=log)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else []


def shade(share: float) -> str:
    """Return the colour for a share between 0 (worst) and 1 (best)."""
    place = min(max(share, 0.0), 1.0) * (len(_RAMP) - 1)
    i = min(int(place), len(_RAMP) - 2)
    mixed = (round(a + (b - a) * (place - i)) for a, b in zip(_RAMP[i], _RAMP[i + 1], strict=True))
    return "#" + "".join(f"{c:02x}" for c in mixed)


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A heat map and what must stand beside it in words."""

    svg: str
    rows: int
    cols: int
    #: Lowest and highest value shown.
    low: float
    high: float
    #: How many combinations one block shows the best of, as (rows, columns); (1, 1) for all of them.
    block: tuple[int, int]


def heat(
    rows: int,
    cols: int,
    cells: Sequence[Sequence[object]],
    *,
    best: tuple[int, int] | None = None,
    maximize: bool = True,
    label: str = "objective over two parameters",
) -> Heat | None:
    """Draw a grid of values; None where there is none.

    Parameters
    ----------
    rows, cols : int
        The size of the grid.
    cells : sequence of (row, column, value)
        By position; a combination that is missing or has no finite value stays empty.
    best : (row, column), optional
        The cell to mark; the best of ``cells`` otherwise.
    maximize : bool
        Whether higher is better, which the lightest colour shows.
    label : str
        The text alternative.
    """
    sign = 1.0 if maximize else -1.0
    known: dict[tuple[int, int], float] = {}
    for row, col, value in cells:
        number = finite([value])[0]
        if not math.isnan(number):
            r, c = int(str(row)), int(str(col))
            if 0 <= r < rows and 0 <= c < cols:
                known[r, c] = number
    if not known:
        return None
    if best is None or best not in known:
        best = max(known, key=lambda at: sign * known[at])
    down, across = _block(rows, cols)
    blocks: dict[tuple[int, int], float] = {}
    for (r, c), value in known.items():
        at = (r // down, c // across)
        blocks[at] = value if at not in blocks else sign * max(sign * blocks[at], sign * value)
    low, high = min(blocks.values()), max(blocks.values())
    height, width = -(-rows // down), -(-cols // across)
    by_shade: dict[int, list[str]] = {}
    for r in range(height):
        c = 0
        while c < width:
            first = blocks.get((r, c))
            if first is None:
                c += 1
                continue
            tone = _tone(first, low, high, maximize)
            start = c
            while c < width and (v := blocks.get((r, c))) is not None and _tone(v, low, high, maximize) == tone:
                c += 1
            by_shade.setdefault(tone, []).append(f"M{start} {r}h{c - start}v1h-{c - start}z")
    paths = "".join(
        f'<path fill="{shade(tone / (_SHADES - 1))}" d="{"".join(d)}"/>' for tone, d in sorted(by_shade.items())
    )
    mark = f'x="{best[1] // across}" y="{best[0] // down}" width="1" height="1"'
    svg = (
        f'<svg class="jn-heat" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}" shape-rendering="crispEdges">{paths}'
        f'<rect {mark} class="jn-mark0"/><rect {mark} class="jn-mark"/></svg>'
    )
    return Heat(svg=svg, rows=height, cols=width, low=low, high=high, block=(down, across))


def _block(rows: int, cols: int) -> tuple[int, int]:
    down = across = 1
    while -(-rows // down) * -(-cols // across) > _CELLS:
        if rows / down > cols / across:
            down += 1
        else:
            across += 1
    return down, across


def _tone(value: float, low: float, high: float, maximize: bool) -> int:
    share = (value - low) / (high - low) if high > low else 1.0
    return round((share if maximize else 1 - share) * (_SHADES - 1))


def legend(low: float, high: float, name: str, maximize: bool = True) -> str:
    """Return the ramp with its ends in words, as HTML; the best end is at the right."""
    ends = (low, high) if maximize else (high, low)
    stops = ",".join(shade(i / 6) for i in range(7))
    return (
        f'<span class="jn-scale">{escape(look.metric(name, ends[0]))} '
        f'<i style="background:linear-gradient(90deg,{stops})"></i> {escape(look.metric(name, ends[1]))}</span>'
    )
