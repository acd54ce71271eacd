"""What the stores that keep everything in memory have in common: how they answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Self, TypeVar

from lc_memory import values
from lc_memory.errors import StoreReadOnly
from lc_memory.records import (
    Id,
    Namespace,
    Op,
    Page,
    Query,
    Record,
    State,
    check_id,
    check_namespace,
)
from lc_memory.rows import Row
from lc_memory.store import Clock, Store
from lc_memory.stores.table import Table, page

if TYPE_CHECKING:
    from lc_memory.search.asking import Progress, Scope

T = TypeVar("T")


class TableStore(Store):
    """A store that answers from a :class:`Table`; ``clock`` gives the time (UTC)."""

    def __init__(self, clock: Callable[[], datetime] | None) -> None:
        self._clock = Clock(clock)

    @abstractmethod
    def _look(self, ask: Callable[[Table], T]) -> T:
        """Ask the table, which does not change meanwhile. Raises StoreClosed."""

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        ids = [check_id(id) for id in ids]
        now = self._clock.now()
        rows = self._look(lambda table: [table.get(id) for id in ids])
        return [row.record() if row and (expired or row.lives_at(now)) else None for row in rows]

    def states(self, ids: Sequence[Id]) -> list[State | None]:
        ids = [check_id(id) for id in ids]
        rows = self._look(lambda table: [table.get(id) for id in ids])
        return [None if row is None else row.state for row in rows]

    def find(self, query: Query) -> Page:
        now = self._clock.now()
        return page(self._look(lambda table: table.select(query, now)), query)

    def count(self, query: Query | None = None) -> int:
        query = query or Query()
        if query.node or query.limit is not None or query.offset or query.cursor:
            return super().count(query)
        now = self._clock.now()
        return len(self._look(lambda table: table.select(query, now)))

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        Query(prefix, limit=limit), check_namespace(after or ())  # or they raise
        now = None if expired else self._clock.now()
        return self._look(lambda table: table.living(prefix, after, limit, now))

    def now(self) -> datetime:
        return values.from_micros(self._clock.now())

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        # Rows never change, so this copies the references to them.
        yield FrozenTable(self._look(lambda table: Table(table)), self.now)

    def keywords(self) -> TableKeywords:
        self._look(Table.index_words)
        return TableKeywords(self)


class FrozenTable(TableStore):
    """A table that nobody writes any more."""

    def __init__(self, table: Table, clock: Callable[[], datetime]) -> None:
        super().__init__(clock)
        self._table = table

    @classmethod
    def of(cls, records: Iterable[Record], clock: Callable[[], datetime]) -> Self:
        return cls(Table(Row.of(record, values.encode(record.value)) for record in records), clock)

    def _look(self, ask: Callable[[Table], T]) -> T:
        return ask(self._table)

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        raise StoreReadOnly("a snapshot is read, not written")

    def close(self) -> None:
        """There is nothing to release."""


class TableKeywords:
    """The index of words of a table, which keeps it in step itself."""

    def __init__(self, store: TableStore) -> None:
        self._look = store._look

    def counts(self, tokens: list[str], scope: Scope) -> tuple[int, dict[str, int]]:
        return self._look(lambda table: table.index_words().counts(tokens, scope))

    def best(self, tokens: Mapping[str, float], scope: Scope, limit: int) -> list[Id]:
        return self._look(lambda table: table.index_words().best(tokens, scope, limit))

    def rebuild(self, progress: Progress | None = None) -> int:
        def anew(table: Table) -> int:
            table.postings = None
            return len(table.index_words())

        count = self._look(anew)
        if progress is not None:
            progress(count, count)
        return count
