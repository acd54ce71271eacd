"""What database servers have in common: a pool, transactions that may collide, lost connections."""

from __future__ import annotations

import contextlib
import random
import select
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from lc_memory.errors import CommitUnknown, LCMemoryError, StoreError, StoreUnavailable
from lc_memory.store import closed
from lc_memory.stores import schema
from lc_memory.stores.database import Database, Session
from lc_memory.stores.pool import Pool

T = TypeVar("T")

#: How many connections a store keeps open, and how many more it may open in a rush.
POOL: Final = 5
RUSH: Final = 10


class ServerSession(Session):
    """A connection in a transaction. ``generation`` gives that of the indexes it began in."""

    def __init__(self, connection: Any, generation: Callable[[], int] = lambda: 0) -> None:
        self.connection = connection
        self.generation = cache(generation)

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(marked(sql), parameters)
            return list(cursor.fetchall())

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(marked(sql), parameters)

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(marked(sql), rows)


class ServerDatabase(Database):
    """A pool of connections to one server. Every connection is in autocommit mode, and
    transactions are begun by hand: a read is one message."""

    distant = True

    #: The driver's base class of errors.
    error: type[Exception]

    def __init__(self, url: sa.URL, drivername: str, timeout: float, **arguments: Any) -> None:
        # Without its query, in which there may be a password too.
        self.place = url.set(query={}).render_as_string(hide_password=True)
        self.timeout = timeout
        self._open = True
        # The engine connects, and no more: taking a connection out of a pool of its own costs more
        # than the rest of a read.
        self.engine = sa.create_engine(
            url.set(drivername=drivername), poolclass=sa.pool.NullPool, connect_args=arguments
        )
        sa.event.listen(self.engine, "connect", lambda raw, _: self.prepare(raw))
        self.pool = Pool(self._connect, kept=POOL, most=POOL + RUSH, timeout=timeout)

    # -- what each kind of server supplies -------------------------------------------------

    @abstractmethod
    def prepare(self, connection: Any) -> None:
        """Set up a new connection: autocommit, and what the session needs."""

    @abstractmethod
    def begin(self, connection: Any, alone: bool) -> Callable[[], int]:
        """Begin a write transaction; what it returns gives the generation of indexes."""

    def sending(self, connection: Any) -> contextlib.AbstractContextManager[Any]:
        """While in it, statements may be sent without waiting for the ones before."""
        return contextlib.nullcontext()

    @abstractmethod
    def create_tables(self, connection: Any) -> None:
        """Create or upgrade the tables, under a lock."""

    @abstractmethod
    def collided(self, error: Exception) -> bool:
        """Whether another writer was in the way, so that the work is to be done again."""

    def session(self, connection: Any, generation: Callable[[], int]) -> ServerSession:
        """A session over a connection in a transaction."""
        return ServerSession(connection, generation)

    def explained(self, error: Exception) -> LCMemoryError:
        """The driver's error as one of ours."""
        return StoreError(f"{self.place}: {_line(error)}")

    # -- the same for all ------------------------------------------------------------------

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return list(self._surviving(lambda connection: _by_cursor(connection, sql, parameters)[1]))

    def transact(self, work: Callable[[Session], T], *, alone: bool = False) -> T:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return self._surviving(lambda connection: self._once(connection, work, alone))
            except _Collision as collision:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"{self.place}: other writers were in the way for {self.timeout:g} s"
                    ) from collision.__cause__
            time.sleep(random.uniform(0.0005, 0.005))  # noqa: S311 - a nap, not a secret

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Session]:
        self._surviving(lambda connection: _execute(connection, "SELECT 1"))  # drops dead ones
        raw = self._take()
        try:
            for statement in self.one_moment:
                _execute(raw, statement)
            yield ServerSession(raw)
        except self.error as error:
            raise self.explained(error) from error
        finally:
            _undo(raw, self.error)
            self.pool.give(raw)

    #: The statements that begin a transaction in which nothing changes.
    one_moment: tuple[str, ...]

    def migrate(self) -> None:
        if self.version(self.select) != schema.VERSION:
            self._surviving(self.create_tables)

    def version(self, select: Callable[[str], list[Any]]) -> int:
        """The version of the tables that are there; 0 without any. Raises NewerFormat."""
        there = select(
            "SELECT 1 FROM information_schema.tables WHERE table_name = 'lc_memory_schema' "
            f"AND table_schema = {self.current_schema}"
        )
        return schema.version_in(select, self.place) if there else 0

    def run_alone(self, sql: str, parameters: Sequence[Any], count: int = 1) -> list[Any]:
        """See :meth:`Database.run_alone`. Nothing, too, if the connection does not look alive."""

        def run(connection: Any) -> list[Any]:
            if _has_news(self.socket_of(connection)):
                return []  # an idle connection is told of its end, and of nothing else
            try:
                changed, rows = self.repeat(connection, sql, parameters)
            except self.error as error:
                if self.collided(error):
                    return []
                if self.engine.dialect.is_disconnect(error, connection, None):  # type: ignore[arg-type]
                    raise self._unknown(error) from error
                raise
            return (list(rows) or [()]) if changed == count else []

        return self._surviving(run)

    def repeat(
        self, connection: Any, sql: str, parameters: Sequence[Any]
    ) -> tuple[int, Sequence[Any]]:
        """Run a statement that comes again and again; how many rows it changed, and the rows that
        it gives."""
        return _by_cursor(connection, sql, parameters)

    @abstractmethod
    def socket_of(self, connection: Any) -> int:
        """The number of its socket."""

    #: The expression of the schema that tables are made in.
    current_schema: str

    def generation(self, session: Session) -> int:
        assert isinstance(session, ServerSession)
        return session.generation()

    #: The statement that rewrites a table without what was deleted.
    rewriting: str

    def scrub(self) -> bool:
        def rewrite(connection: Any) -> bool:
            session = ServerSession(connection)
            tables = session.select(
                "SELECT table_name FROM information_schema.tables "
                f"WHERE table_schema = {self.current_schema} AND table_name LIKE ?",
                ["lc\\_memory\\_%"],
            )
            for (name,) in tables:
                session.run(f'{self.rewriting} "{name}"')
            return True

        return self._surviving(rewrite)

    def close(self) -> None:
        self._open = False
        self.pool.close()

    def _once(self, connection: Any, work: Callable[[Session], T], alone: bool) -> T:
        committing = False
        try:
            with self.sending(connection):
                result = work(self.session(connection, self.begin(connection, alone)))
                committing = True
                _execute(connection, "COMMIT")
            return result
        except self.error as error:
            lost = self.engine.dialect.is_disconnect(error, connection, None)  # type: ignore[arg-type]
            if lost and committing:  # it must not be done again
                raise self._unknown(error) from error
            _undo(connection, self.error)
            if self.collided(error):
                raise _Collision from error
            raise
        except BaseException:
            if committing:  # interrupted: nobody knows what the connection is at
                connection.close()
            else:
                _undo(connection, self.error)
            raise

    def _unknown(self, error: Exception) -> CommitUnknown:
        return CommitUnknown(
            f"{self.place}: the connection was lost while committing; "
            f"read to see whether the write arrived ({_line(error)})"
        )

    def _surviving(self, use: Callable[[Any], T]) -> T:
        """Use a connection; if it turns out to be dead before anything was committed (the
        server was restarted), once more with a new one."""
        for last in (False, True):
            connection = self._take()
            try:
                result = use(connection)
            except self.error as error:
                if not self.engine.dialect.is_disconnect(error, connection, None):  # type: ignore[arg-type]
                    self.pool.give(connection)
                    raise self.explained(error) from error
                self.pool.drop(connection)
                if last:
                    raise StoreUnavailable(f"{self.place}: {_line(error)}") from error
                self.pool.empty()  # the others are as dead
            except CommitUnknown:
                self.pool.drop(connection)
                raise
            except Exception:  # refused by us, between answers: the connection is as it was
                self.pool.give(connection)
                raise
            except BaseException:  # interrupted: an answer may still be on its way to it
                self.pool.drop(connection)
                raise
            else:
                self.pool.give(connection)
                return result
        raise AssertionError

    def _take(self) -> Any:
        if not self._open:
            raise closed("store")
        try:
            return self.pool.take()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"{self.place}: all {POOL + RUSH} connections were busy for {self.timeout:g} s"
            ) from error
        except (sa.exc.DBAPIError, self.error, FileNotFoundError, TypeError, ValueError) as error:
            # The last three tell of options in the URL that the driver cannot use.
            raise StoreUnavailable(f"{self.place}: cannot connect: {_line(error)}") from error

    def _connect(self) -> Any:
        pooled = self.engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
        return connection


class _Collision(Exception):
    """Two writers met; the work is to be done again."""


def _by_cursor(connection: Any, sql: str, parameters: Sequence[Any]) -> tuple[int, Sequence[Any]]:
    cursor = connection.cursor()
    cursor.execute(marked(sql), parameters)
    return cursor.rowcount, cursor.fetchall() if cursor.description else ()


def _has_news(socket: int) -> bool:
    """Whether there is something to read, be it the end."""
    if hasattr(select, "poll"):  # not on Windows
        poll = select.poll()
        poll.register(socket, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([socket], [], [], 0)[0])


@lru_cache(maxsize=256)
def marked(sql: str) -> str:
    """The SQL with the driver's own marks for parameters."""
    return sql.replace("?", "%s")


def _undo(connection: Any, error: type[Exception]) -> None:
    with contextlib.suppress(error):
        _execute(connection, "ROLLBACK")


def _execute(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _line(error: Exception) -> str:
    """The first line of what a driver says."""
    inner = getattr(error, "orig", None) or error
    text = str(inner.args[-1] if inner.args else inner).strip()
    return text.splitlines()[0] if text else type(inner).__name__
