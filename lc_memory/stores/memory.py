"""The reference store: a dictionary. Every other store is tested against it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from lc_memory import values
from lc_memory.paging import page_of
from lc_memory.records import Id, Op, Page, Query, Record, check_id
from lc_memory.rows import Row, prepare, settle_all
from lc_memory.store import Capabilities, Clock, Store, closed


class MemoryStore(Store):
    """Records in a dictionary, for tests and as the model of what a store means.

    ``clock`` gives the time (UTC); by default the system's.
    """

    capabilities = Capabilities(persistent=False, shared=False)

    def __init__(self, *, clock: Callable[[], datetime] | None = None) -> None:
        self._rows: dict[Id, Row] | None = {}
        self._clock = Clock(clock)
        self._lock = threading.Lock()

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        ids = [check_id(id) for id in ids]
        now = self._clock.now()
        with self._lock:
            rows = [self._open().get(id) for id in ids]
        return [row.record() if row and (expired or row.lives_at(now)) else None for row in rows]

    def find(self, query: Query) -> Page:
        now = self._clock.now()
        with self._lock:
            rows = [
                row
                for row in self._open().values()
                if query.covers(row.namespace) and (query.expired or row.lives_at(now))
            ]
        return page_of((row.record() for row in rows), query)

    def count(self, query: Query | None = None) -> int:
        return len(self.find(query or Query()).records)

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        steps = prepare(ops)
        with self._lock:
            rows = self._open().copy()
            tick = self._clock.ticks(len(steps))
            results = settle_all(steps, rows, tick, self._clock.now())
            self._rows = rows
        return results

    def now(self) -> datetime:
        return values.from_micros(self._clock.now())

    def close(self) -> None:
        self._rows = None

    def _open(self) -> dict[Id, Row]:
        if self._rows is None:
            raise closed("MemoryStore")
        return self._rows
