import itertools
import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobnb
from jobnb.errors import UsageProblem
from jobnb.research.cross_validation import CombinatorialPurgedCV, PurgedKFold
from jobnb.research.folds import folds_of, runs
from jobnb.research.walk_forward import WalkForward

DAYS = pd.bdate_range("2015-01-01", periods=2520)


def rows(cv, count):
    return [(train.tolist(), test.tolist()) for train, test in cv.split(range(count))]


# Walk-forward


@given(
    count=st.integers(10, 400),
    train=st.integers(2, 60),
    test=st.integers(1, 60),
    anchored=st.booleans(),
    horizon=st.integers(0, 5),
    partial=st.booleans(),
)
def test_test_windows_cover_the_rest_once_and_follow_their_train_windows(
    count, train, test, anchored, horizon, partial
):
    cv = WalkForward(train, test, anchored=anchored, horizon=horizon, partial=partial)
    full = (count - train) // test
    if train - horizon < 2 or count <= train or (full < 1 and not partial):
        with pytest.raises(UsageProblem):
            rows(cv, count)
        return
    made = rows(cv, count)
    judged = list(itertools.chain.from_iterable(test for _, test in made))
    last = count if partial else train + full * test
    assert judged == list(range(train, last))
    for chosen, judges in made:
        assert max(chosen) == judges[0] - 1 - horizon
        assert chosen == list(range(0 if anchored else judges[0] - train, judges[0] - horizon))
    assert all(len(judges) == test for _, judges in made[:-1])
    assert cv.get_n_splits(range(count)) == len(made)


def test_windows_of_calendar_time_begin_and_end_on_their_dates():
    folds = WalkForward("3y", "6M").folds(len(DAYS), DAYS)
    spans = [(DAYS[f.train[0].start], DAYS[f.test[0].start], DAYS[f.test[0].stop - 1]) for f in folds]
    assert [tuple(str(t.date()) for t in span) for span in spans[:2]] == [
        ("2015-01-01", "2018-01-01", "2018-06-29"),
        ("2015-07-02", "2018-07-02", "2018-12-31"),
    ]
    assert folds[-1].test[0].stop == len(DAYS)
    assert len(WalkForward("3y", "6M", partial=False).folds(len(DAYS), DAYS)) == len(folds) - 1


def test_months_of_different_lengths_do_not_add_up_to_a_drift():
    index = pd.date_range("2020-01-31", periods=800)
    starts = [index[f.test[0].start] for f in WalkForward("1M", "1M").folds(len(index), index)]
    assert [str(t.date()) for t in starts[:5]] == ["2020-02-29", "2020-03-29", "2020-04-29", "2020-05-29", "2020-06-29"]


@pytest.mark.parametrize(("train", "test"), [(500, "1y"), ("2y", 125), (timedelta(days=700), "90d"), ("1y 6M", "2w")])
def test_bars_and_calendar_time_can_be_mixed(train, test):
    for anchored in (False, True):
        folds = WalkForward(train, test, anchored=anchored).folds(len(DAYS), DAYS)
        assert [f.number for f in folds] == list(range(len(folds)))
        for before, after in itertools.pairwise(folds):
            assert before.test[0].stop == after.test[0].start
        assert all(f.train[0].stop == f.test[0].start for f in folds)
        assert folds[-1].test[0].stop == len(DAYS)


def test_days_without_bars_make_no_empty_windows():
    index = pd.date_range("2024-01-04 10:00", periods=6, freq="h").union(
        pd.date_range("2024-01-09 10:00", periods=6, freq="h")
    )
    folds = WalkForward(3, "1d").folds(len(index), index)
    assert [(f.test[0].start, f.test[0].stop) for f in folds] == [(3, 6), (6, 12)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: WalkForward("6m", 5), "6M for months"),
        (lambda: WalkForward("six", 5), "no duration"),
        (lambda: WalkForward("6X", 5), "unknown unit 'X'"),
        (lambda: WalkForward("0y", 5), "above 0"),
        (lambda: WalkForward(0, 5), "at least 1"),
        (lambda: WalkForward(True, 5), "a number of bars or a duration"),
        (lambda: WalkForward(timedelta(0), 5), "above 0"),
        (lambda: WalkForward(5, 5, horizon=-1), "horizon"),
        (lambda: list(WalkForward("3y", "6M").split(range(10))), "DatetimeIndex"),
        (lambda: list(WalkForward("30y", "6M").split(pd.Series(range(2520), index=DAYS))), "too few"),
        (lambda: list(WalkForward(3, 2, horizon=2).split(range(10))), "shorter horizon"),
        (lambda: WalkForward(3, 2).get_n_splits(), "needs the data"),
    ],
)
def test_what_cannot_be_split_is_said(make, said):
    with pytest.raises(UsageProblem, match=said):
        make()


