"""The SQL store: records in one table, on SQLite, PostgreSQL and MySQL or MariaDB.

A write loads the rows it touches, asks :mod:`lc_memory.rows` what becomes of them, and writes
that, in one transaction (:mod:`sql_batch`). A read compiles what it can of the filter
(:mod:`sql_filters`) and asks the filter itself about what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from lc_memory import values
from lc_memory.commit import GroupCommit, write_together
from lc_memory.errors import LCMemoryError, StoreError, StoreUnavailable
from lc_memory.paging import (
    Position,
    cut,
    page_before_more,
    page_of,
    position,
    read_cursor,
)
from lc_memory.records import Id, Namespace, Op, Page, Query, Record, State, check_id
from lc_memory.rows import Row, Step, prepare
from lc_memory.store import Capabilities, Clock, Index, Outcome, Store, outcome
from lc_memory.stores.database import Session, open_database
from lc_memory.stores.names import namespace_range, read_namespace, write_namespace
from lc_memory.stores.sql_batch import (
    COLUMNS,
    REINDEXING,
    WORDS,
    Batch,
    allowed,
    build_index,
    load,
    load_states,
    row_of,
    under,
)
from lc_memory.stores.sql_bulk import FrozenDatabase, in_chunks
from lc_memory.stores.sql_filters import ODD_KEY, Ranges, best_ranges, only_of

#: The entries of an index in a namespace; none, if it does not tell all of one of its records.
_WALKED: Final = (
    "f.index_id = ? AND f.namespace = ? AND NOT EXISTS (SELECT 1 FROM lc_memory_fields AS odd "
    "WHERE odd.index_id = ? AND odd.namespace = ? AND odd.sort_key = ?)"
)

if TYPE_CHECKING:
    from lc_memory.stores.sql_words import SQLKeywords

#: From so many entries on, an index's range is not sorted before the nearest records were tried.
_CROWD: Final = 1_000

#: As LIMIT: everything.
_ALL: Final = 2**62


class SQLStore(Store):
    """Records in a SQL database: ``sqlite:///file.db``, ``postgresql://…`` or ``mysql://…``.

    ``durability="full"``: a write that returned survives a power loss; ``"normal"``: it survives
    the process, and a power loss may take the last ones. ``timeout`` (seconds) bounds the wait
    for a connection and for other processes' writes. ``indexes`` are the fields to find without
    a scan; declaring one over existing records indexes them now.
    """

    capabilities = Capabilities(indexes=True, grouped=True)

    def __init__(
        self,
        url: str | sa.URL,
        *,
        durability: str = "full",
        timeout: float = 60.0,
        indexes: Iterable[Index] = (),
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._db = open_database(sa.make_url(url), durability=durability, timeout=timeout)
        self._clock = Clock(clock)
        self._indexes: dict[Index, int] = {}
        self._generation = -1
        self.capabilities = replace(self.capabilities, joined=self._db.distant)
        self._singles = self._db.singles(self._clock)
        self._guarded = self._db.guarded(self._clock)
        self._committer: GroupCommit[list[Step], list[Record | None]] = GroupCommit(self._commit)
        try:
            self._db.migrate()
            self.declare(list(indexes))
        except BaseException:
            self._db.close()
            raise

    # -- reading ---------------------------------------------------------------------------

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        ids = [check_id(id) for id in ids]
        now = self._clock.now()
        rows = load(self._db.select, self._db, ids)
        found = (rows.get(id) for id in ids)
        return [row.record() if row and (expired or row.lives_at(now)) else None for row in found]

    def states(self, ids: Sequence[Id]) -> list[State | None]:
        ids = [check_id(id) for id in ids]
        found = load_states(self._db.select, self._db, ids)
        return [found.get(id) for id in ids]

    def find(self, query: Query) -> Page:
        if query.sort.attribute is None:
            return self._walked(query) or self._sorted(query)
        after = None if query.cursor is None else read_cursor(query.sort, query.cursor)
        if query.node is not None and query.limit is not None:
            return cut(self._pull(query, after)[query.offset :], query)
        if query.node is not None:
            records = [row.record() for row in self._select(query, after, None, 0)]
            matches = [record for record in records if query.node.matches(record.value)]
            return Page(matches[query.offset :])
        limit = None if query.limit is None else query.limit + 1
        return _page(self._select(query, after, limit, query.offset), query)

    def find_many(self, queries: Sequence[Query]) -> list[Page]:
        if not (self._db.distant and queries and all(map(_is_plain, queries))):
            return super().find_many(queries)
        parts, parameters = [], list[Any]()
        for part, query in enumerate(queries):
            limit = None if query.limit is None else query.limit + 1
            sql, bound = self._statement(query, None, limit, query.offset)
            parts.append(f"SELECT {part} AS part, q{part}.* FROM ({sql}) AS q{part}")
            parameters += bound
        found: list[list[Row]] = [[] for _ in queries]
        for part, *columns in self._db.select(" UNION ALL ".join(parts), parameters):
            found[part].append(row_of(columns))
        for rows, query in zip(found, queries, strict=True):
            rows.sort(key=lambda row: row[:2], reverse=query.sort.descending)
        return [_page(rows, query) for rows, query in zip(found, queries, strict=True)]

    def _sorted(self, query: Query) -> Page:
        """By a field: Python sorts all candidates."""
        rows = self._select(query, None, None, 0)
        return page_of((row.record() for row in rows), query)

    def _walked(self, query: Query) -> Page | None:
        """By an indexed field: along its index. None if there is no such index, if another is
        the better way, or where an index does not tell all."""
        walk, path = self._usable(query), query.sort.path
        if path not in walk or query.limit is None:
            return None
        ranges = best_ranges(query.node, list(walk))
        if ranges is not None and (ranges.only is None if ranges.path == path else ranges.cost < 4):
            return None
        after = None if query.cursor is None else read_cursor(query.sort, query.cursor)
        found = self._pull(query, after, walk[path])
        return cut(found[query.offset :], query) if found else None

    def _pull(self, query: Query, after: Position | None, walk: int | None = None) -> list[Record]:
        """The first matches for an offset and a page, and one more. As Python decides what
        matches, candidates are pulled until they are full.

        With the index to ``walk``, nothing means nothing: it may not have told all.
        """
        assert query.limit is not None
        wanted = query.offset + query.limit + 1
        found: list[Record] = []
        asked, size, seen = query, wanted, 0
        while True:
            rows = self._select(asked, after, size, 0, walk, most=None if seen else _CROWD)
            if not (rows or seen) and self._crowded(query):
                asked = replace(query, filter=None)  # the page may well be full soon
                rows = self._select(asked, after, size, 0)
            records = [row.record() for row in rows]
            node = query.node
            found += [r for r in records if node is None or node.matches(r.value)]
            if walk is not None and not rows:
                return []
            if len(rows) < size or len(found) >= wanted:
                return found[:wanted]
            after = position(records[-1], query.sort)
            size, seen = min(size * 4, 5000), seen + len(rows)
            if asked is not query and seen + size > max(_CROWD // 4, wanted):
                asked, size = query, wanted

    def _crowded(self, query: Query) -> bool:
        """Whether an index has too many entries in the range asked for to sort them first."""
        entries = self._entries(query)
        if entries is None:
            return False
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {entries[0]} LIMIT {_CROWD}) AS crowd"
        return bool(self._db.select(sql, entries[1])[0][0] == _CROWD)

    def _select(
        self,
        query: Query,
        after: Position | None,
        limit: int | None,
        offset: int,
        walk: int | None = None,
        *,
        most: int | None = None,
    ) -> list[Row]:
        """Candidates in their order; none, if an index has ``most`` of them in its range."""
        sql, parameters = self._statement(query, after, limit, offset, walk, most)
        return [row_of(found) for found in self._db.select(sql, parameters)]

    def _statement(
        self,
        query: Query,
        after: Position | None,
        limit: int | None,
        offset: int,
        walk: int | None = None,
        most: int | None = None,
    ) -> tuple[str, list[Any]]:
        source, conditions, parameters = self._candidates(query, walk, most)
        order = query.sort
        columns = {"r.namespace": "namespace", 'r."key"': "key"}
        if order.attribute in ("created_at", "updated_at"):
            columns = {f"r.{order.attribute}": "first"} | columns
        if walk is not None:
            columns = {"f.sort_key": "first"} | columns
        if query.exact:  # the namespace is one: leave it out, and the index gives the order
            del columns["r.namespace"]
        if after is not None:
            first, namespace, key = after
            place = {"first": first, "namespace": write_namespace(namespace), "key": key}
            beyond, bounds = _beyond(
                list(columns), [place[n] for n in columns.values()], order.descending
            )
            conditions.append(beyond)
            parameters += bounds
        sql = f"SELECT {COLUMNS} FROM {source} WHERE {' AND '.join(conditions)}"
        if order.attribute is not None or walk is not None:
            direction = " DESC" if order.descending else ""
            sql += f" ORDER BY {', '.join(column + direction for column in columns)}"
        if limit is not None or offset:
            sql += " LIMIT ? OFFSET ?"
            parameters += [_ALL if limit is None else limit, offset]
        return sql, parameters

    def _usable(self, query: Query) -> dict[tuple[str, ...], int]:
        """The numbers of the indexes that hold all of the query's records, by path."""
        return {
            index.path: number
            for index, number in self._indexes.items()
            if query.exact and index.covers(query.prefix)
        }

    def _entries(self, query: Query) -> tuple[str, list[Any], Ranges] | None:
        """Where an index holds all matches of the filter, if one does: a table and a condition,
        and its parameters."""
        usable = self._usable(query)
        ranges = best_ranges(query.node, list(usable))
        if ranges is None:
            return None
        condition, keys = ranges.condition("sort_key")
        return (
            f"lc_memory_fields WHERE index_id = ? AND namespace = ? AND {condition}",
            [usable[ranges.path], write_namespace(query.prefix), *keys],
            ranges,
        )

    def _candidates(
        self, query: Query, walk: int | None = None, most: int | None = None
    ) -> tuple[str, list[str], list[Any]]:
        """Where the candidates of a query come from: a source, conditions and parameters. With
        the index to ``walk``, its entries are ``f``, one for each record."""
        source = "lc_memory_records AS r"
        conditions: list[str] = []
        parameters: list[Any] = []
        told = False
        entries = None if query.node is None else self._entries(query)
        # CROSS JOIN: SQLite keeps the order, instead of trying the namespace's range first.
        if walk is not None:
            source = "lc_memory_fields AS f CROSS JOIN lc_memory_records AS r"
            place = [walk, write_namespace(query.prefix)]
            conditions += ["r.id = f.record_id", _WALKED]
            parameters += [*place, *place, ODD_KEY]
            if entries is not None and entries[2].path == query.sort.path and entries[2].only:
                conditions.append("f.sort_key BETWEEN ? AND ?")
                parameters += entries[2].only
        elif entries is not None:
            sql, keys, ranges = entries
            low, high = ranges.ranges[0]
            once = len(ranges.ranges) == 1 and low == high  # no record is there twice
            if most is not None and ranges.cost > 2:
                sql += (
                    f" AND (SELECT count(*) FROM (SELECT 1 FROM {sql} LIMIT {most}) AS c) < {most}"
                )
                keys = [*keys, *keys]
            source = (
                f"(SELECT {'' if once else 'DISTINCT '}record_id FROM {sql}) AS f "
                "CROSS JOIN lc_memory_records AS r"
            )
            conditions.append("r.id = f.record_id")
            parameters += keys
            told = only_of(query.node, ranges.path)  # the index has said it all
        else:
            condition, bounds = under(query.prefix, query.exact)
            conditions.append(condition)
            parameters += bounds
        if not query.expired:
            conditions.append("(r.expires_at IS NULL OR r.expires_at > ?)")
            parameters.append(self._clock.now())
        filtered = None if told or query.node is None else self._db.condition(query.node)
        if filtered is not None:
            conditions.append(filtered[0])
            parameters += filtered[1]
        if query.within is not None:
            condition, names = allowed(query.within)
            conditions.append(condition)
            parameters += names
        return source, conditions, parameters

    def count(self, query: Query | None = None) -> int:
        query = query or Query()
        if query.node or query.limit is not None or query.offset or query.cursor:
            return super().count(query)
        source, conditions, parameters = self._candidates(query)
        sql = f"SELECT count(*) FROM {source} WHERE {' AND '.join(conditions)}"
        return int(self._db.select(sql, parameters)[0][0])

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        # Hop from one namespace to the next along the index, whatever each of them holds. Each
        # hop has one lower bound: of two, SQLite may take the wrong one and walk every record.
        condition = "1 = 1"
        bounds: list[Any] = []
        first, start = ">= ?", write_namespace(prefix)
        within = namespace_range(prefix)
        if within is not None:
            condition, bounds = "r.namespace < ?", [within[1]]
        if after is not None and write_namespace(after) >= start:
            first, start = "> ?", write_namespace(after)
        if not expired:
            condition += " AND (r.expires_at IS NULL OR r.expires_at > ?)"
            bounds = [*bounds, self._clock.now()]
        following = f"SELECT min(r.namespace) FROM lc_memory_records AS r WHERE {condition}"
        found = self._db.select(
            f"WITH RECURSIVE hop(name) AS ({following} AND r.namespace {first} UNION ALL "
            f"SELECT ({following} AND r.namespace > hop.name) FROM hop "
            "WHERE hop.name IS NOT NULL) "
            "SELECT name FROM hop WHERE name IS NOT NULL LIMIT ?",
            [*bounds, start, *bounds, _ALL if limit is None else limit],
        )
        return [read_namespace(name) for (name,) in found]

    # -- writing ---------------------------------------------------------------------------

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        return outcome(self._committer.run([prepare(ops)])[0])

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        return write_together(self._committer, batches)

    def _commit(self, batches: Sequence[list[Step]]) -> list[Outcome]:
        """Commit the batches together; each is all or nothing by itself."""
        if len(batches) == 1:
            if self._guarded and len(batches[0]) > 1:
                guarded = self._guarded.write(batches[0])
                if guarded is not None:
                    return [guarded]
            if self._singles and len(batches[0]) == 1 and self._generation >= 0:
                written = self._singles.write(batches[0][0], self._indexes, self._generation)
                if written is not None:
                    return [written]
            return [self._db.transact(lambda session: self._apply(session, batches[0]))]

        def work(session: Session) -> list[Outcome]:
            # As if they were one, as long as none is refused.
            together = self._attempt(session, [step for steps in batches for step in steps])
            if isinstance(together, Exception):
                return [self._attempt(session, steps) for steps in batches]
            results = iter(together)
            return [[next(results) for _ in steps] for steps in batches]

        try:
            return self._db.transact(work)
        except StoreUnavailable:
            raise
        except StoreError:  # one batch's fault (too large, no room) is not the others'
            return [self._alone(steps) for steps in batches]

    def _alone(self, steps: list[Step]) -> Outcome:
        try:
            return self._db.transact(lambda session: self._apply(session, steps))
        except LCMemoryError as error:
            return error

    def _attempt(self, session: Session, steps: list[Step]) -> Outcome:
        """Apply the steps, or none of them; what they gave, or what refused them."""
        session.run("SAVEPOINT batch")
        result: Outcome
        try:
            result = self._apply(session, steps)
        except LCMemoryError as error:
            session.run("ROLLBACK TO SAVEPOINT batch")
            result = error
        session.run("RELEASE SAVEPOINT batch")
        return result

    def _apply(self, session: Session, steps: list[Step]) -> list[Record | None]:
        tick, now = self._clock.ticks(len(steps)), self._clock.now()
        batch = Batch(self._db, session, lambda: self._known_indexes(session))
        return batch.carry_out(steps, tick, now)

    def sweep(self) -> int:
        expired, now = "FROM lc_memory_records WHERE expires_at <= ?", [self._clock.now()]

        def work(session: Session) -> int:
            count = int(session.select(f"SELECT count(*) {expired}", now)[0][0])
            session.run(f"DELETE {expired}", now)
            return count

        return self._db.transact(work)

    def scrub(self) -> bool:
        return self._db.scrub()

    def now(self) -> datetime:
        return values.from_micros(self._clock.now())

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        with self._db.snapshot() as session:
            yield _Snapshot(self, session)

    def restore(
        self, records: Callable[[], Iterable[Record]], clearing: Sequence[Namespace] = ()
    ) -> None:
        if isinstance(self._db.engine.pool, sa.pool.StaticPool):
            # The one connection would read within its own transaction; it is all memory anyway.
            return super().restore(records, clearing)

        def work(session: Session) -> None:
            for ops in in_chunks(records, clearing):
                self._apply(session, prepare(ops))

        self._db.transact(work, alone=True)

    def close(self) -> None:
        self._db.close()

    # -- indexes ---------------------------------------------------------------------------

    def declare(self, indexes: Sequence[Index]) -> None:
        """Make the declared indexes that are not there yet, over what is stored."""

        def work(session: Session) -> None:
            self._known_indexes(session, afresh=True)
            for index in indexes:
                if index not in self._indexes:
                    self._indexes[index] = build_index(session, index)
            session.run("UPDATE lc_memory_schema SET generation = generation + 1")

        self._indexes = _stored_indexes(self._db.select)
        if any(index not in self._indexes for index in indexes):
            self._db.transact(work, alone=True)

    def keywords(self) -> SQLKeywords | None:
        from lc_memory.stores import sql_words

        if not sql_words.there(self._db):
            return None
        self._indexes = _stored_indexes(self._db.select)
        if WORDS not in self._indexes:
            self.index_words()
        return sql_words.SQLKeywords(self)

    def index_words(self) -> None:
        """Make the index of words, which every writer then keeps in step."""
        from lc_memory.stores import sql_words

        dialect = sql_words.dialect_of(self._db)

        def create(session: Session) -> None:
            for statement in dialect.create:
                session.run(statement)

        def work(session: Session) -> None:
            if WORDS in self._known_indexes(session, afresh=True):
                return
            if not dialect.commits:
                create(session)
            session.run("DELETE FROM lc_memory_words")
            sql_words.build(session, dialect)
            name = [write_namespace(WORDS.namespace), write_namespace(WORDS.path)]
            session.run("INSERT INTO lc_memory_indexes (namespace, path) VALUES (?, ?)", name)
            session.run("UPDATE lc_memory_schema SET generation = generation + 1")
            self._generation = -1  # read them again with the next write

        if dialect.commits:
            self._db.transact(create)
        self._db.transact(work, alone=True)

    def _known_indexes(self, session: Session, afresh: bool = False) -> dict[Index, int]:
        """Another process may have declared an index: every writer must keep it in step."""
        generation = self._db.generation(session)
        if afresh or generation != self._generation:
            self._indexes = _stored_indexes(session.select)
            self._generation = generation
        return self._indexes


