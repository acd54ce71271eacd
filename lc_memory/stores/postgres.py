"""What is particular to PostgreSQL (psycopg 3)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import psycopg
import sqlalchemy as sa
from psycopg import generators
from psycopg.pq import ExecStatus

from lc_memory import values
from lc_memory.errors import LCMemoryError, StoreFull, StoreReadOnly, StoreUnavailable
from lc_memory.filters import And, Compare, Elements, Equal, Exists, In, Node, Or, Size, Test, Where
from lc_memory.records import Id
from lc_memory.stores import schema
from lc_memory.stores.database import Upserting, check_durability
from lc_memory.stores.names import write_namespace
from lc_memory.stores.server import ServerDatabase, ServerSession
from lc_memory.stores.sql_filters import AWKWARD, UNBINDABLE, Sql, joined, slack, within_limits

if TYPE_CHECKING:
    from lc_memory.store import Clock
    from lc_memory.stores.sql_guarded import Guarded

#: The advisory lock that writers share, and that declaring an index or migrating takes alone.
_LOCK: Final = 7_461_105_203

#: How often a statement is run before the driver prepares it by itself.
_SOON: Final = 2
_NEVER: Final = 2**62

#: How many statements we prepare on one connection; of the others the driver keeps the latest.
_MOST_PREPARED: Final = 100

#: Unique violation, serialization failure, deadlock.
_COLLISIONS: Final = ("23505", "40001", "40P01")


#: The types of what is bound of a new record.
_KINDS: Final = ("text", "text", "text", "bigint", "bigint", "bigint", "text")

#: Where a statement takes the name of a table whose rows it is to be run for.
_FOR_EACH: Final = {"INSERT": ", {}", "UPDATE": " FROM {}", "DELETE": " USING {}"}

#: An array, and one of which the planner does not know how long it is. Of many rows it may find it
#: better to walk the whole table that they are joined with, which takes up to twice as long.
_ARRAY: Final = "?::{}[]"
_ARRAY_OF_MANY: Final = "(SELECT ?::{}[])"
_MANY: Final = 30

#: How long the arrays of one statement may be, in characters: a message has to stay below 1 GB.
_LONG: Final = 64 << 20


class _Session(ServerSession):
    """Sends many rows as arrays, in one statement: a message and a plan for each costs more. (And
    ``executemany`` prepares, although :meth:`PostgreSQL.sending` says not to.)"""

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        columns = list(zip(*rows, strict=True))
        into, values, _ = sql.partition(" VALUES ")
        array = _ARRAY if values or len(rows) <= _MANY else _ARRAY_OF_MANY
        source, arrays = _table_of(columns, [_kind(column) for column in columns], array)
        half = len(rows) // 2
        if half and sum(map(len, arrays)) > _LONG:
            self.run_many(sql, rows[:half])
            self.run_many(sql, rows[half:])
            return
        names = [f"c{i}" for i in range(len(columns))]
        source += f" AS w ({', '.join(names)})"
        if values:
            sql = f"{into} SELECT * FROM {source}"
        else:
            what, where, which = sql.replace("?", "w.{}").format(*names).partition(" WHERE ")
            sql = what + _FOR_EACH[sql[:6]].format(source) + where + which
        self.run(sql, arrays)


class PostgreSQL(ServerDatabase):
    """PostgreSQL 13 or newer. ``durability="normal"`` is ``synchronous_commit = off``."""

    error = psycopg.Error
    locking = " FOR UPDATE OF r"
    holding = " FOR SHARE OF r"
    current_schema = "current_schema()"
    rewriting = "VACUUM FULL"
    number = "?::bigint"
    upserting = Upserting('ON CONFLICT (namespace, "key") DO UPDATE SET', "excluded.{}")
    one_moment = (
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SELECT version FROM lc_memory_schema",  # the moment is that of the first statement
    )

    def __init__(self, url: sa.URL, *, durability: str, timeout: float) -> None:
        self._durability = check_durability(durability)
        #: The names of the statements that a connection has prepared.
        self._prepared: WeakKeyDictionary[Any, dict[str, bytes]] = WeakKeyDictionary()
        super().__init__(
            url,
            "postgresql+psycopg",
            timeout,
            client_encoding="utf8",
            connect_timeout=max(1, int(min(timeout, 10))),
        )

    def prepare(self, connection: Any) -> None:
        connection.autocommit = True
        connection.prepare_threshold = _SOON
        connection.execute(f"SET lock_timeout = {int(self.timeout * 1000)}")
        if self._durability == "normal":
            connection.execute("SET synchronous_commit = off")

    def begin(self, connection: Any, alone: bool) -> Callable[[], int]:
        shared = "" if alone else "_shared"
        connection.execute("BEGIN")
        connection.execute(f"SELECT pg_advisory_xact_lock{shared}({_LOCK})")
        if alone:  # those whose writes are single statements take no other lock
            connection.execute("LOCK TABLE lc_memory_records IN SHARE MODE")
        # A statement of its own: it sees what was committed while the lock was waited for.
        cursor = connection.execute("SELECT generation FROM lc_memory_schema")
        return lambda: int(cursor.fetchone()[0])

    def repeat(
        self, connection: Any, sql: str, parameters: Sequence[Any]
    ) -> tuple[int, Sequence[Any]]:
        """See :meth:`ServerDatabase.repeat`. What it gives is one text at most."""
        # What a cursor does beside this takes longer than all the rest.
        prepared = self._prepared.setdefault(connection, {})
        texts = [None if value is None else str(value).encode() for value in parameters]
        name = prepared.get(sql)
        if name is None:
            if len(prepared) >= _MOST_PREPARED:
                return super().repeat(connection, sql, parameters)
            # The same name means the same everywhere, also where clients share connections.
            name = prepared[sql] = b"lc_memory_" + sha256(sql.encode()).hexdigest()[:32].encode()
            with contextlib.suppress(psycopg.errors.DuplicatePreparedStatement):
                _prepare(connection, name, sql)
        try:
            result = _sent(connection, name, texts)
        except psycopg.errors.InvalidSqlStatementName:  # after a ROLLBACK the driver drops them all
            _prepare(connection, name, sql)
            result = _sent(connection, name, texts)
        told = result.get_value(0, 0) if result.ntuples else None
        return result.command_tuples or 0, () if told is None else [(told.decode(),)]

    def socket_of(self, connection: Any) -> int:
        return int(connection.fileno())

    @contextlib.contextmanager
    def sending(self, connection: Any) -> Iterator[None]:
        # A statement that is prepared within a pipeline is not there if the pipeline fails, and
        # the driver may not notice.
        connection.prepare_threshold = _NEVER
        failure: BaseException | None = None
        try:
            with connection.pipeline():
                try:
                    yield
                except BaseException as error:  # noqa: BLE001 - raised below
                    failure = error
            # or the driver would log that the pipeline then ended badly too
        except psycopg.Error:
            if failure is None:
                raise
        finally:
            connection.prepare_threshold = _SOON
        if failure is not None:
            raise failure

    def session(self, connection: Any, generation: Callable[[], int]) -> ServerSession:
        return _Session(connection, generation)

    def create_tables(self, connection: Any) -> None:
        with connection.transaction():
            connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            found = self.version(lambda sql: connection.execute(sql).fetchall())
            for statement in schema.pending(found, self.engine.dialect):
                connection.execute(statement)

    def collided(self, error: Exception) -> bool:
        return isinstance(error, psycopg.Error) and error.sqlstate in _COLLISIONS

    def explained(self, error: Exception) -> LCMemoryError:
        ours = super().explained(error)
        match getattr(error, "sqlstate", None):
            case "53100":
                return StoreFull(str(ours))
            case "25006" | "42501":
                return StoreReadOnly(str(ours))
            case "55P03" | "57P01" | "57P02" | "57P03" | "53300":
                return StoreUnavailable(str(ours))
        return ours

    def among(self, ids: Sequence[Id]) -> tuple[str, str, list[Any]]:
        if len(ids) == 1:
            return super().among(ids)
        names = [_array([write_namespace(id[0]) for id in ids]), _array([id[1] for id in ids])]
        source = "unnest(?::text[], ?::text[]) AS w (n, k) CROSS JOIN lc_memory_records AS r"
        return source, 'r.namespace = w.n AND r."key" = w.k', names

    def guarded(self, clock: Clock) -> Guarded:
        from lc_memory.stores.sql_guarded import Guarded

        return Guarded(self, clock)

    def table_of(self, rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
        return _table_of(list(zip(*rows, strict=True)), _KINDS[: len(rows[0])])

    def condition(self, node: Node | None) -> Sql | None:
        found = within_limits(_condition(node))
        if found is None:
            return None
        # jsonb refuses NUL and surrogates; such documents are Python's. CASE keeps the order.
        sql, parameters = found
        awkward = "(strpos(r.value, '\\u0000') > 0 OR r.value ~ '\\\\u[dD][89a-fA-F]')"
        return f"CASE WHEN {awkward} THEN true ELSE {sql} END", parameters


def _table_of(
    columns: Sequence[Sequence[Any]], kinds: Sequence[str] = _KINDS, array: str = _ARRAY
) -> tuple[str, list[Any]]:
    arrays = ", ".join(array.format(kind) for kind in kinds)
    return f"unnest({arrays})", [_array(column) for column in columns]


def _kind(column: Sequence[str | int | bytes | None]) -> str:
    """The type of a column's values; one without any goes into every other type."""
    types = {type(value) for value in column}
    return "text" if str in types else "bytea" if bytes in types else "bigint"


