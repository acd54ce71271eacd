"""The MongoDB store: records as documents of one collection (:mod:`mongo_documents`).

An operation on one record is one write that names the version it has seen, and is tried again if
another writer was faster; a Put often need not look (:mod:`mongo_single`). A batch over several
records is a transaction, which needs a replica set. What becomes of a record is said by
:mod:`lc_memory.rows`, as for every store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from pymongo.errors import OperationFailure

from lc_memory import values
from lc_memory.errors import StoreReadOnly, StoreUnavailable, Unsupported
from lc_memory.paging import Position, cut, page_of, position, read_cursor
from lc_memory.records import (
    Append,
    Clear,
    Id,
    Namespace,
    Op,
    Page,
    Put,
    Query,
    Record,
    Restore,
    State,
    check_id,
    check_namespace,
)
from lc_memory.rows import Row, Step, prepare, settle
from lc_memory.store import RETRIES, Capabilities, Clock, Index, Store
from lc_memory.stores.mongo_batch import Batch, documents_of, load, need_values
from lc_memory.stores.mongo_bulk import InSession, in_chunks, reading, replace_all
from lc_memory.stores.mongo_client import MongoConnection, Session, is_collision, pause
from lc_memory.stores.mongo_documents import (
    Document,
    check_size,
    document_of,
    name_of,
    record_of,
    row_of,
)
from lc_memory.stores.mongo_filters import (
    after,
    alive,
    allowed,
    condition,
    joined,
    just,
    sorting,
    under,
)
from lc_memory.stores.mongo_logs import Logs
from lc_memory.stores.mongo_single import Singles
from lc_memory.stores.names import read_namespace, write_namespace
from lc_memory.stores.urls import parse_url

_MOST: Final = 5000  # records a query, where Python filters
_MOST_IN_TRANSACTION: Final = 100_000  # records a Clear deletes: the server gives it a minute


class MongoStore(Store):
    """Records in MongoDB: ``mongodb://host/database`` (``lc_memory`` if none is named).

    A write that returned is on the disks of a majority of the replica set. On a standalone
    server, which has no transactions, ``capabilities.atomic`` is False and a batch over several
    records raises Unsupported. A Clear there, or of more than 100,000 records, may have deleted a
    part if it is interrupted: do it again. ``timeout`` (seconds) bounds the wait for a server to
    be there. ``indexes`` are the fields to find without a scan; declaring one over existing
    records indexes them now.
    """

    capabilities = Capabilities(indexes=True)

    def __init__(
        self,
        url: str | sa.URL,
        *,
        timeout: float = 10.0,
        indexes: Iterable[Index] = (),
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._server = MongoConnection(parse_url(url), timeout)
        self._records = self._server.records
        self._clock = Clock(clock)
        self._singles = Singles(self._records, self._clock)
        self._logs = Logs(self._records, self._clock, self._server.sharded)
        self.capabilities = replace(self.capabilities, atomic=self._server.transactional)
        try:
            with self._server.errors():
                self._server.migrate()
                self._indexed = self._server.declare(indexes)
        except BaseException:
            self._server.close()
            raise

    # -- reading ---------------------------------------------------------------------------

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        ids = [check_id(id) for id in ids]
        now = self.now()
        with self._server.errors():
            different = list(dict.fromkeys(ids))
            documents = documents_of(self._records, different, whole=True)
            found = {record.id: record for record in map(record_of, documents)}
        records = [found.get(id) for id in ids]
        if len(different) < len(ids):  # each value belongs to the caller, twice if asked twice
            records = [deepcopy(record) for record in records]
        return [r if r is not None and (expired or r.lives_at(now)) else None for r in records]

    def states(self, ids: Sequence[Id]) -> list[State | None]:
        ids = [check_id(id) for id in ids]
        with self._server.errors():
            documents = documents_of(self._records, list(dict.fromkeys(ids)), whole=False)
            rows = {row[:2]: row for row in map(row_of, documents)}
        return [row.state if (row := rows.get(id)) is not None else None for id in ids]

    def find(self, query: Query) -> Page:
        if query.sort.attribute is None:  # by a field: Python sorts
            return page_of(self._matches(self._select(query, None, None, 0), query), query)
        place = None if query.cursor is None else read_cursor(query.sort, query.cursor)
        if query.node is not None and query.limit is not None:
            return cut(self._pull(query, place), query)
        if query.node is not None:
            return Page(self._matches(self._select(query, place, None, 0), query)[query.offset :])
        limit = None if query.limit is None else query.limit + 1
        return cut(self._select(query, place, limit, query.offset), query)

    def _pull(self, query: Query, place: Position | None) -> list[Record]:
        """With a filter that Python decides, candidates are pulled until the page is full."""
        assert query.limit is not None
        assert query.node is not None
        wanted = query.offset + query.limit + 1
        found: list[Record] = []
        size = wanted
        while True:
            records = self._select(query, place, size, 0)
            found += self._matches(records, query)
            if len(records) < size or len(found) >= wanted:
                return found[query.offset : wanted]
            place = position(records[-1], query.sort)
            size = max(size, min(size * 4, _MOST))

    def _select(
        self, query: Query, place: Position | None, limit: int | None, offset: int
    ) -> list[Record]:
        conditions = self._candidates(query)
        if place is not None:
            conditions.append(after(query.sort, place))
        with self._server.errors():
            found = self._records.find(joined(conditions), skip=offset, limit=limit or 0)
            if fields := sorting(query.sort):
                found = found.sort(fields)
            return [record_of(document) for document in found]

    def _matches(self, records: list[Record], query: Query) -> list[Record]:
        """Those of the candidates that match, and have not expired."""
        node, now = query.node, None if query.expired else self.now()
        return [
            record
            for record in records
            if (node is None or node.matches(record.value))
            and (now is None or record.lives_at(now))
        ]

    def _candidates(self, query: Query) -> list[Document]:
        filtered = condition(query.node)
        alone = filtered is not None and len(filtered) == 1 and query.exact and not query.within
        if filtered and alone and self._indexed.issuperset(filtered):
            # Just what the index holds: not every server of the protocol uses one for less.
            return [{"namespace": write_namespace(query.prefix)}, filtered]
        conditions = under(query.prefix, query.exact)
        if not query.expired:
            conditions.append(alive(self._clock.now()))
        if query.within is not None:
            conditions.append(allowed(query.within))
        return conditions if filtered is None else [*conditions, filtered]

    def count(self, query: Query | None = None) -> int:
        query = query or Query()
        if query.node or query.limit is not None or query.offset or query.cursor:
            return super().count(query)
        with self._server.errors():
            return self._records.count_documents(joined(self._candidates(query)))

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        conditions = self._candidates(Query(prefix, limit=limit, expired=expired))
        if after is not None:
            conditions.append({"namespace": {"$gt": write_namespace(check_namespace(after))}})
        with self._server.errors():
            names = self._all_names(conditions) if limit is None else self._hop(conditions, limit)
            return [read_namespace(name) for name in names]

    def _all_names(self, conditions: list[Document]) -> Iterator[str]:
        stages = [{"$match": joined(conditions)}, {"$group": {"_id": "$namespace"}}]
        for group in self._records.aggregate([*stages, {"$sort": {"_id": 1}}], allowDiskUse=True):
            yield group["_id"]

    def _hop(self, conditions: list[Document], limit: int) -> Iterator[str]:
        """From one namespace to the next along the index, whatever each of them holds."""
        further: list[Document] = []
        for _ in range(limit):
            first = self._records.find_one(
                joined([*conditions, *further]), {"namespace": 1}, sort=[("namespace", 1)]
            )
            if first is None:
                return
            yield first["namespace"]
            further = [{"namespace": {"$gt": first["namespace"]}}]

    # -- writing ---------------------------------------------------------------------------

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        steps = prepare(ops)
        for step in steps:
            check_size(step.text)
        with self._server.errors():
            if not steps:
                return []
            self._index(steps)
            if len(steps) == 1 and isinstance(steps[0].op, Append):
                return [self._logs.append(steps[0])]
            self._logs.forget(steps)
            if _is_one_record(steps):
                return self._write_one(steps)
            if len(steps) == 1 and self._is_cleared_alone(steps[0].namespace):
                self._records.delete_many(joined(under(steps[0].namespace)))
                return [None]
            if self.capabilities.atomic:
                results = self._server.transact(lambda session: self._batch(steps, session))
                if all(isinstance(step.op, Append) for step in steps):
                    self._logs.remember(record for record in results if record is not None)
                return results
        raise Unsupported(
            "this MongoDB server stands alone and has no transactions, so that a batch over "
            "several records could end half done; start it with --replSet rs0 and run "
            "rs.initiate() once (one server is enough), or write one record at a time"
        )

    def _index(self, steps: Sequence[Step]) -> None:
        """Have what these steps seek by, or a sweep seeks them by."""
        if any(isinstance(step.op, Append) for step in steps):
            self._server.have("by_key")
        if any(map(_expires, steps)):
            self._server.have("expiring")

    def _is_cleared_alone(self, prefix: Namespace) -> bool:
        """Whether a Clear is done without a transaction, for want of one or for its size."""
        most = _MOST_IN_TRANSACTION
        under_it = joined(under(prefix))
        return (
            not self.capabilities.atomic
            or self._records.count_documents(under_it, limit=most + 1) > most
        )

    def _batch(self, steps: Sequence[Step], session: Session) -> list[Record | None]:
        tick, now = self._clock.ticks(len(steps)), self._clock.now()
        batch = Batch(self._records, self._logs, session)
        results = batch.carry_out(steps, tick, now)
        for step in steps:
            if isinstance(step.op, Put) and step.id in batch.rows:
                self._singles.remember(batch.rows[step.id])
        return results

    def _write_one(self, steps: Sequence[Step]) -> list[Record | None]:
        """Carry out steps that all concern one record."""
        if len(steps) == 1 and isinstance(steps[0].op, Put):
            record = self._singles.put(steps[0])
            if record is not None:
                return [record]
        for attempt in range(RETRIES):
            held = load(self._records, [steps[0].id], need_values(steps)).get(steps[0].id)
            if isinstance(steps[0].op, Put):
                self._singles.expects_new = held is None
            tick, now = self._clock.ticks(len(steps)), self._clock.now()
            row, results = held, []
            for i, step in enumerate(steps):
                row, result = settle(step, row, tick + i, now)
                results.append(result)
            if row is held or self._swap(held, row):
                if row is not None:
                    self._singles.remember(row)
                return results
            pause(attempt)
        raise StoreUnavailable("MongoDB: others write this record all the time")

    def _swap(self, held: Row | None, row: Row | None) -> bool:
        """Write the row, if what is stored is still the one that was seen."""
        try:
            if held is None:
                assert row is not None
                self._records.insert_one(document_of(row))
                return True
            seen = {
                "_id": name_of(held[:2]),
                "version": just(held.version),
                "created_at": just(held.created),
                "updated_at": just(held.updated),
            }
            if row is None:
                return self._records.delete_one(seen).deleted_count == 1
            return self._records.replace_one(seen, document_of(row)).matched_count == 1
        except OperationFailure as error:
            if is_collision(error):
                return False
            raise

    def sweep(self) -> int:
        with self._server.errors():
            dead = {"expires_at": {"$lte": self._clock.now()}}
            return self._records.delete_many(dead).deleted_count

    def scrub(self) -> bool:
        try:
            self._records.database.command("compact", self._records.name, force=True)
        except OperationFailure:  # not allowed, or not known to this server
            return False
        return True

    def declare(self, indexes: Sequence[Index]) -> None:
        with self._server.errors():
            self._indexed = self._server.declare(indexes)

    def now(self) -> datetime:
        return values.from_micros(self._clock.now())

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        with reading(self._server) as records:
            yield _Snapshot(self, records)

    def restore(
        self, records: Callable[[], Iterable[Record]], clearing: Sequence[Namespace] = ()
    ) -> None:
        def work(session: Session) -> None:
            self._batch(prepare(Clear(prefix) for prefix in clearing), session)
            for chunk in in_chunks(records):
                self._batch(prepare(Restore(record) for record in chunk), session)

        with self._server.errors():
            self._server.have("expiring")
            if () in clearing:
                replace_all(self._server, records())
            elif self.capabilities.atomic:
                self._server.transact(work)
            else:
                raise Unsupported(
                    "this MongoDB server stands alone and has no transactions: a backup can be "
                    "restored there whole, and not in part"
                )

    def close(self) -> None:
        self._server.close()


class _Snapshot(MongoStore):
    """The store as one session sees it."""

    def __init__(self, store: MongoStore, records: InSession) -> None:
        self.__dict__.update(store.__dict__)
        self._records = records  # type: ignore[assignment]  # it has what reading needs

    def records(self, query: Query | None = None, size: int = 500) -> Iterator[Record]:
        query = query or Query()
        if query.node or query.sort.attribute is None or query.limit or query.cursor:
            yield from super().records(query, size)
            return
        with self._server.errors():
            found = self._records.find(joined(self._candidates(query)), batch_size=size)
            yield from map(record_of, found.sort(sorting(query.sort)))

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        raise StoreReadOnly("a snapshot is read, not written")

    def close(self) -> None:
        """Who took the snapshot ends it."""


def _is_one_record(steps: Sequence[Step]) -> bool:
    """Whether all steps concern one and the same record."""
    if any(isinstance(step.op, Clear) for step in steps):
        return False
    first = steps[0]
    return len(steps) == 1 or all(
        None is not step.key == first.key and step.namespace == first.namespace for step in steps
    )


def _expires(step: Step) -> bool:
    """Whether what is stored after the step may expire."""
    op = step.op
    return step.expires is not None or (
        isinstance(op, Restore) and op.record.expires_at is not None
    )
