"""One record written by one statement that commits by itself: fewer messages to a server.

The statement is guarded: it writes only if what it was made from is still so, the declared indexes
included. If not, or where an index has to be kept in step, the write is a transaction's
(:mod:`sql_batch`).

Where a database tells what an upsert has made of a row, a Put without conditions need not read it
first. This is the one place beside :mod:`lc_memory.rows` that says what a Put does to a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
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
_LIVING: Final = "(expires_at IS NULL OR expires_at > ?)"
_KNOWN: Final = "lc_memory_schema WHERE generation = ?"
_LOGS: Final = 10_000  # whose ends are remembered

#: What an upsert makes of a row that is there, one that has expired counting as absent. Expiry
#: comes last: MySQL sets one column after the other.
_SUCCEEDING: Final = (
    "value = {value}, version = CASE WHEN {dead} THEN 1 ELSE {old}.version + 1 END, "
    "created_at = CASE WHEN {dead} THEN {created_at} ELSE {old}.created_at END, "
    "updated_at = CASE WHEN {dead} THEN {updated_at} "
    "ELSE greatest({updated_at}, {old}.updated_at) END, "
    "owner = CASE WHEN {dead} THEN {owner} ELSE coalesce({owner}, {old}.owner) END, "
    "expires_at = {expires_at} RETURNING version, created_at, updated_at, owner"
)


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
        seen = step.op.replacing
        if seen is None and step.op.seal is None and self._database.upserting:
            return self._upserted(step, generation)
        condition, bounds = "1 = 1", list[Any]()
        if isinstance(seen, Record):  # what it was then, if it is so still, need not be read
            held: Row | None = Row.of(seen, "")._replace(expires=None)
            condition, bounds = _LIVING, [self._clock.now()]
            condition += f" AND owner {'IS NULL' if seen.owner is None else '= ?'}"
            bounds += [] if seen.owner is None else [seen.owner]
        elif seen is ABSENT:
            held = None
        else:
            held = load(self._database.select, self._database, [step.id], False).get(step.id)
        row, record = self._settled(step, held)
        if held is None:
            return [record] if self._inserted(row, generation) else None
        known = [write_namespace(row.namespace), row.key, *held[3:6], *bounds]
        wrote = self._database.run_alone(
            f"UPDATE lc_memory_records SET {_SET} WHERE {_SEEN} AND {condition} AND EXISTS "
            f"(SELECT 1 FROM {_KNOWN}{self._database.sharing})",
            [*row[2:], *known, generation],
        )
        return [record] if wrote else None

    def _upserted(self, step: Step, generation: int) -> list[Record | None] | None:
        row, _ = self._settled(step, None)
        dead = [self._clock.now()] * self._succeeding.count("?")
        written = self._inserted(row, generation, bounds=dead, otherwise=self._succeeding)
        if not written:
            return None
        version, created, updated, owner = written[0]
        row = row._replace(version=version, created=created, updated=updated, owner=owner)
        return [Record.told_by(row)]

    @cached_property
    def _succeeding(self) -> str:
        clause, new = self._database.upserting or ("", "")
        columns = ("value", "created_at", "updated_at", "expires_at", "owner")
        told = {column: new.format(column) for column in columns}
        old = "lc_memory_records"
        return f" {clause} {_SUCCEEDING.format(old=old, dead=f'{old}.expires_at <= ?', **told)}"

    def _inserted(
        self,
        row: Row,
        generation: int,
        further: str = "1 = 1",
        bounds: Sequence[Any] = (),
        otherwise: str = "",
    ) -> list[Any]:
        number = f"CAST(? AS {self._database.integer})"
        values = f"?, ?, ?, {number}, {number}, {number}, {number}, ?"
        return self._database.run_alone(
            f"INSERT INTO lc_memory_records ({_FIELDS}) SELECT {values} "
            f"FROM {_KNOWN} AND {further}{self._database.sharing}{otherwise}",
            [write_namespace(row.namespace), *row[1:], generation, *bounds],
        )

    def _settled(self, step: Step, held: Row | None) -> tuple[Row, Record]:
        row, record = settle(step, held, self._clock.ticks(1), self._clock.now())
        assert row is not None
        assert record is not None
        return row, record
