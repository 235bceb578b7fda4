"""Loads pyarrow and fsspec when they are first needed, and says what to install where they are missing."""

from __future__ import annotations

from typing import Any

from jobnb.errors import MissingPackage


def arrow() -> Any:
    """Return `pyarrow`, with `pyarrow.parquet` loaded.

    Raises
    ------
    MissingPackage
        ``MISSING_PACKAGE``: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackage(
            f"Parquet files and kept prices need pyarrow ({error}): pip install 'jobnb[data]'"
        ) from error
    return pyarrow


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a path or URL, and the path in it.

    Raises
    ------
    MissingPackage
        ``MISSING_PACKAGE``: fsspec, or what it needs for this protocol, is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackage(f"{url} needs fsspec ({error}): pip install 'jobnb[data]'") from error
    try:
        found, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        # fsspec's own message names the package of the protocol, such as s3fs.
        raise MissingPackage(f"{url.partition('://')[0]}:// cannot be opened: {error}") from error
    return found, str(path)
