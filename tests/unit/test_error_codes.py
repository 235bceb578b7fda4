"""Every error code of the sources stands in docs/errors.md, and what is said there of retries is true."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobnb
from jobnb.retry import Retry
from jobnb.service.retry import decide

SOURCES = Path(jobnb.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
ROW = re.compile(r"^\| `([A-Z_]+)` \|(.*)\|$", re.MULTILINE)
CODE = re.compile(r"[A-Z]+(_[A-Z]+)*")


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Yield what is given as ``code=``, ``{"code": …}``, ``code = …``, to `_failed`, or returned by `code_of`."""
    places: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code", value=value):
                places.append(value)
            case ast.Dict(keys=keys, values=values):
                places += [
                    v for k, v in zip(keys, values, strict=True) if isinstance(k, ast.Constant) and k.value == "code"
                ]
            case ast.Assign(targets=[ast.Name(id="code")], value=value):
                places.append(value)
            case ast.AnnAssign(target=ast.Name(id="code"), value=ast.expr() as value):
                places.append(value)
            case ast.Call(func=ast.Name(id="_failed"), args=args):
                places += args
            case ast.FunctionDef(name="code_of"):
                places += [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value is not None]
    for place in places:
        for node in ast.walk(place):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                yield node.value


def test_the_table_has_every_code_and_no_other() -> None:
    found = {code for path in SOURCES.rglob("*.py") for code in codes_in(ast.parse(path.read_text("utf-8")))}
    assert {"API_ERROR", "EXPIRED", "OUTCOME_UNREADABLE", "CHILD_CRASHED", "CLUSTER_LOST"} <= found
    listed = [code for code, _ in ROW.findall(PAGE.read_text("utf-8"))]
    assert sorted(listed) == sorted(found)


RETRIED = {
    code: cells.split("|")[1].strip()
    for code, cells in ROW.findall(PAGE.read_text("utf-8").partition("## What the front doors")[0])
}


@pytest.mark.parametrize("code", sorted(RETRIED))
def test_what_is_said_of_retries_is_so(code: str) -> None:
    first = decide(Retry(), {"code": code}, failures=1, drawn=0.5)
    second = decide(Retry(), {"code": code}, failures=2, drawn=0.5)
    said = re.split(r"\W", RETRIED[code])[0]
    assert said in {"yes", "once", "no", "again"}
    assert (first is not None) is (said in {"yes", "once"})
    assert (second is not None) is (said == "yes")
