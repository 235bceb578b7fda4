"""The tear sheet of a walk-forward or a cross-validation: the folds, the choices, the curve out of sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobnb.errors import UsageProblem
from jobnb.research.metrics import MEANINGS
from jobnb.research.report import parts
from jobnb.research.report.parts import Cell, Html, columns, figure, percent, section, table
from jobnb.research.report.shell import head, shell
from jobnb.research.text import number

if TYPE_CHECKING:
    from jobnb.research.folds_result import FoldsResult

_KINDS = {
    "walk-forward": "Walk-forward",
    "purged-kfold": "Purged k-fold cross-validation",
    "cpcv": "Combinatorial purged cross-validation",
}
#: Folds that the table shows.
_MOST = 60


def folds_page(result: FoldsResult, about: Mapping[str, object]) -> str:
    """Return the page of a walk-forward or a cross-validation."""
    from jobnb.research.fold_result import CrossValidationResult

    made: Any = result
    body = [_head(result), _tiles(result)]
    body += _paths(made) if isinstance(result, CrossValidationResult) else _walk(made)
    body.append(section(f"{len(result):,} folds", _table(result), note=_note(result)))
    if len(result.stability):
        note = (
            "How steady the choice is: dispersion 0 is always the same value, 1 is no better than any; changed is the "
            "share of the steps from one fold to the next at which it changed."
        )
        body.append(section("Stability of the parameters", _stability(result), note=note))
    try:
        single = made.backtest if hasattr(made, "backtest") else None
    except UsageProblem:
        single = None
    if single is not None:
        from jobnb.research.report.run import run_body

        title = "Out of sample, stitched to one account"
        body += [Html(f"<h2 class=part>{title}</h2>"), *run_body(single), columns()]
    return shell(result.title, body, about)


def _head(result: FoldsResult) -> Html:
    data = result.data
    span = " to ".join(str(data[key]) for key in ("start", "end") if data.get(key))
    kind = " · ".join(filter(None, [_KINDS.get(result.kind, "Folds"), str(data.get("name", "data")), span]))
    done = f"{len(result):,} of {result.planned:,} folds"
    terms = [result.cv, f"objective {parts.words(result.objective)}", done, *parts.terms(result.options)]
    return head(kind, result.name, [parts.esc(" · ".join(terms))])


def _tiles(result: FoldsResult) -> Html:
    goal = parts.words(result.objective)
    items = []
    for side, label in (("inside", "in sample"), ("outside", "out of sample")):
        value = result._middle(side)
        kind = _kind(result.objective, value) if side == "outside" else ""
        items.append((f"{goal} {label}", number(result.objective, value), "median of the folds", kind))
    if not math.isnan(result.efficiency):
        kept = percent(result.efficiency, 0) if result.efficiency > 0 else "none"
        items.append(("efficiency", kept, "of the growth in sample", ""))
    if not math.isnan(result.rank_correlation):
        text = f"{result.rank_correlation:.2f}".replace("-", "−")
        items.append(("rank correlation", text, "of trials, in and out", ""))
    items.append(("folds", f"{len(result):,}", "", ""))
    return parts.tiles(items)


def _kind(name: str, value: float) -> str:
    """Return whether a number is good; of a metric of the user's own nobody knows."""
    return parts.sign(value) if name in MEANINGS else ""


def _walk(result: Any) -> list[Html]:
    from jobnb.research.plots.folds import objective_figure, walk_forward_figure
    from jobnb.research.report.figures import INKS

    try:
        picture = walk_forward_figure(result, inks=INKS, titled=False)
    except UsageProblem as error:
        bars = figure(objective_figure(result, inks=INKS), "Objective of each fold")
        return [section("In and out of sample", bars, note=f"No curve: {error.message}")]
    return [section("Out of sample", figure(picture, "Stitched equity and objective of each fold"))]


def _paths(result: Any) -> list[Html]:
    from jobnb.research.plots.folds import objective_figure, paths_figure
    from jobnb.research.report.figures import INKS

    bars = section("In and out of sample", figure(objective_figure(result, inks=INKS), "Objective of each fold"))
    try:
        picture = figure(paths_figure(result, inks=INKS, titled=False), "Equity of each path")
        frame = result.paths
    except UsageProblem as error:
        return [Html(f"<p class=note>No paths: {parts.esc(error.message)}</p>"), bars]
    names = [
        name
        for name in dict.fromkeys((result.objective, "total_return", "sharpe_ratio", "max_drawdown", "trades"))
        if name in frame
    ]
    shares = ((0.05, "5 %"), (0.25, "25 %"), (0.5, "median"), (0.75, "75 %"), (0.95, "95 %"))
    rows = [
        [parts.words(name), *(number(name, float(frame[name].quantile(share))) for share, _ in shares)]
        for name in names
    ]
    said = [section("Paths", picture, note=result._lines[0] if result._lines else "")]
    if len(frame) > 1:
        title = f"Distribution over {len(frame):,} paths"
        said.append(section(title, table(["", *(label for _, label in shares)], rows)))
    return [*said, *([bars] if len(frame) > 1 else [])]


def _note(result: FoldsResult) -> str:
    return "" if len(result) <= _MOST else f"The first {_MOST}."


def _table(result: FoldsResult) -> Html:
    names = [name for name in dict.fromkeys((result.objective, "total_return")) if name in result.columns]
    rows = []
    folds = result.folds
    for number_, row in zip(folds.index[:_MOST], folds.to_dict("records"), strict=False):
        cells: list[object] = [str(number_)]
        cells += [f"{row[f'{side}_start']:%Y-%m-%d} to {row[f'{side}_end']:%Y-%m-%d}" for side in ("train", "test")]
        cells += ["–" if row[name] is None else parts.short(row[name]) for name in result.space.varying]
        for name in names:
            for side in ("in", "out"):
                value = float(row[f"{side}_{name}"])
                cells.append(Cell(text=number(name, value), kind=_kind(name, value) if side == "out" else ""))
        rank = float(row["rank_correlation"])
        cells.append("–" if math.isnan(rank) else f"{rank:.2f}".replace("-", "−"))
        if row.get("error"):
            cells[-1] = Cell(text=row["error"], kind="left")
        rows.append(cells)
    titles = ["fold", "train", "test", *result.space.varying]
    titles += [f"{parts.words(name)} {side}" for name in names for side in ("in", "out")]
    return table([*titles, "rank correlation"], rows, left=3)


def _stability(result: FoldsResult) -> Html:
    rows = []
    frame = result.stability
    # Not row by row, which would make one type of all columns.
    for name, row in zip(frame.index, frame.to_dict("records"), strict=True):
        cells: list[object] = [name, f"{row['values']:,}", parts.short(row["mode"])]
        cells += [percent(float(row[key]), 0) for key in ("mode_share", "changed")]
        cells += [number("", float(row[key])) for key in ("mean", "std", "min", "max")]
        value = float(row["dispersion"])
        cells.append("–" if math.isnan(value) else f"{value:.2f}")
        rows.append(cells)
    titles = ["", "values", "most often", "share", "changed", "mean", "deviation", "least", "most", "dispersion"]
    return table(titles, rows)
