"""Whole notebooks as jobs: run from top to bottom in a kernel of their own, with parameters, and kept as they came out.

The notebook is read at the front door and travels with the job, as a function does. The child starts the kernel and
follows it cell by cell; whatever ends the child ends the kernel. (Not ``notebook.py``: that is the kernel's room.)
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from jobnb import submission
from jobnb.daemon import EMBEDDED
from jobnb.dated import DatedPath
from jobnb.errors import MissingPackage, UsageProblem
from jobnb.job import Job
from jobnb.option import Options
from jobnb.shown import shown
from jobnb.work import Part, Report

if TYPE_CHECKING:
    from jobnb.manager import JobManager

#: Of the cell with the defaults of parameters, and of the one that is put after it: as papermill calls them.
PARAMETERS, INJECTED = "parameters", "injected-parameters"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: A cell is called by its first line, up to here.
_TITLE = 60
#: Seconds that the kernel may take to start.
_START_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class NotebookRun:
    """What came of a notebook.

    Attributes
    ----------
    artifact : str
        Its name among ``job.artifacts``.
    path : str or None
        Where else it was written.
    cells : int
        Cells of code that were run.
    """

    artifact: str
    path: str | None
    cells: int


class CellFailed(Exception):
    """A cell of the notebook raised an exception."""


def run_notebook(
    manager: JobManager,
    path: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    options: Options | None = None,
    *,
    to: str | os.PathLike[str] | None = None,
    tz: str = "UTC",
) -> Job:
    """Run a notebook as a job; see `jobnb.run_notebook`."""
    options = options or Options()
    if manager.cluster == EMBEDDED:
        # Whose workers have the packages that are installed here.
        _check_packages()
    source = Path(path).expanduser()
    content = _read(source)
    given = dict(parameters or {})
    for name, value in given.items():
        if not name.isidentifier():
            raise UsageProblem(f"{name!r} cannot be the name of a parameter.")
        code_of(name, value)
    name = options.name or source.stem
    work = NotebookWork(
        content=content,
        name=source.stem,
        parameters=given,
        to=None if to is None else DatedPath.parse(to, ".ipynb", name=name, tz=tz),
    )
    said = {"notebook": source.name, **({"to": os.fspath(to)} if to is not None else {})}
    new = submission.new_job(
        manager.store, manager.cluster, work, "notebook", options, name=source.name, params={**shown((), given), **said}
    )
    return manager.hand_in_all([new])[0]


def _read(path: Path) -> str:
    try:
        content = path.read_text("utf-8")
        cells = json.loads(content)["cells"]
    except FileNotFoundError:
        raise UsageProblem(f"there is no notebook {str(path)!r}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise UsageProblem(f"{str(path)!r} is no notebook that can be read ({why}).") from error
    if not any(cell.get("cell_type") == "code" for cell in cells):
        raise UsageProblem(f"{str(path)!r} has no cell of code.")
    return content


def code_of(name: str, value: object) -> str:
    """Return the line of Python that sets a parameter.

    Raises
    ------
    UsageProblem
        ``USAGE_ERROR``: it is no plain value.

    Examples
    --------
    >>> code_of("start", date(2024, 1, 2))
    'start = datetime.date(2024, 1, 2)'
    """
    return f"{name} = {_literal(value, name)}"


def _literal(value: object, name: str) -> str:
    match value:
        case bool() | None | int() | float() | str():
            text = repr(value)
            return f"float({text!r})" if text in ("inf", "-inf", "nan") else text
        case datetime():
            return f"datetime.datetime.fromisoformat({value.isoformat()!r})"
        case date():
            return repr(value)
        case list() | tuple():
            inner = ", ".join(_literal(each, name) for each in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
        case dict():
            return "{" + ", ".join(f"{_literal(k, name)}: {_literal(v, name)}" for k, v in value.items()) + "}"
    raise UsageProblem(
        f"the parameter {name} is a {type(value).__name__}; a notebook is given numbers, texts, dates, and lists and "
        "dicts of them."
    )


@dataclass(frozen=True, kw_only=True)
class NotebookWork:
    """A notebook that is run from top to bottom: a job of one item.

    Attributes
    ----------
    content : str
        The notebook, as it was on the disk.
    name : str
    parameters : mapping
        Put into a cell after the one that is tagged ``parameters``, else at the top; of a run of a schedule with
        ``fire_at``, unless that is among them.
    to : DatedPath or None
        Where it is written besides; what went wrong stands in it, too.
    """

    content: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    to: DatedPath | None = None

    def run(self, start: int, stop: int, budget: float | None, report: Report) -> Part:
        """Run it; the result is a `NotebookRun`."""
        from jobnb.dated import as_of
        from jobnb.worker.context import current

        nbformat, nbclient = _packages()
        here = current()
        notebook = nbformat.reads(self.content, as_version=4)
        given = dict(self.parameters)
        if here is not None and here.fire_at is not None:
            given.setdefault("fire_at", here.fire_at)
        inject(notebook, given, nbformat)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        told = _Told(total=len(cells))
        client = nbclient.NotebookClient(
            notebook,
            timeout=None,
            startup_timeout=_START_SECONDS,
            kernel_name=kernel_of(notebook),
            allow_errors=False,
            on_cell_start=told.begins,
            on_cell_executed=told.ends,
            extra_arguments=["--HistoryManager.enabled=False"],
            resources={"metadata": {"path": os.getcwd()}},
        )
        name = self.to.at(as_of()).name if self.to is not None else f"{self.name}.ipynb"
        written: Path | None = None
        try:
            _execute(client)
        except nbclient.exceptions.CellExecutionError as error:
            print(_COLOURS.sub("", str(error.traceback)), file=sys.stderr)  # noqa: T201 - into the job's log
            where = f"cell {told.at} of {told.total} ({told.title})"
            raise CellFailed(f"{where} raised {error.ename}: {error.evalue}") from None
        finally:
            text = nbformat.writes(notebook)
            if here is not None:
                here.save(name, text)
            if self.to is not None:
                written = self.to.at(as_of()).absolute()
                _write(written, text)
        value = NotebookRun(artifact=name, path=None if written is None else str(written), cells=told.total)
        return Part(stop=1, result=cloudpickle.dumps(value))


@dataclass(kw_only=True)
class _Told:
    """Tells the card which cell runs."""

    total: int
    at: int = 0
    title: str = ""

    def begins(self, cell: Any, cell_index: int) -> None:
        from jobnb.worker.context import progress

        if cell.cell_type != "code" or not cell.source.strip():
            return
        first = next((line for line in cell.source.splitlines() if line.strip()), "")
        self.at, self.title = self.at + 1, first.strip()[:_TITLE]
        progress(self.at - 1, self.total, self.title)

    def ends(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        from jobnb.worker.context import progress

        progress(self.at, self.total, self.title)


def inject(notebook: Any, given: Mapping[str, Any], nbformat: Any) -> None:
    """Put a cell with parameters into a notebook, in the place of an earlier one."""
    tags = [cell.metadata.get("tags", ()) for cell in notebook.cells]
    old = [i for i, each in enumerate(tags) if INJECTED in each]
    for i in reversed(old):
        del notebook.cells[i]
    if not given:
        return
    lines = [code_of(name, value) for name, value in given.items()]
    if any("datetime." in line for line in lines):
        lines.insert(0, "import datetime")
    cell = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": [INJECTED]})
    if notebook.nbformat_minor < 5:
        cell.pop("id", None)
    declared = next((i for i, c in enumerate(notebook.cells) if PARAMETERS in c.metadata.get("tags", ())), -1)
    notebook.cells.insert(declared + 1, cell)


def kernel_of(notebook: Any) -> str:
    """Return the kernel to run a notebook in: the one it names if it is installed here, else Python's own."""
    from jupyter_client.kernelspec import KernelSpecManager

    named = str(notebook.metadata.get("kernelspec", {}).get("name") or "python3")
    language = str(notebook.metadata.get("kernelspec", {}).get("language") or "python")
    known = KernelSpecManager().find_kernel_specs()
    if named in known:
        return named
    if language.lower() == "python":
        return "python3"
    here = ", ".join(sorted(known))
    raise UsageProblem(f"the kernel {named!r} of the notebook is not installed here. Known: {here}.")


def _execute(client: Any) -> None:
    from jobnb.worker.prctl import die_with_parent

    parent = os.getpid()
    paths = [path for path in sys.path if path]
    # The kernel gets a session of its own, which the kill of the job's process group does not reach.
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, preexec_fn=lambda: die_with_parent(parent))


def _check_packages() -> None:
    for name in ("ipykernel", "nbclient", "nbformat"):
        if importlib.util.find_spec(name) is None:
            raise MissingPackage(
                f"to run a notebook needs {name}, which is not installed here. Run: pip install 'jobnb[notebooks]'"
            )


def _packages() -> tuple[Any, Any]:
    _check_packages()
    import nbclient
    import nbformat

    return nbformat, nbclient


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, "utf-8")
    part.replace(path)
