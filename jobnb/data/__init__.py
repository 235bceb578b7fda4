"""Prices: read them from files, get them from sources, keep them, check them. The public names of ``jobnb.data``.

Names are imported when they are first used, so that ``import jobnb.data`` loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobnb.data.access import cached as cached
    from jobnb.data.access import forget as forget
    from jobnb.data.access import get as get
    from jobnb.data.access import sample as sample
    from jobnb.data.ccxt import Ccxt as Ccxt
    from jobnb.data.extracted import Extracted as Extracted
    from jobnb.data.extracted import ExtractResult as ExtractResult
    from jobnb.data.files import Files as Files
    from jobnb.data.files import read as read
    from jobnb.data.frame import fingerprint as fingerprint
    from jobnb.data.gaps import Gap as Gap
    from jobnb.data.origin import CallableSource as CallableSource
    from jobnb.data.origin import DataSource as DataSource
    from jobnb.data.origin import Terms as Terms
    from jobnb.data.origin import register as register
    from jobnb.data.origin import source as source
    from jobnb.data.origin import sources as sources
    from jobnb.data.quality import Check as Check
    from jobnb.data.quality import check as check
    from jobnb.data.yfinance import YFinance as YFinance
    from jobnb.limit import RateLimit as RateLimit

_HOMES = {
    "access": ("cached", "forget", "get", "sample"),
    "ccxt": ("Ccxt",),
    "quality": ("Check", "check"),
    "extracted": ("ExtractResult", "Extracted"),
    "files": ("Files", "read"),
    "frame": ("fingerprint",),
    "gaps": ("Gap",),
    "limit": ("RateLimit",),
    "origin": ("CallableSource", "DataSource", "Terms", "register", "source", "sources"),
    "yfinance": ("YFinance",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'jobnb.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"jobnb.data.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
