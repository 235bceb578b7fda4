"""The path-dependent form: against the plain kernel, against slow rules in plain Python, and by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import CAPITAL, positions, prices

import jobnb
from jobnb.errors import UsageProblem
from jobnb.research.bars import Bars
from jobnb.research.engine import Evaluator, Ran, targets
from jobnb.research.fold_part import FoldRun, from_bytes, to_bytes
from jobnb.research.folds import Piece
from jobnb.research.joined import Joined
from jobnb.research.limits import Orders
from jobnb.research.measure import BAR, CASH, FEE, HELD, UNITS
from jobnb.research.metrics import METRICS
from jobnb.research.optimize import load_sweep
from jobnb.research.options import EngineOptions
from jobnb.research.sample import gbm
from jobnb.research.space import ParameterSpace
from jobnb.research.stitched import stitch
from jobnb.research.strategy import Strategy
from jobnb.research.sweep import SweepWork
from jobnb.research.trades import trades

NO_LIMITS = np.array([[np.nan], [np.nan], [np.nan], [1.0]])


def same(a, b):
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(a.fills, b.fills)
    np.testing.assert_array_equal(a.equity, b.equity)


@settings(deadline=None, max_examples=120)
@given(st.data())
def test_without_stops_and_further_costs_it_gives_the_numbers_of_the_kernel(data):
    bars = data.draw(prices())
    row = targets(data.draw(positions(len(bars))), bars)
    options = EngineOptions(
        initial_capital=CAPITAL,
        commission=data.draw(st.sampled_from([0.0, 0.001, 0.02])),
        slippage=data.draw(st.sampled_from([0.0, 0.0005, 0.01])),
        conventions=data.draw(st.sampled_from(["next_open", "close"])),
    )
    evaluator = Evaluator(bars, options)
    same(evaluator.one(Orders(row, NO_LIMITS)), evaluator.one(row))


@pytest.mark.parametrize(("side", "then"), [(1.0, 51.5), (-1.0, 147.0)])
@pytest.mark.parametrize("further", [{}, {"borrow_cost": 1e-300}])
def test_a_reduction_that_cannot_be_paid_for_closes_the_position(side, then, further):
    close = np.array([100.0, then, then, then])
    frame = pd.DataFrame(
        dict.fromkeys(("open", "high", "low", "close"), close), index=pd.bdate_range("2021", periods=4)
    )
    bars = Bars.from_frame(frame)
    options = EngineOptions(initial_capital=CAPITAL, commission=0.02, slippage=0.01, conventions="close", **further)
    row = targets(side * np.array([2.0, 1.7, 1.5, 1.5]), bars)
    ran = Evaluator(bars, options).one(row)
    assert ran.fills[:, BAR].tolist() == [0, 1]
    assert ran.fills[1, UNITS] == -ran.fills[0, UNITS]
    assert ran.fills[1, CASH] == ran.fills[1, HELD] == 0.0
    got = dict(zip(METRICS, ran.values.tolist(), strict=True))
    (trade,) = trades(ran.fills, bars.close, CAPITAL)
    assert got["worst_trade"] == pytest.approx(trade[7])
    assert got["final_equity"] == 0.0


class Slow:
    """The rules as `jobnb.research.engine` says them, one bar after the other."""

    def __init__(self, bars, row, limits, options):
        self.bars, self.options, self.limits = bars, options, limits
        self.cash, self.units, self.fills = options.initial_capital, 0.0, []
        self.ruined = False
        self.equity = []
        next_open = options.conventions == "next_open"
        before = 0.0
        for i in range(len(bars)):
            self.pay_interest(i)
            if next_open and i:
                self.decide(i - 1, row[i - 1], before, bars.open[i])
                before = row[i - 1]
            self.look_at_stops(i)
            self.mark(i)
            if not next_open:
                self.decide(i, row[i], before, bars.close[i])
                before = row[i]
                self.equity[-1] = self.worth(bars.close[i])

    def worth(self, price):
        return self.cash + self.units * price

    def mark(self, i):
        if self.units and self.worth(self.bars.close[i]) <= 0:
            self.cash, self.units, self.ruined = 0.0, 0.0, True
        self.equity.append(self.worth(self.bars.close[i]))

    def pay_interest(self, i):
        if i:
            owed = max(-self.cash, 0) + max(-self.units, 0) * self.bars.close[i - 1]
            self.cash -= owed * self.options.borrow_cost * (self.bars.days[i] - self.bars.days[i - 1]) / 365

    def fee(self, units, paid):
        o = self.options
        return max(o.commission_minimum, abs(units) * (paid * o.commission + o.commission_per_share))

    def trade(self, units, price):
        paid = price * (1 + math.copysign(self.options.slippage, units))
        self.cash -= units * paid + self.fee(units, paid)
        self.units += units
        return paid

    def leave(self, price):
        if self.worth(price) <= 0:
            self.cash = 0.0
        else:
            self.trade(-self.units, price)
        self.units = 0.0
        if self.cash <= 0:
            self.cash, self.ruined = 0.0, True

    def decide(self, decided, want, before, price):
        if want == before or self.ruined:
            return
        stop, take, trail, size = self.limits[:, min(decided, self.limits.shape[1] - 1)]
        if math.isnan(size):
            want = 0.0
        if (self.units and want * self.units <= 0) or self.worth(price) <= 0:
            self.leave(price)
        if self.ruined or want == 0:
            return
        opens = self.units == 0
        change = self.size(want, size, price)
        if self.units and change == -self.units:
            self.leave(price)
        if change == 0 or self.ruined:
            return
        paid = self.trade(change, price)
        if opens:
            self.side = math.copysign(1, change)
            self.stop, self.take, self.trail = paid * (1 - self.side * stop), paid * (1 + self.side * take), trail
            self.top = paid

    def size(self, want, size, price):
        """Find the units by halving, so that the fraction is met after costs."""
        o = self.options
        most = o.max_leverage or 20.0
        if o.sizing in ("units", "cash"):
            units = want * size / (price if o.sizing == "cash" else 1)
            if abs(units) * price <= most * self.worth(price):
                return units - self.units
            want = math.copysign(most, want)
        else:
            want = min(max(want * size, -most), most)

        def after(change):
            paid = price * (1 + math.copysign(o.slippage, change))
            cash = self.cash - change * paid - self.fee(change, paid)
            units = self.units + change
            return units * price - want * (cash + units * price)

        missing = want * self.worth(price) - self.units * price
        if o.commission_minimum and abs(missing) <= o.commission_minimum:
            return 0.0
        if missing * self.units < 0:
            leaving = price * (1 - math.copysign(o.slippage, self.units))
            if self.worth(price) <= abs(self.units) * o.slippage * price + self.fee(self.units, leaving):
                return -self.units
        side = math.copysign(1, missing)
        low, high = 0.0, 100 * self.worth(price) / price
        if side * after(side * 1e-300) >= 0:
            return 0.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if side * after(side * middle) < 0 else (low, middle)
        return side * low

    def look_at_stops(self, i):
        if not self.units:
            return
        b, side = self.bars, self.side
        following = self.top * (1 - side * self.trail)
        levels = [x for x in (self.stop, following) if not math.isnan(x)]
        stop = (max(levels) if side > 0 else min(levels)) if levels else None
        worst, best = (b.low[i], b.high[i]) if side > 0 else (b.high[i], b.low[i])
        if stop is not None and side * b.open[i] <= side * stop:
            self.leave(b.open[i])
        elif stop is not None and side * worst <= side * stop:
            self.leave(stop)
        elif not math.isnan(self.take) and side * b.open[i] >= side * self.take:
            self.leave(b.open[i])
        elif not math.isnan(self.take) and side * best >= side * self.take:
            self.leave(self.take)
        else:
            self.top = max(self.top, best) if side > 0 else min(self.top, best)


@st.composite
def terms(draw):
    return EngineOptions(
        initial_capital=CAPITAL,
        commission=draw(st.sampled_from([0.0, 0.001, 0.02])),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.01])),
        conventions=draw(st.sampled_from(["next_open", "close"])),
        commission_per_share=draw(st.sampled_from([0.0, 0.005, 0.2])),
        commission_minimum=draw(st.sampled_from([0.0, 0.0, 1.0, 30.0])),
        borrow_cost=draw(st.sampled_from([0.0, 0.03, 1.0])),
        max_leverage=draw(st.sampled_from([None, 0.5, 1.0, 3.0])),
        sizing=draw(st.sampled_from(["fraction", "fraction", "units", "cash"])),
    )


@st.composite
def stops(draw, n, options):
    size = {"units": 40.0, "cash": 2_000.0}.get(options.sizing, draw(st.sampled_from([1.0, 0.4, 1.5])))
    draws = [draw(st.sampled_from([np.nan, 0.002, 0.03, 0.2])) for _ in range(3)]
    made = np.array([*draws, size])[:, None]
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        made = made * rng.choice([1.0, 2.0, np.nan], (4, n), p=[0.6, 0.3, 0.1])
    return made


@settings(deadline=None, max_examples=120)
@given(st.data())
def test_it_follows_the_slow_rules(data):
    bars = data.draw(prices(volatility=(0.001, 0.02, 0.05)))
    row = targets(data.draw(positions(len(bars))), bars)
    options = data.draw(terms())
    limits = data.draw(stops(len(bars), options))
    made = Evaluator(bars, options).one(Orders(row, limits))
    slow = Slow(bars, row.astype(float), limits, options)
    np.testing.assert_allclose(made.equity, slow.equity, rtol=1e-7, atol=1e-6)


def frame(rows):
    index = pd.date_range("2020-01-01", periods=len(rows), freq="B", unit="ns")
    return Bars.from_frame(pd.DataFrame(rows, columns=["open", "high", "low", "close"], index=index))


class In(Strategy):
    """In from bar 0 on, long or short."""

    side: int = 1

    def positions(self, bars):
        return np.full(len(bars), self.side)


@pytest.mark.parametrize(
    ("side", "bar", "options", "price"),
    [
        (1, (100, 101, 94, 100), {"stop_loss": 0.05}, 95),
        (1, (90, 101, 89, 100), {"stop_loss": 0.05}, 90),
        (1, (100, 111, 99, 100), {"take_profit": 0.1}, 110),
        (1, (115, 116, 99, 100), {"take_profit": 0.1}, 115),
        (1, (100, 111, 94, 100), {"take_profit": 0.1, "stop_loss": 0.05}, 95),
        (1, (112, 113, 94, 100), {"take_profit": 0.1, "stop_loss": 0.05}, 95),
        (-1, (100, 106, 99, 100), {"stop_loss": 0.05}, 105),
        (-1, (108, 109, 99, 100), {"stop_loss": 0.05}, 108),
        (-1, (100, 101, 89, 100), {"take_profit": 0.1}, 90),
        # The best price was 104, on the bar of the entry.
        (1, (102, 120, 98, 100), {"trailing_stop": 0.05}, 98.8),
        (1, (102, 120, 96, 100), {"trailing_stop": 0.1, "stop_loss": 0.03}, 97),
        (-1, (100, 103, 80, 100), {"trailing_stop": 0.05}, 102.9),
        (1, (100, 104, 99, 100), {"stop_loss": 0.05, "take_profit": 0.1, "trailing_stop": 0.2}, None),
    ],
)
def test_where_a_stop_fills(side, bar, options, price):
    quiet = (100, 104, 98, 100)
    trades = In(side=side).load_data(frame([quiet, quiet, bar, quiet, quiet])).backtest(**options).trades
    assert len(trades) == 1
    assert trades["entry_price"][0] == 100
    if price is None:
        assert trades["open"][0]
    else:
        assert trades["exit_price"][0] == pytest.approx(price)
        assert trades["exit_time"][0] == pd.Timestamp("2020-01-03")


def test_a_stop_on_the_bar_of_the_entry():
    bars = frame([(100, 101, 99, 100), (100, 101, 90, 92), (92, 93, 91, 92)])
    stopped = In().load_data(bars).backtest(stop_loss=0.05)
    assert stopped.trades[["entry_price", "exit_price", "bars"]].to_numpy().tolist() == [[100, 95, 0]]
    # Filled at the close of bar 0; its own range is over.
    at_close = In().load_data(bars).backtest(stop_loss=0.05, conventions="close").trades
    assert at_close["exit_time"][0] == bars.index[1]


class Declared(Strategy):
    n: int = 20
    stop_loss: float = 0.02
    trailing_stop: float | None = None

    def positions(self, bars):
        return bars.close > bars.sma(self.n)


class Ranged(Declared):
    k: float = 2.0

    def stops(self, bars):
        return {"stop_loss": self.k * bars.atr(10) / bars.close, "take_profit": 0.04}


class Patient(Strategy):
    """In after an up day, out after so many bars, in again at once after a stop."""

    n: int = 5
    take_profit: float = 0.03

    def next(self, i, bars, account):
        if account.stopped:
            return 1
        if account.units:
            return 0 if account.bars_held >= self.n else None
        return 1 if i and bars.close[i] > bars.close[i - 1] else None


GRIDS = (
    (Declared, {"n": range(5, 30, 4), "stop_loss": [0.0, 0.01, 0.05]}),
    (Declared, {"n": [10], "trailing_stop": [None, 0.02, jobnb.atr(2)]}),
    (Ranged, {"n": [5, 20], "k": [1.0, 2.5]}),
    (Patient, {"n": range(2, 6), "take_profit": [0.01, 0.1]}),
)


@pytest.mark.parametrize("conventions", ["next_open", "close"])
@pytest.mark.parametrize(("strategy", "grid"), GRIDS)
def test_each_row_of_a_sweep_equals_the_single_run(stored, daily, strategy, grid, conventions):
    options = {"commission": 0.001, "conventions": conventions, "borrow_cost": 0.05}
    space = ParameterSpace.parse(strategy, grid)
    work = SweepWork.build(strategy, space, stored, options=EngineOptions(**options))
    part = work.run(0, work.count, None, lambda done: None)
    assert part.failed == 0
    result = load_sweep(work.meta(), [part.result])
    finals = set()
    for i, row in result.trials.iterrows():
        single = strategy(**space.params(i)).load_data(daily).backtest(**options)
        np.testing.assert_array_equal(
            row[list(METRICS)].to_numpy(dtype=float), list(single.get_performance_metrics().values())
        )
        assert single.equity[-1] == single.final_equity
        assert single.trades["pnl"].sum() == pytest.approx(single.final_equity - 10_000)
        finals.add(single.final_equity)
    assert len(finals) > 1


def test_a_declared_stop_is_a_parameter_and_an_option_of_others(daily):
    tight = Declared(stop_loss=0.01).load_data(daily).backtest()

    class Undeclared(Strategy):
        def positions(self, bars):
            return bars.close > bars.sma(20)

    same(*(Ran(r.values, r.fills, r.equity) for r in (tight, Undeclared().load_data(daily).backtest(stop_loss=0.01))))
    with pytest.raises(UsageProblem, match=r"stop_loss is a parameter of Declared: Declared\(stop_loss=…\)"):
        Declared().load_data(daily).backtest(stop_loss=0.01)
    assert Declared(stop_loss=0).params["stop_loss"] is None


def test_what_next_sees(daily):
    seen = []

    class Watch(Strategy):
        stop_loss: float = 0.01

        def next(self, i, bars, account):
            seen.append((account.units, account.bars_held, account.stopped, account.target, account.equity))
            assert account.position == pytest.approx(account.units * bars.close[i] / account.equity)
            assert (account.units == 0) == np.isnan(account.entry_price)
            return 1

    result = Watch().load_data(daily).backtest()
    assert [equity for *_, equity in seen] == result.equity.tolist()
    stopped = [row for row in seen if row[2]]
    assert stopped
    assert all(row[0] == 0 and row[3] == 0 for row in stopped)
    # It comes in again the bar after each stop.
    assert len(result.trades) == len(stopped) + 1
    assert max(row[1] for row in seen) == result.trades["bars"].max()


def test_next_gives_what_positions_gives(daily):
    class Arrays(Strategy):
        def positions(self, bars):
            return np.where(bars.close > bars.sma(20), 0.7, -0.4)

    class Steps(Strategy):
        def next(self, i, bars, account):
            return 0.7 if bars.close[i] > bars.sma(20)[i] else -0.4

    for conventions in ("next_open", "close"):
        a, b = (
            cls().load_data(daily).backtest(conventions=conventions, commission=0.001, trailing_stop=0.2)
            for cls in (Arrays, Steps)
        )
        # After a stop `next` comes in again, an array waits for the next change.
        assert (a.equity == b.equity).all() == (not len(a.trades) < len(b.trades))
        a, b = (cls().load_data(daily).backtest(conventions=conventions) for cls in (Arrays, Steps))
        same(Ran(a.values, a.fills, a.equity), Ran(b.values, b.fills, b.equity))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ({"next": lambda self, i, b, a: "x"}, "Bad.next returned 'x' at 2015-01-01"),
        ({"next": lambda self, i, b, a: float("nan")}, "returned nan"),
        ({"next": lambda self, i, b, a: 21}, "at most 20 times"),
        ({"stops": lambda self, b: 0.1}, "stops returned float; return a dict"),
        ({"stops": lambda self, b: {"stop_los": 0.1}}, "unknown stop 'stop_los' of Bad. Did you mean 'stop_loss'"),
        ({"stops": lambda self, b: {"stop_loss": b.close[:-1]}}, r"has the shape \(499,\)"),
        ({"stops": lambda self, b: {"stop_loss": -b.close}}, "a distance is above 0"),
        ({"stops": lambda self, b: {"stop_loss": 2}}, "must be a fraction of the price from 0 to below 1"),
    ],
)
def test_what_is_wrong_is_said(daily, kind, says):
    own = {} if "next" in kind else {"positions": lambda self, b: b.close > 0}
    with pytest.raises(UsageProblem, match=says):
        type("Bad", (Strategy,), {**own, **kind})().load_data(daily).backtest()


def test_what_cannot_be_is_refused_when_it_is_defined_or_said(daily):
    with pytest.raises(UsageProblem, match=r"Both has both positions and next"):
        type("Both", (Strategy,), {"positions": lambda s, b: 0, "next": lambda s, i, b, a: 0})
    with pytest.raises(UsageProblem, match=r"stop_loss must be a fraction"):
        type("Bad", (Strategy,), {"__annotations__": {"stop_loss": float}, "stop_loss": 5.0})
    with pytest.raises(UsageProblem, match=r"stop_loss must be a fraction.*not 5"):
        Declared(stop_loss=5)
    with pytest.raises(UsageProblem, match=r"Declared has stops; that is not to be had with conventions"):
        Declared().load_data(daily).backtest(conventions="backtesting.py")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"stop_loss": 5}, "from 0 to below 1"),
        ({"stop_loss": "5%"}, "not '5%'"),
        ({"take_profit": -1}, "not -1"),
        ({"position_size": 0}, "position_size must be a number above 0, not 0"),
        ({"sizing": "unit"}, "Did you mean 'units'"),
        ({"max_leverage": 30}, "above 0, at most 20, not 30"),
        ({"borrow_cost": 30}, "write 3 % as 0.03"),
        ({"commission_minimum": -1}, "a number from 0 on, not -1"),
        ({"volatility_period": 1}, "a whole number of bars from 2 on, not 1"),
        ({"stop_los": 0.1}, "Did you mean 'stop_loss'"),
        (
            {"position_size": 2, "conventions": "backtesting.py"},
            "position_size is not to be had with conventions='backtesting.py'",
        ),
    ],
)
def test_options_are_checked(given, says):
    with pytest.raises(UsageProblem, match=says):
        EngineOptions.parse(given)


def test_options_in_words_and_back():
    options = EngineOptions.parse(
        {
            "stop_loss": jobnb.atr(3, period=10),
            "take_profit": 0.1,
            "position_size": 100,
            "sizing": "units",
            "max_leverage": 2,
            "borrow_cost": 0.03,
            "commission_per_share": 0.005,
        }
    )
    assert options.texts == [
        "commission per share 0.005",
        "borrow cost 3 % a year",
        "fills at next open",
        "stop loss atr(3, 10)",
        "take profit 10 %",
        "position size 100 units",
        "max leverage 2",
    ]
    assert EngineOptions.parse(options.to_dict()) == options
    assert EngineOptions(stop_loss=0).stop_loss is None
    for bad in (0, "x", True, float("inf")):
        with pytest.raises(UsageProblem, match=r"a number above 0"):
            jobnb.atr(bad)
    with pytest.raises(UsageProblem, match=r"a whole number of bars"):
        jobnb.atr(1, period=0.5)


def test_sizes(daily):
    def fills(**options):
        return In().load_data(daily).backtest(**options).fills

    first = daily.open[1]
    assert fills(position_size=0.5)[0, UNITS] == pytest.approx(5_000 / first)
    assert fills(position_size=3, sizing="units")[0, UNITS] == 3
    assert fills(position_size=3_000, sizing="cash")[0, UNITS] == pytest.approx(3_000 / first)
    assert fills(position_size=1e9, sizing="cash", max_leverage=1.5)[0, UNITS] == pytest.approx(15_000 / first)
    assert fills(position_size=4, max_leverage=0.25)[0, UNITS] == pytest.approx(2_500 / first)

    class Later(Strategy):
        def positions(self, bars):
            return np.arange(len(bars)) >= 60

    made = Later().load_data(daily).backtest(position_size=0.1, sizing="volatility", volatility_period=30).fills
    returns = pd.Series(daily.close).pct_change()[31:61]
    assert made[0, UNITS] * daily.open[61] / 10_000 == pytest.approx(0.1 / (returns.std() * 252**0.5))
    # Not known yet: no position, until the target changes again.
    assert len(fills(position_size=0.1, sizing="volatility")) == 0


def test_costs_by_hand(flat):
    class Short(Strategy):
        def positions(self, bars):
            return np.where(np.arange(len(bars)) < 6, -1, 0)

    made = Short().load_data(flat).backtest(borrow_cost=0.365)
    days = (flat.days[7] - flat.days[1]).item()
    assert made.final_equity == pytest.approx(10_000 * (1 - 0.001 * days))
    assert made.trades["commission"].sum() == 0
    per_share = Short().load_data(flat).backtest(commission_per_share=0.5).fills
    assert per_share[0, UNITS] == pytest.approx(-10_000 / 50.5)
    assert per_share[1, FEE] == pytest.approx(0.5 * 10_000 / 50.5)
    least = Short().load_data(flat).backtest(commission_minimum=7, commission=1e-6).fills
    assert least[:, FEE].tolist() == [7, 7]
    assert least[0, UNITS] == pytest.approx(-(10_000 - 7) / 50)


@pytest.mark.parametrize("conventions", ["next_open", "close"])
@pytest.mark.parametrize("strategy", [Declared, Ranged, Patient])
def test_the_future_changes_nothing_before_it(strategy, conventions):
    data = gbm(300, seed=7)
    whole = strategy().load_data(data).backtest(conventions=conventions, sizing="volatility", position_size=0.2)
    rng = np.random.default_rng(1)
    for cut in (40, 111, 200, 299):
        other = data.copy()
        # Twice the price, in another order.
        other.iloc[cut:] = 2 * rng.permutation(data.iloc[cut:].to_numpy())
        made = strategy().load_data(other).backtest(conventions=conventions, sizing="volatility", position_size=0.2)
        np.testing.assert_array_equal(made.equity[:cut], whole.equity[:cut])
        before = made.fills[:, BAR] < cut
        np.testing.assert_array_equal(made.fills[before], whole.fills[whole.fills[:, BAR] < cut])
        assert cut == 299 or not np.array_equal(made.equity, whole.equity)


class Held(Strategy):
    """By stops of its own, read from an average true range that needs its warm-up."""

    fast: int = 3
    slow: int = 9

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)

    def stops(self, bars):
        return {"trailing_stop": 1.5 * bars.atr(self.slow) / bars.close, "stop_loss": 0.03}


class Asked(Strategy):
    fast: int = 3
    slow: int = 9
    take_profit: float = 0.02

    def next(self, i, bars, account):
        if account.bars_held > self.slow:
            return 0
        return 1 if bars.close[i] > bars.sma(self.fast)[i] else None


@pytest.mark.parametrize("strategy", [Held, Asked])
@pytest.mark.parametrize("conventions", ["next_open", "close"])
def test_joined_pieces_keep_stops_and_questions(strategy, conventions):
    frame = gbm(200, seed=31)
    options = EngineOptions(commission=0.001, conventions=conventions)
    bars = Bars.from_frame(frame)
    # One piece with all the history there is: what a run over all bars does from there on, if it begins flat.
    joined = Joined(bars, [Piece(start=80, stop=150)])
    evaluator = Evaluator(joined.bars, options)
    wanted = evaluator.wants(joined.fitted(strategy)())
    made = evaluator.one(wanted)

    class Plain(strategy):
        if strategy is Held:

            def positions(self, bars):
                return super().positions(bars) & (np.arange(len(bars)) >= 79)
        else:

            def next(self, i, bars, account):
                return super().next(i, bars, account) if i >= 79 else 0

    whole = Plain().load_data(frame.iloc[:150]).backtest(commission=0.001, conventions=conventions)
    np.testing.assert_allclose(made.equity, whole.equity[79:], rtol=1e-12)
    assert len(made.fills) > 6
    # Stitched of two halves, it is the same run.
    halves = {0: [(80, 110)], 1: [(110, 150)]}
    rows = {0: wanted[:31], 1: wanted[30:]}
    again = stitch(bars, halves, rows, [(0, 0), (1, 0)], name="x", options=options)
    np.testing.assert_allclose(again.equity, made.equity, rtol=1e-12)


def test_stops_stay_with_stored_folds():
    limits = np.full((4, 5), 0.1)
    run = FoldRun(
        number=0, train=[], test=[(0, 5)], params=None, trials=1, failed=0, error="", inside=np.ones(1),
        outside=np.ones(1), rank=0.0, years=(1.0, 1.0), targets=np.ones(5), limits=limits, prices={},
    )  # fmt: skip
    (again,) = from_bytes(to_bytes(["x"], [run]))[1]
    assert isinstance(again.wanted, Orders)
    np.testing.assert_array_equal(again.wanted.limits, limits)
