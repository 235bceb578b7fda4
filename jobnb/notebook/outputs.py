"""What ``%job`` returns besides jobs: text that shows as it is, and a table of jobs.

Runs in the kernel. Everything a user named is escaped; nothing here may read the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jobnb.job import Job, JobRecord
from jobnb.notebook import job_table
from jobnb.notebook.style import STYLE


class Text(str):
    """Text that a notebook shows as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


class JobTable(list[Job]):
    """Jobs, newest first, shown as a table.

    Parameters
    ----------
    jobs : sequence of Job
    records : sequence of JobRecord
        Their rows, as of ``now``.
    now : datetime
    columns : sequence of Column, optional
        What is shown of each.
    empty : str, default "no jobs"
        What is shown where there is none.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        records: Sequence[JobRecord],
        now: datetime,
        columns: Sequence[job_table.Column] = job_table.JOBS,
        empty: str = "no jobs",
    ) -> None:
        super().__init__(jobs)
        self._records = tuple(records)
        self._now = now
        self._columns = columns
        self._empty = empty

    def __repr__(self) -> str:
        return "\n".join(job_table.lines(self._columns, self._records, self._now)) if self._records else self._empty

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def _repr_html_(self) -> str:
        if not self._records:
            return f"<p>{self._empty}</p>"
        table = job_table.html(self._columns, self._records, self._now)
        return f'{STYLE}<section class="jn-card jn-table">{table}</section>'
