"""What goes wrong with SQLite, in the library's words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from lc_memory.errors import (
    CorruptStore,
    LCMemoryError,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    UnknownStorage,
)

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

#: What it says of damage that it has no code for.
_DAMAGE: Final = ("Could not decode to UTF-8", "unsupported file format")


def in_our_words(error: Exception, place: str, timeout: float) -> LCMemoryError:
    """An error of the driver, or of SQLAlchemy around one, as an error of the library."""
    if isinstance(error, sa.exc.DBAPIError) and isinstance(error.orig, Exception):
        error = error.orig
    detail = getattr(error, "sqlite_errorcode", 0)
    code = detail & 0xFF
    where = f"SQLite {place!r}"
    if code in _BUSY:
        return StoreUnavailable(
            f"{where}: another process held the write lock for over {timeout:g} s"
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"{where}: the disk is full; nothing of this write was kept")
    if detail == sqlite3.SQLITE_IOERR_WRITE:  # it does not say which
        return StoreFull(
            f"{where}: {error}: the disk fails, or a quota or the largest size of a file is "
            "reached; nothing of this write was kept"
        )
    if code == sqlite3.SQLITE_READONLY:
        return StoreReadOnly(f"{where}: read-only; check the file's and folder's permissions")
    if code in _CORRUPT or str(error).startswith(_DAMAGE):
        return CorruptStore(f"{where}: {error}; restore a backup, or name another file")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreUnavailable(f"{where}: cannot be opened; check the path and permissions")
    return StoreError(f"{where}: {error}")


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another connection held a lock."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY


def check_place(url: sa.URL) -> None:
    """See that the folder is there, and that a new file is its owner's alone."""
    if url.host:
        raise UnknownStorage("SQLite: the URL names a host; use three slashes: sqlite:///memory.db")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        return
    path = Path(url.database)
    try:
        has_folder, is_folder = path.parent.is_dir(), path.is_dir()
        with contextlib.suppress(OSError):  # an existing file keeps its mode; SQLite says the rest
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        raise StoreUnavailable(f"SQLite {url.database!r}: {error}") from error
    if not has_folder:
        raise StoreUnavailable(f"SQLite {url.database!r}: there is no folder {path.parent}")
    if is_folder:
        raise StoreUnavailable(f"SQLite {url.database!r}: is a folder, not a file")
