import itertools
import json
import pickle

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobnb
from jobnb.errors import BlobMissing, UnknownName, UsageProblem
from jobnb.research import door, fold_door, fold_part, fold_summary
from jobnb.research.bars import Bars
from jobnb.research.fold_result import CrossValidationResult, WalkForwardResult, load_folds
from jobnb.research.folds import Piece
from jobnb.research.joined import Joined
from jobnb.research.judge import RANKED, spearman
from jobnb.research.sample import gbm
from jobnb.research.space import ParameterSpace
from jobnb.research.stability import efficiency, stability
from jobnb.research.strategy import Strategy

GRID = {"fast": range(2, 8), "slow": range(5, 30, 4)}
WALK = {"method": "walk-forward", "train": 120, "test": 40}
KFOLD = {"method": "purged-kfold", "n_splits": 4, "horizon": 2, "embargo": 3}
CPCV = {"method": "cpcv", "n_groups": 5, "n_test_groups": 2, "horizon": 2, "embargo": 3}
COSTS = {"commission": 0.001}


class Cross(Strategy):
    fast: int = 3
    slow: int = 9

    def positions(self, bars):
        return bars.sma(self.fast) > bars.sma(self.slow)


class Both(Strategy):
    """Long and short, in fractions, with an average that never forgets."""

    fast: int = 3
    slow: int = 9

    def positions(self, bars):
        return np.where(bars.ema(self.fast) > bars.ema(self.slow), 0.7, -0.4)


def quiet(done):
    pass


@pytest.fixture
def build(tmp_path):
    def made(strategy, frame, space=GRID, *, method="grid", cv=None, n_trials=None, seed=None, **said):
        bars = Bars.from_frame(frame, "prices")
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        path.write_bytes(bars.to_bytes())
        plan = fold_door.planned(method, cv, said)
        search = door.sweep_work(
            strategy,
            bars,
            space,
            lambda: str(path),
            method=plan.search,
            n_trials=n_trials,
            seed=seed,
            objective=said.pop("objective", "sharpe_ratio"),
            engine={name: value for name, value in plan.rest.items() if name != "objective"},
        )
        work, _ = fold_door.fold_work(*search, plan, bars)
        return pickle.loads(cloudpickle.dumps(work))

    return made


def run(work):
    part = work.run(0, work.count, None, quiet)
    assert part.stop == work.count
    return load_folds(json.loads(json.dumps(work.meta())), [part.result])


def whole(strategy, row, frame, **options):
    """Run given targets on a frame by the public API alone."""

    class Given(Strategy):
        def positions(self, bars):
            return row

    return Given().load_data(frame).backtest(**options)


# The account


def test_a_tiny_walk_forward_by_hand(build):
    """Two candidates, always in or never in, on prices that rise, fall, and rise again."""
    index = pd.bdate_range("2024-01-01", periods=9)
    close = np.array([100.0, 110.0, 121.0, 110.0, 99.0, 90.0, 99.0, 108.0, 120.0])
    opened = np.array([100.0, 105.0, 110.0, 121.0, 105.0, 95.0, 92.0, 100.0, 110.0])
    frame = pd.DataFrame(
        {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close},
        index=index,
    )

    class Held(Strategy):
        share: float = 1.0

        def positions(self, bars):
            return np.full(len(bars), self.share)

    work = build(Held, frame, {"share": [1.0, 0.0]}, method="walk-forward", train=3, test=3, objective="total_return")
    result = run(work)
    # Train on bars 0-2: bought at the open of bar 1, 105, worth 121 at the end. Flat earns 0. So in.
    # Train on bars 3-5: the decision of bar 2 carries in, bought at 121, worth 90. So flat is chosen.
    assert result.folds["share"].tolist() == [1.0, 0.0]
    assert result.folds["in_total_return"].tolist() == pytest.approx([121 / 105 - 1, 0.0])
    # Test on bars 3-5: bought at the open of bar 3, 121, worth 90 at the close of bar 5. Then flat.
    assert result.folds["out_total_return"].tolist() == pytest.approx([90 / 121 - 1, 0.0])
    # Stitched: sold at the open of bar 6, 92, because the second fold wants nothing.
    money = 10_000 / 121
    expected = [10_000, money * 110, money * 99, money * 90, money * 92, money * 92, money * 92]
    assert result.equity.tolist() == pytest.approx(expected)
    assert result.equity.index.tolist() == index[2:].tolist()
    assert result.metrics["total_return"] == pytest.approx(92 / 121 - 1)
    assert result.metrics["trades"] == 1
    assert result.efficiency == pytest.approx(np.log(90 / 121) / 6 / (np.log(121 / 105) / 5))


