"""The tear sheet of an optimization: the best run, how much of it is luck, the whole of the search, the best run's own.

The best run's own page needs its curve: it is run once more, as a job, where the result knows its job.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobnb.research.report import parts
from jobnb.research.report.parts import Cell, Html, figure, section, table
from jobnb.research.report.shell import head, shell
from jobnb.research.text import number

if TYPE_CHECKING:
    import pandas as pd

    from jobnb.research.optimize import OptimizeResult
    from jobnb.research.pictured import Pictured

#: Rows of the table of the best runs.
TOP = 15


def search_page(result: OptimizeResult, about: Mapping[str, object], best: Pictured | None = None) -> str:
    """Return the page of a search.

    Parameters
    ----------
    result : OptimizeResult
    about : mapping
        Lines of the foot.
    best : BacktestResult, optional
        The best run; without it the page ends with the search.
    """
    found = result.best_index is not None
    body = [_head(result), _tiles(result), _luck(result)]
    body += _pictures(result) if found else []
    if found:
        rows = result.top(TOP)
        body.append(section(f"Best {len(rows):,} of {len(result):,} runs", _runs(result, rows)))
    if len(result.goals) > 1 and found:
        front = result.pareto
        said = ", ".join(f"{parts.words(name)} {'high' if up else 'low'}" for name, up in result.goals)
        note = f"No other run is better in one of these and no worse in the others: {said}."
        some = front.iloc[:TOP]
        title = f"Pareto front, {len(front):,} runs" + (f", the first {TOP}" if len(front) > TOP else "")
        body.append(section(title, _runs(result, some), note=note))
    if result.errors:
        body.append(_errors(result))
    if best is not None:
        body += _best(best)
    return shell(result.title, body, about)


def _head(result: OptimizeResult) -> Html:
    terms = parts.terms(result.options)
    space = {name: str(_range(result, name)) for name in result.space.names}
    how = f"{result.method}, {len(result):,} of {result.planned:,} runs"
    how += "" if result.seed is None or result.method == "grid" else f", seed {result.seed}"
    data = result.data
    span = " to ".join(str(data[key]) for key in ("start", "end") if data.get(key))
    bars = f"{data['bars']:,} bars" if isinstance(data.get("bars"), int) else ""
    about = " · ".join(filter(None, ["Optimization", str(data.get("name", "data")), span, bars]))
    return head(about, result.name, [parts.listed(space), parts.esc(" · ".join([how, *terms]))])


def _range(result: OptimizeResult, name: str) -> str:
    from jobnb.research.interval import Interval

    axis = result.space.axis(name)
    if isinstance(axis, Interval):
        return f"{parts.short(axis.low)} … {parts.short(axis.high)}"
    values = list(axis)
    if len(values) == 1:
        return parts.short(values[0])
    return f"{parts.short(values[0])} … {parts.short(values[-1])} ({len(values):,})"


def _tiles(result: OptimizeResult) -> Html:
    items = [
        (f"best {parts.words(result.objective)}", number(result.objective, result.best_value), "", ""),
        ("runs", f"{len(result):,}", f"{len(result.errors):,} failed" if result.errors else "none failed", ""),
    ]
    if result.best_index is not None:
        items += [(name, parts.short(value), "at the best run", "") for name, value in _varying(result).items()]
    if (luck := result.luck) is not None:
        if not math.isnan(luck.chance):
            items.append(("chance alone", f"{luck.chance:.2f}", "best Sharpe of so many", ""))
        if not math.isnan(luck.deflated):
            kind = "up" if luck.deflated >= 0.95 else "down" if luck.deflated < 0.5 else ""
            items.append(("deflated Sharpe", _share(luck.deflated), "probability of skill", kind))
        if not math.isnan(luck.overfitting):
            kind = "down" if luck.overfitting >= 0.5 else "up" if luck.overfitting < 0.1 else ""
            items.append(("overfitting", _share(luck.overfitting), "probability", kind))
    return parts.tiles(items)


def _varying(result: OptimizeResult) -> dict[str, object]:
    best = result.best_params
    return {name: best[name] for name in result.space.varying[:4]}


def _share(value: float) -> str:
    return "> 0.99" if value > 0.995 else "< 0.01" if value < 0.005 else f"{value:.2f}"


def _luck(result: OptimizeResult) -> Html:
    luck = result.luck
    if luck is None:
        return Html("")
    verdict = f"Is it luck? {luck.verdict[:1].upper()}{luck.verdict[1:]}." if luck.verdict else "Is it luck?"
    calm = " calm" if luck.verdict.startswith("more") else ""
    return Html(f'<div class="luck{calm}"><b>{parts.esc(verdict)}</b><p>{parts.esc(luck.line)}.</p></div>')


def _pictures(result: OptimizeResult) -> list[Html]:
    from jobnb.research.plots.heat import heat_figure
    from jobnb.research.plots.parallel import parallel_figure
    from jobnb.research.report.figures import INKS

    made = []
    varying = result.space.varying
    goal = parts.words(result.objective)
    if len(varying) >= 2:
        picture = figure(heat_figure(result.heatmap(), inks=INKS), f"Heat map of {goal}")
        note = "A plateau bears small errors of the parameters; a needle does not."
        if len(varying) > 2:
            note += " Of the other parameters each cell shows the best."
        made.append(section(f"{goal.capitalize()} over {varying[0]} and {varying[1]}", picture, note=note))
    if varying:
        picture = figure(parallel_figure(result, inks=INKS), f"Parallel coordinates of {goal}")
        note = "One line per run, dark for the worst to light for the best, which is the thick one."
        made.append(section("All parameters together", picture, note=note))
    return made


def _runs(result: OptimizeResult, rows: pd.DataFrame) -> Html:
    goals = [name for name, _ in result.goals]
    wanted = [*goals, "sharpe_ratio", "total_return", "annual_return", "max_drawdown", "volatility", "trades"]
    wanted += list(result.columns)[:4]
    metrics = [name for name in dict.fromkeys(wanted) if name in rows.columns and name in result.columns][:7]
    lines = []
    for i, row in enumerate(rows.to_dict("records"), 1):
        cells: list[object] = [str(i)]
        cells += [Cell(text=parts.short(row[name])) for name in result.space.names]
        cells += [Cell(text=number(name, float(row[name])), kind="best" if name in goals else "") for name in metrics]
        lines.append(cells)
    return table(["", *result.space.names, *map(parts.words, metrics)], lines)


def _errors(result: OptimizeResult) -> Html:
    rows = [(f"{index:,}", Cell(text=message, kind="left")) for index, message in sorted(result.errors.items())[:5]]
    return section(f"{len(result.errors):,} runs failed", table(["run", "error"], rows), note="The first of them.")


def _best(best: Any) -> list[Html]:
    from jobnb.research.report.instruments import instruments_body, portfolio_body
    from jobnb.research.report.run import run_body

    top = Html(
        f"<h2 class=part>The best run</h2><p>{parts.esc(best.title)}</p><p class=note>{parts.esc(best.foot)}</p>"
    )
    if isinstance(best, Mapping):
        return [top, *instruments_body(best)]  # type: ignore[arg-type]  # the one of these that is a mapping
    return [top, *(portfolio_body(best) if hasattr(best, "by_instrument") else run_body(best))]
