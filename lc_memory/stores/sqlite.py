"""What is particular to SQLite: connections, transactions and errors."""

from __future__ import annotations

import contextlib
import random
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool

from lc_memory.errors import LCMemoryError, StoreUnavailable
from lc_memory.filters import Node
from lc_memory.forks import Holder, held, watch
from lc_memory.records import Id, Namespace
from lc_memory.store import closed
from lc_memory.stores import schema
from lc_memory.stores.database import Database, Session, Upserting, check_durability
from lc_memory.stores.names import write_namespace
from lc_memory.stores.sql_filters import Sql, sqlite_condition, within_limits
from lc_memory.stores.sqlite_faults import check_place, in_our_words, is_busy
from lc_memory.stores.sqlite_wal import Room

if TYPE_CHECKING:
    from lc_memory.store import Clock
    from lc_memory.stores.sql_guarded import Guarded

T = TypeVar("T")

_NOTHING: Final = contextlib.nullcontext()
#: The index by time, as :mod:`tables` has it (which is slow to import), and whether a namespace
#: holds more records than are soon sorted without it.
_BY_TIME: Final = (
    "CREATE INDEX IF NOT EXISTS lc_memory_records_by_time "
    "ON lc_memory_records (namespace, updated_at)"
)
_CROWDED: Final = "SELECT 1 FROM lc_memory_records WHERE namespace = ? LIMIT 1 OFFSET 100"
#: An INSERT of whole rows into the table of records.
_INSERT: Final = re.compile(r"(INSERT INTO lc_memory_records \([^)]+\)) VALUES \([ ,?]+\)")

#: How many of them one statement inserts, if their values are no longer than that on average (in
#: characters): what was bound to a statement stays in memory until it is used again.
_AT_ONCE: Final = (50, 10, 1)
_SHORT: Final = 10_000

#: A connection of the engine's pool, and the driver's own within it.
_Connection: TypeAlias = tuple[sa.PoolProxiedConnection, sqlite3.Connection]