class Stopped(Cross):
    """Stops in average true ranges, from a method that looks back."""

    def stops(self, bars):
        return {"stop_loss": 1.5 * bars.atr(20) / bars.close, "trailing_stop": 0.04}


class Waiting(Strategy):
    fast: int = 3
    slow: int = 9

    def next(self, i, bars, account):
        if account.bars_held > self.slow:
            return 0
        return 1 if bars.close[i] > bars.sma(self.fast)[i] else None


ORDERS = [
    (Stopped, {}),
    (Cross, {"stop_loss": jobnb.atr(1, 30), "take_profit": 0.05}),
    (Cross, {"sizing": "volatility", "position_size": 0.15, "volatility_period": 40, "max_leverage": 2.0}),
    (Cross, {"sizing": "units", "position_size": 10, "commission_per_share": 0.01, "borrow_cost": 0.03}),
    (Cross, {"conventions": "backtesting.py"}),
    (Waiting, {}),
]


def asked_from(strategy, first):
    """The strategy, which holds nothing before a bar."""

    class Late(strategy):
        if strategy is Waiting:

            def next(self, i, bars, account):
                return super().next(i, bars, account) if i >= first else 0
        else:

            def positions(self, bars):
                return super().positions(bars) & (np.arange(len(bars)) >= first)

    return Late


@pytest.mark.parametrize(("strategy", "terms"), ORDERS)
def test_stops_sizes_and_questions_have_the_warm_up_and_no_more(build, strategy, terms):
    """The chosen run of a window equals a run over all bars before it that holds nothing until the window begins."""
    frame = gbm(300, seed=17)
    work = build(strategy, frame, **WALK, **terms)
    part = work.run(0, work.count, None, quiet)
    result = load_folds(work.meta(), [part.result])
    assert part.failed == 0
    for number, fold in enumerate(work.folds):
        (test,) = fold.test
        params = {name: int(result.folds.loc[number, name]) for name in GRID}
        # backtesting.py asks for no decision at its first bar.
        first = test.start - ("conventions" not in terms)
        late = asked_from(strategy, first)
        alone = late(**params).load_data(frame.iloc[: test.stop]).backtest(**terms)
        assert result.folds.loc[number, "out_total_return"] == pytest.approx(alone.total_return, rel=1e-9, abs=1e-12)
        assert result.folds.loc[number, "out_trades"] == alone.get_performance_metrics()["trades"]
    # The card's child and the front door, which has other prices than those of the tests no more, agree.
    assert part.summary["stitched"]["metrics"] == pytest.approx(result.metrics.to_dict(), nan_ok=True)


