"""Indexes of vectors: in memory, or in Chroma (:mod:`lc_memory.search.chroma`).

Neither is where anything is kept: both are made of the store's records, and can be made anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lc_memory import values
from lc_memory.records import Id, Namespace, Record
from lc_memory.search.asking import Scope

if TYPE_CHECKING:
    from lc_memory.search.embeddings import Vectors


class Entry(NamedTuple):
    """A vector, and the mark of the record that it was made of."""

    id: Id
    mark: str
    vector: Vectors


def mark_of(record: Record) -> str:
    """Says which state of a record an index knows."""
    return f"{record.version}-{values.micros(record.updated_at)}"


class VectorIndex(Protocol):
    #: Whether it outlives the process, so that it must catch up after a crash.
    durable: bool

    #: Whether all that was stored has been indexed at least once.
    whole: bool

    def nearest(self, vector: Vectors, scope: Scope, limit: int) -> list[Id]:
        """The records in scope whose vectors are most like this one, the most alike first."""

    def fetch(self, ids: Sequence[Id]) -> dict[Id, Entry]:
        """The vectors of those records that have one."""

    def put(self, entries: Sequence[Entry]) -> None:
        """Add vectors, or replace them."""

    def remove(self, ids: Iterable[Id]) -> None:
        """Delete the vectors of these records."""

    def clear(self, prefix: Namespace) -> None:
        """Delete the vectors of all records under the prefix."""

    def marks(self, prefix: Namespace) -> Mapping[Id, str]:
        """What is known: the marks of all records under the prefix."""

    def start_anew(self) -> None:
        """Delete all vectors; from now on they may be of another model."""

    def close(self) -> None: ...


class MemoryVectors:
    """Vectors in memory, all of them compared: exact, and quick up to some 100,000."""

    durable = False

    def __init__(self) -> None:
        self.whole = False
        self._lock = threading.RLock()
        self._entries: dict[Id, Entry] = {}
        self._order: list[Id] = []
        self._matrix: Vectors | None = None  # one row for each of _order; None: out of date

    def nearest(self, vector: Vectors, scope: Scope, limit: int) -> list[Id]:
        import numpy as np

        covers = scope.covers
        with self._lock:
            if self._matrix is None:
                self._order = sorted(self._entries)
                rows = [unit(self._entries[id].vector) for id in self._order]
                self._matrix = np.array(rows, dtype=np.float32)
            order, matrix = self._order, self._matrix
        within = [row for row, id in enumerate(order) if covers(id)]
        if not within:
            return []
        found = (matrix if len(within) == len(order) else matrix[within]) @ unit(vector)
        best = np.argsort(-found, kind="stable")[:limit]
        return [order[within[int(i)]] for i in best]

    def fetch(self, ids: Sequence[Id]) -> dict[Id, Entry]:
        with self._lock:
            return {id: entry for id in ids if (entry := self._entries.get(id)) is not None}

    def put(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            self._entries |= {entry.id: entry for entry in entries}
            self._matrix = None

    def remove(self, ids: Iterable[Id]) -> None:
        with self._lock:
            for id in ids:
                if self._entries.pop(id, None) is not None:
                    self._matrix = None

    def clear(self, prefix: Namespace) -> None:
        self.remove(list(self.marks(prefix)))

    def marks(self, prefix: Namespace) -> Mapping[Id, str]:
        size = len(prefix)
        with self._lock:
            return {id: e.mark for id, e in self._entries.items() if id[0][:size] == prefix}

    def start_anew(self) -> None:
        self.clear(())

    def close(self) -> None:
        self.clear(())


def unit(vector: Vectors) -> Vectors:
    """The vector with length 1."""
    import numpy as np

    array = np.asarray(vector, dtype=np.float32)
    return array / max(float(np.linalg.norm(array)), 1e-9)
