"""How the SQL store reads: candidates from the database, and what matches from Python.

The part of a filter that can be said in SQL narrows the candidates (:mod:`sql_filters`), as a
declared index does; the filter itself is asked about each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from lc_memory.paging import (
    Position,
    cut,
    page_before_more,
    page_of,
    position,
    read_cursor,
)
from lc_memory.records import Id, Namespace, Page, Query, Record, State, check_id, check_namespace
from lc_memory.rows import Row
from lc_memory.store import Clock, Index, Store
from lc_memory.stores.database import Database, Names
from lc_memory.stores.names import namespace_range, read_namespace, write_namespace
from lc_memory.stores.sql_batch import allowed, load, load_states, row_of, under
from lc_memory.stores.sql_filters import ODD_KEY, Ranges, Sql, best_ranges, only_of

#: The entries of an index in a namespace; none, if it does not tell all of one of its records.
_WALKED: Final = (
    "f.index_id = ? AND f.namespace = ? AND NOT EXISTS (SELECT 1 FROM lc_memory_fields AS odd "
    "WHERE odd.index_id = ? AND odd.namespace = ? AND odd.sort_key = ?)"
)

#: From so many entries on, an index's range is not sorted before the nearest records were tried.
_CROWD: Final = 1_000

#: As LIMIT: everything.
_ALL: Final = 2**62


class SQLReader(Store):
    """The reading half of :class:`~lc_memory.stores.sql.SQLStore`."""

    _db: Database
    _clock: Clock
    _indexes: dict[Index, int]

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        ids = [check_id(id) for id in ids]
        now = self._clock.now()
        rows = load(self._db.select_again, self._db, ids)
        found = (rows.get(id) for id in ids)
        return [row.record() if row and (expired or row.lives_at(now)) else None for row in found]

    def states(self, ids: Sequence[Id]) -> list[State | None]:
        ids = [check_id(id) for id in ids]
        found = load_states(self._db.select, self._db, ids)
        return [found.get(id) for id in ids]

    def find(self, query: Query) -> Page:
        if query.sort.attribute is None:
            return self._walked(query) or self._sorted(query)
        if query.exact and query.sort.attribute == "updated_at":
            self._db.in_time(query.prefix)
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
            if not (rows or seen) and walk is None and self._crowded(query):
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
        if walk is not None and limit is not None and self._db.sorts_all:
            near = self._near(query, after, limit, walk)
            if near is not None:
                sql, parameters = self._statement(query, after, limit, offset, walk, near=near)
                rows = [row_of(found) for found in self._db.select(sql, parameters)]
                if len(rows) == limit:
                    return rows
        sql, parameters = self._statement(query, after, limit, offset, walk, most)
        return [row_of(found) for found in self._db.select(sql, parameters)]

    def _near(self, query: Query, after: Position | None, limit: int, walk: int) -> Sql | None:
        """The part of an index to walk that should be enough for a page. None: all of it."""
        conditions, parameters = self._walking(query, walk)
        last, first = (">=", "<=") if query.sort.descending else ("<=", ">=")
        if after is not None:
            conditions.append(f"f.sort_key {first} ?")
            parameters.append(after[0])
        sql = (
            f"SELECT hex(f.sort_key) FROM lc_memory_fields AS f WHERE {' AND '.join(conditions)} "
            f"ORDER BY f.sort_key{' DESC' if query.sort.descending else ''} LIMIT 1 OFFSET ?"
        )
        found = self._db.select(sql, [*parameters, 2 * limit])
        return (f"f.sort_key {last} ?", [bytes.fromhex(found[0][0])]) if found else None

    def _statement(
        self,
        query: Query,
        after: Position | None,
        limit: int | None,
        offset: int,
        walk: int | None = None,
        most: int | None = None,
        near: Sql | None = None,
    ) -> tuple[str, list[Any]]:
        source, conditions, parameters = self._candidates(query, walk, most)
        if near is not None:
            conditions.append(near[0])
            parameters += near[1]
        order, walked = query.sort, walk is not None
        columns, ordered = _ordering(order.attribute, order.descending, walked, query.exact)
        if after is not None:
            first, namespace, key = after
            place = {"first": first, "namespace": write_namespace(namespace), "key": key}
            beyond, bounds = _beyond(
                list(columns), [place[n] for n in columns.values()], order.descending
            )
            conditions.append(beyond)
            parameters += bounds
        sql = f"SELECT {self._db.columns} FROM {source} WHERE {' AND '.join(conditions)}{ordered}"
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
            walked, parameters = self._walking(query, walk)
            conditions += ["r.id = f.record_id", *walked]
        elif entries is not None:
            sql, keys, ranges = entries
            low, high = ranges.ranges[0]
            once = len(ranges.ranges) == 1 and low == high  # no record is there twice
            if most is not None and ranges.cost > 2:  # first: SQLite would ask it of each entry
                count = f"SELECT count(*) AS n FROM (SELECT 1 FROM {sql} LIMIT {most}) AS first"
                sql = f"({count}) AS c {self._db.then} {sql} AND c.n < {most}"
                keys = [*keys, *keys]
            source = (
                f"(SELECT {'' if once else 'DISTINCT '}record_id FROM {sql}) AS f "
                f"{self._db.then if most else 'CROSS JOIN'} lc_memory_records AS r"
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
            condition, names = allowed(query.within, self._db.listed)
            conditions.append(condition)
            parameters += names
        return source, conditions, parameters

    def _walking(self, query: Query, walk: int) -> tuple[list[str], list[Any]]:
        """The conditions on the entries ``f`` of the index to walk."""
        place = [walk, write_namespace(query.prefix)]
        conditions, parameters = [_WALKED], [*place, *place, ODD_KEY]
        entries = None if query.node is None else self._entries(query)
        if entries is not None and entries[2].path == query.sort.path and entries[2].only:
            conditions.append("f.sort_key BETWEEN ? AND ?")
            parameters += entries[2].only
        return conditions, parameters

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
        Query(prefix, limit=limit), check_namespace(after or ())  # or they raise
        start, inclusive = write_namespace(prefix), True
        if after is not None and write_namespace(after) >= start:
            start, inclusive = write_namespace(after), False
        within = namespace_range(prefix)
        bounds = Names(
            start, inclusive, within and within[1], None if expired else self._clock.now()
        )
        found = self._db.names(self._db.select, bounds, _ALL if limit is None else limit)
        return [read_namespace(name) for name in found]


@lru_cache(maxsize=64)
def _ordering(
    attribute: str | None, descending: bool, walked: bool, exact: bool
) -> tuple[dict[str, str], str]:
    """The columns that a query sorts by, with what a cursor calls them, and how it says so."""
    columns = {"r.namespace": "namespace", 'r."key"': "key"}
    if attribute in ("created_at", "updated_at"):
        columns = {f"r.{attribute}": "first"} | columns
    if walked:
        columns = {"f.sort_key": "first"} | columns
    if exact:  # the namespace is one: leave it out, and the index gives the order
        del columns["r.namespace"]
    direction = " DESC" if descending else ""
    told = f" ORDER BY {', '.join(column + direction for column in columns)}"
    return columns, told if attribute is not None or walked else ""


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