@pytest.mark.parametrize(("strategy", "terms"), ORDERS)
@pytest.mark.parametrize("method", [WALK, CPCV])
def test_stops_sizes_and_questions_see_nothing_of_the_test(build, strategy, terms, method):
    frame, space = gbm(300, seed=23), {"fast": [2, 5], "slow": [5, 13]}
    work = build(strategy, frame, space, **method, **terms)
    before = run(work).folds
    chosen = ["fast", "slow", *(name for name in before if name.startswith("in_"))]
    fold = work.folds[len(work.folds) // 2]
    other = frame
    for piece in fold.test:
        other = altered(other, piece.start, piece.stop)
    after = run(build(strategy, other, space, **method, **terms)).folds
    pd.testing.assert_series_equal(after.loc[fold.number, chosen], before.loc[fold.number, chosen])


def test_what_two_windows_both_want_is_not_traded_at_their_border(build, monkeypatch):
    class Long(Strategy):
        fast: int = 1

        def positions(self, bars):
            return np.ones(len(bars), dtype=bool)

    frame = gbm(200, seed=5)
    result = run(build(Long, frame, {"fast": [1, 2]}, method="walk-forward", train=50, test=25, **COSTS))
    held = whole(Strategy, np.ones(151, dtype=bool), frame.iloc[49:], **COSTS)
    assert result.metrics["trades"] == 1
    np.testing.assert_allclose(result.equity.to_numpy(), held.equity, rtol=1e-12)
    # Each fold by itself pays its own entry.
    assert (result.folds["out_commissions_paid"] > 0).all()


@pytest.mark.parametrize("strategy", [Cross, Both])
@pytest.mark.parametrize("conventions", ["next_open", "close"])
def test_a_walk_forward_equals_the_plain_computation_by_public_calls(build, strategy, conventions):
    frame = gbm(400, seed=11)
    terms = {**COSTS, "conventions": conventions}
    result = run(build(strategy, frame, **WALK, **terms))
    combinations = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    stitched = []
    for fold, (train, test) in enumerate(jobnb.WalkForward(120, 40).split(frame)):

        def run_on(params, rows):
            seen = frame.iloc[: rows[-1] + 1]
            first = max(rows[0] - 1, 0)
            row = np.asarray(strategy(**params).positions(Bars.from_frame(seen)))[first:]
            return row, whole(strategy, row, frame.iloc[first : rows[-1] + 1], **terms)

        inside = [run_on(params, train)[1] for params in combinations]
        best = int(np.nanargmax([made.sharpe_ratio for made in inside]))
        row, outside = run_on(combinations[best], test)
        said = result.folds.loc[fold]
        assert {name: said[name] for name in GRID} == combinations[best]
        for name, value in inside[best].get_performance_metrics().items():
            assert said[f"in_{name}"] == pytest.approx(value, rel=1e-12, nan_ok=True)
        for name, value in outside.get_performance_metrics().items():
            assert said[f"out_{name}"] == pytest.approx(value, rel=1e-12, nan_ok=True)
        if stitched:
            stitched[-1] = row[0]
            row = row[1:]
        stitched.extend(row)
    plain = whole(strategy, np.array(stitched), frame.iloc[119:], **terms)
    pd.testing.assert_series_equal(result.equity, plain.equity_curve)
    assert result.metrics.tolist() == pytest.approx(plain.metrics.tolist(), nan_ok=True)
    assert len(result.trades) == result.metrics["trades"]


def test_the_train_set_of_a_k_fold_is_its_pieces_returns_one_after_the_other(build):
    """The metrics of joined pieces equal those of the daily returns of each piece, put in a row."""
    frame = gbm(300, seed=2)
    result = run(build(Both, frame, {"fast": [4], "slow": [12]}, **KFOLD))
    for fold, (train, test) in enumerate(jobnb.PurgedKFold(4, horizon=2, embargo=3).split(frame)):
        for side, rows in (("in", train), ("out", test)):
            returns = []
            for _, piece in itertools.groupby(enumerate(rows), key=lambda each: each[1] - each[0]):
                piece = [row for _, row in piece]
                own = side == "in" and piece[0] > test[0]
                history = piece[0] if own else 0
                first = piece[0] if own else max(piece[0] - 1, 0)
                row = np.asarray(Both(fast=4, slow=12).positions(Bars.from_frame(frame.iloc[history : piece[-1] + 1])))
                part = whole(Both, row[first - history :], frame.iloc[first : piece[-1] + 1])
                made = np.diff(part.equity) / part.equity[:-1]
                # Without history the first bar of a later piece is held flat: a return of nothing.
                returns.extend([0.0, *made] if own and returns else made)
            returns = np.array(returns)
            said = result.folds.loc[fold]
            assert said[f"{side}_sharpe_ratio"] == pytest.approx(
                returns.mean() / returns.std(ddof=1) * np.sqrt(252), rel=1e-2
            )
            assert said[f"{side}_total_return"] == pytest.approx(np.prod(1 + returns) - 1, rel=2e-2)


def test_joined_pieces_are_scaled_and_leave_the_gap_out():
    frame = gbm(60, seed=9)
    bars = Bars.from_frame(frame)
    joined = Joined(bars, [Piece(start=5, stop=20), Piece(start=30, stop=40), Piece(start=50, stop=60, history=50)])
    made = joined.bars
    assert len(made) == 1 + 15 + 10 + 10
    moves = made.close[1:] / made.close[:-1]
    real = bars.close[1:] / bars.close[:-1]
    assert moves[:15] == pytest.approx(real[4:19])
    assert moves[15:25] == pytest.approx(real[29:39])
    # Without history: it opens where the piece before closed.
    assert made.open[26] == pytest.approx(made.close[25])
    assert moves[26:] == pytest.approx(real[50:])
    assert made.high / made.close == pytest.approx(
        np.concatenate([bars.high[s] / bars.close[s] for s in (slice(4, 20), slice(30, 40), slice(50, 60))])
    )
    assert made.time.tolist() == np.concatenate([bars.time[4:20], bars.time[30:40], bars.time[50:60]]).tolist()
    assert made.days[16] - made.days[15] == bars.days[30] - bars.days[29]
    assert 0 < made.days[26] - made.days[25] <= 2
    assert made.calendar == bars.calendar
    assert not made.close.flags.writeable

    row = joined.row(lambda seen: np.arange(len(seen)) % 2 == 0, "every other")
    assert row[:16].tolist() == [*(i % 2 == 0 for i in range(4, 19)), False]
    assert row[25] == 0
    assert row[26:].tolist() == [i % 2 == 0 for i in range(10)]


def test_a_year_is_counted_as_in_the_whole_data_however_short_a_piece_is():
    index = pd.date_range("2024-01-01", periods=60)
    close = np.linspace(100.0, 130.0, 60)
    bars = Bars.from_frame(pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), close), index=index))
    assert bars.calendar.periods_per_year == 365
    for pieces in ([Piece(start=8, stop=12)], [Piece(start=8, stop=12), Piece(start=22, stop=26)]):
        assert Joined(bars, pieces).bars.calendar == bars.calendar


