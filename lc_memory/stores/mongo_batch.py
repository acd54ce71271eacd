"""Batches over several records of MongoDB: what a transaction reads, and what it writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.collection import Collection

from lc_memory.records import Clear, Delete, Expect, Id, Namespace, Record, Touch
from lc_memory.rows import Row, Step, next_key, settle
from lc_memory.stores.mongo_client import Session
from lc_memory.stores.mongo_documents import Document, document_of, name_of, row_of
from lc_memory.stores.mongo_filters import joined, under
from lc_memory.stores.mongo_logs import Logs

_CHUNK: Final = 200  # ids a query
_WITHOUT_VALUE: Final = {"value": 0, "text": 0}


class Batch:
    """What a transaction has read, and what it is about to write."""

    def __init__(self, records: Collection[Document], logs: Logs, session: Session) -> None:
        self._records = records
        self._logs = logs
        self._session = session
        self.rows: dict[Id, Row] = {}
        self._stored: set[Id] = set()  # what the collection holds now
        self._changed: dict[Id, Row | None] = {}
        self._last: dict[Namespace, str] = {}

    def carry_out(self, steps: Sequence[Step], tick: int, now: int) -> list[Record | None]:
        """Carry out the steps in order, and write what becomes of the rows."""
        ids = sorted({step.id for step in steps if step.key is not None})
        self.rows = load(self._records, ids, need_values(steps), self._session)
        self._stored = set(self.rows)
        results = [self._step(step, tick + i, now) for i, step in enumerate(steps)]
        self._flush()
        return results

    def _step(self, step: Step, tick: int, now: int) -> Record | None:
        if isinstance(step.op, Clear):
            self._clear(step.namespace)
            return None
        if step.key is None:
            step = replace(step, key=self._next_key(step.namespace))
        else:
            self._last.pop(step.namespace, None)
        held = self.rows.get(step.id)
        row, result = settle(step, held, tick, now)
        if isinstance(step.op, Expect) and step.id in self._stored:
            # A transaction is told of what others write only where it writes itself.
            locked = {"_id": name_of(step.id)}, {"$inc": {"locks": 1}}
            self._records.update_one(*locked, session=self._session)
        if row is None:
            self.rows.pop(step.id, None)
        else:
            self.rows[step.id] = row
        if row is not held:
            self._changed[step.id] = row
        return result

    def _next_key(self, namespace: Namespace) -> str:
        if namespace not in self._last:
            self._flush()
            key = self._logs.place(namespace, self._session)
        else:
            key = next_key(self._last[namespace])
        self._last[namespace] = key
        return key

    def _clear(self, prefix: Namespace) -> None:
        self._flush()
        self._records.delete_many(joined(under(prefix)), session=self._session)
        for id in [id for id in self.rows if id[0][: len(prefix)] == prefix]:
            del self.rows[id]
            self._stored.discard(id)
        self._last.clear()

    def _flush(self) -> None:
        writes: list[Any] = []
        for id, row in self._changed.items():
            if row is None:
                writes += [DeleteOne({"_id": name_of(id)})] if id in self._stored else []
                self._stored.discard(id)
            elif id in self._stored:
                writes.append(ReplaceOne({"_id": name_of(id)}, document_of(row)))
            else:
                writes.append(InsertOne(document_of(row)))
                self._stored.add(id)
        if writes:
            self._records.bulk_write(writes, ordered=False, session=self._session)
        self._changed.clear()


def need_values(steps: Sequence[Step]) -> bool:
    """Only what gives a stored record back needs its value."""
    return any(isinstance(step.op, Delete | Touch) for step in steps)


def load(
    records: Collection[Document],
    ids: Sequence[Id],
    whole: bool,
    session: Session | None = None,
) -> dict[Id, Row]:
    """The rows of those ids that are there."""
    rows = map(row_of, documents_of(records, ids, whole, session))
    return {(row.namespace, row.key): row for row in rows}


def documents_of(
    records: Collection[Document],
    ids: Sequence[Id],
    whole: bool,
    session: Session | None = None,
) -> Iterator[Document]:
    """The documents of those ids that are there, in one query for each few hundred."""
    projection = None if whole else _WITHOUT_VALUE
    names = [name_of(id) for id in ids]
    if len(names) == 1:
        document = records.find_one({"_id": names[0]}, projection, session=session)
        if document is not None:
            yield document
        return
    for start in range(0, len(names), _CHUNK):
        asked = {"_id": {"$in": names[start : start + _CHUNK]}}
        yield from records.find(asked, projection, session=session)