class _Session(Session):
    __slots__ = ("connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self.connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self.connection.execute(sql, parameters)

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        insert = _INSERT.fullmatch(sql)
        if insert is None or sum(len(row[2]) for row in rows) > _SHORT * len(rows):
            self.connection.executemany(sql, rows)
        else:
            self._insert(insert[1], rows)

    def _insert(self, insert: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, many with one statement, without columns in which there is nothing: to
        begin a statement takes as long as to insert a row, and to bind None longer than a text."""
        columns = list(zip(*rows, strict=True))
        marks = ["NULL" if column.count(None) == len(rows) else "?" for column in columns]
        told = [column for column, mark in zip(columns, marks, strict=True) if mark == "?"]
        flat = chain.from_iterable(zip(*told, strict=True))
        row, left = f"({', '.join(marks)})", len(rows)
        for size in _AT_ONCE:
            sql = f"{insert} VALUES {', '.join([row] * size)}"
            while left >= size:
                self.connection.execute(sql, list(islice(flat, size * len(told))))
                left -= size


class _Shut(deque[_Connection]):
    """Where connections come back to, and are not taken from."""

    def pop(self, at: int = -1, /) -> _Connection:
        raise IndexError


class SQLite(Database, Holder):
    """The connections to one SQLite file.

    Readers take any idle connection; there is one writer at a time in this process, and
    ``BEGIN IMMEDIATE`` keeps the other processes apart. ``timeout`` is how long to wait for
    them, in seconds.
    """

    upserting = (
        Upserting(
            'ON CONFLICT (namespace, "key") DO UPDATE SET',
            "excluded.{}",
            "max",
            "version || ',' || created_at || ',' || updated_at || coalesce(',' || owner, '')",
        )
        if sqlite3.sqlite_version_info >= (3, 35)
        else None
    )
    tells_duplicates = True
    duplicate = sqlite3.IntegrityError
    # Without a version it is refused. (What is SELECTed for a table that conditions read, SQLite
    # copies first.)
    new_row = "VALUES ({}, CASE WHEN (SELECT generation FROM lc_memory_schema) = ?{} THEN 1 END)"

    def __init__(self, url: sa.URL, *, durability: str = "full", timeout: float = 60.0) -> None:
        self.place = url.database or ":memory:"
        self._synchronous = check_durability(durability).upper()
        self._timeout = timeout
        in_memory = self.place == ":memory:"
        check_place(url)
        self.engine = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"),
            # Connections are kept hot here: taking one out of the engine's pool costs more than
            # reading a row does.
            poolclass=StaticPool if in_memory else NullPool,
            connect_args={"check_same_thread": False, "timeout": timeout, "isolation_level": None},
        )
        self._in_memory = in_memory
        self._inherited: list[_Connection] = []
        self._lost = False
        self._open = True
        self._timed = False  # whether there is an index by time, as far as there can be
        self._room = Room(self.place, synced=durability == "full" and not in_memory)
        self._begin()
        if not in_memory:
            watch(self)

    def _begin(self) -> None:
        self._connections: list[_Connection] = []
        self._idle: deque[_Connection] = deque()
        self._writer: _Connection | None = None
        self._writing = threading.Lock()
        self._alone = threading.RLock()  # held by whoever writes, or uses the one connection
        self._connecting = threading.Lock()

    @contextlib.contextmanager
    def resting(self, deadline: float) -> Iterator[None]:
        """Keep every connection from use: nobody in a child could free SQLite's own locks."""
        with held(deadline, self._writing, self._connecting) as quiet:
            if not quiet:  # it cannot be used in the child anyway
                yield
                return
            idle, self._idle = self._idle, _Shut()
            try:
                while self._are_out(idle) and time.monotonic() < deadline:
                    time.sleep(0.0005)
                yield
            finally:  # first the old place, where what is given back meanwhile is not lost
                shut, self._idle = self._idle, idle
                idle.extend(shut)

    def forked(self) -> None:
        """Begin with no connection. What SQLite knows of its locks would be the parent's: it
        might give up the file while it is written here."""
        self._lost |= (
            self._writing.locked()
            or self._connecting.locked()
            or self._are_out()
            or any(raw.in_transaction for _, raw in self._connections)
        )
        self._inherited += self._connections
        self._begin()

    def _are_out(self, idle: Sequence[_Connection] = ()) -> bool:
        """Whether any reader is using a connection."""
        there = len(self._idle) + len(idle) + (self._writer is not None)
        return there < len(self._connections)

    # -- the three ways to use a connection ------------------------------------------------

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        if self._open and not self._in_memory:  # the common case, without ceremony
            try:
                idle = self._idle.pop()
            except IndexError:
                pass
            else:
                try:
                    return idle[1].execute(sql, parameters).fetchall()
                except sqlite3.Error as error:
                    raise self._translated(error) from error
                finally:
                    self._release(idle)
        with self._connection() as connection:
            return connection.execute(sql, parameters).fetchall()

    def transact(self, work: Callable[[Session], T], *, alone: bool = False) -> T:
        with self._writing, self._alone:
            if not self._open:
                raise closed("store")
            try:
                connection = self._writing_connection()
                try:
                    self._patiently(connection, "BEGIN IMMEDIATE")
                    result = work(_Session(connection))
                    connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back itself
                        _undo(connection)
                    raise
                self._room.look(connection)
                return result
            except (sqlite3.Error, sa.exc.DBAPIError) as error:
                raise self._translated(error) from error

    def in_time(self, namespace: Namespace) -> None:
        if self._timed or not self.select(_CROWDED, [write_namespace(namespace)]):
            return
        if self._writing.locked():  # a reader waits for no writer: the next one does it
            return
        with self._writing, self._alone:
            try:
                if self._open:
                    self._writing_connection().execute(_BY_TIME)
            except sqlite3.OperationalError as error:
                if is_busy(error):
                    return
            except (sqlite3.Error, sa.exc.DBAPIError):
                pass  # all is right without it, and slower
            self._timed = True

    def guarded(self, clock: Clock) -> Guarded:
        from lc_memory.stores.sql_guarded import Guarded

        return Guarded(self, clock)

    def run_alone(self, sql: str, parameters: Sequence[Any], count: int = 1) -> list[Any]:
        with self._writing, self._alone:
            if not self._open:
                raise closed("store")
            try:
                connection = self._writing_connection()
                changed, rows = self._patiently(connection, sql, parameters)
                self._room.look(connection)
                return (rows or [()]) if changed == count else []
            except sqlite3.IntegrityError:
                return []
            except (sqlite3.Error, sa.exc.DBAPIError) as error:
                raise self._translated(error) from error

    def migrate(self) -> None:
        """Create or upgrade the tables, under the write lock."""
        if self._version() == schema.VERSION:
            return
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")

        def upgrade(session: Session) -> None:
            for statement in schema.pending(self._version_in(session), self.engine.dialect):
                session.run(statement)

        self.transact(upgrade)

    def generation(self, session: Session) -> int:
        return int(session.select("SELECT generation FROM lc_memory_schema")[0][0])

    def condition(self, node: Node | None) -> Sql | None:
        return within_limits(sqlite_condition(node))

    def among(self, ids: Sequence[Id]) -> tuple[str, str, list[Any]]:
        if len(ids) == 1:
            return super().among(ids)
        # A list of pairs with IN would scan; a join from a table of values does not.
        marks = ", ".join(["(?, ?)"] * len(ids))
        names = [name for id in ids for name in (write_namespace(id[0]), id[1])]
        source = f"(VALUES {marks}) AS w CROSS JOIN lc_memory_records AS r"
        return source, 'r.namespace = w.column1 AND r."key" = w.column2', names

    def scrub(self) -> bool:
        """Rewrite the file without free pages, and empty the WAL. False: others were reading."""
        texts = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%fts5%'"
        with self._writing, self._connection() as connection:
            for (name,) in connection.execute(texts).fetchall():  # they keep deleted words
                connection.execute(f'INSERT INTO "{name}" ("{name}") VALUES (\'optimize\')')
            connection.execute("VACUUM")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def close(self) -> None:
        with self._writing:
            self._open = False
            if self._writer is not None:
                self._writer[0].close()
                self._writer = None
            while self._idle:
                self._idle.pop()[0].close()
            self._connections.clear()
        self.engine.dispose()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Session]:
        if self._in_memory:  # there is but one connection: others go on with it
            with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as copy:
                with self._connection() as connection:
                    connection.backup(copy)
                yield _Session(copy)
            return
        with self._connection() as connection:
            try:
                connection.execute("BEGIN")
                connection.execute("SELECT version FROM lc_memory_schema").fetchall()  # from now on
                yield _Session(connection)
            finally:
                _undo(connection)

    # -- inside ----------------------------------------------------------------------------

    def _version(self) -> int:
        with self._connection() as connection:
            return self._version_in(_Session(connection))

    def _version_in(self, session: Session) -> int:
        there = session.select("SELECT 1 FROM sqlite_master WHERE name = 'lc_memory_schema'")
        return schema.version_in(session.select, f"SQLite {self.place!r}") if there else 0

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if not self._open:
            raise closed("store")
        with self._alone if self._in_memory else _NOTHING:
            try:
                taken = self._take()
                try:
                    yield taken[1]
                finally:
                    self._release(taken)
            except (sqlite3.Error, sa.exc.DBAPIError) as error:
                raise self._translated(error) from error

    def _writing_connection(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = self._take()
            self._writer[1].execute("PRAGMA busy_timeout = 0")  # see _patiently
        _undo(self._writer[1])  # if an interrupt kept whoever had it from doing so
        return self._writer[1]

    def _take(self) -> _Connection:
        """An idle connection, or a new one."""
        with self._connecting:
            try:
                return self._idle.pop()
            except IndexError:
                return self._connect()

    def _connect(self) -> _Connection:
        if self._lost:  # to close what was in use might wait for ever, or undo the parent's writes
            raise StoreUnavailable(
                f"SQLite {self.place!r}: this process was forked in the middle of its parent's "
                "work, and cannot use the file; fork at another time, or spawn a process"
            )
        while self._inherited:
            self._inherited.pop()[0].close()
        pooled = self.engine.raw_connection()
        raw = pooled.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        try:
            raw.execute(f"PRAGMA synchronous = {self._synchronous}")
            raw.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            pooled.close()
            raise
        self._connections.append((pooled, raw))
        return pooled, raw

    def _release(self, taken: _Connection) -> None:
        self._idle.append(taken)
        if not self._open:  # closed meanwhile: nobody else will come for it
            with contextlib.suppress(ValueError):
                self._idle.remove(taken)
                taken[0].close()

    def _patiently(
        self, connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()
    ) -> tuple[int, list[Any]]:
        """Run a statement that takes the write lock first; how many rows it has changed, and those
        it gives. SQLite's own waiting backs off up to 100 ms at a time, which starves a writer
        among busy processes; short random naps are fair."""
        deadline = None
        while True:
            try:
                cursor = connection.execute(sql, parameters)
                try:
                    rows = cursor.fetchall()  # at whose end it commits, if it does so by itself
                    return cursor.rowcount, rows
                finally:
                    cursor.close()  # or who is interrupted keeps the lock
            except sqlite3.OperationalError as error:
                deadline = deadline or time.monotonic() + self._timeout
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.0002, 0.002))  # noqa: S311 - a nap, not a secret

    def _translated(self, error: Exception) -> LCMemoryError:
        return in_our_words(error, self.place, self._timeout)


def _undo(connection: sqlite3.Connection) -> None:
    """Leave the transaction that the connection is in, if it is in one."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