# Nothing leaks


def altered(frame, start, stop):
    """Other prices in these bars."""
    made = frame.copy()
    made.iloc[start:stop, :4] *= np.linspace(0.5, 3.0, stop - start)[::-1, None]
    return made


class Peeping(Strategy):
    """A rule that looks at all prices it is given, as no rule should: it must still see nothing of the test."""

    fast: int = 1
    slow: int = 1

    def positions(self, bars):
        return bars.close * (0.8 + self.fast / 20) > bars.close.mean() * (1 + self.slow / 1000)


@pytest.mark.parametrize("strategy", [Cross, Both, Peeping])
@pytest.mark.parametrize("method", [WALK, {**WALK, "anchored": True, "horizon": 4}, KFOLD, CPCV])
def test_the_test_window_cannot_reach_the_choice(build, strategy, method):
    frame = gbm(300, seed=21)
    work = build(strategy, frame, **method, **COSTS)
    before = run(work).folds
    chosen = ["fast", "slow", *(name for name in before if name.startswith("in_"))]
    moved = 0
    for fold in work.folds[:: max(1, len(work.folds) // 4)]:
        other = frame
        for piece in fold.test:
            other = altered(other, piece.start, piece.stop)
        after = run(build(strategy, other, **method, **COSTS)).folds
        pd.testing.assert_series_equal(after.loc[fold.number, chosen], before.loc[fold.number, chosen])
        moved += not after.loc[fold.number].equals(before.loc[fold.number])
    assert moved


@pytest.mark.parametrize("strategy", [Cross, Both, Peeping])
def test_the_future_after_a_fold_changes_nothing_of_it(build, strategy):
    frame = gbm(300, seed=22)
    work = build(strategy, frame, **WALK, **COSTS)
    before = run(work)
    for fold in work.folds[:-1]:
        last = fold.test[-1].stop
        after = run(build(strategy, altered(frame, last, len(frame)), **WALK, **COSTS))
        pd.testing.assert_frame_equal(after.folds[: fold.number + 1], before.folds[: fold.number + 1])
        done = len(after.equity) - (len(frame) - last)
        pd.testing.assert_series_equal(after.equity[:done], before.equity[:done])


# Cross-validation


def test_each_path_is_a_backtest_of_all_bars_by_folds_that_did_not_see_them(build):
    frame = gbm(300, seed=4)
    result = run(build(Both, frame, **CPCV, **COSTS))
    assert isinstance(result, CrossValidationResult)
    cv = jobnb.CombinatorialPurgedCV(5, 2)
    assert len(result.paths) == cv.n_paths == 4
    edges = [0, 60, 120, 180, 240, 300]
    for number, path in enumerate(cv.paths()):
        row = np.zeros(300)
        for (start, stop), fold in zip(itertools.pairwise(edges), path, strict=True):
            params = {name: int(result.folds.loc[fold, name]) for name in GRID}
            seen = np.asarray(Both(**params).positions(Bars.from_frame(frame.iloc[:stop])))
            row[max(start - 1, 0) : stop] = seen[max(start - 1, 0) :]
        plain = whole(Both, row, frame, **COSTS)
        assert result.paths.loc[number].tolist() == pytest.approx(plain.metrics.tolist(), nan_ok=True)
        assert result.equity[number].tolist() == pytest.approx(plain.equity.tolist())
    assert result.distribution.tolist() == result.paths["sharpe_ratio"].tolist()
    assert "4 paths: sharpe_ratio median" in repr(result)


def test_a_k_fold_judges_every_bar_once(build):
    result = run(build(Cross, gbm(200, seed=4), **KFOLD))
    assert isinstance(result, CrossValidationResult)
    assert len(result.paths) == 1
    assert len(result.equity) == 200
    assert result.folds["test_bars"].sum() == 200


def test_any_splitter_of_scikit_learns_kind_will_do(build):
    class Halves:
        def split(self, X, y=None, groups=None):
            rows = np.arange(len(X))
            yield rows[:80], rows[100:150]
            yield rows[:100], rows[150:]

    class Overlapping(Halves):
        def split(self, X, y=None, groups=None):
            rows = np.arange(len(X))
            yield rows[:80], rows[100:150]
            yield rows[:80], rows[120:]

    result = run(build(Cross, gbm(200, seed=4), cv=Halves()))
    assert isinstance(result, WalkForwardResult)
    assert len(result.equity) == 101
    crossing = run(build(Cross, gbm(200, seed=4), cv=Overlapping()))
    assert len(crossing.folds) == 2
    assert "stitched" not in repr(crossing)
    with pytest.raises(UsageProblem, match="overlap"):
        crossing.equity  # noqa: B018


# Parts


@pytest.mark.parametrize("method", [WALK, KFOLD, CPCV])
def test_any_cut_into_parts_gives_the_same_result_and_summary(build, method, monkeypatch):
    work = build(Cross, gbm(300, seed=6), **method)
    one = work.run(0, work.count, None, quiet)
    edges = [0, 1, 3, work.count]
    parts = []
    monkeypatch.setattr("jobnb.worker.context.carried", lambda: [part.carry for part in parts])
    for a, b in itertools.pairwise(edges):
        parts.append(work.run(a, b, None, quiet))
    for order in itertools.permutations(parts):
        total = None
        for part in order:
            total = fold_summary.fold(total, part.summary)
        assert total == one.summary
    assert json.loads(json.dumps(one.summary, allow_nan=False)) == one.summary
    left = load_folds(work.meta(), [part.result for part in reversed(parts)])
    right = load_folds(work.meta(), [one.result])
    pd.testing.assert_frame_equal(left.folds, right.folds)
    pd.testing.assert_frame_equal(left.stability, right.stability)
    backtests = [getattr(made, "backtests", None) or [made.backtest] for made in (left, right)]
    for a, b in zip(*backtests, strict=True):
        assert a.equity.tolist() == b.equity.tolist()


@pytest.mark.parametrize("method", [WALK, KFOLD, CPCV])
def test_the_card_gets_the_numbers_of_the_result(build, method):
    work = build(Both, gbm(300, seed=6), **method, **COSTS)
    part = work.run(0, work.count, None, quiet)
    result = load_folds(work.meta(), [part.result])
    said = part.summary["stitched"]
    if method is CPCV:
        assert said["metrics"]["sharpe_ratio"] == pytest.approx(result.paths["sharpe_ratio"].median())
        assert said["values"] == pytest.approx(sorted(result.distribution), rel=1e-4)
        assert said["curve"] is None
    else:
        made = result.metrics if method is WALK else result.paths.loc[0]
        assert said["metrics"] == pytest.approx(made.to_dict())
        assert said["curve"]["equity"][-1] == pytest.approx(made["final_equity"], rel=1e-5)
        assert said["values"] == pytest.approx([made["sharpe_ratio"]], rel=1e-4)


def test_without_the_choices_of_the_others_nothing_is_stitched_for_the_card(build):
    work = build(Both, gbm(300, seed=6), **WALK)
    assert work.run(work.count - 1, work.count, None, quiet).summary["stitched"] is None
    assert work.plan(60.0) == {
        "type": "walk_forward", "items": work.count, "max_time": 60.0, "finale": True, "meta": work.meta()
    }  # fmt: skip


def test_a_fold_leaves_no_indicators_behind(build):
    import gc

    from jobnb.research.memo import Memo

    work = build(Cross, gbm(300, seed=6), **WALK)
    work.run(0, 1, None, quiet)
    gc.collect()
    gc.disable()
    try:
        # Of the whole data set, which is kept for the next task; the joined bars have computed nothing.
        before = sum(type(thing) is Memo and thing.size > 0 for thing in gc.get_objects())
        work.run(1, work.count, None, quiet)
        after = sum(type(thing) is Memo and thing.size > 0 for thing in gc.get_objects())
    finally:
        gc.enable()
    assert after == before


def test_the_budget_ends_a_span_early_after_at_least_one_fold(build):
    work = build(Cross, gbm(300, seed=6), **WALK)
    done = []
    part = work.run(1, work.count, 0.0, done.append)
    assert (part.stop, done) == (2, [1])


def test_an_unfinished_walk_forward_stitches_what_there_is(build):
    work = build(Cross, gbm(300, seed=6), **WALK)
    parts = [work.run(0, 1, None, quiet).result, work.run(2, 3, None, quiet).result]
    result = load_folds(work.meta(), parts)
    assert "2 of 5 folds" in result.title
    assert len(result.equity) == 81
    cut = build(Both, gbm(300, seed=6), **CPCV)
    for folds, paths in ((3, 0), (6, 1)):
        some = load_folds(cut.meta(), [cut.run(0, folds, None, quiet).result])
        assert len(some.paths) == paths
    assert len(repr(some).splitlines()) >= 7


def test_a_result_survives_pickling_and_shows_itself(build):
    for method in (WALK, KFOLD, CPCV):
        result = run(build(Cross, gbm(300, seed=6), **method))
        text, page = repr(result), result._repr_html_()
        again = pickle.loads(pickle.dumps(result))
        assert repr(again) == text
        assert again._repr_html_() == page
        assert text.startswith(f"Cross {method['method']} on prices: {len(result)} folds · median sharpe_ratio ")
        assert len(result.plot().axes) == 2


def test_names_of_users_are_escaped(build):
    class Named(Cross):
        name = "<b>&"

    assert "<b>&" not in run(build(Named, gbm(300, seed=6), **WALK))._repr_html_()


def test_stored_folds_that_cannot_be_read_are_said_to_be_missing():
    with pytest.raises(BlobMissing, match="run the job again"):
        fold_part.from_bytes(b"jobnb-folds-9\n{}")


def test_times_keep_their_zone(build):
    frame = gbm(3000, "min", seed=3)
    frame.index = frame.index.tz_localize("Europe/Berlin", ambiguous="NaT", nonexistent="NaT")
    result = run(build(Cross, frame, {"fast": [3, 5], "slow": [9]}, method="walk-forward", train="1d", test="6h"))
    assert str(result.folds["test_start"].dt.tz) == str(result.equity.index.tz) == "Europe/Berlin"
    assert result.folds["test_start"].iloc[0] == frame.index[1440]
    assert len(result.plot().axes) == 2


# What goes wrong inside a fold


def test_a_fold_without_a_choice_is_out_of_the_market_and_says_why(build):
    class Rare(Strategy):
        level: float = 1.0

        def positions(self, bars):
            if len(bars) > 200:
                raise ValueError("too many bars for me")
            return bars.close > self.level

    work = build(Rare, gbm(240, seed=1), {"level": [90.0, 100.0]}, method="walk-forward", train=100, test=60)
    part = work.run(0, work.count, None, quiet)
    assert part.failed == 1
    result = load_folds(work.meta(), [part.result])
    assert (
        result.folds["error"].tolist()
        == ["ValueError: too many bars for me"] * 2 + ["ValueError: too many bars for me"]
        or result.folds.loc[2, "error"] == "ValueError: too many bars for me"
    )
    assert np.isnan(result.folds.loc[2, "out_sharpe_ratio"])
    last = result.equity.iloc[-19:]
    assert last.nunique() == 1
    assert part.summary["errors"][0]["error"] == "ValueError: too many bars for me"


def test_no_trial_with_a_finite_objective_is_said(build):
    class Flat(Strategy):
        level: float = 1.0

        def positions(self, bars):
            return np.zeros(len(bars), dtype=bool)

    result = run(build(Flat, gbm(240, seed=1), {"level": [90.0, 100.0]}, **WALK))
    assert set(result.folds["error"]) == {"none of the 2 trials has a finite sharpe_ratio"}
    assert result.metrics["total_return"] == 0
    assert np.isnan(result.efficiency)


def test_a_function_of_the_users_walks_forward_on_the_bars_of_each_window(build):
    seen = []

    def score(data, level):
        seen.append(len(data))
        return {"gain": float(data["close"].iloc[-1] / data["close"].iloc[0]) - level}

    work = build(
        score, gbm(240, seed=1), {"level": [1, 2]}, method="walk-forward", train=100, test=70, objective="gain"
    )
    part = work.run(0, work.count, None, quiet)
    result = load_folds(work.meta(), [part.result])
    assert result.folds["level"].tolist() == [1, 1]
    assert result.columns == ("gain",)
    with pytest.raises(UsageProblem, match="keeps its positions to itself"):
        result.equity  # noqa: B018
    assert "2 folds" in repr(result)
    with pytest.raises(UsageProblem, match="one stretch of prices"):
        build(score, gbm(240, seed=1), {"level": [1, 2]}, **KFOLD, objective="gain")


def test_a_random_search_tries_the_same_in_every_fold(build):
    work = build(Cross, gbm(300, seed=1), search="random", n_trials=9, seed=5, **WALK)
    result = run(work)
    assert (result.folds["trials"] == 9).all()
    pd.testing.assert_frame_equal(
        result.folds, run(build(Cross, gbm(300, seed=1), search="random", n_trials=9, seed=5, **WALK)).folds
    )
    free = build(
        Both, gbm(300, seed=1), {"fast": [3], "slow": jobnb.integers(5, 40)}, search="random", n_trials=7, **WALK
    )
    assert run(free).stability.loc["slow", "dispersion"] >= 0


def test_a_search_that_learns_learns_in_each_fold_alone(build):
    pytest.importorskip("optuna")
    space = {"fast": jobnb.integers(2, 30), "slow": jobnb.integers(5, 60)}
    work = build(Both, gbm(300, seed=1), space, search="tpe", n_trials=32, seed=3, **WALK)
    result = run(work)
    assert (result.folds["trials"] == 32).all()
    alone = load_folds(work.meta(), [work.run(at, at + 1, None, quiet).result for at in reversed(range(work.count))])
    pd.testing.assert_frame_equal(result.folds, alone.folds)
    third = build(Both, gbm(300, seed=1), space, search="tpe", n_trials=32, seed=3, **WALK)
    pd.testing.assert_frame_equal(
        load_folds(third.meta(), [third.run(2, 3, None, quiet).result]).folds, result.folds.iloc[2:3], check_dtype=False
    )


def test_an_objective_of_the_users_own_chooses(build):
    def careful(m):
        return m.total_return + 2 * m.max_drawdown

    result = run(build(Cross, gbm(300, seed=1), objective=careful, **WALK))
    wanted = result.folds["in_total_return"] + 2 * result.folds["in_max_drawdown"]
    assert result.folds["in_careful"].tolist() == pytest.approx(wanted.tolist())
    assert result.folds["out_careful"].notna().all()


# What is said of all folds


def test_stability_by_hand():
    space = ParameterSpace.parse(print, {"n": range(1, 6), "way": ["up", "down"], "fixed": [7]})
    chosen = [
        {"n": 1, "way": "up", "fixed": 7},
        {"n": 1, "way": "down", "fixed": 7},
        None,
        {"n": 5, "way": "down", "fixed": 7},
    ]
    made = stability(space, chosen)
    assert made.index.tolist() == ["n", "way"]
    assert made.loc["n", ["values", "mode", "min", "max"]].tolist() == [2, 1, 1, 5]
    assert made.loc["n", "mode_share"] == pytest.approx(2 / 3)
    assert made.loc["n", "changed"] == made.loc["way", "changed"] == 0.5
    assert made.loc["n", "mean"] == pytest.approx(7 / 3)
    assert made.loc["n", "std"] == pytest.approx(np.std([1, 1, 5], ddof=1))
    assert made.loc["n", "dispersion"] == pytest.approx(np.std([1, 1, 5]) / np.std([1, 2, 3, 4, 5]))
    assert made.loc["way", "mode"] == "down"
    assert np.isnan(made.loc["way", "mean"])


def test_efficiency_is_that_of_the_summary(build):
    work = build(Both, gbm(500, seed=8), **WALK)
    part = work.run(0, work.count, None, quiet)
    result = load_folds(work.meta(), [part.result])
    said = fold_summary.figures(part.summary)
    assert said["efficiency"] == (
        pytest.approx(result.efficiency, rel=1e-4) if np.isfinite(result.efficiency) else None
    )
    assert said["done"] == work.count
    assert said["won"] == (result.folds["out_total_return"] > 0).sum()
    assert said["out"] == pytest.approx(result.folds["out_sharpe_ratio"].median(), rel=1e-5)
    chain = fold_summary.chained(part.summary)
    assert chain[-1] == pytest.approx(np.prod(1 + result.folds["out_total_return"]), rel=1e-4)
    assert np.isnan(efficiency([]))
    assert np.isnan(efficiency([(-0.1, 0.2, 1.0, 1.0)]))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_spearman_is_pearson_of_the_mean_ranks(pairs):
    a, b = np.array(pairs, dtype=float).T
    ranks = [pd.Series(x).rank().to_numpy() for x in (a, b)]
    found = spearman(a, b)
    if np.ptp(ranks[0]) == 0 or np.ptp(ranks[1]) == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_the_rank_correlation_is_that_of_the_trials(build):
    frame = gbm(300, seed=3)
    result = run(build(Both, frame, **WALK))
    assert 2 * len(GRID["fast"]) * len(GRID["slow"]) <= RANKED
    first = frame.iloc[:160]
    inside, outside = [], []
    for values in itertools.product(*GRID.values()):
        params = dict(zip(GRID, values, strict=True))
        row = np.asarray(Both(**params).positions(Bars.from_frame(frame.iloc[:120])))
        inside.append(whole(Both, row, frame.iloc[:120]).sharpe_ratio)
        row = np.asarray(Both(**params).positions(Bars.from_frame(first)))[119:]
        outside.append(whole(Both, row, frame.iloc[119:160]).sharpe_ratio)
    expected = pd.Series(inside).corr(pd.Series(outside), method=lambda a, b: spearman(a, b))
    assert result.folds.loc[0, "rank_correlation"] == pytest.approx(expected)
    assert result.rank_correlation == pytest.approx(result.folds["rank_correlation"].mean())


# The front door


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        ({"method": "walk-forward", "train": 5}, UsageProblem, "needs train= and test="),
        ({"method": "walkforward"}, UnknownName, "Did you mean 'walk-forward'"),
        ({"method": "walk-forward", "train": 50, "test": 9, "search": "gird"}, UnknownName, "Did you mean 'grid'"),
        ({"method": "walk-forward", "train": 50, "test": 9, "embargo": 1}, UnknownName, "embargo"),
        ({"method": "cpcv", "cv": jobnb.PurgedKFold()}, UsageProblem, "leave one out"),
        ({"cv": 5}, UsageProblem, "cv must be a splitter"),
        ({"cv": jobnb.PurgedKFold(), "method": "gird"}, UnknownName, "Did you mean 'grid'"),
        ({"method": "walk-forward", "train": 500, "test": 9}, UsageProblem, "too few"),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused(build, said, error, text):
    with pytest.raises(error, match=text):
        build(Cross, gbm(100), **said)
