"""An ordered log in a namespace: what chat histories and sessions are made of.

Entries have keys that the store hands out one after the other (:class:`~lc_memory.records.Append`),
so the order is the order of commits, with no clock in it, and a batch stays together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lc_memory.errors import Conflict
from lc_memory.records import Append, Clear, Namespace, Order, Query, Record, check_namespace
from lc_memory.store import RETRIES, Store

_LATEST = Order("key", descending=True)


class Log:
    """The log in one namespace of a store."""

    def __init__(self, store: Store, namespace: Namespace) -> None:
        self.store = store
        self.namespace = check_namespace(namespace)

    def operations(self, entries: Iterable[Mapping[str, Any]]) -> list[Append]:
        """The batch that appends these entries."""
        return [Append(self.namespace, entry) for entry in entries]

    def append(self, entries: Iterable[Mapping[str, Any]]) -> list[Record]:
        """Append all entries, one after the other, or none of them."""
        ops = self.operations(entries)
        return [record for record in self.store.write(ops) if record] if ops else []

    def tail(self, limit: int | None = None) -> list[Record]:
        """The latest ``limit`` entries (None: all), oldest first."""
        if limit is None:
            return self.store.find(Query(self.namespace, exact=True)).records
        query = Query(self.namespace, exact=True, order=_LATEST, limit=limit)
        return self.store.find(query).records[::-1]

    def pop(self) -> Record | None:
        """Take the latest entry off; each entry is given to one caller only."""
        for _ in range(RETRIES):
            latest = self.tail(1)
            if not latest:
                return None
            try:
                if self.store.delete(self.namespace, latest[0].key, replacing=latest[0]):
                    return latest[0]
            except Conflict:
                continue
        raise Conflict(f"{'/'.join(self.namespace)!r} is changed by others all the time")

    def clear(self) -> None:
        """Delete all entries."""
        self.store.write([Clear(self.namespace)])

    def __len__(self) -> int:
        return self.store.count(Query(self.namespace, exact=True))
