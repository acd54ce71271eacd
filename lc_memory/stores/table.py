"""Rows in memory, in order: what the stores that keep everything in memory are made of.

A write is worked out in :class:`Changes` first, over a table that stays as it is, and then
applied whole.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from lc_memory.paging import cut, page_of, read_cursor
from lc_memory.records import Clear, Id, Namespace, Page, Query, Record
from lc_memory.rows import Row, Step, next_key, settle

if TYPE_CHECKING:
    from lc_memory.search.postings import Postings


class _Space:
    """The rows of one namespace; the keys are sorted."""

    __slots__ = ("keys", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.keys: list[str] = []


class Table:
    """Rows by id and in the order of their ids. Not locked: the store that owns it does that."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._spaces: dict[Namespace, _Space] = {}
        self._names: list[Namespace] = []
        #: The index of words, if it was asked for.
        self.postings: Postings | None = None
        for row in rows:
            self.put(row)

    def index_words(self) -> Postings:
        """The index of words, kept in step from now on."""
        from lc_memory.search.postings import Postings

        if self.postings is None:
            self.postings = Postings()
            for row in self:
                self._enter(row)
        return self.postings

    def _enter(self, row: Row) -> None:
        from lc_memory.search.texts import is_searched, tokens_of

        if self.postings is not None and is_searched(row.namespace):
            self.postings.put(row[:2], tokens_of(row.record()))

    def get(self, id: Id) -> Row | None:
        space = self._spaces.get(id[0])
        return None if space is None else space.rows.get(id[1])

    def put(self, row: Row) -> None:
        space = self._spaces.get(row.namespace)
        if space is None:
            space = self._spaces[row.namespace] = _Space()
            insort(self._names, row.namespace)
        key = row.key
        if key not in space.rows:
            keys = space.keys
            if keys and key < keys[-1]:
                insort(keys, key)
            else:  # as logs grow
                keys.append(key)
        space.rows[key] = row
        if self.postings is not None:
            self._enter(row)

    def remove(self, id: Id) -> None:
        namespace, key = id
        space = self._spaces.get(namespace)
        if space is None or space.rows.pop(key, None) is None:
            return
        if self.postings is not None:
            self.postings.remove(id)
        del space.keys[bisect_left(space.keys, key)]
        if not space.keys:
            self._drop(namespace)

    def clear(self, prefix: Namespace) -> None:
        for namespace in list(self.namespaces(prefix)):
            self._drop(namespace)
        if self.postings is not None:
            self.postings.clear(prefix)

    def _drop(self, namespace: Namespace) -> None:
        del self._spaces[namespace]
        del self._names[bisect_left(self._names, namespace)]

    def apply(self, changes: Changes) -> None:
        for prefix in changes.cleared:
            self.clear(prefix)
        for id, row in changes.rows.items():
            if row is None:
                self.remove(id)
            else:
                self.put(row)

    # -- looking ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(len(space.keys) for space in self._spaces.values())

    def __iter__(self) -> Iterator[Row]:
        """All rows, in the order of their ids."""
        return self._walk(Query(), None)

    def keys_down(self, namespace: Namespace) -> Iterator[str]:
        """The keys of one namespace, greatest first."""
        space = self._spaces.get(namespace)
        return reversed(space.keys) if space else iter(())

    def namespaces(
        self, prefix: Namespace = (), *, after: Namespace | None = None, descending: bool = False
    ) -> Iterator[Namespace]:
        """The namespaces under the prefix that hold rows, in order."""
        size = len(prefix)
        low = bisect_left(self._names, prefix)
        high = bisect_right(self._names, prefix, low, key=lambda name: name[:size])
        if after is not None:
            low = bisect_right(self._names, after, low, high)
        places = range(low, high)
        return (self._names[place] for place in (reversed(places) if descending else places))

    def living(
        self, prefix: Namespace, after: Namespace | None, limit: int | None, now: int | None
    ) -> list[Namespace]:
        """The first namespaces under the prefix that hold a row that lives (None: any row)."""
        found = (
            name
            for name in self.namespaces(prefix, after=after)
            if now is None or any(row.lives_at(now) for row in self._spaces[name].rows.values())
        )
        return list(islice(found, limit))

    def select(self, query: Query, now: int) -> list[Row]:
        """The rows that :func:`page` needs for the query, without looking into their values.

        They come in the order of their ids, descending if the query's order is.
        """
        by_key = query.sort.attribute == "key"
        after = read_cursor(query.sort, query.cursor) if query.cursor is not None else None
        living: Iterator[Row] = self._walk(query, after[1:] if after and by_key else None)
        if (limits := query.within) is not None:
            living = (row for row in living if limits.allow(row[:2]))
        if not query.expired:
            living = (row for row in living if row.expires is None or row.expires > now)
        if by_key and query.node is None and query.limit is not None:
            return list(islice(living, query.offset + query.limit + 1))
        return list(living)

    def _walk(self, query: Query, after: Id | None) -> Iterator[Row]:
        """The rows the query covers, in the direction of its order, from after an id."""
        down = query.sort.descending
        if query.exact:
            names = iter([query.prefix] if query.prefix in self._spaces else [])
        else:
            names = self.namespaces(query.prefix, descending=down)
        for name in names:
            space = self._spaces[name]
            keys: Sequence[str] = space.keys
            low, high = 0, len(keys)
            if after is not None and name == after[0]:
                if down:
                    high = bisect_left(keys, after[1])
                else:
                    low = bisect_right(keys, after[1])
            elif after is not None and (name > after[0] if down else name < after[0]):
                continue
            places = range(low, high)
            for place in reversed(places) if down else places:
                yield space.rows[keys[place]]


