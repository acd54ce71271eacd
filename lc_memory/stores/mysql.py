"""What is particular to MySQL and MariaDB (PyMySQL)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import pymysql
import sqlalchemy as sa
from pymysql import converters
from pymysql.constants import ER, FIELD_TYPE

from lc_memory.errors import (
    LCMemoryError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    UnknownStorage,
)
from lc_memory.filters import Node
from lc_memory.records import Id
from lc_memory.stores import schema
from lc_memory.stores.database import Names, Select, Upserting, check_durability
from lc_memory.stores.mysql_prepared import Prepared, run
from lc_memory.stores.server import ServerDatabase, ServerSession
from lc_memory.stores.sql_filters import Sql

_COLLISIONS: Final = (
    ER.LOCK_DEADLOCK,
    1467,  # ER_AUTOINC_READ_FAILED, which the driver lacks: a deadlock over the next id
    ER.DUP_ENTRY,
    ER.CHECKREAD,
)
_READ_ONLY: Final = (
    ER.OPTION_PREVENTS_STATEMENT,
    ER.TABLEACCESS_DENIED_ERROR,
    1792,  # ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    1836,  # ER_READ_ONLY_MODE
)
_FORGOTTEN: Final = (ER.UNKNOWN_STMT_HANDLER, 1615)  # ER_NEED_REPREPARE
_ALREADY_THERE: Final = (ER.TABLE_EXISTS_ERROR, ER.DUP_KEYNAME, ER.DUP_FIELDNAME)

#: An UPDATE of a record that is there.
_UPDATE: Final = re.compile(
    r'UPDATE lc_memory_records SET (.+) WHERE namespace = \? AND "key" = \?'
)

#: As many records, at most, are asked for by a statement that is prepared.
_FEW: Final = 256


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


#: How values are read: names, which are kept as binary, as text.
_DECODERS: Final = {
    **converters.conversions,
    FIELD_TYPE.VAR_STRING: _text,
    FIELD_TYPE.STRING: _text,
    FIELD_TYPE.BLOB: _text,
    FIELD_TYPE.LONG_BLOB: _text,
}


class _Cursor(pymysql.cursors.Cursor):
    """Sends as much at once as the server takes, and refuses what is more."""

    @property
    def max_stmt_length(self) -> int:  # type: ignore[override]
        return min(1 << 20, int(self.connection.max_allowed_packet) - 1)

    def execute(self, query: Any, args: Any = None) -> int:
        sent = query if args is None else self.mogrify(query, args)
        if 4 * len(sent) >= self.connection.max_allowed_packet:  # it may be: count the bytes
            data = sent.encode(errors="surrogateescape") if isinstance(sent, str) else sent
            _check_size(self.connection, len(data))
        return super().execute(sent)


def _check_size(connection: Any, size: int) -> None:
    """Raise OperationalError for what may make the server drop the connection, saying nothing."""
    limit = int(connection.max_allowed_packet)
    if size >= limit:
        raise pymysql.OperationalError(
            ER.NET_PACKET_TOO_LARGE,
            f"a statement of {size} bytes is more than the server's "
            f"max_allowed_packet ({limit}); raise that, or keep less in a record",
        )


class _Session(ServerSession):
    """Sends many changed records as rows of one INSERT: the driver folds nothing else."""

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if update := _UPDATE.fullmatch(sql):
            fields = update[1].replace(" = ?", "").split(", ")
            changed = ", ".join(f"{field} = VALUES({field})" for field in fields)
            sql = (
                f'INSERT INTO lc_memory_records ({", ".join(fields)}, namespace, "key") '
                f"VALUES ({', '.join('?' * len(rows[0]))}) ON DUPLICATE KEY UPDATE {changed}"
            )
        super().run_many(sql, rows)


class MySQL(ServerDatabase):
    """MySQL 8 or MariaDB 10.6 and newer, with InnoDB.

    Durability is the server's own setting (``innodb_flush_log_at_trx_commit``).
    """

    error = pymysql.MySQLError
    locking = " FOR UPDATE"
    current_schema = "database()"
    columns = (  # PyMySQL takes its time over each column
        "r.namespace, r.\"key\", r.value, concat_ws(',', coalesce(r.expires_at, ''), r.version, "
        "r.created_at, r.updated_at, r.owner)"
    )
    sharing = " LOCK IN SHARE MODE"
    listed = "({})"
    sorts_all = True
    then = "STRAIGHT_JOIN"
    rewriting = "OPTIMIZE NO_WRITE_TO_BINLOG TABLE"
    one_moment = (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )

    def __init__(self, url: sa.URL, *, durability: str, timeout: float) -> None:
        check_durability(durability)
        if not url.database:
            raise UnknownStorage("MySQL: the URL names no database; use mysql://user@host/database")
        #: The statements that a connection has prepared.
        self._prepared: WeakKeyDictionary[Any, dict[str, Prepared]] = WeakKeyDictionary()
        super().__init__(
            url,
            "mysql+pymysql",
            timeout,
            charset="utf8mb4",
            conv=_DECODERS,
            cursorclass=_Cursor,
            connect_timeout=max(1, int(min(timeout, 10))),
        )

    def prepare(self, connection: Any) -> None:
        connection.autocommit(True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT version(), @@max_allowed_packet")
            version, connection.max_allowed_packet = cursor.fetchone()
            depth = "cte_max_recursion_depth"
            if "MariaDB" in version:  # MySQL has no RETURNING
                depth = "max_recursive_iterations"
                self.upserting = Upserting("ON DUPLICATE KEY UPDATE", "VALUES({})")
            # Quoted names as in the standard, no value cut or bent; and no gap locks.
            cursor.execute(
                "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES', "
                f"innodb_lock_wait_timeout = {max(1, int(self.timeout))}, {depth} = 4294967295"
            )
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def begin(self, connection: Any, alone: bool) -> Callable[[], int]:
        with connection.cursor() as cursor:
            cursor.execute("START TRANSACTION")
            lock = " FOR UPDATE" if alone else self.sharing
            cursor.execute(f"SELECT generation FROM lc_memory_schema{lock}")
            generation = int(cursor.fetchone()[0])
        return lambda: generation

    def repeat(
        self, connection: Any, sql: str, parameters: Sequence[Any]
    ) -> tuple[int, Sequence[Any]]:
        prepared = self._prepared.setdefault(connection, {})
        statement = prepared.get(sql)
        if statement is None:
            try:
                statement = prepared[sql] = Prepared(connection, sql)
            except pymysql.OperationalError as error:
                if error.args[0] != ER.MAX_PREPARED_STMT_COUNT_REACHED:
                    raise
                return super().repeat(connection, sql, parameters)
        message = statement.message(parameters)
        _check_size(connection, len(message))
        try:
            return run(connection, message)
        except pymysql.MySQLError as error:
            if error.args[0] not in _FORGOTTEN:
                raise
            del prepared[sql]
            return super().repeat(connection, sql, parameters)

    def select_again(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        if len(parameters) > 2 * _FEW:
            return self.select(sql, parameters)
        return list(self._surviving(lambda connection: self.repeat(connection, sql, parameters)[1]))

    def among(self, ids: Sequence[Id]) -> tuple[str, str, list[Any]]:
        if len(ids) <= _FEW:  # the last one again, up to a power of two: few numbers are prepared
            ids = [*ids, *[ids[-1]] * ((1 << (len(ids) - 1).bit_length()) - len(ids))]
        return super().among(ids)

    def socket_of(self, connection: Any) -> int:
        if not connection.open:  # it closed itself when it was interrupted
            raise pymysql.InterfaceError(0, "")
        return int(connection._sock.fileno())  # there is no public way to it

    def session(self, connection: Any, generation: Callable[[], int]) -> ServerSession:
        return _Session(connection, generation)

    def create_tables(self, connection: Any) -> None:
        # Each statement that makes a table commits by itself: what a killed migration left is
        # found and gone on from.
        with connection.cursor() as cursor:

            def select(sql: str) -> list[Any]:
                cursor.execute(sql)
                return list(cursor.fetchall())

            lock = "sha2(concat('lc_memory.', database()), 256)"  # 64 characters at most
            if select(f"SELECT get_lock({lock}, {max(1, int(self.timeout))})") != [(1,)]:
                raise StoreUnavailable(f"{self.place}: another process is upgrading the tables")
            try:
                for statement in schema.pending(self.version(select), self.engine.dialect):
                    try:
                        cursor.execute(statement)
                    except pymysql.MySQLError as error:
                        if error.args[0] not in _ALREADY_THERE:
                            raise
            finally:
                cursor.execute(f"SELECT release_lock({lock})")

    def collided(self, error: Exception) -> bool:
        return bool(error.args) and error.args[0] in _COLLISIONS

    def explained(self, error: Exception) -> LCMemoryError:
        ours = super().explained(error)
        match error.args[0] if error.args else None:
            case ER.RECORD_FILE_FULL | ER.DISK_FULL:
                return StoreFull(str(ours))
            case ER.LOCK_WAIT_TIMEOUT | ER.SERVER_SHUTDOWN:
                return StoreUnavailable(str(ours))
            case number if number in _READ_ONLY:
                return StoreReadOnly(str(ours))
        return ours

    def names(self, select: Select, wanted: Names, limit: int) -> list[str]:
        # A recursive query would begin each hop at the first record. DISTINCT skips along the
        # index; what lives is asked of as many at a time as may do.
        found: list[str] = []
        while True:
            size = max(limit, 100)
            low = f"r.namespace {'>=' if wanted.inclusive else '>'} ?"
            condition, bounds = wanted._replace(now=None).condition()
            names = select(
                "SELECT n.namespace, (SELECT 1 FROM lc_memory_records AS r WHERE "
                "r.namespace = n.namespace AND (? OR r.expires_at IS NULL OR r.expires_at > ?) "
                "LIMIT 1) FROM (SELECT DISTINCT r.namespace FROM lc_memory_records AS r "
                f"WHERE {low} AND {condition} ORDER BY r.namespace LIMIT ?) AS n "
                "ORDER BY n.namespace",
                [wanted.now is None, wanted.now or 0, wanted.start, *bounds, size],
            )
            found += [name for name, lives in names if lives]
            if len(names) < size or len(found) >= limit:
                return found[:limit]
            wanted = wanted._replace(start=names[-1][0], inclusive=False)

    def condition(self, node: Node | None) -> Sql | None:
        return None  # MySQL and MariaDB differ in JSON; undeclared fields are Python's to test
