"""Turns what went wrong into a `TaskError`: exceptions (in the child) and deaths of the child (in the supervisor).

Pure functions on what they are given; they must never raise for anything the user's exception does.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import signal
import traceback
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from jobnb.kind import bases_of, code_of, missing_variable, retry_of
from jobnb.retry import GiveUp
from jobnb.worker.request import TaskError

_MAX_FRAMES = 20
_MAX_CHARACTERS = 8_000
_MAX_MESSAGE = 2_000
#: A chain of causes may be a ring.
_MAX_CAUSES = 10
_HERE = str(Path(__file__).parent)
_OURS = frozenset(
    str(Path(__file__).parent.parent / name) for name in ("work.py", "notebook/cell.py", "breaking.py", "limiting.py")
)

#: ipykernel compiles a cell under a path like ``…/ipykernel_123/456.py``; IPython as ``<ipython-input-3-…>``.
_KERNEL_CELL = re.compile(r"ipykernel_\d+[/\\]\d+\.py$")
_IPYTHON_CELL = re.compile(r"^<ipython-input-(\d+)-")


def describe(error: BaseException, *, cwd: str | None = None) -> TaskError:
    """Describe an exception that left the user's code.

    Parameters
    ----------
    error
        The exception, with its traceback.
    cwd
        The folder in which the job runs, for the hint at a module that is not found.
    """
    return TaskError(
        code=code_of(error),
        type=_type_name(error),
        message=_text(error),
        where=_where(error),
        traceback=render(error),
        hint=_hint(error, cwd),
        bases=bases_of(error),
        retry=retry_of(error),
    )


def render(error: BaseException) -> str:
    """Return the traceback as text: the user's frames, capped in frames and characters."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=False)
    seen: set[int] = set()

    def trim(part: traceback.TracebackException | None) -> None:
        if part is None or id(part) in seen:
            return
        seen.add(id(part))
        frames = [_renamed(frame) for frame in part.stack if not _is_ours(frame.filename)]
        if len(frames) > _MAX_FRAMES:
            left_out = traceback.FrameSummary(
                f"… {len(frames) - _MAX_FRAMES} frames left out …", 0, "…", lookup_line=False, line=""
            )
            frames = [*frames[:5], left_out, *frames[5 - _MAX_FRAMES :]]
        part.stack = traceback.StackSummary.from_list(frames)
        trim(part.__cause__)
        trim(part.__context__)
        for inner in part.exceptions or ():
            trim(inner)

    trim(whole)
    text = "".join(whole.format())
    if len(text) > _MAX_CHARACTERS:
        text = f"{text[:2000]}\n… {len(text) - _MAX_CHARACTERS} characters left out …\n{text[2000 - _MAX_CHARACTERS :]}"
    return text


def _is_ours(filename: str) -> bool:
    return filename in _OURS or os.path.dirname(filename) == _HERE or filename.startswith("<frozen ")


def cell_name(filename: str) -> str:
    """Return how to call a source file on a card: a notebook's cell has no path that anyone knows."""
    found = _IPYTHON_CELL.match(filename)
    if found:
        return f"In[{found[1]}]"
    return "<notebook cell>" if _KERNEL_CELL.search(filename) else filename


def _renamed(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    name = cell_name(frame.filename)
    if name == frame.filename:
        return frame
    return traceback.FrameSummary(name, frame.lineno, frame.name, lookup_line=False, line=frame.line)


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_ours(f.filename)]
    if not frames:
        return ""
    # The innermost frame that is not a library's: that is the line which its author can change.
    own = [f for f in frames if _is_users(f.filename)]
    last = (own or frames)[-1]
    return f"{cell_name(last.filename)}:{last.lineno} in {last.name}"


_STDLIB = str(Path(os.__file__).parent) + os.sep


def _is_users(filename: str) -> bool:
    return "site-packages" not in filename and not filename.startswith(_STDLIB)


def _type_name(error: BaseException) -> str:
    kind = type(error)
    plain = kind.__module__ in {"builtins", "__main__"}
    return kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    for _ in range(_MAX_CAUSES):
        if not isinstance(error, GiveUp) or any(error.args) or error.__cause__ is None:
            break
        error = error.__cause__
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - __str__ is user code
        return f"<its message cannot be shown: {type(broken).__name__}>"
    if isinstance(error, SystemExit):
        text = f"the job called sys.exit({error.code!r})"
    # What was added to it on its way, such as which instrument it was.
    text = " ".join([text, *(note for note in getattr(error, "__notes__", ()) if isinstance(note, str))])
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"


