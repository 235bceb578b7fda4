import io
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobnb.errors import UnknownName, UsageProblem
from jobnb.research.adapters.outcome import ForeignResult
from jobnb.research.bars import Bars
from jobnb.research.course import course
from jobnb.research.drawdowns import drawdowns
from jobnb.research.interval import uniform
from jobnb.research.monthly import monthly_returns
from jobnb.research.optimize import load_sweep
from jobnb.research.plots import look
from jobnb.research.plots.equity import equity_figure
from jobnb.research.plots.rolling import rolling_sharpe
from jobnb.research.sample import gbm
from jobnb.research.sampler import Search
from jobnb.research.space import ParameterSpace
from jobnb.research.strategy import Strategy
from jobnb.research.sweep import SweepWork


class Cross(Strategy):
    fast: int = 5
    slow: int = 20
    bound: float = 0.5

    def positions(self, bars):
        return np.where(bars.sma(self.fast) > bars.sma(self.slow), 1.0, -self.bound)


@pytest.fixture
def result(google):
    return Cross().load_data(google).backtest(commission=0.001)


@pytest.fixture
def search(stored):
    def run(space, **more):
        work = SweepWork.build(Cross, ParameterSpace.parse(Cross, space), stored, **more)
        return load_sweep(work.meta(), [work.run(0, work.count, None, lambda done: None).result])

    return run


def png(figure):
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


# Months


def test_months_by_hand():
    time = np.array(["2019-11-29", "2019-12-02", "2019-12-31", "2020-02-03"], dtype="datetime64[ns]")
    table = monthly_returns(time, np.array([110.0, 120.0, 99.0, 198.0]), 100.0)
    assert list(table.index) == [2019, 2020]
    assert list(table.columns) == [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year",
    ]  # fmt: skip
    assert table.loc[2019].dropna().to_dict() == pytest.approx({"Nov": 0.1, "Dec": -0.1, "Year": -0.01})
    assert table.loc[2020].dropna().to_dict() == pytest.approx({"Feb": 1.0, "Year": 1.0})


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(1, 80), min_size=1, max_size=80),
    growth=st.lists(st.floats(-0.5, 0.5), min_size=80, max_size=80),
)
def test_months_compound_to_years_and_years_to_the_total(steps, growth):
    time = np.datetime64("1969-11-03", "ns") + np.cumsum(steps) * np.timedelta64(1, "D")
    equity = 1000.0 * np.cumprod(1.0 + np.array(growth[: len(steps)]))
    table = monthly_returns(time, equity, 1000.0)
    months = (1.0 + table.drop(columns="Year")).prod(axis=1)
    years = 1.0 + table["Year"]
    np.testing.assert_allclose(years.dropna(), months[years.notna()], rtol=1e-9)
    assert years.prod() == pytest.approx(equity[-1] / 1000.0)
    assert table.notna().drop(columns="Year").sum().sum() == len({str(t)[:7] for t in time})


def test_months_of_a_result_are_those_of_its_own_clock():
    shifted = gbm(60 * 24 * 70, "min", seed=2)[::60].tz_localize("UTC").tz_convert("Asia/Tokyo")
    made = Cross().load_data(Bars.from_frame(shifted, "x")).backtest()
    by_hand = made.equity_curve.groupby(made.index.strftime("%Y-%m")).last()
    table = made.monthly_returns
    found = table.drop(columns="Year").stack().dropna().to_numpy()
    assert len(found) == 3
    np.testing.assert_allclose(found, by_hand.to_numpy() / np.append(10_000.0, by_hand.to_numpy()[:-1]) - 1.0)


def test_what_is_lost_stays_lost():
    time = np.array(["2020-01-31", "2020-02-28", "2020-03-31"], dtype="datetime64[ns]")
    table = monthly_returns(time, np.array([100.0, 0.0, 0.0]), 100.0)
    assert table.loc[2020].dropna().to_dict() == {"Jan": 0.0, "Feb": -1.0, "Mar": 0.0, "Year": -1.0}


# Drawdowns


def test_drawdowns_by_hand():
    time = np.datetime64("2020-01-01", "ns") + np.arange(8) * np.timedelta64(1, "D")
    found = drawdowns(time, np.array([100.0, 90.0, 95.0, 100.0, 120.0, 60.0, 90.0, 80.0]))
    assert found["depth"].tolist() == pytest.approx([-0.5, -0.1])
    assert [f"{t:%d}" for t in found["peak"]] == ["05", "01"]
    assert [f"{t:%d}" for t in found["trough"]] == ["06", "02"]
    assert pd.isna(found["recovered"][0])
    assert f"{found['recovered'][1]:%d}" == "04"
    assert found["days"].tolist() == [3.0, 3.0]
    assert found["days_down"].tolist() == [1.0, 1.0]
    assert np.isnan(found["days_up"][0])
    assert found["days_up"][1] == 2.0