# Purged k-fold


@given(
    count=st.integers(12, 200),
    splits=st.integers(2, 6),
    horizon=st.integers(0, 8),
    embargo=st.integers(0, 8),
)
def test_a_purged_k_fold_covers_all_bars_once_and_keeps_its_distance(count, splits, horizon, embargo):
    cv = PurgedKFold(splits, horizon=horizon, embargo=embargo)
    try:
        made = rows(cv, count)
    except UsageProblem:
        assert splits * 2 * (horizon + embargo + 1) > count - 2 * splits
        return
    assert sorted(itertools.chain.from_iterable(test for _, test in made)) == list(range(count))
    sizes = [len(test) for _, test in made]
    assert max(sizes) - min(sizes) <= 1
    assert len(made) == cv.get_n_splits()
    for train, test in made:
        first, last = test[0], test[-1]
        # The plain rule: no label of a train bar overlaps one of a test bar; then the embargo.
        end = min(last + horizon, count - 1)
        allowed = [i for i in range(count) if i + horizon < first or i > end + embargo]
        assert train == allowed


@given(st.data())
def test_purging_of_labels_of_any_length_equals_the_books_rule(data):
    count = data.draw(st.integers(10, 60))
    ahead = np.array(data.draw(st.lists(st.integers(0, 6), min_size=count, max_size=count)))
    ends = np.minimum(np.arange(count) + ahead, count - 1)
    try:
        made = rows(PurgedKFold(2, horizon=ahead), count)
    except UsageProblem:
        return
    for train, test in made:
        a, b = test[0], max(ends[test])
        # Snippet 7.1: a train label that begins in, ends in, or envelops the span of the test labels.
        wrong = [i for i in range(count) if a <= i <= b or a <= ends[i] <= b or (i <= a and b <= ends[i])]
        assert train == sorted(set(range(count)) - set(wrong))


def test_an_embargo_below_one_is_a_fraction_of_all_bars():
    train, test = rows(PurgedKFold(4, embargo=0.05), 100)[1]
    assert (test[0], test[-1]) == (25, 49)
    assert train == [*range(25), *range(55, 100)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PurgedKFold(1), "at least 2"),
        (lambda: PurgedKFold(embargo=1.5), "embargo"),
        (lambda: PurgedKFold(embargo=-0.1), "embargo"),
        (lambda: PurgedKFold(embargo="1%"), "embargo"),
        (lambda: rows(PurgedKFold(horizon=-1), 100), "at least 0"),
        (lambda: rows(PurgedKFold(horizon=[1, 2]), 100), "2 values for 100 bars"),
        (lambda: rows(PurgedKFold(horizon=1.5), 100), "whole numbers"),
        (lambda: rows(PurgedKFold(60), 100), "fewer groups"),
        (lambda: rows(PurgedKFold(2, horizon=80), 100), "no bars left to choose by"),
        (lambda: CombinatorialPurgedCV(2, 1), "at least 3"),
        (lambda: CombinatorialPurgedCV(6, 6), "below n_groups"),
        (lambda: CombinatorialPurgedCV(30, 15), "155,117,520 splits"),
    ],
)
def test_what_cannot_be_cross_validated_is_said(make, said):
    with pytest.raises(UsageProblem, match=said):
        make()


