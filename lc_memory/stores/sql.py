"""The SQL store: records in one table, on SQLite, PostgreSQL and MySQL or MariaDB.

A write loads the rows it touches, asks :mod:`lc_memory.rows` what becomes of them, and writes
that, in one transaction (:mod:`sql_batch`). How it reads is in :mod:`sql_reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lc_memory import values
from lc_memory.commit import GroupCommit, write_together
from lc_memory.errors import LCMemoryError, StoreError, StoreUnavailable
from lc_memory.records import Namespace, Op, Record
from lc_memory.rows import Step, prepare
from lc_memory.store import Capabilities, Clock, Index, Outcome, Store, outcome
from lc_memory.stores.database import Session, open_database
from lc_memory.stores.names import read_namespace, write_namespace
from lc_memory.stores.sql_batch import (
    REINDEXING,
    WORDS,
    Batch,
    NotNew,
    build_index,
)
from lc_memory.stores.sql_bulk import FrozenDatabase, in_chunks
from lc_memory.stores.sql_reading import SQLReader

if TYPE_CHECKING:
    from lc_memory.stores.sql_words import SQLKeywords


class SQLStore(SQLReader):
    """Records in a SQL database: ``sqlite:///file.db``, ``postgresql://…`` or ``mysql://…``.

    ``durability="full"``: a write that returned survives a power loss; ``"normal"``: it survives
    the process, and a power loss may take the last ones. ``timeout`` (seconds) bounds the wait
    for a connection and for other processes' writes. ``indexes`` are the fields to find without
    a scan; declaring one over existing records indexes them now.
    """

    capabilities = Capabilities(indexes=True, grouped=True)

    def __init__(
        self,
        url: str | sa.URL,
        *,
        durability: str = "full",
        timeout: float = 60.0,
        indexes: Iterable[Index] = (),
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._db = open_database(sa.make_url(url), durability=durability, timeout=timeout)
        self._clock = Clock(clock)
        self._indexes: dict[Index, int] = {}
        self._generation = -1
        self.capabilities = replace(self.capabilities, joined=self._db.distant)
        self._singles = self._db.singles(self._clock)
        self._guarded = self._db.guarded(self._clock)
        self._committer: GroupCommit[list[Step], list[Record | None]] = GroupCommit(self._commit)
        try:
            self._db.migrate()
            self.declare(list(indexes))
        except BaseException:
            self._db.close()
            raise

    # -- writing ---------------------------------------------------------------------------

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        return outcome(self._committer.run([prepare(ops)])[0])

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        return write_together(self._committer, batches)

    def _commit(self, batches: Sequence[list[Step]]) -> list[Outcome]:
        """Commit the batches together; each is all or nothing by itself."""
        single = len(batches) == 1 and len(batches[0]) == 1
        if single and self._generation >= 0:
            written = self._singles.write(batches[0][0], self._indexes, self._generation)
            if written is not None:
                return [written]
        elif self._guarded:
            done = self._guarded.write(batches)
            if done is not None:
                return list(done)
        try:  # as if they were one, as long as none is refused
            results = iter(self._carry_out([step for steps in batches for step in steps]))
        except StoreUnavailable:
            raise
        except LCMemoryError as error:
            return [error] if len(batches) == 1 else self._one_by_one(batches)
        return [list(islice(results, len(steps))) for steps in batches]

    def _one_by_one(self, batches: Sequence[list[Step]]) -> list[Outcome]:
        """Commit each batch that is not refused, in one transaction if that can be."""
        try:
            return self._db.transact(lambda s: [self._attempt(s, steps) for steps in batches])
        except StoreUnavailable:
            raise
        except StoreError:  # one batch's fault (too large, no room) is not the others'
            return [self._alone(steps) for steps in batches]

    def _alone(self, steps: list[Step]) -> Outcome:
        try:
            return self._carry_out(steps)
        except LCMemoryError as error:
            return error

    def _carry_out(self, steps: list[Step]) -> list[Record | None]:
        try:
            return self._db.transact(lambda session: self._apply(session, steps, new=True))
        except NotNew:
            return self._db.transact(lambda session: self._apply(session, steps))

    def _attempt(self, session: Session, steps: list[Step]) -> Outcome:
        """Apply the steps, or none of them; what they gave, or what refused them."""
        session.run("SAVEPOINT batch")
        result: Outcome
        try:
            result = self._apply(session, steps)
        except LCMemoryError as error:
            session.run("ROLLBACK TO SAVEPOINT batch")
            result = error
        session.run("RELEASE SAVEPOINT batch")
        return result

    def _apply(
        self, session: Session, steps: list[Step], *, new: bool = False
    ) -> list[Record | None]:
        tick, now = self._clock.ticks(len(steps)), self._clock.now()
        batch = Batch(self._db, session, lambda: self._known_indexes(session))
        try:
            return batch.carry_out(steps, tick, now, new=new)
        except NotNew:
            self._clock.release(tick, len(steps))
            raise

    def sweep(self) -> int:
        expired, now = "FROM lc_memory_records WHERE expires_at <= ?", [self._clock.now()]

        def work(session: Session) -> int:
            count = int(session.select(f"SELECT count(*) {expired}", now)[0][0])
            session.run(f"DELETE {expired}", now)
            return count

        return self._db.transact(work)

    def scrub(self) -> bool:
        return self._db.scrub()

    def now(self) -> datetime:
        return values.from_micros(self._clock.now())

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        with self._db.snapshot() as session:
            yield _Snapshot(self, session)

    def restore(
        self, records: Callable[[], Iterable[Record]], clearing: Sequence[Namespace] = ()
    ) -> None:
        if isinstance(self._db.engine.pool, sa.pool.StaticPool):
            # The one connection would read within its own transaction; it is all memory anyway.
            return super().restore(records, clearing)

        def work(session: Session) -> None:
            for ops in in_chunks(records, clearing):
                self._apply(session, prepare(ops))

        self._db.transact(work, alone=True)

    def close(self) -> None:
        self._db.close()

    # -- indexes ---------------------------------------------------------------------------

    def declare(self, indexes: Sequence[Index]) -> None:
        """Make the declared indexes that are not there yet, over what is stored."""

        def work(session: Session) -> None:
            self._known_indexes(session, afresh=True)
            for index in indexes:
                if index not in self._indexes:
                    self._indexes[index] = build_index(session, index)
            session.run("UPDATE lc_memory_schema SET generation = generation + 1")

        self._indexes = _stored_indexes(self._db.select)
        if any(index not in self._indexes for index in indexes):
            self._db.transact(work, alone=True)

    def keywords(self) -> SQLKeywords | None:
        from lc_memory.stores import sql_words

        if not sql_words.there(self._db):
            return None
        self._indexes = _stored_indexes(self._db.select)
        if WORDS not in self._indexes:
            self.index_words()
        return sql_words.SQLKeywords(self)

    def index_words(self) -> None:
        """Make the index of words, which every writer then keeps in step."""
        from lc_memory.stores import sql_words

        dialect = sql_words.dialect_of(self._db)

        def create(session: Session) -> None:
            for statement in dialect.create:
                session.run(statement)

        def work(session: Session) -> None:
            if WORDS in self._known_indexes(session, afresh=True):
                return
            if not dialect.commits:
                create(session)
            session.run("DELETE FROM lc_memory_words")
            sql_words.build(session, dialect)
            name = [write_namespace(WORDS.namespace), write_namespace(WORDS.path)]
            session.run("INSERT INTO lc_memory_indexes (namespace, path) VALUES (?, ?)", name)
            session.run("UPDATE lc_memory_schema SET generation = generation + 1")
            self._generation = -1  # read them again with the next write

        if dialect.commits:
            self._db.transact(create)
        self._db.transact(work, alone=True)

    def _known_indexes(self, session: Session, afresh: bool = False) -> dict[Index, int]:
        """Another process may have declared an index: every writer must keep it in step."""
        generation = self._db.generation(session)
        if afresh or generation != self._generation:
            self._indexes = _stored_indexes(session.select)
            self._generation = generation
        return self._indexes


def _stored_indexes(select: Callable[[str, Sequence[Any]], list[Any]]) -> dict[Index, int]:
    found = select(
        "SELECT id, namespace, path FROM lc_memory_indexes WHERE namespace <> ?", [REINDEXING]
    )
    return {
        Index(read_namespace(namespace), read_namespace(path)): number
        for number, namespace, path in found
    }


class _Snapshot(SQLStore):
    """The store as one transaction sees it."""

    def __init__(self, store: SQLStore, session: Session) -> None:
        self.__dict__.update(store.__dict__)
        self._db = FrozenDatabase(store._db, session)

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        return self._db.transact(lambda session: [])  # raises

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        return self._db.transact(lambda session: [])  # raises

    def close(self) -> None:
        """Who took the snapshot ends it."""
