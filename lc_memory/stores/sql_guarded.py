"""New records, on conditions: one statement, which commits by itself, for one batch or several.

It writes only if the conditions hold, none of the records is there yet, and the declared indexes
are those we know. If not, or where an index has to be kept in step, the batches are a
transaction's (:mod:`sql_batch`), which tells what was in the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from lc_memory.records import ABSENT, Expect, Put, Record
from lc_memory.rows import Row, Step, settle
from lc_memory.store import Clock, Index
from lc_memory.stores.names import read_namespace, write_namespace
from lc_memory.stores.sql_batch import WORDS
from lc_memory.stores.sql_single import NEW, inserting, is_bare, told

if TYPE_CHECKING:
    from lc_memory.stores.database import Database

_MOST: Final = 8  # records, and conditions: each number of them is a statement of its own
_THERE: Final = (
    'SELECT 1 FROM lc_memory_records AS r WHERE r.namespace = ? AND r."key" = ? '
    "AND (r.expires_at IS NULL OR r.expires_at > ?)"
)
_SEEN: Final = f"{_THERE} AND r.version = ? AND r.created_at = ?"


class Guarded:
    """Writes new records under conditions. Who uses it lets one thread at a time in."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: tuple[int, dict[Index, int]] | None = None

    def write(self, batches: Sequence[Sequence[Step]]) -> list[list[Record | None]] | None:
        """Carry out all of the batches; None if they are a transaction's to do."""
        steps = batches[0] if len(batches) == 1 else [*chain.from_iterable(batches)]
        count = len(steps)
        if count > _MOST or not all(map(_conditional, batches)):
            return None
        generation, indexes = self._known or self._read_indexes()
        if indexes and (
            WORDS in indexes or any(i.covers(step.namespace) for i in indexes for step in steps)
        ):
            return None
        tick, now = self._clock.ticks(count), self._clock.now()
        rows: list[Row] = []
        conditions: list[bool] = []  # whether it says of which version a record must be
        bounds: list[Any] = [generation]
        results: list[Record | None] = []
        for at, step in enumerate(steps):
            op, record = step.op, None
            if type(op) is Expect:
                bounds += write_namespace(step.namespace), step.key, now
                if isinstance(op.seen, Record):
                    bounds += op.seen.stamp
                    conditions.append(True)
                else:
                    conditions.append(False)
            else:
                row, record = settle(step, None, tick + at, now)
                assert row is not None
                rows.append(row)
            results.append(record)
        if rows:
            sql, new = self._statement(rows, tuple(conditions))
            if self._database.run_alone(sql, [*new, *bounds], len(rows)):
                if len(batches) == 1:
                    return [results]
                each = iter(results)
                return [[next(each) for _ in batch] for batch in batches]
        self._clock.release(tick, count)
        self._known = None
        return None

    def _statement(
        self, rows: Sequence[Row], conditions: tuple[bool, ...]
    ) -> tuple[str, Sequence[Any]]:
        """What inserts the rows if the conditions hold, and what is bound of the rows."""
        guards = _guards(conditions, self._database.holding)
        if len(rows) == 1:
            bare = is_bare(rows[0])
            return inserting(self._database, bare, guards), told(rows[0], bare)
        bare = all(map(is_bare, rows))
        source, new = self._database.table_of([told(row, bare) for row in rows])
        return _inserting_all(source, bare, guards), new

    def _read_indexes(self) -> tuple[int, dict[Index, int]]:
        found = self._database.select(
            "SELECT s.generation, i.id, i.namespace, i.path "
            "FROM lc_memory_schema AS s LEFT JOIN lc_memory_indexes AS i ON 1 = 1"
        )
        self._known = (
            int(found[0][0]),
            {
                Index(read_namespace(namespace), read_namespace(path)): number
                for _, number, namespace, path in found
                if number is not None
            },
        )
        return self._known


def _conditional(steps: Sequence[Step]) -> bool:
    """Whether they are new records and conditions, and say of some record that it is, or is not
    there: others may well replace what is there."""
    told = False
    for step in steps:
        op = step.op
        if type(op) is Expect:
            told = True
        elif type(op) is Put and (op.replacing is None or op.replacing is ABSENT):
            told = told or op.replacing is ABSENT
        else:
            return False
    return told


@lru_cache(maxsize=256)
def _inserting_all(source: str, bare: bool, guards: str) -> str:
    return (
        f"{NEW[bare]} SELECT w.*, 1 FROM {source} AS w "
        f"CROSS JOIN lc_memory_schema AS s WHERE s.generation = ?{guards}"
    )


@lru_cache(maxsize=256)
def _guards(conditions: tuple[bool, ...], holding: str) -> str:
    return "".join(f" AND EXISTS ({_SEEN if seen else _THERE}{holding})" for seen in conditions)
