"""Appends to logs on MongoDB: those of several threads to one log go together.

Who appends to a log alone need not ask for its end: one message inserts the next record if there is
none after that; and who has appended before asks only for what came since. Where others have
deleted the end of a log meanwhile, it goes on after the place where that was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, OperationFailure, WriteError

from lc_memory.commit import GroupCommit
from lc_memory.errors import StoreUnavailable
from lc_memory.records import Append, Clear, Namespace, Record
from lc_memory.rows import Row, Step, next_key, settle
from lc_memory.store import RETRIES, Clock
from lc_memory.stores.mongo_client import COLLISIONS, Session, is_collision, pause
from lc_memory.stores.mongo_documents import Document, document_of, names_in
from lc_memory.stores.names import write_namespace

_GROUPS: Final = 64  # logs that are written at the same time
_MOST: Final = 10_000  # logs whose ends are remembered
_CALM: Final = 8  # appends among which no others came; sooner, who is ahead would stay so
_GUESSES: Final = 8  # places at a log's end that are tried before it is asked for again


class _End(NamedTuple):
    key: str  # of the last record that was appended from here
    calm: int  # how many were since others were last seen to append


class Logs:
    """Appends single records, each of which is kept or not by itself."""

    def __init__(self, records: Collection[Document], clock: Clock, sharded: bool) -> None:
        self._records = records
        self._sharded = sharded
        self._clock = clock
        self._groups = [GroupCommit[Step, Record](self._together) for _ in range(_GROUPS)]
        self._ends: dict[Namespace, _End] = {}
        self._refused = False  # whether this server cannot append by one message

    def append(self, step: Step) -> Record:
        group = self._groups[hash(step.namespace) % _GROUPS]
        (result,) = group.run([step])
        if isinstance(result, Exception):
            raise result
        return result

    def forget(self, steps: Sequence[Step]) -> None:
        """These steps are carried out elsewhere, and may delete the ends of logs."""
        for step in steps:
            if isinstance(step.op, Clear):
                self._ends.clear()
            elif not isinstance(step.op, Append):
                self._ends.pop(step.namespace, None)

    def place(self, namespace: Namespace, session: Session) -> str:
        """The key from which on a batch appends to this log."""
        end = self._ends.get(namespace)
        return self._next_place(namespace, end and end.key, session)

    def remember(self, records: Iterable[Record]) -> None:
        """A batch has appended these, and done nothing else."""
        for namespace, key in {record.namespace: record.key for record in records}.items():
            end = self._ends.get(namespace)
            self._remember(namespace, key, _CALM if end is None else end.calm)

    def _together(self, steps: Sequence[Step]) -> list[Record | Exception]:
        logs: dict[Namespace, list[Step]] = {}
        for step in steps:
            logs.setdefault(step.namespace, []).append(step)
        told = {namespace: iter(self._appended(mine)) for namespace, mine in logs.items()}
        return [next(told[step.namespace]) for step in steps]

    def _appended(self, steps: Sequence[Step]) -> list[Record | Exception]:
        """Append to one log. Who finds its place taken tries the next one, without asking for the
        end again: so it is ahead of those who come after it, and waits for few of them."""
        done: list[Record | Exception] = []
        key = None
        together = len(steps)
        end = self._ends.pop(steps[0].namespace, None)
        seen = end and end.key
        try:
            if together == 1 and end is not None and end.calm >= _CALM and not self._refused:
                record = self._after(end, steps[0])
                if record is not None:
                    return [record]
            for attempt in range(RETRIES):
                key = key or self._next_place(steps[0].namespace, seen)
                rows, records = self._settled(steps[len(done) :][:together], key)
                kept, error = self._inserted(rows)
                done += records[:kept]
                if kept == len(rows):
                    if attempt or (end is not None and next_key(end.key) != rows[0].key):
                        calm = 0
                    else:
                        calm = _CALM if end is None else end.calm + 1
                    self._remember(rows[-1].namespace, rows[-1].key, calm)
                if error is not None and together == 1:
                    done.append(error)
                if len(done) == len(steps):
                    return done
                if error is not None:  # one by one, then, so that it is that of one alone
                    together, key = 1, rows[kept].key
                    continue
                seen = rows[-1].key if kept == len(rows) else rows[kept].key
                key = next_key(seen)
                if attempt % _GUESSES == _GUESSES - 1:
                    key = None
                    pause(attempt // _GUESSES)
            raise StoreUnavailable("MongoDB: others append to this log all the time")
        except Exception as error:  # noqa: BLE001 - it is raised to each writer
            return [*done, *[error] * (len(steps) - len(done))]

    def _after(self, end: _End, step: Step) -> Record | None:
        """Append the record by one message; None if that is not the end any more.

        An upsert that finds a record changes nothing of it, as ``$setOnInsert`` is all it says.
        """
        (row,), (record,) = self._settled([step], next_key(end.key))
        later, inserted = self._later(row.namespace, end.key), {"$setOnInsert": document_of(row)}
        try:
            told = self._records.update_one(later, inserted, upsert=True)
        except OperationFailure as error:
            if not is_collision(error):
                if not isinstance(error, WriteError):  # it is written, and perhaps not for good
                    raise
                self._refused = True  # for want of a shard's key; or it is about the value
            return None
        if told.upserted_id is None:
            return None
        self._remember(row.namespace, row.key, end.calm)
        return record

    def _remember(self, namespace: Namespace, key: str, calm: int) -> None:
        if len(self._ends) >= _MOST:
            self._ends.clear()
        self._ends[namespace] = _End(key, calm)

    def _settled(self, steps: Sequence[Step], key: str) -> tuple[list[Row], list[Record]]:
        """What the steps leave at the places from this key on."""
        tick, now = self._clock.ticks(len(steps)), self._clock.now()
        rows, records = [], []
        for at, step in enumerate(steps):
            row, record = settle(replace(step, key=key), None, tick + at, now)
            assert row is not None
            assert record is not None
            rows.append(row)
            records.append(record)
            key = next_key(key)
        return rows, records

    def _inserted(self, rows: Sequence[Row]) -> tuple[int, Exception | None]:
        """Insert the rows in their order, up to one that cannot be: how many those are, and what
        is wrong, unless it is that a place is taken."""
        try:
            if len(rows) == 1:
                self._records.insert_one(document_of(rows[0]))
            else:
                self._records.insert_many([document_of(row) for row in rows])
        except BulkWriteError as error:
            if not error.details["writeErrors"]:  # all are written, and perhaps not for good
                raise
            taken = error.details["writeErrors"][0]["code"] in COLLISIONS
            return error.details["nInserted"], None if taken else error
        except OperationFailure as error:
            return 0, None if is_collision(error) else error
        return len(rows), None

    def _next_place(
        self, namespace: Namespace, seen: str | None, session: Session | None = None
    ) -> str:
        """The key after the last one in the log, and after one that was seen there before."""
        last = self._records.find_one(
            self._later(namespace, seen), {"key": 1}, sort=[("key", -1)], session=session
        )
        return next_key(seen if last is None else last["key"])

    def _later(self, namespace: Namespace, seen: str | None) -> Document:
        """That a record comes after that one in the log: just what the index ``by_key`` holds.
        Not every server of the protocol seeks a range of ``_id``, or stops at the first it finds.
        """
        asked: Document = {"namespace": write_namespace(namespace)}
        if seen is not None:
            asked["key"] = {"$gt": seen}
        if self._sharded:  # by _id, which tells the shard
            first, end = names_in(namespace)
            asked["_id"] = {"$gte": first, "$lt": end}
        return asked
