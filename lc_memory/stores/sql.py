"""The SQL store: records in one table, on SQLite.

A write loads the rows it touches, asks :mod:`lc_memory.rows` what becomes of them, and writes
that, in one transaction. A read compiles what it can of the filter (:mod:`sql_filters`) and asks
the filter itself about what comes back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from lc_memory import values
from lc_memory.commit import GroupCommit
from lc_memory.errors import LCMemoryError
from lc_memory.filters import reach
from lc_memory.paging import Position, cut, page_of, position, read_cursor
from lc_memory.records import Clear, Delete, Id, Namespace, Op, Page, Query, Record, Touch, check_id
from lc_memory.rows import Row, Step, next_key, prepare, settle
from lc_memory.store import Capabilities, Clock, Index, Outcome, Store, outcome
from lc_memory.stores.names import namespace_range, read_namespace, write_namespace
from lc_memory.stores.sql_filters import best_ranges, index_keys, sqlite_condition
from lc_memory.stores.sqlite import SQLiteConnections

_FIELDS: Final = "version, created_at, updated_at, expires_at, owner"
_COLUMNS: Final = "r.namespace, r.key, r.value, " + ", ".join(
    f"r.{name}" for name in _FIELDS.split(", ")
)
_UPSERT: Final = (
    f"INSERT INTO lc_memory_records (namespace, key, value, {_FIELDS}) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, key) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in ("value", *_FIELDS.split(", ")))
)
_CHUNK: Final = 400  # ids a statement


class SQLStore(Store):
    """Records in a SQL database; for now SQLite (``sqlite:///file.db``).

    ``durability="full"``: a write that returned survives a power loss; ``"normal"``: it survives
    the process, and a power loss may take the last ones. ``timeout`` (seconds) bounds the wait
    for other processes' writes. ``indexes`` are the fields to find without a scan; declaring one
    over existing records indexes them now.
    """

    capabilities = Capabilities(indexes=True)

    def __init__(
        self,
        url: str | sa.URL,
        *,
        durability: str = "full",
        timeout: float = 60.0,
        indexes: Iterable[Index] = (),
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._db = SQLiteConnections(sa.make_url(url), durability=durability, timeout=timeout)
        self._clock = Clock(clock)
        self._indexes: dict[Index, int] = {}
        self._data_version = -1
        self._committer: GroupCommit[list[Step], list[Record | None]] = GroupCommit(self._commit)
        try:
            self._db.migrate()
            self._declare(list(indexes))
        except BaseException:
            self._db.close()
            raise

    # -- reading ---------------------------------------------------------------------------

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        ids = [check_id(id) for id in ids]
        now = self._clock.now()
        rows = _load(self._db.select, ids)
        found = (rows.get(id) for id in ids)
        return [row.record() if row and (expired or row.lives_at(now)) else None for row in found]

    def find(self, query: Query) -> Page:
        if query.sort.attribute is None:  # by a field: Python sorts
            rows = self._select(query, None, None, 0)
            return page_of((row.record() for row in rows), query)
        after = None if query.cursor is None else read_cursor(query.sort, query.cursor)
        if query.node is not None and query.limit is not None:
            return cut(self._pull(query, after), query)
        if query.node is not None:
            records = [row.record() for row in self._select(query, after, None, 0)]
            matches = [record for record in records if query.node.matches(record.value)]
            return Page(matches[query.offset :])
        limit = None if query.limit is None else query.limit + 1
        rows = self._select(query, after, limit, query.offset)
        return cut([row.record() for row in rows], query)

    def _pull(self, query: Query, after: Position | None) -> list[Record]:
        """With a filter that Python decides, candidates are pulled until the page is full."""
        assert query.limit is not None
        wanted = query.offset + query.limit + 1
        found: list[Record] = []
        size = wanted
        while True:
            rows = self._select(query, after, size, 0)
            records = [row.record() for row in rows]
            assert query.node is not None
            found += [record for record in records if query.node.matches(record.value)]
            if len(rows) < size or len(found) >= wanted:
                return found[query.offset : wanted]
            after = position(records[-1], query.sort)
            size = min(size * 4, 5000)

    def _select(
        self, query: Query, after: Position | None, limit: int | None, offset: int
    ) -> list[Row]:
        source, conditions, parameters = self._candidates(query)
        order = query.sort
        direction = " DESC" if order.descending else ""
        keys = ["r.namespace", "r.key"]
        if order.attribute in ("created_at", "updated_at"):
            keys.insert(0, f"r.{order.attribute}")
        if after is not None:
            first, namespace, key = after
            place = [write_namespace(namespace), key]
            if len(keys) == 3:
                place.insert(0, first)
            marks = ", ".join("?" * len(keys))
            sign = "<" if order.descending else ">"
            conditions.append(f"({', '.join(keys)}) {sign} ({marks})")
            parameters += place
        if query.exact:  # the namespace is one: leave it out, and the index gives the order
            keys.remove("r.namespace")
        sql = f"SELECT {_COLUMNS} FROM {source} WHERE {' AND '.join(conditions) or '1'}"
        if order.attribute is not None:
            sql += f" ORDER BY {', '.join(key + direction for key in keys)}"
        if limit is not None or offset:
            sql += " LIMIT ? OFFSET ?"
            parameters += [-1 if limit is None else limit, offset]
        return [_row(columns) for columns in self._db.select(sql, parameters)]

    def _candidates(self, query: Query) -> tuple[str, list[str], list[Any]]:
        """Where the candidates of a query come from: a source, conditions and parameters."""
        source = "lc_memory_records AS r"
        conditions: list[str] = []
        parameters: list[Any] = []
        usable = {
            index.path: number
            for index, number in self._indexes.items()
            if query.exact and index.covers(query.prefix)
        }
        ranges = best_ranges(query.node, list(usable))
        if ranges is not None:
            condition, keys = ranges.condition("sort_key")
            # CROSS JOIN: SQLite keeps the order, instead of trying the namespace's range first.
            source = (
                "(SELECT DISTINCT record_id FROM lc_memory_fields "
                f"WHERE index_id = ? AND namespace = ? AND {condition}) AS f "
                "CROSS JOIN lc_memory_records AS r ON r.id = f.record_id"
            )
            parameters += [usable[ranges.path], write_namespace(query.prefix), *keys]
        condition, bounds = _under(query.prefix, query.exact)
        if condition:
            conditions.append(condition)
            parameters += bounds
        if not query.expired:
            conditions.append("(r.expires_at IS NULL OR r.expires_at > ?)")
            parameters.append(self._clock.now())
        filtered = sqlite_condition(query.node)
        if filtered is not None:
            conditions.append(filtered[0])
            parameters += filtered[1]
        return source, conditions, parameters

    def count(self, query: Query | None = None) -> int:
        query = query or Query()
        if query.node or query.limit is not None or query.offset or query.cursor:
            return super().count(query)
        source, conditions, parameters = self._candidates(query)
        sql = f"SELECT count(*) FROM {source} WHERE {' AND '.join(conditions) or '1'}"
        return int(self._db.select(sql, parameters)[0][0])

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        # Hop from one namespace to the next along the index, whatever each of them holds.
        # A second lower bound, the prefix's own, would make each hop a walk from there.
        span = namespace_range(prefix)
        condition = "r.namespace < ?" if span else "1"
        bounds: list[Any] = [span[1]] if span else []
        if not expired:
            condition += " AND (r.expires_at IS NULL OR r.expires_at > ?)"
            bounds.append(self._clock.now())
        following = f"SELECT min(r.namespace) FROM lc_memory_records AS r WHERE {condition}"
        first = ">= ?" if after is None or after < prefix else "> ?"
        start = write_namespace(prefix if after is None or after < prefix else after)
        found = self._db.select(
            f"WITH RECURSIVE hop(name) AS ({following} AND r.namespace {first} UNION ALL "
            f"SELECT ({following} AND r.namespace > hop.name) FROM hop WHERE hop.name NOT NULL) "
            "SELECT name FROM hop WHERE name NOT NULL LIMIT ?",
            [*bounds, start, *bounds, -1 if limit is None else limit],
        )
        return [read_namespace(name) for (name,) in found]

    # -- writing ---------------------------------------------------------------------------

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        return outcome(self.write_many([ops])[0])

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        prepared: list[list[Step] | Exception] = []
        for ops in batches:
            try:
                prepared.append(prepare(ops))
            except LCMemoryError as error:
                prepared.append(error)
        done = iter(self._committer.run([steps for steps in prepared if isinstance(steps, list)]))
        return [steps if isinstance(steps, Exception) else next(done) for steps in prepared]

    def _commit(self, batches: Sequence[list[Step]]) -> list[Outcome]:
        """Commit the batches together; each is all or nothing by itself."""
        if len(batches) == 1:
            return [self._db.transact(lambda connection: self._apply(connection, batches[0]))]

        def work(connection: sqlite3.Connection) -> list[Outcome]:
            outcomes: list[Outcome] = []
            for steps in batches:
                connection.execute("SAVEPOINT batch")
                try:
                    outcomes.append(self._apply(connection, steps))
                except LCMemoryError as error:
                    connection.execute("ROLLBACK TO batch")
                    outcomes.append(error)
                connection.execute("RELEASE batch")
            return outcomes

        return self._db.transact(work)

    def _apply(self, connection: sqlite3.Connection, steps: list[Step]) -> list[Record | None]:
        self._know_indexes(connection)
        tick, now = self._clock.ticks(len(steps)), self._clock.now()
        batch = _Batch(connection, self._indexes)
        batch.load(steps)
        results = [batch.carry_out(step, tick + i, now) for i, step in enumerate(steps)]
        batch.flush()
        return results

    def sweep(self) -> int:
        def work(connection: sqlite3.Connection) -> int:
            sql = "DELETE FROM lc_memory_records WHERE expires_at <= ?"
            return connection.execute(sql, [self._clock.now()]).rowcount

        return self._db.transact(work)

    def now(self) -> datetime:
        return values.from_micros(self._clock.now())

    def close(self) -> None:
        self._db.close()

    # -- indexes ---------------------------------------------------------------------------

    def _declare(self, wanted: Sequence[Index]) -> None:
        """Make the declared indexes that are not there yet, over what is stored."""

        def work(connection: sqlite3.Connection) -> None:
            self._know_indexes(connection, afresh=True)
            for index in wanted:
                if index not in self._indexes:
                    self._create(connection, index)

        self._indexes = dict(_stored_indexes(self._db.select))
        if any(index not in self._indexes for index in wanted):
            self._db.transact(work)

    def _create(self, connection: sqlite3.Connection, index: Index) -> None:
        number = connection.execute(
            "INSERT INTO lc_memory_indexes (namespace, path) VALUES (?, ?) RETURNING id",
            [write_namespace(index.namespace), write_namespace(index.path)],
        ).fetchone()[0]
        self._indexes[index] = number
        before_any = index.namespace[: (*index.namespace, "*").index("*")]
        condition, bounds = _under(before_any)
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM lc_memory_records AS r WHERE {condition or '1'}", bounds
        )
        entries = (entry for columns in rows for entry in _entries(_row(columns), {index: number}))
        connection.executemany(_ENTRY, entries)

    def _know_indexes(self, connection: sqlite3.Connection, afresh: bool = False) -> None:
        """Another process may have declared an index: every writer must keep it in step."""
        seen = connection.execute("PRAGMA data_version").fetchone()[0]
        if afresh or seen != self._data_version:
            self._indexes = dict(
                _stored_indexes(lambda sql, ps: connection.execute(sql, ps).fetchall())
            )
            self._data_version = seen


_ENTRY: Final = (
    "INSERT INTO lc_memory_fields (index_id, namespace, sort_key, record_id) "
    "SELECT ?, namespace, ?, id FROM lc_memory_records WHERE namespace = ? AND key = ?"
)


class _Batch:
    """One batch inside a transaction: what it has read, and what it is about to write."""

    def __init__(self, connection: sqlite3.Connection, indexes: dict[Index, int]) -> None:
        self._connection = connection
        self._indexes = indexes
        self._rows: dict[Id, Row] = {}
        self._changed: dict[Id, Row | None] = {}
        self._last: dict[Namespace, str | None] = {}

    def load(self, steps: Sequence[Step]) -> None:
        ids = dict.fromkeys(step.id for step in steps if step.key is not None)
        # Only what gives a record back needs its value.
        with_value = any(isinstance(step.op, Delete | Touch) for step in steps)
        self._rows = _load(self._select, list(ids), with_value)

    def carry_out(self, step: Step, tick: int, now: int) -> Record | None:
        if isinstance(step.op, Clear):
            self._clear(step.namespace)
            return None
        if step.key is None:
            step.key = self._next_key(step.namespace)
        row, result = settle(step, self._rows.get(step.id), tick, now)
        if row is None:
            self._rows.pop(step.id, None)
        else:
            self._rows[step.id] = row
        self._changed[step.id] = row
        return result

    def flush(self) -> None:
        gone = [_name(id) for id, row in self._changed.items() if row is None]
        kept = [row for row in self._changed.values() if row is not None]
        self._changed.clear()
        if gone:
            self._run("DELETE FROM lc_memory_records WHERE namespace = ? AND key = ?", gone)
        if kept:
            self._run(_UPSERT, [(write_namespace(row[0]), *row[1:]) for row in kept])
        if self._indexes:
            self._index(kept)

    def _index(self, rows: Sequence[Row]) -> None:
        covered = [row for row in rows if any(ix.covers(row.namespace) for ix in self._indexes)]
        if covered:
            self._run(
                "DELETE FROM lc_memory_fields WHERE record_id = "
                "(SELECT id FROM lc_memory_records WHERE namespace = ? AND key = ?)",
                [_name((row.namespace, row.key)) for row in covered],
            )
            self._run(_ENTRY, [entry for row in covered for entry in _entries(row, self._indexes)])

    def _next_key(self, namespace: Namespace) -> str:
        if namespace not in self._last:
            known = [id[1] for id, row in self._changed.items() if id[0] == namespace and row]
            sql = "SELECT max(key) FROM lc_memory_records WHERE namespace = ?"
            ((stored,),) = self._select(sql, [write_namespace(namespace)])
            self._last[namespace] = max(filter(None, (*known, stored)), default=None)
        self._last[namespace] = key = next_key(self._last[namespace])
        return key

    def _clear(self, prefix: Namespace) -> None:
        self.flush()
        condition, bounds = _under(prefix)
        self._connection.execute(
            f"DELETE FROM lc_memory_records AS r WHERE {condition or '1'}", bounds
        )
        for id in [id for id in self._rows if id[0][: len(prefix)] == prefix]:
            del self._rows[id]
        self._last.clear()

    def _select(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        return self._connection.execute(sql, parameters).fetchall()

    def _run(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        if len(parameters) == 1:  # executemany would cost a transaction check
            self._connection.execute(sql, parameters[0])
        else:
            self._connection.executemany(sql, parameters)


def _load(
    select: Callable[[str, Sequence[Any]], list[Any]],
    ids: Sequence[Id],
    with_value: bool = True,
) -> dict[Id, Row]:
    """The rows of those ids that are there, in one statement for each few hundred."""
    columns = _COLUMNS if with_value else _COLUMNS.replace("r.value", "'{}'")
    rows: list[Row] = []
    if len(ids) == 1:
        sql = f"SELECT {columns} FROM lc_memory_records AS r WHERE r.namespace = ? AND r.key = ?"
        rows = [_row(found) for found in select(sql, _name(ids[0]))]
    else:
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            sql = (
                f"WITH w (n, k) AS (VALUES {', '.join(['(?, ?)'] * len(chunk))}) "
                f"SELECT {columns} FROM w CROSS JOIN lc_memory_records AS r "
                "ON r.namespace = w.n AND r.key = w.k"
            )
            names = [name for id in chunk for name in _name(id)]
            rows += [_row(found) for found in select(sql, names)]
    return {(row.namespace, row.key): row for row in rows}


def _row(columns: Sequence[Any]) -> Row:
    namespace, *rest = columns
    return Row(read_namespace(namespace), *rest)


def _name(id: Id) -> tuple[str, str]:
    return write_namespace(id[0]), id[1]


def _under(prefix: Namespace, exact: bool = False) -> tuple[str, list[Any]]:
    if exact:
        return "r.namespace = ?", [write_namespace(prefix)]
    bounds = namespace_range(prefix)
    if bounds is None:
        return "", []
    return "r.namespace >= ? AND r.namespace < ?", list(bounds)


def _entries(row: Row, indexes: dict[Index, int]) -> Iterator[tuple[Any, ...]]:
    covering = [pair for pair in indexes.items() if pair[0].covers(row.namespace)]
    if covering:
        value = values.decode(row.text)
        for index, number in covering:
            for key in index_keys(value, index.path, list(reach(value, index.path))):
                yield number, key, *_name((row.namespace, row.key))


def _stored_indexes(
    select: Callable[[str, Sequence[Any]], list[Any]],
) -> Iterator[tuple[Index, int]]:
    for number, namespace, path in select("SELECT id, namespace, path FROM lc_memory_indexes", []):
        yield Index(read_namespace(namespace), read_namespace(path)), number
