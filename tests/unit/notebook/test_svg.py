import math

import examples

from jobnb.notebook import svg
from jobnb.research import tiles


def test_equity_is_one_picture_with_words():
    plot = svg.equity(examples.curve(), "equity & drawdown")
    assert plot.svg.count("<svg") == 1
    assert 'role="img"' in plot.svg
    assert "equity &amp; drawdown" in plot.svg
    assert plot.worst < 0
    assert len(plot.svg) < 20_000


def test_equity_survives_gaps_and_missing_lines():
    assert svg.equity({}) is None
    assert svg.equity({"equity": [1.0]}) is None
    assert svg.equity({"equity": [None, None]}) is None
    plot = svg.equity({"equity": [1.0, None, math.nan, 2.0, math.inf, 3.0]})
    assert "nan" not in plot.svg
    assert "inf" not in plot.svg
    assert svg.equity({"equity": [5.0, 5.0]}).log is False


def test_a_steep_rise_is_drawn_on_a_log_scale():
    plot = svg.equity({"equity": [1.0, 3.0, 100.0], "hold": [1.0, -1.0, 2.0]})
    assert plot.log is False  # a loss beyond zero has no logarithm
    assert svg.equity({"equity": [1.0, 3.0, 100.0]}).log is True


def test_thinning_keeps_the_extremes():
    values = [0.0] * 5000
    values[1234], values[4321] = 9.0, -9.0
    kept = svg.thin(values)
    assert len(kept) <= 280
    assert max(kept) == 9.0
    assert min(kept) == -9.0


def test_sparkline_needs_two_values():
    assert svg.sparkline([1.0]) == ""
    assert svg.sparkline([None, 2.0]) == ""
    assert "<path" in svg.sparkline([1.0, 2.0])


def test_heat_marks_the_best_cell_and_stays_small():
    heat = examples.heat()
    drawn = svg.heat(len(heat["rows"]), len(heat["cols"]), tiles.cells(heat), best=(7, 39))
    assert drawn.block == (1, 1)
    assert 'x="39" y="7"' in drawn.svg
    assert len(drawn.svg) < 60_000


def test_heat_of_a_huge_grid_is_drawn_in_blocks():
    cells = [[r, c, float(r * c)] for r in range(400) for c in range(0, 300, 7)]
    drawn = svg.heat(400, 300, cells)
    assert drawn.rows * drawn.cols <= 4700
    assert drawn.high == 399.0 * 294


def test_heat_leaves_out_what_is_no_number():
    assert svg.heat(1, 2, [[0, 0, None], [0, 1, math.nan]]) is None
    drawn = svg.heat(1, 2, [[0, 0, None], [0, 1, 3.0], [5, 5, 1.0]])
    assert (drawn.low, drawn.high) == (3.0, 3.0)


def test_less_is_better_turns_the_colours_round():
    drawn = svg.heat(1, 2, [[0, 0, 1.0], [0, 1, 2.0]], maximize=False)
    assert f'fill="{svg.shade(1)}" d="M0 0' in drawn.svg
    assert 'x="0" y="0"' in drawn.svg