def _array(column: Sequence[str | int | bytes | None]) -> str:
    """An array as PostgreSQL reads it. (The driver takes five times as long to write one.)"""
    elements = [
        "NULL"
        if value is None
        else str(value)
        if type(value) is int
        else f'"\\\\x{value.hex()}"'
        if type(value) is bytes
        else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        for value in column
    ]
    return f"{{{','.join(elements)}}}"


def _prepare(connection: Any, name: bytes, sql: str) -> None:
    first, *parts = sql.split("?")
    numbered = first + "".join(f"${n}{part}" for n, part in enumerate(parts, 1))
    connection.pgconn.send_prepare(name, numbered.encode())
    _result(connection)


def _sent(connection: Any, name: bytes, parameters: Sequence[bytes | None]) -> Any:
    """Run a prepared statement."""
    connection.pgconn.send_query_prepared(name, parameters)
    return _result(connection)


def _result(connection: Any) -> Any:
    """What the server answers. Raises what a cursor would raise."""
    (result,) = connection.wait(generators.execute(connection.pgconn))
    if result.status == ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result)
    return result


def _condition(node: Node | None) -> Sql | None:
    if isinstance(node, And):
        parts = [part for part in map(_condition, node.nodes) if part is not None]
        return joined(" AND ", parts) if parts else None
    if isinstance(node, Or):
        maybe = [_condition(child) for child in node.nodes]
        parts = [part for part in maybe if part is not None]
        return joined(" OR ", parts or [("false", [])]) if len(parts) == len(maybe) else None
    if isinstance(node, Where):
        return _where(node)
    return None