def _is_plain(query: Query) -> bool:
    """Whether one statement answers it, and Python decides nothing but the order."""
    return query.node is None and query.cursor is None and query.sort.attribute == "key"


def _page(rows: Sequence[Row], query: Query) -> Page:
    """The page of rows of which the last, past the limit, tells that there are more."""
    records = [row.record() for row in rows[: query.limit]]
    return page_before_more(records, query) if len(rows) > len(records) else Page(records)


def _beyond(
    columns: Sequence[str], place: Sequence[Any], descending: bool
) -> tuple[str, list[Any]]:
    """The condition of standing after a place in an order of several columns."""
    sign = "<" if descending else ">"
    condition, parameters = f"{columns[-1]} {sign} ?", [place[-1]]
    for column, value in zip(columns[-2::-1], place[-2::-1], strict=True):
        condition = f"({column} {sign} ? OR ({column} = ? AND {condition}))"
        parameters[:0] = [value, value]
    # The first column's bound once more, alone: what an index can begin from.
    return f"{columns[0]} {sign}= ? AND {condition}", [place[0], *parameters]


def _stored_indexes(select: Callable[[str, Sequence[Any]], list[Any]]) -> dict[Index, int]:
    found = select(
        "SELECT id, namespace, path FROM lc_memory_indexes WHERE namespace <> ?", [REINDEXING]
    )
    return {
        Index(read_namespace(namespace), read_namespace(path)): number
        for number, namespace, path in found
    }


class _Snapshot(SQLStore):
    """The store as one transaction sees it."""

    def __init__(self, store: SQLStore, session: Session) -> None:
        self.__dict__.update(store.__dict__)
        self._db = FrozenDatabase(store._db, session)

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        return self._db.transact(lambda session: [])  # raises

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        return self._db.transact(lambda session: [])  # raises

    def close(self) -> None:
        """Who took the snapshot ends it."""
