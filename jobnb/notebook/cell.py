"""A cell as a job: what it reads from the notebook, and how it runs elsewhere.

`read_names` and `check` run in the kernel; `run_cell` runs in the job's own process and must not touch IPython or the
notebook. What the cell reads is taken by value when it is submitted, so later changes in the notebook do not reach it.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import linecache
import symtable
import sys
from collections.abc import Mapping, Sequence
from types import CodeType

from jobnb.errors import UsageProblem, did_you_mean

#: Names that IPython puts into every namespace; a cell that reads one does not mean the notebook's.
_SHELL_NAMES = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open", "display", "_job"})


def check(source: str, wanted: Sequence[str] = ()) -> ast.Module:
    """Parse a cell and make sure that it sets what ``-o`` wants back.

    Raises
    ------
    UsageProblem
        The cell is empty, is no Python (magics and shell lines cannot run in a job), or never sets a wanted name.
    """
    if not source.strip():
        raise UsageProblem("the cell is empty: %%job runs the lines below it as a job.")
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        line = (error.text or "").strip()
        if line[:1] in "%!?" and line:
            raise UsageProblem(f"{line!r} cannot run in a job: magics and shell lines need the notebook.") from None
        raise UsageProblem(f"line {error.lineno}: {error.msg}: {line}") from None
    bound = _bound_anywhere(tree)
    for name in wanted:
        if name not in bound:
            raise UsageProblem(f"the cell never sets {name!r}, which -o asks for.{did_you_mean(name, bound)}")
    return tree


def _bound_anywhere(tree: ast.Module) -> set[str]:
    table = symtable.symtable(ast.unparse(tree), "<cell>", "exec")
    return {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}


def read_names(tree: ast.Module) -> list[str]:
    r"""Return the names that a cell reads before it has surely set them itself, in order, builtins left out.

    Examples
    --------
    >>> read_names(ast.parse("y = x + 1\nz = y * len(k)"))
    ['x', 'k']
    """
    bound: set[str] = set()
    found: dict[str, None] = {}
    for statement in tree.body:
        for name in _reads(statement):
            if name not in bound and name not in _SHELL_NAMES:
                found[name] = None
        bound |= _surely_bound(statement)
    return [name for name in found if not hasattr(builtins, name)]


def _reads(statement: ast.stmt) -> list[str]:
    table = symtable.symtable(ast.unparse(statement), "<cell>", "exec")
    names: dict[str, None] = {}
    for node in ast.walk(statement):
        # In `x += 1` and `del x` the name counts as stored only, yet its value is needed.
        targets: list[ast.expr] = []
        if isinstance(node, ast.AugAssign):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = node.targets
        names.update({t.id: None for t in targets if isinstance(t, ast.Name)})

    def visit(scope: symtable.SymbolTable, top: bool) -> None:
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                names[symbol.get_name()] = None
        for child in scope.get_children():
            visit(child, top=False)

    visit(table, top=True)
    order = [n.id for n in ast.walk(statement) if isinstance(n, ast.Name)]
    return sorted(names, key=lambda n: order.index(n) if n in order else len(order))


def _surely_bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(a.asname or a.name).partition(".")[0] for a in statement.names}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    return {
        n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }


def capture(tree: ast.Module, namespace: Mapping[str, object]) -> dict[str, object]:
    """Return what a cell reads from the notebook, by name; what is not there may still be an error of the cell."""
    return {name: namespace[name] for name in read_names(tree) if name in namespace}


def title(source: str) -> str:
    """Return the first line of code of a cell, as the job's name where none is given."""
    for line in source.splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            return text if len(text) <= 40 else text[:39] + "…"
    return "cell"


def run_cell(source: str, names: Mapping[str, object], wanted: Sequence[str], filename: str) -> object:
    """Run a cell in this process; called in the job's child process.

    Parameters
    ----------
    source : str
        The cell.
    names : mapping
        What it reads from the notebook.
    wanted : sequence of str
        The names to bring back.
    filename : str
        What tracebacks call the cell.

    Returns
    -------
    object
        ``{name: value}`` of the wanted names; the value of the cell's last expression where none is wanted.

    Raises
    ------
    NameError
        The cell has not set a wanted name.
    """
    # Tracebacks show the cell's own lines.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    space: dict[str, object] = {"__name__": "__main__", "__builtins__": builtins, "display": _show, **names}
    tree = ast.parse(source, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    codes = [_compile(tree, filename, "exec")]
    if isinstance(last, ast.Expr):
        codes.append(_compile(ast.Expression(last.value), filename, "eval"))
    if any(code.co_flags & inspect.CO_COROUTINE for code in codes):
        value = asyncio.run(_run_async(codes, space))
    else:
        for code in codes:
            value = eval(code, space)  # noqa: S307  (running the user's cell is the job)
    if last is None:
        value = None
    if not wanted:
        return value
    if value is not None:
        _show(value)
    for name in wanted:
        if name not in space:
            raise NameError(f"the cell ended without setting {name!r}, which -o wants back", name=name)
    return {name: space[name] for name in wanted}


def _compile(tree: ast.Module | ast.Expression, filename: str, mode: str) -> CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(tree, filename, mode, flags=flags, dont_inherit=True)
    return code


async def _run_async(codes: Sequence[CodeType], space: dict[str, object]) -> object:
    value: object = None
    for code in codes:
        value = eval(code, space)  # noqa: S307
        if inspect.iscoroutine(value):
            value = await value
    return value


def _show(*values: object) -> None:
    """Stand in for IPython's ``display``: the value's text goes to the job's log."""
    for value in values:
        sys.stdout.write(f"{value!r}\n")
