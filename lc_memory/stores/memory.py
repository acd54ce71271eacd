"""The reference store: a table in memory. Every other store is tested against it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from lc_memory.records import Op, Record
from lc_memory.rows import prepare
from lc_memory.store import Capabilities, closed
from lc_memory.stores.table import Changes, Table
from lc_memory.stores.table_store import T, TableStore


class MemoryStore(TableStore):
    """Records in memory, for tests and as the model of what a store means.

    ``clock`` gives the time (UTC); by default the system's.
    """

    capabilities = Capabilities(persistent=False, shared=False)

    def __init__(self, *, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__(clock)
        self._table: Table | None = Table()
        self._lock = threading.Lock()

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        steps = prepare(ops)
        with self._lock:
            table = self._open()
            changes = Changes(table)
            results = changes.carry_out(steps, self._clock.ticks(len(steps)), self._clock.now())
            table.apply(changes)
        return results

    def close(self) -> None:
        self._table = None

    def _look(self, ask: Callable[[Table], T]) -> T:
        with self._lock:
            return ask(self._open())

    def _open(self) -> Table:
        if self._table is None:
            raise closed("MemoryStore")
        return self._table
