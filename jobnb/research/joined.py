"""Pieces of a data set, joined to one account that trades them through one after the other.

Runs in a child for the folds of a job, and at the front door for the curve that is stitched of them. It must never
let a piece see a bar before its history or after its end.

The exact terms, the same for train and test windows and for the stitched curve:

- A piece ``[start, stop)`` is decided on the bars ``[history, stop)``: indicators have the warm-up that the history
  allows, and what comes after the piece does not exist for it.
- What the strategy decides at the close of bar ``start - 1`` carries in, if that bar lies in the history: it is
  known when the piece begins, and fills at the open of ``start`` (at the close of ``start - 1`` with
  ``conventions="close"``). Earlier decisions matter only through it. Without history the account is flat until the
  piece's own first decision.
- The account begins flat, with the initial capital, at the close of ``start - 1`` of its first piece, so that each
  bar of a piece has its return, counted once. (Without history: at the first bar, which then has none.)
- Where one piece ends and the next begins, the next one's decision replaces that of the last bar before: a position
  which both want is kept, and trades only what differs, as one who changes parameters does.
- Bars between two pieces do not exist for the account: the prices of the later piece are scaled so that its
  ``start - 1`` closes where the piece before closed (without history: so that it opens there). The metrics are those
  of the returns of all pieces, one after the other. Durations leave the gaps out.
- A year is counted as in the whole data set, however short a piece is.
- Stops and sizes are made of what the piece may look at, too. A stop that would have closed a trade before the piece
  begins is not known to it: the account enters anew. ``next`` is asked with this account, from its first bar on.
- With ``conventions="backtesting.py"`` nothing is decided at the account's first bar, as there; and whole units are
  units of the scaled prices, where pieces are not contiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from jobnb.research.bars import COLUMNS, Bars
from jobnb.research.engine import Targets, Wanted, targets
from jobnb.research.limits import LIMITS, Orders, checked, distances

if TYPE_CHECKING:
    from jobnb.research.account import Account
    from jobnb.research.folds import Piece
    from jobnb.research.strategy import Strategy

Floats = npt.NDArray[np.float64]

_CLOSE = 1 + COLUMNS.index("close")
_OPEN = 1 + COLUMNS.index("open")
_PRICES = slice(_OPEN, _CLOSE + 1)


class _Cut(NamedTuple):
    """Where a piece's decisions come from, and where they go."""

    view: Bars
    #: First decision taken from the view.
    first: int
    #: Place of it in the joined row; the one before is cleared where ``clear``.
    place: int
    clear: bool


