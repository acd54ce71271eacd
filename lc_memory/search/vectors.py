"""Indexes of vectors: in memory, or in Chroma (:mod:`lc_memory.search.chroma`).

Neither is where anything is kept: both are made of the store's records, and can be made anew.
"""

from __future__ import annotations

import threading
from array import array
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
        self.start_anew()

    def start_anew(self) -> None:
        with self._lock:
            self._rows: dict[Id, int] = {}
            self._ids: list[Id] = []  # of each row
            self._marks: list[str] = []
            self._matrix: Vectors | None = None  # with room for more rows
            self._spaces: dict[Namespace, int] = {}  # the namespaces' numbers
            self._space = array("q")  # of each row

    def __len__(self) -> int:
        return len(self._ids)

    def nearest(self, vector: Vectors, scope: Scope, limit: int) -> list[Id]:
        import numpy as np

        with self._lock:
            if self._matrix is None or not self._ids or not limit:
                return []
            covered = np.array([scope.covers_all(space) for space in self._spaces])
            within = covered[np.frombuffer(self._space, dtype=np.int64)]
            for id in scope.within.ids if scope.within is not None else ():
                if id in self._rows and scope.covers(id):
                    within[self._rows[id]] = True
            rows = np.flatnonzero(within)
            likeness = (self._matrix[: len(self._ids)] @ unit(vector))[rows]
            if len(rows) > limit:
                least = np.partition(likeness, -limit)[-limit]
                rows, likeness = rows[likeness >= least], likeness[likeness >= least]
            ids = [self._ids[row] for row in rows.tolist()]
        return [id for _, id in sorted(zip((-likeness).tolist(), ids, strict=True))[:limit]]

    def fetch(self, ids: Sequence[Id]) -> dict[Id, Entry]:
        with self._lock:
            matrix = self._matrix
            if matrix is None:
                return {}
            there = [(id, row) for id in ids if (row := self._rows.get(id)) is not None]
            return {id: Entry(id, self._marks[row], matrix[row].copy()) for id, row in there}

    def stale(self, marks: Mapping[Id, str]) -> list[Id]:
        """Those whose vector is not there, or of another state of the record than marked."""
        with self._lock:
            rows, known = self._rows, self._marks
            return [
                id
                for id, mark in marks.items()
                if (row := rows.get(id)) is None or known[row] != mark
            ]

    def matrix(self, ids: Iterable[Id]) -> Vectors | None:
        """A row for each: its vector of length 1, or zeros; None if there are no vectors."""
        with self._lock:
            if self._matrix is None:
                return None
            rows = [self._rows.get(id, -1) for id in ids]
            found = self._matrix[rows]
        missing = [i for i, row in enumerate(rows) if row < 0]
        found[missing] = 0
        return found

    def put(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for id, mark, vector in entries:
                matrix = self._room(len(vector))
                row = self._rows.setdefault(id, len(self._ids))
                if row == len(self._ids):
                    self._ids.append(id)
                    self._marks.append(mark)
                    self._space.append(self._spaces.setdefault(id[0], len(self._spaces)))
                matrix[row], self._marks[row] = unit(vector), mark

    def remove(self, ids: Iterable[Id]) -> None:
        with self._lock:
            for id in ids:
                row = self._rows.pop(id, None)
                if row is None or self._matrix is None:
                    continue
                last, mark, space = self._ids.pop(), self._marks.pop(), self._space.pop()
                if last != id:  # it takes the free row
                    self._matrix[row] = self._matrix[len(self._ids)]
                    self._rows[last] = row
                    self._ids[row], self._marks[row], self._space[row] = last, mark, space

    def clear(self, prefix: Namespace) -> None:
        self.remove(list(self.marks(prefix)))

    def marks(self, prefix: Namespace) -> Mapping[Id, str]:
        size = len(prefix)
        with self._lock:
            marked = zip(self._ids, self._marks, strict=True)
            return {id: mark for id, mark in marked if id[0][:size] == prefix}

    def close(self) -> None:
        self.start_anew()

    def _room(self, size: int) -> Vectors:
        """The matrix, with room for one more row."""
        import numpy as np

        used, matrix = len(self._ids), self._matrix
        if matrix is None or used == len(matrix):
            grown = np.zeros((max(256, used * 2), size), dtype=np.float32)
            if matrix is not None:
                grown[:used] = matrix
            self._matrix = matrix = grown
        return matrix


def unit(vector: Vectors | Sequence[float]) -> Vectors:
    """The vector with length 1."""
    import numpy as np

    array = np.asarray(vector, dtype=np.float32)
    return array / max(float(np.linalg.norm(array)), 1e-9)
