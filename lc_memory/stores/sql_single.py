"""One record written by one statement that commits by itself: fewer messages to a server.

The statement is guarded: it writes only if what it was made from is still so, the declared indexes
included. If not, or where an index has to be kept in step, the write is a transaction's
(:mod:`sql_batch`).

Where a database tells what an upsert has made of a row, a Put without conditions need not read it
first. This is the one place beside :mod:`lc_memory.rows` that says what a Put does to a row.
"""

from __future__ import annotations

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
_INSERT: Final = (
    f"INSERT INTO lc_memory_records ({_FIELDS}) SELECT ?, ?, ?, 1, {{number}}, {{number}}, "
    "{number}, ? FROM lc_memory_schema WHERE generation = ?"
)
_LAST: Final = (
    " AND coalesce((SELECT max(\"key\") FROM lc_memory_records WHERE namespace = ?), '') = ?"
)
_UPDATE: Final = (
    "UPDATE lc_memory_records SET value = ?, version = ?, created_at = ?, updated_at = ?, "
    'expires_at = ?, owner = ? WHERE namespace = ? AND "key" = ? AND version = ? '
    "AND created_at = ? AND updated_at = ?{further} "
    "AND EXISTS (SELECT 1 FROM lc_memory_schema WHERE generation = ?{sharing})"
)
_LOGS: Final = 10_000  # whose ends are remembered

#: What an upsert makes of a row that is there, one that has expired counting as absent. Expiry
#: comes last: MySQL sets one column after the other. What it gives is one text: drivers take as
#: long over each further column as over a parameter.
_SUCCEEDING: Final = (
    " {clause} value = {value}, version = CASE WHEN {dead} THEN 1 ELSE {old}.version + 1 END, "
    "created_at = CASE WHEN {dead} THEN {created_at} ELSE {old}.created_at END, "
    "updated_at = CASE WHEN {dead} THEN {updated_at} "
    "ELSE greatest({updated_at}, {old}.updated_at) END, "
    "owner = CASE WHEN {dead} THEN {owner} ELSE coalesce({owner}, {old}.owner) END, "
    "expires_at = {expires_at} RETURNING concat_ws(',', version, created_at, updated_at, owner)"
)

_LIVING: Final = " AND (expires_at IS NULL OR expires_at > ?)"
_AS_SEEN: Final = (f"{_LIVING} AND owner = ?", f"{_LIVING} AND owner IS NULL")


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
        step = Step(step.op, step.namespace, next_key(last), step.text, step.expires)
        row, record = self._settled(step, None)
        values = [*_new(row), generation, name, last or ""]
        if not self._database.run_alone(self._appending, values):
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
        further, bounds = "", list[Any]()
        if isinstance(seen, Record):  # what it was then, if it is so still, need not be read
            held: Row | None = Row.of(seen, "")._replace(expires=None)
            further, bounds = _AS_SEEN[seen.owner is None], [self._clock.now()]
            bounds += [] if seen.owner is None else [seen.owner]
        elif seen is ABSENT:
            held = None
        else:
            held = load(self._database.select_again, self._database, [step.id], False).get(step.id)
        row, record = self._settled(step, held)
        if held is None:
            wrote = self._database.run_alone(self._inserting, [*_new(row), generation])
        else:
            known = [write_namespace(row.namespace), row.key, *held[3:6], *bounds]
            sql = _UPDATE.format(further=further, sharing=self._database.sharing)
            wrote = self._database.run_alone(sql, [*row[2:], *known, generation])
        return [record] if wrote else None

    def _upserted(self, step: Step, generation: int) -> list[Record | None] | None:
        row, _ = self._settled(step, None)
        written = self._database.run_alone(self._upserting, [*_new(row), generation])
        if not written:
            return None
        version, created, updated, *owner = written[0][0].split(",", 3)
        row = row._replace(
            version=int(version),
            created=int(created),
            updated=int(updated),
            owner=owner[0] if owner else None,
        )
        return [Record.told_by(row)]

    @cached_property
    def _inserting(self) -> str:
        return _INSERT.format(number=self._database.number) + self._database.sharing

    @cached_property
    def _appending(self) -> str:
        return _INSERT.format(number=self._database.number) + _LAST + self._database.sharing

    @cached_property
    def _upserting(self) -> str:
        clause, new = self._database.upserting or ("", "")
        columns = ("value", "created_at", "updated_at", "expires_at", "owner")
        told = {column: new.format(column) for column in columns}
        old = "lc_memory_records"
        dead = f"{old}.expires_at <= {told['updated_at']}"
        return self._inserting + _SUCCEEDING.format(clause=clause, old=old, dead=dead, **told)

    def _settled(self, step: Step, held: Row | None) -> tuple[Row, Record]:
        row, record = settle(step, held, self._clock.ticks(1), self._clock.now())
        assert row is not None
        assert record is not None
        return row, record


def _new(row: Row) -> list[Any]:
    """What is bound of a row that was not there: it is of version 1."""
    return [write_namespace(row.namespace), row.key, row.text, *row[4:]]