def _hint(error: BaseException, cwd: str | None) -> str:
    if isinstance(error, ModuleNotFoundError):
        place = f"the folder {cwd!r}" if cwd else "the worker's own folder"
        return (
            f"The job ran in {place}. A module of yours must be there or on the path that was sent along; "
            "a package must be installed on the workers."
        )
    if (variable := missing_variable(error)) is not None:
        return (
            f"The environment variable {variable!r} is not set where the job ran: its process has those of the Dask "
            "worker, not the notebook's. Set it there and restart the service, or pass the value as an argument."
        )
    if isinstance(error, SystemExit):
        return "Return from the function instead of calling sys.exit()."
    return ""


def unpicklable_result(error: BaseException, value_type: str) -> TaskError:
    """Describe a result that cannot be sent back."""
    return TaskError(
        code="UNPICKLABLE",
        type=_type_name(error),
        message=f"the result, of type {value_type}, cannot be pickled: {_text(error)}",
        traceback=render(error),
        hint="Return plain values, arrays or data frames instead of open files, locks, generators or connections.",
    )


def unreadable_payload(error: BaseException, theirs: Mapping[str, str], mine: Mapping[str, str]) -> TaskError:
    """Describe work that cannot be unpickled here."""
    pairs = ", ".join(
        f"{name} {theirs.get(name, '?')} there and {mine.get(name, '?')} here" for name in sorted({*theirs, *mine})
    )
    return TaskError(
        code="UNPICKLABLE",
        type=_type_name(error),
        message=f"the job cannot be unpickled on the worker: {_type_name(error)}: {_text(error)}",
        where=_where(error),
        traceback=render(error),
        hint=_hint(error, None) or f"Versions: {pairs}.",
    )


def version_mismatch(theirs: str, mine: str) -> TaskError:
    """Describe work that was pickled by another Python than the worker's."""
    return TaskError(
        code="VERSION_MISMATCH",
        message=f"the job was made with Python {theirs}, the worker runs Python {mine}: functions do not travel "
        "between minor versions.",
        hint="Use the same Python and packages for the notebook and the workers.",
    )


@functools.cache
def versions() -> Mapping[str, str]:
    """Return the versions which decide whether a pickle can be read: Python, cloudpickle, numpy, pandas, jobnb."""
    found = {"python": platform.python_version()}
    for package in ("cloudpickle", "numpy", "pandas", "jobnb"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


#: A frame in the report of ``faulthandler``, which lists the innermost first.
_FATAL_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')


def death(status: int | None, *, near_limit: bool = False, words: Sequence[str] = ()) -> TaskError:
    """Describe a child that died by itself.

    Parameters
    ----------
    status
        The wait status; None when nobody saw it.
    near_limit
        Whether it held nearly as much memory as it could have when it was last looked at.
    words
        The report of ``faulthandler`` from its stderr, if there was one.
    """
    where, report = _fatal_report(words)
    if status is None:
        return TaskError(code="CHILD_CRASHED", message="the job's process died; nobody saw how.")
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code >= 0:
        return TaskError(
            code="CHILD_CRASHED",
            message=f"the job's process left with exit status {exit_code} before it returned a result.",
            hint="Something called os._exit(), or ended the process from C code.",
            where=where,
            traceback=report,
        )
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    if name == "SIGKILL":
        return TaskError(
            code="MEMORY_ERROR" if near_limit else "CHILD_CRASHED",
            type=name,
            message="the job's process was killed (SIGKILL) by something other than jobnb"
            + (": most likely the kernel's out-of-memory killer." if near_limit else "."),
            hint="If the machine ran out of memory, use less data at once or give the job a memory_limit.",
        )
    return TaskError(
        code="CHILD_CRASHED",
        type=name,
        message=f"the job's process crashed with {name}.",
        hint="Compiled code crashed; the traceback shows where Python had called it." if report else "",
        where=where,
        traceback=report,
    )


def _fatal_report(words: Sequence[str]) -> tuple[str, str]:
    """Return the user's innermost frame, and the report without jobnb's frames and the list of modules."""
    where, kept = "", list[str]()
    for line in words:
        if line.startswith("Extension modules:"):
            break
        frame = _FATAL_FRAME.match(line)
        if frame:
            filename = frame["file"]
            if _is_ours(filename) or filename == "<string>":
                continue
            line = line.replace(filename, cell_name(filename))
            if not where and _is_users(filename):
                where = f"{cell_name(filename)}:{frame['line']} in {frame['name']}"
        kept.append(line)
    return where, "\n".join(kept).strip()
