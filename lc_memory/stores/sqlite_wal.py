"""Room in SQLite's write-ahead log, before commits need it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from shutil import disk_usage
from typing import Final

#: What the log comes to before SQLite begins at its start again, in bytes: 1,000 pages and what
#: one transaction more may add, each with a head of 24.
WHOLE: Final = 1_050 * (4096 + 24)

#: Whoever writes less than that, in bytes, is let alone; a log that grows is then made so many
#: times as long.
_LITTLE: Final = 128 << 10
_TIMES: Final = 16

#: Where less is left on the disk, in bytes, it is left to others.
_FREE: Final = 16 * WHOLE


class Room:
    """Makes the log of a database longer before commits do.

    Where a commit makes a file longer, a journaling file system has to write down more than the
    commit: that takes two to four times as long (ext4) as to write over what is there. SQLite
    writes over its log once it has been through it, but the first to open a database begins with
    an empty one. So a log that grows is made much longer at once: by a transaction that does not
    fit into memory, so that SQLite writes its pages to the log, and that is rolled back. Whoever
    reads the log tells its commits from anything else, and the next commit is written over those
    pages (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).

    Where commits are not ``synced``, nobody waits for the file system, and nothing is done.
    """

    def __init__(self, database: str, *, synced: bool = True) -> None:
        self._log = os.path.realpath(database) + "-wal"  # as SQLite has it, beside no link
        self._length = 0 if synced else WHOLE  # up to which there is nothing to do

    def look(self, connection: sqlite3.Connection) -> None:
        """See whether a commit made the log longer. Nobody else may use the connection."""
        if self._length >= WHOLE:
            return
        try:
            length = os.stat(self._log).st_size
            if length <= self._length:
                return
            if not self._length:  # who has just come may find a log that others made longer
                self._length = max(length, _LITTLE)
                return
            free = disk_usage(os.path.dirname(self._log)).free
        except OSError:  # no plain path, or where SQLite cannot have such a log
            self._length = WHOLE
            return
        self._length = min(length * _TIMES, WHOLE)
        if self._length > length and free > _FREE:
            _lengthen(connection, self._length - length)


def _lengthen(connection: sqlite3.Connection, size: int) -> None:
    """Make the log longer by that, or as far as it may become."""
    with contextlib.suppress(sqlite3.Error):
        ((kept,),) = connection.execute("PRAGMA cache_size").fetchall()
        try:  # each with an end of its own: an interrupt may come in any of them
            connection.execute("PRAGMA cache_size = 10")  # pages, in memory
            try:
                connection.execute("BEGIN IMMEDIATE")
                sql = "INSERT INTO lc_memory_schema (version, generation, library) VALUES (0, 0, "
                connection.execute(f"{sql}zeroblob(?))", [size])
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        finally:
            connection.execute(f"PRAGMA cache_size = {kept}")
