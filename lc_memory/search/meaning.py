"""Keeps an index of vectors in step with a store."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from lc_memory import values
from lc_memory.errors import Conflict
from lc_memory.records import (
    Append,
    Clear,
    Delete,
    Id,
    Namespace,
    Op,
    Put,
    Query,
    Record,
    Restore,
)
from lc_memory.search.asking import Progress, Scope
from lc_memory.search.following import Follower
from lc_memory.search.ranking import LONGEST
from lc_memory.search.texts import is_searched, passage_of
from lc_memory.search.vectors import Entry, MemoryVectors, VectorIndex, mark_of, unit
from lc_memory.store import Store

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from lc_memory.search.embeddings import Vectors

#: Where it is written which namespaces' vectors may be behind: by each process that writes,
#: before it does, and taken back when it closes. What is found here was left by a crash.
BEHIND: Final[Namespace] = ("lc_memory", "recall", "behind")

#: Texts embedded, and records compared, at a time.
_PAGE: Final = 256
#: Vectors that are remembered between searches.
_KEPT: Final = 5000
#: When so many namespaces are noted, all are.
_MANY: Final = 200

_log = logging.getLogger("lc_memory.recall")


class Meaning:
    """The vectors of a store's records. They are made when records are written; a failure there
    fails no write, and is made good by the next search. What an earlier process left undone when
    it crashed is caught up with, from the store."""

    def __init__(
        self, store: Store, index: VectorIndex, embeddings: Embeddings, every: float
    ) -> None:
        self.embeddings = embeddings
        self._store = store
        self._index = index
        self._every = every
        self._lock = threading.RLock()
        self._me = uuid.uuid4().hex
        self._noted: set[Namespace] = set()
        self._behind: set[Id] = set()
        self._under_way: dict[Id, int] = {}  # the latest state of each that is being embedded
        # Lately fetched; good for as long as the mark fits.
        self._kept = index if isinstance(index, MemoryVectors) else MemoryVectors()
        self._fresh = False
        self._follower = Follower(store, every)

    # -- writes ----------------------------------------------------------------------------

    def before(self, ops: Sequence[Op]) -> None:
        """Note, durably, what is about to change."""
        if not self._index.durable:
            return
        spaces = {space for op in ops if (space := _space(op)) is not None}
        with self._lock:
            if () in self._noted or spaces <= self._noted:
                return
            noted = self._noted | spaces
            if len(noted) > _MANY:
                noted = {()}
            value = {"namespaces": [list(space) for space in sorted(noted)]}
            self._store.write([Put(BEHIND, self._me, value)])
            self._noted = noted

    def after(self, ops: Sequence[Op], results: Sequence[Record | None]) -> None:
        """Bring the vectors in step with a batch that was written."""
        written: dict[Id, Record] = {}
        gone: set[Id] = set()
        cleared: list[Namespace] = []
        for op, record in zip(ops, results, strict=True):
            if isinstance(op, Clear):
                cleared.append(op.prefix)
                written = {i: r for i, r in written.items() if not _under(i, op.prefix)}
            elif record is not None and is_searched(record.namespace):
                if isinstance(op, Delete):
                    written.pop(record.id, None)
                    gone.add(record.id)
                elif isinstance(op, Put | Append | Restore):
                    gone.discard(record.id)
                    written[record.id] = record
        try:
            for prefix in cleared:
                self._index.clear(prefix)
            if gone:
                self._index.remove(gone)
            if written:
                self.embed(list(written.values()))
        except Exception:  # noqa: BLE001 - all is stored; the next search tries again
            _log.warning("vectors are behind; the next search makes them", exc_info=True)
            with self._lock:
                self._behind |= gone | written.keys()
                if cleared:
                    self._fresh = False

    # -- reading ---------------------------------------------------------------------------

    def begin(self, text: str) -> Callable[[], Vectors]:
        """What gives the vector of a question. A model that computes beside Python (its
        ``aside``) begins at once, in a thread of its own; others when they are asked."""
        if not getattr(self.embeddings, "aside", False):
            return partial(self.asked, text)
        begun: Future[Vectors] = Future()

        def make() -> None:
            try:
                begun.set_result(self.asked(text))
            except BaseException as error:  # noqa: BLE001 - it is raised where the vector is wanted
                begun.set_exception(error)

        threading.Thread(target=make, name="lc_memory question").start()
        return begun.result

    def asked(self, text: str) -> Vectors:
        """The vector of a question, of length 1."""
        return unit(self.embeddings.embed_query(text))

    def nearest(self, vector: Vectors, scope: Scope, limit: int) -> list[Id]:
        self.catch_up()
        return [] if scope.nothing else self._index.nearest(vector, scope, limit)

    def vectors(self, marks: Mapping[Id, str]) -> Vectors | None:
        """A row for each record, in the state that its mark names: its vector of length 1, or
        zeros; of a stale one, it is made anew. None if there is not one."""
        kept = self._kept
        if missing := kept.stale(marks):
            found = self._index.fetch(missing)
            if stale := [id for id, entry in found.items() if entry.mark != marks[id]]:
                self._renew(stale)
                found |= self._index.fetch(stale)
            if kept is not self._index:
                if len(kept) + len(found) > _KEPT:
                    self._kept = kept = MemoryVectors()
                    found |= self._index.fetch([id for id in marks if id not in found])
                kept.put(list(found.values()))
        return kept.matrix(marks)

    def forget(self, ids: Iterable[Id]) -> None:
        """Remove the vectors of records that are gone."""
        self._index.remove(ids)

    # -- keeping in step -------------------------------------------------------------------

    def embed(self, records: Sequence[Record]) -> None:
        """Make the vectors of these records."""
        import numpy as np

        passages = [(record, passage_of(record)) for record in records]
        without = [record.id for record, passage in passages if passage is None]
        if without:
            self._index.remove(without)
        texts = [(record, passage.text) for record, passage in passages if passage is not None]
        with self._lock:
            for record, _ in texts:
                self._under_way[record.id] = max(_state(record), self._under_way.get(record.id, 0))
        try:
            for start in range(0, len(texts), _PAGE):
                part = texts[start : start + _PAGE]
                vectors = self.embeddings.embed_documents([text[:LONGEST] for _, text in part])
                entries = [
                    Entry(record.id, mark_of(record), np.asarray(vector, dtype=np.float32))
                    for (record, _), vector in zip(part, vectors, strict=True)
                    # Of two writers of one record, the one who is slower must not win.
                    if self._under_way.get(record.id, 0) <= _state(record)
                ]
                self._index.put(entries)
        finally:
            with self._lock:
                for record, _ in texts:
                    if self._under_way.get(record.id) == _state(record):
                        del self._under_way[record.id]

    def catch_up(self) -> None:
        """Make up for what was missed: by a crash, a failure, or in another process."""
        with self._lock:
            if not self._fresh:
                self._freshen()
            if self._behind:
                ids = sorted(self._behind)
                self._renew(ids)
                self._behind.difference_update(ids)
            if not self._index.durable:
                news = self._follower.news()
                while page := list(islice(news, _PAGE)):
                    known = self._index.fetch([record.id for record in page])
                    self.embed(
                        [r for r in page if r.id not in known or known[r.id].mark != mark_of(r)]
                    )

    def reindex(self, progress: Progress | None = None) -> int:
        """Compare everything with the store, and make what is missing; returns how many vectors
        that were. Interrupted, it goes on where it was."""
        with self._lock:
            made = self._compare((), progress)
            self._index.whole = True
            return made

    def start_anew(self) -> None:
        """Delete all vectors, to make them anew."""
        with self._lock:
            self._index.start_anew()
            self._kept.start_anew()
            self._fresh = False
            self._follower = Follower(self._store, self._every)

    def reload(self) -> None:
        """Have the next search compare everything with the store."""
        with self._lock:
            self._index.whole = self._fresh = False

    def prune(self) -> None:
        """Remove the vectors of records that are gone (swept, say)."""
        ids = list(self._index.marks(()))
        for start in range(0, len(ids), 1000):
            part = ids[start : start + 1000]
            there = self._store.read(part, expired=True)
            gone = [id for id, record in zip(part, there, strict=True) if record is None]
            if gone:
                self._index.remove(gone)

    def close(self) -> None:
        """Take back the note of what may be behind, unless it is, and close the index."""
        try:
            with self._lock:
                if self._noted and not self._behind and self._index.whole:
                    self._store.write([Delete(BEHIND, self._me)])
                    self._noted.clear()
        finally:
            self._index.close()

    def _freshen(self) -> None:
        if not self._index.whole:
            self._compare((), None)
            self._index.whole = True
        left: list[Record] = []
        if self._index.durable:
            left = self._store.find(Query(BEHIND, exact=True)).records
        for record in left:
            if record.key == self._me:
                continue
            for space in record.value["namespaces"]:
                self._compare(tuple(space), None)
            try:  # another process may be alive, and have noted more
                self._store.write([Delete(record.namespace, record.key, record)])
            except Conflict:
                continue
        self._fresh = True

    def _compare(self, prefix: Namespace, progress: Progress | None) -> int:
        known = dict(self._index.marks(prefix))
        total = self._store.count(Query(prefix)) if progress is not None else 0
        records = iter(self._store.records(Query(prefix, expired=True)))
        made = seen = 0
        while page := list(islice(records, _PAGE)):
            missing = [
                record
                for record in page
                if is_searched(record.namespace) and known.pop(record.id, "") != mark_of(record)
            ]
            wanting = [record for record in missing if passage_of(record) is not None]
            self.embed(missing)
            made, seen = made + len(wanting), seen + len(page)
            if progress is not None:
                progress(seen, max(total, seen))
        self._renew(list(known))
        return made

    def _renew(self, ids: Sequence[Id]) -> None:
        """Bring the vectors of these records in step with what is stored now."""
        for start in range(0, len(ids), _PAGE):
            part = ids[start : start + _PAGE]
            there = self._store.read(part, expired=True)
            self._index.remove([id for id, r in zip(part, there, strict=True) if r is None])
            self.embed([record for record in there if record is not None])


def _space(op: Op) -> Namespace | None:
    """The namespace whose vectors an operation may put behind; None if it touches none."""
    if isinstance(op, Clear):
        return op.prefix
    if isinstance(op, Put | Append | Delete | Restore):
        space = op.record.namespace if isinstance(op, Restore) else op.namespace
        return space if is_searched(space) else None
    return None


def _state(record: Record) -> int:
    return values.micros(record.updated_at)


def _under(id: Id, prefix: Namespace) -> bool:
    return id[0][: len(prefix)] == prefix
