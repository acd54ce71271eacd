"""One record written by one statement that commits by itself: fewer messages to a server.

The statement is guarded: it writes only if what it was made from is still so, the declared indexes
included. If not, or where an index has to be kept in step, the write is a transaction's
(:mod:`sql_batch`).

Where a database tells what an upsert has made of a row, a Put without conditions need not read it
first. This is the one place beside :mod:`lc_memory.rows` that says what a Put does to a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from lc_memory.records import ABSENT, Append, Namespace, Put, Record
from lc_memory.rows import Row, Step, next_key, settle
from lc_memory.store import Clock, Index
from lc_memory.stores.names import write_namespace
from lc_memory.stores.sql_batch import WORDS, load, name_of

if TYPE_CHECKING:
    from lc_memory.stores.database import Database

#: A new record, whose version is 1. To bind nothing takes longer than to bind a text, so there is a
#: statement for those that do not expire and are nobody's.
_NEW: Final = 'INSERT INTO lc_memory_records (namespace, "key", value, created_at, updated_at{})'
NEW: Final = {True: _NEW.format(", version"), False: _NEW.format(", expires_at, owner, version")}
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
    "ELSE {greatest}({updated_at}, {old}.updated_at) END, "
    "owner = CASE WHEN {dead} THEN {owner} ELSE coalesce({owner}, {old}.owner) END, "
    "expires_at = {expires_at} RETURNING {told}"
)

_LIVING: Final = " AND (expires_at IS NULL OR expires_at > ?)"
_AS_SEEN: Final = (f"{_LIVING} AND owner = ?", f"{_LIVING} AND owner IS NULL")


class Singles:
    """Writes one record at a time. Who uses it lets one thread at a time in."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._ends: dict[Namespace, str] = {}  # the last keys of logs, as far as we know

    def write(
        self, step: Step, indexes: dict[Index, int], generation: int
    ) -> list[Record | None] | None:
        """Carry out the step; None if it is a transaction's to do. Raises Conflict."""
        if indexes and (WORDS in indexes or any(index.covers(step.namespace) for index in indexes)):
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
        key = next_key(last)
        step = Step(step.op, step.namespace, key, step.text, step.expires)
        done = self._inserted(step, [generation, name, last or ""], _LAST)
        if done:
            if len(self._ends) >= _LOGS:
                self._ends.clear()
            self._ends[step.namespace] = key
        return done

    def _put(self, step: Step, generation: int) -> list[Record | None] | None:
        assert isinstance(step.op, Put)
        seen = step.op.replacing
        if isinstance(seen, Record):  # what it was then, if it is so still, need not be read
            before = Row.of(seen, "")._replace(expires=None)
            bounds = [self._clock.now(), *([] if seen.owner is None else [seen.owner])]
            return self._update(step, before, generation, _AS_SEEN[seen.owner is None], bounds)
        if seen is None and step.op.seal is None and self._database.upserting:
            return self._upserted(step, generation)
        if seen is ABSENT:
            return self._inserted(step, [generation])
        held = load(self._database.select_again, self._database, [step.id], False).get(step.id)
        if held is None:
            return self._inserted(step, [generation])
        return self._update(step, held, generation)

    def _inserted(
        self, step: Step, bounds: Sequence[Any], further: str = ""
    ) -> list[Record | None] | None:
        assert isinstance(step.op, (Append, Put))
        bare = step.expires is None and step.op.owner is None
        sql = inserting(self._database, bare, further + self._database.sharing)
        return self._written(step, None, sql, lambda row: [*told(row, bare), *bounds])

    def _update(
        self,
        step: Step,
        held: Row,
        generation: int,
        further: str = "",
        bounds: Sequence[Any] = (),
    ) -> list[Record | None] | None:
        """Replace what is held, if it is so still, and what is ``further`` asked for holds."""
        sql = _UPDATE.format(further=further, sharing=self._database.sharing)
        known = [*name_of(step.id), *held[3:6], *bounds, generation]
        return self._written(step, held, sql, lambda row: [*row[2:], *known])

    def _written(
        self, step: Step, held: Row | None, sql: str, bound: Callable[[Row], Sequence[Any]]
    ) -> list[Record | None] | None:
        """Write what becomes of the row; None if the statement found it otherwise."""
        tick = self._clock.ticks(1)
        row, record = settle(step, held, tick, self._clock.now())
        assert row is not None
        if self._database.run_alone(sql, bound(row)):
            return [record]
        self._clock.release(tick, 1)
        return None

    def _upserted(self, step: Step, generation: int) -> list[Record | None] | None:
        tick = self._clock.ticks(1)
        row, _ = settle(step, None, tick, self._clock.now())
        assert row is not None
        written = self._database.run_alone(self._upserting, [*told(row, False), generation])
        if not written:
            self._clock.release(tick, 1)
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
    def _upserting(self) -> str:
        how = self._database.upserting
        assert how is not None
        columns = ("value", "created_at", "updated_at", "expires_at", "owner")
        new = {column: how.new.format(column) for column in columns}
        old = "lc_memory_records"
        dead = f"{old}.expires_at <= {new['updated_at']}"
        succeeding = _SUCCEEDING.format(**how._asdict() | new, old=old, dead=dead)
        return inserting(self._database, False, self._database.sharing) + succeeding


def inserting(database: Database, bare: bool, further: str = "") -> str:
    """What inserts a new record, if the declared indexes are those we know and what is ``further``
    asked for holds. What is :func:`told` of it is bound, the generation, and what is asked for."""
    return _inserting(database.new_row, database.number, bare, further)


@lru_cache(maxsize=256)
def _inserting(new_row: str, number: str, bare: bool, further: str) -> str:
    marks = f"?, ?, ?, {number}, {number}" if bare else f"?, ?, ?, {number}, {number}, {number}, ?"
    return f"{NEW[bare]} {new_row.format(marks, further)}"


def is_bare(row: Row) -> bool:
    """Whether it does not expire and is nobody's."""
    return row.expires is None and row.owner is None


def told(row: Row, bare: bool) -> list[Any]:
    """What is bound of a new record."""
    return [write_namespace(row[0]), row[1], row[2], *(row[4:6] if bare else row[4:])]
