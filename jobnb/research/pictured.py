"""`Pictured`: what a result with an equity curve offers to look at: pictures, the months, the drawdowns, a tear sheet.

At the front door; a result mixes it in. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas as pd

    from jobnb.research.course import Course
    from jobnb.research.plots.look import Picture


class Pictured:
    """Pictures of a result that has ``title``, ``foot`` and an ``equity_curve``.

    Figures are matplotlib's, show themselves in a notebook, and are saved by ``figure.savefig("x.png")``; their
    grounds are transparent, for light and dark pages.
    """

    def _course(self) -> Course:
        from jobnb.research.course import course

        return course(self)

    @property
    def monthly_returns(self) -> pd.DataFrame:
        """The return of each month and year, as fractions; see `jobnb.research.monthly.monthly_returns`."""
        from jobnb.research.monthly import monthly_returns

        made = self._course()
        made.need_dates()
        return monthly_returns(made.time, made.equity, made.capital)

    def worst_drawdowns(self, count: int = 10) -> pd.DataFrame:
        """Return the deepest drawdowns, deepest first; see `jobnb.research.drawdowns.drawdowns`."""
        from jobnb.research.drawdowns import drawdowns

        made = self._course()
        made.need_dates()
        return drawdowns(made.time, made.equity, count)

    def plot(self, *, log: bool | None = None) -> Picture:
        """Draw equity beside buy and hold, the drawdown, and each trade from entry to exit at its return.

        Up to 60 trades are marked on the equity too: triangles for entries, pointing the way they bet, rings for
        exits.

        Parameters
        ----------
        log : bool, optional
            Money on a logarithmic scale; by default where it is tenfold somewhere of what it is elsewhere.

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: the engine told no equity.
        """
        from jobnb.research.plots.equity import equity_figure

        return equity_figure(self._course(), log=log)

    def plot_monthly(self) -> Picture:
        """Draw the table of the returns of months and years, in percent, coloured."""
        from jobnb.research.plots.monthly import monthly_figure

        return monthly_figure(self._course())

    def plot_rolling(self, window: int | None = None) -> Picture:
        """Draw the Sharpe ratio of the last ``window`` daily returns, by default those of half a year."""
        from jobnb.research.plots.rolling import rolling_figure

        return rolling_figure(self._course(), window=window)

    def plot_returns(self) -> Picture:
        """Draw the distribution of the daily returns."""
        from jobnb.research.plots.spread import spread_figure

        return spread_figure(self._course())

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write a tear sheet: one HTML file that needs no network, for screen (light and dark) and paper.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced at once when the new one is complete.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        UsageProblem
            ``USAGE_ERROR``: the folder does not exist, or the file cannot be written.
        """
        from jobnb.research.report import write

        return write(self, path)
