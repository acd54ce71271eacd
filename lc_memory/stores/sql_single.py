"""One record written by one statement that commits by itself: fewer messages to a server.

The statement is guarded: it writes only if what it was made from is still so, the declared indexes
included. If not, or where an index has to be kept in step, the write is a transaction's
(:mod:`sql_batch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from lc_memory.records import ABSENT, Append, Namespace, Put, Record
from lc_memory.rows import Row, Step, next_key, settle
from lc_memory.store import Clock, Index
from lc_memory.stores.names import write_namespace
from lc_memory.stores.sql_batch import WORDS, load

if TYPE_CHECKING:
    from lc_memory.stores.server import ServerDatabase

_FIELDS: Final = 'namespace, "key", value, version, created_at, updated_at, expires_at, owner'
_LAST: Final = "coalesce((SELECT max(\"key\") FROM lc_memory_records WHERE namespace = ?), '') = ?"
_SET: Final = "value = ?, version = ?, created_at = ?, updated_at = ?, expires_at = ?, owner = ?"
_SEEN: Final = 'namespace = ? AND "key" = ? AND version = ? AND created_at = ? AND updated_at = ?'
_KNOWN: Final = "lc_memory_schema WHERE generation = ?"
_LOGS: Final = 10_000  # whose ends are remembered


class Singles:
    """Writes one record at a time. Who uses it lets one thread at a time in."""

    def __init__(self, database: ServerDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._ends: dict[Namespace, str] = {}  # the last keys of logs, as far as we know

    def write(
        self, step: Step, indexes: dict[Index, int], generation: int
    ) -> list[Record | None] | None:
        """Carry out the step; None if it is a transaction's to do. Raises Conflict."""
        if WORDS in indexes or any(index.covers(step.namespace) for index in indexes):
            return None
        if type(step.op) is Append:
            return self._append(step, generation)
        return self._put(step, generation) if type(step.op) is Put else None

    def _append(self, step: Step, generation: int) -> list[Record | None] | None:
        name = write_namespace(step.namespace)
        last = self._ends.pop(step.namespace, None)
        if last is None:
            sql = 'SELECT max("key") FROM lc_memory_records WHERE namespace = ?'
            ((last,),) = self._database.select(sql, [name])
        row, record = self._settled(replace(step, key=next_key(last)), None)
        if not self._inserted(row, generation, _LAST, [name, last or ""]):
            return None
        if len(self._ends) >= _LOGS:
            self._ends.clear()
        self._ends[step.namespace] = row.key
        return [record]

    def _put(self, step: Step, generation: int) -> list[Record | None] | None:
        assert isinstance(step.op, Put)
        held = None
        if step.op.replacing is not ABSENT:
            select = self._database.select
            held = load(select, self._database, [step.id], whole=False).get(step.id)
        row, record = self._settled(step, held)
        if held is None:
            wrote = self._inserted(row, generation)
        else:
            seen = [write_namespace(row.namespace), row.key, *held[3:6]]
            wrote = self._database.run_alone(
                f"UPDATE lc_memory_records SET {_SET} WHERE {_SEEN} AND EXISTS "
                f"(SELECT 1 FROM {_KNOWN}{self._database.sharing})",
                [*row[2:], *seen, generation],
            )
        return [record] if wrote else None

    def _inserted(
        self, row: Row, generation: int, further: str = "1 = 1", bounds: Sequence[Any] = ()
    ) -> bool:
        number = f"CAST(? AS {self._database.integer})"
        values = f"?, ?, ?, {number}, {number}, {number}, {number}, ?"
        return self._database.run_alone(
            f"INSERT INTO lc_memory_records ({_FIELDS}) SELECT {values} "
            f"FROM {_KNOWN} AND {further}{self._database.sharing}",
            [write_namespace(row.namespace), *row[1:], generation, *bounds],
        )

    def _settled(self, step: Step, held: Row | None) -> tuple[Row, Record]:
        row, record = settle(step, held, self._clock.ticks(1), self._clock.now())
        assert row is not None
        assert record is not None
        return row, record