def page(rows: list[Row], query: Query) -> Page:
    """The page of a query, from what :meth:`Table.select` gave for it.

    Only the values that a filter must see, or that go into the page, are decoded.
    """
    order = query.sort
    if order.attribute is None:
        return page_of((row.record() for row in rows), query)
    if order.attribute != "key":
        rows = _by_time(rows, order.attribute, query)
    records: Iterator[Record] = (row.record() for row in rows)
    node = query.node
    if node is not None:
        records = (record for record in records if node.matches(record.value))
    stop = None if query.limit is None else query.offset + query.limit + 1
    return cut(list(islice(records, query.offset, stop)), query)


def _by_time(rows: list[Row], attribute: str, query: Query) -> list[Row]:
    order = query.sort
    time: Callable[[Row], int] = attrgetter(attribute.removesuffix("_at"))
    rows = sorted(rows, key=time, reverse=order.descending)
    if query.cursor is None:
        return rows
    after = read_cursor(order, query.cursor)
    if order.descending:
        return [row for row in rows if (time(row), row.namespace, row.key) < after]
    return [row for row in rows if (time(row), row.namespace, row.key) > after]


class Changes:
    """What some batches make of a table: the rows they leave, None for what they delete.

    ``cleared`` are prefixes under which everything was deleted before ``rows`` came.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._last: dict[Namespace, str | None] = {}
        self.cleared: list[Namespace] = []
        self.rows: dict[Id, Row | None] = {}

    def __bool__(self) -> bool:
        return bool(self.rows or self.cleared)

    def copy(self) -> Changes:
        other = Changes(self._table)
        other._last = self._last.copy()
        other.cleared = self.cleared.copy()
        other.rows = self.rows.copy()
        return other

    def carry_out(self, steps: Sequence[Step], tick: int, now: int) -> list[Record | None]:
        """Add one batch; returns what its steps give. Raises Conflict, half done."""
        results: list[Record | None] = []
        for offset, step in enumerate(steps):
            if isinstance(step.op, Clear):
                self._clear(step.namespace)
                results.append(None)
                continue
            held = None
            if step.key is None:  # under the key after the last one, there is nothing
                step.key = next_key(self._last_key(step.namespace))
            else:
                held = self._get((step.namespace, step.key))
            row, result = settle(step, held, tick + offset, now)
            if row is not held:
                self._set((step.namespace, step.key), row)
            results.append(result)
        return results

    def _get(self, id: Id) -> Row | None:
        if id in self.rows:
            return self.rows[id]
        cleared = self.cleared and self._was_cleared(id[0])
        return None if cleared else self._table.get(id)

    def _set(self, id: Id, row: Row | None) -> None:
        self.rows[id] = row
        namespace, key = id
        if namespace in self._last:
            last = self._last[namespace]
            if row is None and key == last:
                del self._last[namespace]
            elif row is not None and (last is None or key > last):
                self._last[namespace] = key

    def _clear(self, prefix: Namespace) -> None:
        size = len(prefix)
        self.rows = {id: row for id, row in self.rows.items() if id[0][:size] != prefix}
        self._last.clear()
        self.cleared.append(prefix)

    def _was_cleared(self, namespace: Namespace) -> bool:
        return any(namespace[: len(prefix)] == prefix for prefix in self.cleared)

    def _last_key(self, namespace: Namespace) -> str | None:
        if namespace in self._last:
            return self._last[namespace]
        keys: list[str] = []
        if self.rows:
            keys = [id[1] for id, row in self.rows.items() if row and id[0] == namespace]
        if not (self.cleared and self._was_cleared(namespace)):
            for key in self._table.keys_down(namespace):
                if not self.rows or (namespace, key) not in self.rows:
                    keys.append(key)
                    break
        last = self._last[namespace] = max(keys, default=None)
        return last
