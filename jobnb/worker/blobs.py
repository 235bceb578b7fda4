"""Data by content hash, as files that children memory-map: in the store's folder, or in this host's cache.

The supervisor finds or stores the files (`provide`); in the child `path` gives them to the work. Nothing is ever
read from a folder that another user of the machine could have written.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobnb.errors import BlobMissing

#: How much the cache of one user on one host may hold; JOBNB_BLOB_CACHE_BYTES overrides.
CACHE_BYTES = 8 << 30

_paths: dict[str, str] = {}


def use(paths: Mapping[str, str]) -> None:
    """Tell this process where blobs are (the child's main loop calls this)."""
    _paths.update(paths)


def path(sha: str) -> Path:
    """Return the file that holds the content with this SHA-256, inside a job.

    Parameters
    ----------
    sha
        The hash, in hex, as listed in the request's ``blobs``.

    Raises
    ------
    BlobMissing
        When the request did not list it, or its file is gone.
    """
    found = _paths.get(sha)
    if found is None:
        raise BlobMissing(f"data {sha[:12]}… was not sent with this task.")
    if not os.path.exists(found):
        raise BlobMissing(f"data {sha[:12]}… is missing on this worker: {found} is gone. Run the job again.")
    return Path(found)


def shares_disk(token: tuple[str, str] | None) -> bool:
    """Say whether this host sees the store's disk: the file can be read here and holds the token."""
    if token is None:
        return False
    where, secret = token
    try:
        held = Path(where).read_bytes()
    except OSError:
        return False
    return bool(secret) and hmac.compare_digest(held.strip(), secret.encode())


def provide(shas: Sequence[str], data: Sequence[bytes], blob_dir: str | None, cache: Cache) -> dict[str, str]:
    """Return a file for each hash.

    Parameters
    ----------
    shas
        The hashes that the work needs.
    data
        Their contents in the same order, or nothing when they need not be sent.
    blob_dir
        The store's folder, when this host shares the disk.
    cache
        Where sent contents are kept.

    Raises
    ------
    BlobMissing
        When there is neither a file nor a content, or a content has another hash.
    """
    if data and len(data) != len(shas):
        raise BlobMissing(f"{len(shas)} blobs were announced and {len(data)} came.")
    found: dict[str, str] = {}
    for i, sha in enumerate(shas):
        if len(sha) != 64 or not sha.isalnum():
            raise BlobMissing(f"{sha!r} is not a SHA-256 in hex.")
        if blob_dir is not None and os.path.exists(os.path.join(blob_dir, sha)):
            found[sha] = os.path.join(blob_dir, sha)
            continue
        cached = cache.find(sha)
        if cached is None and data:
            cached = cache.put(sha, data[i], keep=shas)
        if cached is None:
            place = (
                f"the store's folder {blob_dir}" if blob_dir else "this worker, which does not share the store's disk,"
            )
            raise BlobMissing(f"data {sha[:12]}… is missing: {place} does not have it and it was not sent along.")
        found[sha] = str(cached)
    return found


class Cache:
    """Contents that were sent to this host, least recently used first out.

    Parameters
    ----------
    folder
        Where to keep them; a private folder in the host's temporary directory when None.
    limit
        Bytes to keep; `CACHE_BYTES` or the environment when None.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self._folder = folder
        self._limit = limit if limit is not None else int(os.environ.get("JOBNB_BLOB_CACHE_BYTES", CACHE_BYTES))

    @property
    def folder(self) -> Path:
        """The folder, made on first use."""
        if self._folder is None:
            self._folder = private_folder() / "blobs"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder

    def find(self, sha: str) -> Path | None:
        """Return the file of a content that is here, and mark it as used."""
        where = self.folder / sha
        try:
            os.utime(where)
        except FileNotFoundError:
            return None
        return where

    def put(self, sha: str, content: bytes, *, keep: Sequence[str] = ()) -> Path:
        """Store a content under its hash; others go when there is no room.

        Raises
        ------
        BlobMissing
            When the content has another hash.
        """
        actual = hashlib.sha256(content).hexdigest()
        if actual != sha:
            raise BlobMissing(f"data {sha[:12]}… arrived damaged: its content has the hash {actual[:12]}….")
        self._make_room(len(content), {*keep, sha})
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            where = self.folder / sha
            os.replace(temporary, where)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        return where

    def _make_room(self, wanted: int, keep: set[str]) -> None:
        files: list[tuple[float, int, str, str]] = []
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):  # another worker of this host cleans as well
                about = entry.stat()
                files.append((about.st_mtime, about.st_size, entry.name, entry.path))
        held = sum(size for _, size, _, _ in files)
        for _, size, name, where in sorted(files):
            if held + wanted <= self._limit:
                return
            if name not in keep and not name.startswith("."):
                # A child that maps the file keeps its pages: unlinking takes only the name.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(where)
                held -= size


def private_folder() -> Path:
    """Return this user's own folder in the host's temporary directory: nobody else can read or write it."""
    wanted = Path(tempfile.gettempdir()) / f"jobnb-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        wanted.mkdir(mode=0o700)
    about = wanted.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        # Somebody was there first: their folder or link is not touched.
        return Path(tempfile.mkdtemp(prefix="jobnb-"))
    if about.st_mode & 0o077:
        wanted.chmod(0o700)
    return wanted