def _where(node: Where) -> Sql | None:
    """A lax JSON path looks into arrays by itself, at every step."""
    if not node.path or any(AWKWARD.search(name) or name.isdigit() for name in node.path):
        return None
    tested = _test(node.test)
    if tested is None:
        return None
    question, operands = tested
    path = "$" + "".join(
        "." + json.dumps("$" + name if name.startswith("$") else name, ensure_ascii=False)
        for name in node.path
    )
    return (
        "jsonb_path_exists(r.value::jsonb, ?::jsonpath, ?::jsonb)",
        [f"lax {path} ? ({question})" if question else f"lax {path}", json.dumps(operands)],
    )


def _test(test: Test) -> tuple[str, dict[str, Any]] | None:
    match test:
        case Equal(operand):
            return _any_equal([operand])
        case In(operands):
            return _any_equal(operands) if 0 < len(operands) <= 100 else None
        case Compare(operator, operand):
            return _compare(operator, operand)
        case Exists():
            return "", {}
        case Size() | Elements():
            return None
    return None


def _any_equal(operands: Sequence[Any]) -> tuple[str, dict[str, Any]] | None:
    questions: list[str] = []
    bound: dict[str, Any] = {}
    for number, operand in enumerate(operands):
        name = f"v{number}"
        if (isinstance(operand, str) and not UNBINDABLE.search(operand)) or isinstance(
            operand, bool
        ):
            questions.append(f"@ == ${name}")
            bound[name] = operand
        elif isinstance(operand, (int, float)) and abs(operand) < 2**63:
            low, high = slack(operand)
            questions.append(f"(@ >= ${name}l && @ <= ${name}h)")
            bound |= {f"{name}l": low, f"{name}h": high}
        elif isinstance(operand, datetime):
            questions.append(f'@."$date" == ${name}')
            bound[name] = values.write_time(operand)
        else:
            return None
    return " || ".join(questions), bound


def _compare(operator: str, operand: Any) -> tuple[str, dict[str, Any]] | None:
    sign = ">=" if operator[0] == "g" else "<="
    if isinstance(operand, bool):
        return None
    if isinstance(operand, (int, float)) and abs(operand) < 2**63:
        low, high = slack(operand)
        # An integer past 64 bits is stored as a tagged object.
        return f'@ {sign} $v || @.type() == "object"', {"v": low if sign == ">=" else high}
    if isinstance(operand, str) and not UNBINDABLE.search(operand):
        return f"@ {sign} $v", {"v": operand}
    if isinstance(operand, datetime):
        return f'@."$date" {sign} $v', {"v": values.write_time(operand)}
    return None
