"""Lets ``tqdm.notebook`` draw text in a child, where there is no notebook to draw in.

Runs in the child only. Nothing is imported until the job itself imports ``tqdm.notebook``; the text is recognised by
`jobnb.worker.output` like any other bar's.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

_NAME = "tqdm.notebook"


class PlainBars(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of the same name and classes whose bars are plain."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for ``tqdm.notebook`` alone."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == _NAME else None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        from tqdm.std import tqdm

        class tqdm_notebook(tqdm):  # noqa: N801 - it stands in for a class of that name
            """A plain bar that takes the arguments of a widget."""

            def __init__(self, *args: object, **kwargs: object) -> None:
                kwargs.pop("display", None)
                if isinstance(kwargs.get("ncols"), str):  # "100%" is for CSS
                    del kwargs["ncols"]
                super().__init__(*args, **kwargs)

        def tnrange(*args: int, **kwargs: object) -> tqdm_notebook:
            return tqdm_notebook(range(*args), **kwargs)

        tqdm_notebook.__module__ = _NAME
        for name in ("tqdm", "tqdm_notebook"):
            setattr(module, name, tqdm_notebook)
        for name in ("trange", "tnrange"):
            setattr(module, name, tnrange)


def install() -> None:
    """Answer imports of ``tqdm.notebook`` in this process from now on."""
    sys.modules.pop(_NAME, None)
    sys.meta_path.insert(0, PlainBars())