def test_a_curve_that_only_rises_has_none():
    time = np.datetime64("2020-01-01", "ns") + np.arange(3) * np.timedelta64(1, "D")
    assert drawdowns(time, np.array([1.0, 1.0, 2.0])).empty


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.5, 1.5), min_size=2, max_size=200))
def test_the_deepest_drawdown_is_the_metric_and_they_cover_what_is_under_water(growth):
    equity = np.cumprod(growth)
    time = np.datetime64("2020-01-01", "ns") + np.arange(len(equity)) * np.timedelta64(1, "D")
    found = drawdowns(time, equity, count=len(equity))
    fall = equity / np.maximum.accumulate(equity) - 1.0
    assert found["depth"].min() == pytest.approx(fall.min()) if len(found) else fall.min() == 0.0
    assert found["depth"].is_monotonic_increasing
    # From peak to recovery (or the end) each counts its bars under water, and the one at which it is over.
    last = found["recovered"].isna().sum()
    assert found["days"].sum() == (fall < 0).sum() + len(found) - last


def test_drawdowns_of_a_result(result):
    found = result.worst_drawdowns(3)
    assert len(found) == 3
    assert found["depth"][0] == pytest.approx(result.max_drawdown)


# Courses


def test_the_daily_returns_are_those_of_the_sharpe_ratio(result, minutes):
    for made in (result, Cross().load_data(minutes).backtest()):
        found = course(made)
        year = found.calendar.periods_per_year
        assert found.returns.mean() / found.returns.std(ddof=1) * np.sqrt(year) == pytest.approx(made.sharpe_ratio)


def test_rolling_sharpe_is_that_of_each_window():
    rng = np.random.default_rng(1)
    returns = np.concatenate([rng.normal(0, 10.0, 50), np.zeros(10), rng.normal(0, 1e-4, 60)])
    found = rolling_sharpe(returns, 10, 252.0)
    by_hand = pd.Series(returns[65:]).rolling(10).agg(lambda x: x.mean() / x.std()) * np.sqrt(252)
    np.testing.assert_allclose(found[74:], by_hand.to_numpy()[9:], rtol=1e-9)
    assert np.isnan(found[:9]).all()
    assert np.isnan(found[59])
    assert np.isnan(rolling_sharpe(returns, 500, 252.0)).all()


def test_thinned_lines_keep_their_extremes():
    values = np.random.default_rng(3).normal(size=100_000).cumsum()
    at = look.thin(values)
    assert len(at) <= look.POINTS + 2
    assert (np.diff(at) > 0).all()
    assert {0, 99_999, int(values.argmin()), int(values.argmax())} <= set(at.tolist())
    assert look.thin(values[:500]).tolist() == list(range(500))


def test_trades_of_other_engines_are_understood(result):
    index = result.index
    theirs = pd.DataFrame(
        {"Size": [3, -2], "EntryTime": index[[2, 9]], "ExitTime": index[[5, 20]], "ReturnPct": [0.1, -0.2]}
    )
    foreign = ForeignResult(
        name="Theirs", params={}, conventions=[], data={"name": "x", "bars": 1047, "start": "a", "end": "b"},
        numbers={"total_return": 0.1}, equity=result.equity_curve, trades=theirs,
    )  # fmt: skip
    found = course(foreign).trades
    assert found["side"].tolist() == ["long", "short"]
    assert found["return_"].tolist() == [0.1, -0.2]
    assert len(foreign.plot().axes) == 3
    strange = replace(foreign, trades=pd.DataFrame({"what": [1]}))
    assert course(strange).trades is None
    with pytest.raises(UsageProblem, match="told no equity"):
        replace(foreign, equity=None).plot()


# Pictures


def test_the_picture_of_a_backtest_has_equity_drawdown_and_trades(result):
    upper, middle, lower = result.plot().axes
    assert [line.get_label() for line in upper.lines[:2]] == ["buy and hold", "strategy"]
    assert upper.get_yscale() == "linear"
    assert result.plot(log=True).axes[0].get_yscale() == "log"
    assert middle.get_ylim()[1] == 0.0
    assert f"{len(result.trades)} trades" in lower.get_title(loc="left")
    assert len(png(result.plot())) > 10_000


def test_money_is_logarithmic_where_one_curve_would_flatten_the_other(result):
    made = course(result)
    tenfold = replace(made, hold=made.hold * np.linspace(1.0, 40.0, len(made.hold)))
    assert equity_figure(tenfold).axes[0].get_yscale() == "log"
    assert equity_figure(tenfold, log=False).axes[0].get_yscale() == "linear"
    lost = replace(made, equity=np.append(made.equity[:-1], 0.0))
    assert equity_figure(lost, log=True).axes[0].get_yscale() == "linear"


def test_few_trades_are_marked_and_many_are_not(google):
    few, many = (Cross(fast=f, slow=s).load_data(google).backtest() for f, s in ((20, 80), (2, 3)))
    assert len(few.trades) <= 60 < len(many.trades)
    labels = [[line.get_label() for line in made.plot().axes[0].lines] for made in (few, many)]
    assert {"long entry", "short entry", "exit"} <= set(labels[0])
    assert labels[1] == ["buy and hold", "strategy"]
    # All of them are in the panel below: two points and a gap each, and a mark.
    drawn = many.plot().axes[2].lines
    assert sum(int(np.isnan(line.get_xdata()).sum()) for line in drawn) == len(many.trades)
    assert sum(len(line.get_xdata()) for line in drawn if line.get_marker() in "^v") == len(many.trades)


