"""Seeds numpy's global generator when a job is the first to import numpy: its child was born without it.

Runs in the child only. Without it a job of a fixed seed would draw other numbers in a light child than in a heavy one.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

_NAME = "numpy.random"
_SEEDS = 2**32

_seed: int | None = None


class LateSeed(importlib.abc.MetaPathFinder):
    """Answers for ``numpy.random`` once, with its own loader and the seed after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for ``numpy.random`` alone."""
        if fullname != _NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Seeding(spec.loader)
        return spec


class _Seeding(importlib.abc.Loader):
    """A loader that seeds what another one has loaded."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave it to the other."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Load, then seed."""
        self._loader.exec_module(module)
        if module.__spec__ is not None:
            # What looks at loaders (pickle, pkgutil) sees the usual one.
            module.__spec__.loader = module.__loader__ = self._loader
        if _seed is not None:
            module.seed(_seed % _SEEDS)


def install() -> None:
    """Watch for numpy in this process, unless it is loaded."""
    if _NAME not in sys.modules:
        sys.meta_path.insert(0, LateSeed())


def use(seed: int) -> None:
    """Seed numpy with this when it comes."""
    global _seed
    _seed = seed
