"""Whole SQL databases: read as of one moment, and replaced in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from lc_memory.errors import StoreReadOnly
from lc_memory.filters import Node
from lc_memory.records import Clear, Id, Namespace, Op, Record, Restore
from lc_memory.stores.database import Database, Names, Select, Session
from lc_memory.stores.sql_filters import Sql

T = TypeVar("T")

#: Records that are written at once.
_CHUNK: Final = 1000


class FrozenDatabase(Database):
    """A database within one transaction, in which nothing changes."""

    def __init__(self, database: Database, session: Session) -> None:
        self._database = database
        self._session = session
        self.engine = database.engine
        self.listed = database.listed
        self.columns = database.columns
        self.sorts_all = database.sorts_all
        self.then = database.then

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._session.select(sql, parameters)

    def condition(self, node: Node | None) -> Sql | None:
        return self._database.condition(node)

    def among(self, ids: Sequence[Id]) -> tuple[str, str, list[Any]]:
        return self._database.among(ids)

    def names(self, select: Select, wanted: Names, limit: int) -> list[str]:
        return self._database.names(select, wanted, limit)

    def generation(self, session: Session) -> int:
        return self._database.generation(session)

    def transact(self, work: Callable[[Session], T], *, alone: bool = False) -> T:
        raise StoreReadOnly("a snapshot is read, not written")

    def scrub(self) -> bool:
        raise StoreReadOnly("a snapshot is read, not written")

    def migrate(self) -> None:
        """The tables are there."""

    def close(self) -> None:
        """Who took the snapshot ends it."""


def in_chunks(
    records: Callable[[], Iterable[Record]], clearing: Sequence[Namespace]
) -> Iterator[list[Op]]:
    """The operations that replace what is under the prefixes, some at a time."""
    yield [Clear(prefix) for prefix in clearing]
    restored = map(Restore, records())
    while chunk := list[Op](islice(restored, _CHUNK)):
        yield chunk