def test_a_run_without_trades_has_no_panel_of_them(google):
    class Never(Strategy):
        def positions(self, bars):
            return np.zeros(len(bars))

    made = Never().load_data(google).backtest()
    assert len(made.plot().axes) == 2
    for figure in (made.plot(), made.plot_monthly(), made.plot_rolling(), made.plot_returns()):
        assert png(figure)


def test_pictures_of_few_bars(frame):
    made = Cross(fast=2, slow=3).load_data(Bars.from_frame(frame.iloc[:2], "two")).backtest()
    for figure in (made.plot(), made.plot_monthly(), made.plot_rolling(), made.plot_returns()):
        assert png(figure)


def test_pictures_show_themselves_without_pyplot(result):
    data, size = result.plot_returns()._repr_png_()
    assert data.startswith(b"\x89PNG")
    assert size["width"] > 200
    # The first pixel is of the ground: transparent, for light and dark pages.
    image = mpl.image.imread(io.BytesIO(data))
    assert image[0, 0, 3] == 0.0


def test_a_picture_of_many_lines_is_small_enough_for_a_notebook(search):
    found = search({"fast": range(2, 12), "slow": range(10, 60, 2), "bound": [0.0, 0.3, 0.6, 1.0]})
    figure = found.plot_parallel()
    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=2 * figure.dpi, facecolor="none")
    data, _ = figure._repr_png_()
    assert len(data) < 500_000 < len(whole.getvalue())
    image = mpl.image.imread(io.BytesIO(data))
    assert image[0, 0, 3] == 0.0


def test_names_with_dollars_are_no_formulas(google):
    class Odd(Cross):
        name = "$x^$ \\frac{"

    made = Odd().load_data(google).backtest()
    for figure in (made.plot(), made.plot_monthly()):
        assert png(figure)
    assert made.plot().get_suptitle().startswith(r"\$x^\$")


def test_the_windows_of_the_rolling_picture(result):
    assert "last 126 daily returns" in result.plot_rolling().axes[0].get_title(loc="left")
    assert "last 20 daily returns" in result.plot_rolling(20).axes[0].get_title(loc="left")


# Searches


def test_parallel_coordinates(search):
    found = search({"fast": range(2, 10), "slow": range(10, 40, 2), "bound": [0.0, 0.5, 1.0]})
    figure = found.plot_parallel()
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["fast", "slow", "bound", "sharpe ratio"]
    assert "300 of 360 runs" in axes.get_title(loc="left")
    (lines,) = axes.collections
    assert len(lines.get_segments()) + 1 <= 300
    best = axes.lines[0].get_ydata()
    at = found.best_params
    assert best[0] == pytest.approx((at["fast"] - 2) / 7)
    assert best[-1] == 1.0
    assert png(figure)
    assert "sharpe ratio" not in found.plot_parallel("total_return", most=20).axes[0].get_title(loc="left")
    with pytest.raises(UnknownName, match="Did you mean 'sharpe_ratio'"):
        found.plot_parallel("sharp_ratio")


def test_of_equal_runs_the_first_is_the_best(search):
    found = search({"fast": [5], "slow": [20, 30], "bound": [0.0, -0.0]})
    assert len(found.top(2)) == 2
    assert found.top(2)["sharpe_ratio"].nunique() == 1
    best = found.plot_parallel().axes[0].lines[0].get_ydata()
    assert best[1] == 0.0
    assert found.best_index in (0, 2)


def test_parallel_coordinates_of_a_search_for_the_least(search):
    found = search({"fast": range(2, 10), "slow": [20]}, objective="volatility", maximize=False)
    best = found.plot_parallel().axes[0].lines[0].get_ydata()
    assert best[-1] == 0.0


def test_parallel_coordinates_of_continuous_parameters(stored):
    space = ParameterSpace.parse(Cross, {"fast": range(2, 10), "bound": uniform(0.2, 0.8)})
    work = SweepWork.build(Cross, Search.make(space, "random", n_trials=30, seed=1), stored)
    found = load_sweep(work.meta(), [work.run(0, work.count, None, lambda done: None).result])
    best = found.plot_parallel().axes[0].lines[0].get_ydata()
    assert best[1] == pytest.approx((found.best_params["bound"] - 0.2) / 0.6)


def test_parallel_coordinates_need_something_to_show(search):
    found = search({"fast": [3], "slow": [9]})
    with pytest.raises(UsageProblem, match="nothing to draw"):
        found.plot_parallel()


def test_the_figure_of_a_heat_map(search):
    heat = search({"fast": range(2, 10), "slow": range(10, 40, 2)}).heatmap()
    figure = heat.plot()
    assert f"{heat.y} {heat.best[1]}, {heat.x} {heat.best[0]}" in figure.axes[0].get_title(loc="left")
    assert png(figure)
