"""What an operation does to the row of a record: the one place that says it, for every store.

A store prepares a batch (:func:`prepare`: everything is checked and encoded before any lock is
taken), looks up the rows it touches, and asks :func:`settle` for each step what comes next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from lc_memory import values
from lc_memory.errors import Conflict, CorruptStore
from lc_memory.records import (
    ABSENT,
    Absent,
    Append,
    Clear,
    Delete,
    Expect,
    Id,
    Namespace,
    Op,
    Present,
    Put,
    Record,
    Restore,
    Seal,
    Seen,
    State,
    Touch,
    Value,
    check_name,
    check_namespace,
    check_time,
)


class Row(NamedTuple):
    """A record as stores keep it: the value as JSON text, times as microseconds since 1970."""

    namespace: Namespace
    key: str
    text: str
    version: int
    created: int
    updated: int
    expires: int | None
    owner: str | None

    def record(self) -> Record:
        """The record. Raises CorruptStore."""
        return Record.told_by(self, self.value())

    def value(self) -> Value:
        """The value. Raises CorruptStore, naming the record."""
        try:
            return values.decode(self.text)
        except CorruptStore as error:
            raise CorruptStore(
                f"{'/'.join(self.namespace)}, {self.key!r}: {error}; restore a backup"
            ) from error

    @classmethod
    def of(cls, record: Record, text: str) -> Row:
        return cls(
            record.namespace,
            record.key,
            text,
            record.version,
            values.micros(record.created_at),
            values.micros(record.updated_at),
            None if record.expires_at is None else values.micros(record.expires_at),
            record.owner,
        )

    @property
    def state(self) -> State:
        return State(self.version, self.updated, self.expires)

    def lives_at(self, now: int) -> bool:
        return self.expires is None or self.expires > now


_new_row = tuple.__new__


@dataclass(slots=True)
class Step:
    """One operation, checked and encoded. ``key`` is None for Append, until it is known."""

    op: Op
    namespace: Namespace
    key: str | None = None
    text: str = ""
    expires: int | None = None

    @property
    def id(self) -> Id:
        assert self.key is not None
        return self.namespace, self.key


def prepare(ops: Iterable[Op]) -> list[Step]:
    """The steps of a batch. Raises InvalidKey, InvalidValue or InvalidQuery."""
    return [_prepare(op) for op in ops]


def _prepare(op: Op) -> Step:
    if isinstance(op, (Put, Append)):
        text = values.encode(op.value)
        key = check_name(op.key) if isinstance(op, Put) else None
        if op.owner is not None:
            check_name(op.owner, "owner")
        expires = None if op.expires_at is None else _micros(op.expires_at)
        return Step(op, check_namespace(op.namespace), key, text, expires)
    if isinstance(op, Clear):
        return Step(op, check_namespace(op.namespace))
    if isinstance(op, Restore):
        text = values.encode(op.record.value)
        return Step(op, check_namespace(op.namespace), check_name(op.record.key), text)
    step = Step(op, check_namespace(op.namespace), check_name(op.key))
    if isinstance(op, Touch):
        step.expires = _micros(op.expires_at)
    return step


def _micros(when: datetime | None) -> int | None:
    checked = check_time(when)
    return None if checked is None else values.micros(checked)


def settle(step: Step, held: Row | None, tick: int, now: int) -> tuple[Row | None, Record | None]:
    """What is stored after the step, and what the step gives back.

    ``held`` is the row stored before; ``tick`` is the time stamp of this write; a row that has
    expired by ``now`` counts as absent. Raises Conflict. Clear is the store's own affair.
    """
    op = step.op
    current = held if held is not None and held.lives_at(now) else None
    if isinstance(op, (Put, Append)):
        seen = op.replacing if isinstance(op, Put) else None
        if seen is not None and not (seen is ABSENT and current is None):
            check_seen(seen, current, step.id)
        if current is None:
            first = step.namespace, step.key, step.text, 1, tick, tick, step.expires, op.owner
            row = _new_row(Row, first)  # Row(…) takes twice as long
        else:
            row = _successor(step, op.owner, current, tick)
        given = Record.told_by(row)
        return (row if op.seal is None else sealed(op.seal, row)), given
    if isinstance(op, Delete):
        check_seen(op.replacing, current, step.id)
        return None, current and current.record()
    if isinstance(op, Touch):
        if current is None:
            return held, None
        row = current._replace(expires=step.expires)
        if op.seal is not None:
            row = sealed(op.seal, row, current)
        return row, row.record()
    if isinstance(op, Expect):
        check_seen(op.seen, current, step.id)
        return held, None
    if isinstance(op, Restore):
        row = Row.of(op.record, step.text)
        if op.replacing is not None:
            check_seen(op.replacing, current, step.id, expiry=True)
        given = Record.told_by(row)
        return (row if op.seal is None else sealed(op.seal, row)), given
    raise TypeError(f"{type(op).__name__} has no row of its own")


def _successor(step: Step, owner: str | None, current: Row, tick: int) -> Row:
    return Row(
        *step.id,
        step.text,
        current.version + 1,
        current.created,
        max(tick, current.updated),
        step.expires,
        current.owner if owner is None else owner,
    )


def sealed(seal: Seal, row: Row, held: Row | None = None) -> Row:
    return row._replace(text=seal(row, held))


def check_seen(
    seen: Seen | Present | None, current: Row | None, id: Id, *, expiry: bool = False
) -> None:
    """Raise Conflict unless the present row is of the record that the caller has seen.

    Version and creation are compared, so that delete-and-recreate cannot pass for it; with
    ``expiry`` the time of expiry too, which a Touch changes without a new version.
    """
    if seen is None:
        return
    if isinstance(seen, Absent):
        holds, wanted = current is None, "to be absent"
    elif isinstance(seen, Present):
        holds, wanted = current is not None, "to be there"
    else:
        holds = current is not None and (current.version, current.created) == seen.stamp
        if holds and expiry and current is not None:
            holds = current.expires == (seen.expires_at and values.micros(seen.expires_at))
        wanted = f"to be at version {seen.version} of {_instant(seen.created_at)}"
    if not holds:
        raise Conflict(f"{'/'.join((*id[0], id[1]))} was expected {wanted}; read it and retry")


def _instant(when: datetime) -> str:
    return when.isoformat(timespec="microseconds")


def next_key(last: str | None) -> str:
    """The key after the last one of a log: whole numbers whose byte order is their order."""
    if last is None:
        return f"{0:016d}"
    if not (len(last) == 16 and last.isascii() and last.isdigit()):
        raise Conflict(f"key {last[:40]!r}: the namespace holds other records than a log's")
    return f"{int(last) + 1:016d}"


def settle_all(steps: list[Step], rows: dict[Id, Row], tick: int, now: int) -> list[Any]:
    """Carry out a batch on a dictionary of all rows; returns what the steps give."""
    results: list[Record | None] = []
    for offset, step in enumerate(steps):
        if isinstance(step.op, Clear):
            size = len(step.namespace)
            for id in [id for id in rows if id[0][:size] == step.namespace]:
                del rows[id]
            results.append(None)
            continue
        if step.key is None:
            keys = (key for space, key in rows if space == step.namespace)
            step.key = next_key(max(keys, default=None))
        row, result = settle(step, rows.get(step.id), tick + offset, now)
        if row is None:
            rows.pop(step.id, None)
        else:
            rows[step.id] = row
        results.append(result)
    return results
