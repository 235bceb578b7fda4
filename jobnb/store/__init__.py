"""The store: one folder with a SQLite database and blobs, the only place where processes meet.

Every process opens it by `Store`. Nothing in this room knows Dask, notebooks or user code.
"""

from jobnb.store.store import Store

__all__ = ["Store"]