def test_nothing_of_the_test_reaches_the_choice_through_a_warm_up():
    for fold in PurgedKFold(4, embargo=3).folds(100):
        for piece in fold.train:
            assert piece.history == (piece.start if piece.start > fold.test[0].start else 0)
        assert all(piece.history == 0 for piece in fold.test)


# Combinatorial purged cross-validation


@given(groups=st.integers(3, 8), tested=st.integers(1, 7))
def test_counts_of_splits_and_paths_are_the_books(groups, tested):
    if tested >= groups:
        return
    cv = CombinatorialPurgedCV(groups, tested)
    count = 4 * groups + 3
    folds = cv.folds(count)
    splits = math.factorial(groups) // math.factorial(tested) // math.factorial(groups - tested)
    assert len(folds) == cv.get_n_splits() == splits
    # Section 12.4: phi[N, k] = k / N * C(N, k)
    assert cv.n_paths == tested * splits // groups == len(cv.paths())
    bars = [fold.test_indices.tolist() for fold in folds]
    for path in cv.paths():
        assert len(path) == groups
    # Each split judges each of its groups in exactly one path.
    used = [(split, group) for path in cv.paths() for group, split in enumerate(path)]
    assert len(used) == len(set(used)) == splits * tested
    times = np.bincount(np.concatenate(bars), minlength=count)
    assert (times == cv.n_paths).all()


def test_six_groups_two_tested_are_figure_12_1():
    cv = CombinatorialPurgedCV(6, 2)
    assert (cv.get_n_splits(), cv.n_paths) == (15, 5)
    # The first path of the figure takes each group from the first split that tests it.
    assert cv.paths()[0] == [0, 0, 1, 2, 3, 4]
    assert cv.paths()[4] == [4, 8, 11, 13, 14, 14]


@given(embargo=st.integers(0, 4), horizon=st.integers(0, 4))
def test_train_sets_keep_their_distance_from_every_test_group(embargo, horizon):
    for fold in CombinatorialPurgedCV(5, 2, horizon=horizon, embargo=embargo).folds(100):
        train = set(fold.train_indices.tolist())
        for piece in fold.test:
            reach = min(piece.stop - 1 + horizon, 99)
            assert not train & set(range(piece.start - horizon, min(reach + embargo, 99) + 1))


# As scikit-learn has them


def test_scikit_learn_takes_them_and_jobnb_takes_scikit_learns():
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 2)), index=DAYS[:300])
    for cv in (PurgedKFold(4, horizon=2, embargo=0.01), CombinatorialPurgedCV(4, 2), WalkForward("6M", "1M")):
        scores = selection.cross_val_score(linear.LinearRegression(), frame, frame[0], cv=cv)
        assert len(scores) == cv.get_n_splits(frame)
        assert scores == pytest.approx(1.0)
    folds = folds_of(selection.TimeSeriesSplit(3, gap=2), DAYS[:100])
    assert [(f.train[0].stop, f.test[0].start, f.test[0].stop) for f in folds] == [
        (23, 25, 50),
        (48, 50, 75),
        (73, 75, 100),
    ]


def test_a_splitter_that_trains_on_the_test_is_refused():
    class Wrong:
        def split(self, X, y=None, groups=None):
            yield [0, 1, 2], [2, 3]

    with pytest.raises(UsageProblem, match="bar 2 is in the train and the test set of fold 0"):
        folds_of(Wrong(), DAYS[:10])


def test_splitters_are_public_and_say_what_they_are():
    assert repr(jobnb.WalkForward(500, 125)) == (
        "WalkForward(train=500, test=125, anchored=False, horizon=0, partial=True)"
    )
    assert repr(jobnb.PurgedKFold(5, embargo=0.01)) == "PurgedKFold(n_splits=5, horizon=0, embargo=0.01)"
    assert "n_groups=6, n_test_groups=2" in repr(jobnb.CombinatorialPurgedCV())


@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_the_stretches_of_a_mask(mask):
    found = runs(np.array(mask, dtype=bool))
    assert [i for a, b in found for i in range(a, b)] == [i for i, one in enumerate(mask) if one]
    assert all(b < c for (_, b), (c, _) in itertools.pairwise(found))