class Joined:
    """Pieces as one account sees them.

    Parameters
    ----------
    bars : Bars
        The whole data set.
    pieces : sequence of Piece
        Ascending, disjoint, at least one.

    Attributes
    ----------
    bars : Bars
        What the account trades: the bars of the pieces, with the one before the first where it may be seen.
    """

    def __init__(self, bars: Bars, pieces: Sequence[Piece]) -> None:
        self._cuts: list[_Cut] = []
        place = 0
        for number, piece in enumerate(pieces):
            seen = int(piece.start > piece.history)
            place += seen if not number else 0
            self._cuts.append(
                _Cut(
                    view=bars.cut(slice(piece.history, piece.stop)),
                    first=piece.start - seen - piece.history,
                    place=place - seen,
                    clear=bool(number) and not seen,
                )
            )
            place += len(piece)
        self.bars = _joined(bars, pieces, self._cuts)

    def row(self, positions: Callable[[Bars], npt.ArrayLike], who: str) -> Targets:
        """Return what ``positions`` decides, one target for each of the joined bars.

        Parameters
        ----------
        positions : callable
            Called with what each piece may look at.
        who : str
            The strategy's name, for errors.
        """
        parts = [targets(positions(cut.view), cut.view, who)[cut.first :] for cut in self._cuts]
        return cast(Targets, self.join(parts))

    def join(self, parts: Sequence[Wanted]) -> Wanted:
        """Return what the account wants, of what each piece wants: its bars, and the one before where it may be seen.

        Parameters
        ----------
        parts : sequence of array or Orders
            One for each piece.
        """
        if len(parts) == 1:
            return parts[0]
        rows = [part.targets if isinstance(part, Orders) else part for part in parts]
        row = np.zeros(len(self.bars), dtype=np.result_type(*rows))
        limits = np.full((LIMITS, len(row)), np.nan) if any(isinstance(part, Orders) for part in parts) else None
        for cut, part, made in zip(self._cuts, parts, rows, strict=True):
            if cut.clear:
                row[cut.place - 1] = 0
            row[cut.place : cut.place + len(made)] = made
            if limits is not None and isinstance(part, Orders):
                limits[:, cut.place : cut.place + len(made)] = part.limits
        if limits is None:
            return cast(Targets, row)
        return Orders(cast(Targets, row), limits)

    def close(self) -> None:
        """Let go of what the pieces look at, with all the indicators that were computed on it.

        A class refers to itself, so that one made by `fitted`, and all that it holds, waits for the garbage collector.
        """
        self._cuts.clear()

    def fitted(self, strategy: type[Strategy]) -> type[Strategy]:
        """Return the strategy as one that runs on the joined bars, deciding in each piece by what that may see."""
        from jobnb.research.strategy import Strategy as Plain

        def positions(made: Strategy, bars: Bars) -> npt.ArrayLike:
            return self.row(partial(strategy.positions, made), strategy.name)

        def asked(made: Strategy, i: int, bars: Bars, account: Account) -> float | None:
            if any(cut.clear and cut.place - 1 == i for cut in self._cuts):
                # Nothing is carried into a piece without a bar before it.
                return 0
            cut = [cut for cut in self._cuts if cut.place <= i][-1]
            return strategy.next(made, i - cut.place + cut.first, cut.view, account)

        def stops(made: Strategy, bars: Bars) -> Mapping[str, object]:
            rows: dict[str, Floats] = {}
            for cut in self._cuts:
                given = checked(strategy.stops(made, cut.view), strategy.name)
                for name, value in distances(given, cut.view, strategy.name).items():
                    part = np.broadcast_to(value, (len(cut.view),))[cut.first :]
                    rows.setdefault(name, np.full(len(bars), np.nan))[cut.place : cut.place + len(part)] = part
            return rows

        own: dict[str, Any] = {"name": strategy.name, "__module__": strategy.__module__}
        own |= {"next": asked} if strategy._stepped else {"positions": positions}
        # Fractions of the price, so that they hold for scaled prices too.
        own |= {} if strategy.stops is Plain.stops else {"stops": stops}
        return type(strategy.__name__, (strategy,), own)


class _JoinedBars(Bars):
    """Joined bars of which what stops and sizes are made of has the warm-up that each piece may have."""

    _cuts: Sequence[_Cut] = ()

    def atr(self, n: int = 14) -> Floats:
        """Wilder's average true range, on the scale of these bars."""
        # What a piece looks at is not scaled; the share of the price holds for both.
        return self._memo.one(("atr", n), lambda: self._looked_up(lambda view: view.atr(n) / view.close) * self.close)

    def volatility(self, n: int = 20) -> Floats:
        """Standard deviation of the last ``n`` returns, per year."""
        return self._memo.one(("volatility", n), lambda: self._looked_up(lambda view: view.volatility(n)))

    def _looked_up(self, of: Callable[[Bars], Floats]) -> Floats:
        made = np.full(len(self), np.nan)
        for cut in self._cuts:
            part = of(cut.view)[cut.first :]
            made[cut.place : cut.place + len(part)] = part
        return made


def _joined(bars: Bars, pieces: Sequence[Piece], cuts: Sequence[_Cut]) -> Bars:
    first = pieces[0]
    spans = [(piece.start, piece.stop) for piece in pieces]
    spans[0] = (first.start - int(first.start > first.history), first.stop)
    if all(before[1] == after[0] for before, after in pairwise(spans)):
        return _with(cuts, bars.block[:, spans[0][0] : spans[-1][1]], bars, None)
    block = np.concatenate([bars.block[:, start:stop] for start, stop in spans], axis=1)
    days = np.concatenate([bars.days[start:stop] for start, stop in spans])
    at = spans[0][1] - spans[0][0]
    for before, piece in pairwise(pieces):
        seen = piece.start > piece.history
        if piece.start != before.stop:
            anchor = bars.close[piece.start - 1] if seen else bars.open[piece.start]
            block[_PRICES, at:] *= block[_CLOSE, at - 1] / (anchor * block[_CLOSE, at] / bars.close[piece.start])
            left_out = bars.days[piece.start - seen] - bars.days[before.stop - 1] - (not seen)
            days[at:] -= max(0.0, np.floor(left_out))
        at += len(piece)
    return _with(cuts, block, bars, days)


def _with(cuts: Sequence[_Cut], block: Floats, bars: Bars, days: Floats | None) -> Bars:
    made = _JoinedBars.of(block, bars, days=days)
    assert isinstance(made, _JoinedBars)
    made._cuts = cuts
    return made
