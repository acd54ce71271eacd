"""An index of words in memory over any store: for those that have none of their own, and above
encryption, where nothing on disk may show a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from lc_memory import values
from lc_memory.paging import write_cursor
from lc_memory.records import Id, Namespace, Order, Query, Record
from lc_memory.search.asking import Progress, Scope
from lc_memory.search.postings import Postings
from lc_memory.search.texts import is_searched, tokens_of
from lc_memory.store import Store

#: How far clocks of several writers may lie apart, and a write take to be committed.
OVERLAP: Final = timedelta(seconds=10)
_PAGE: Final = 5000
_BY_TIME: Final = Order.parse("@updated_at")


class Follower:
    """Looks for what others have written to a store since it last looked.

    It goes by the records' times, a little further back than it has seen, at most once in
    ``every`` seconds. Deletions by others are not seen here; who finds a record gone removes it.
    """

    def __init__(self, store: Store, every: float) -> None:
        self._store = store
        self._every = every
        self._until: datetime | None = None
        self._next = 0.0

    def news(self, *, now: bool = False) -> Iterator[Record]:
        """The searched records that were written since; all of them the first time."""
        moment = time.monotonic()
        if not now and moment < self._next:
            return
        self._next = moment + self._every
        query, until = Query(), self._store.now()  # the first time in the order of keys
        if self._until is not None:
            place = values.micros(self._until - OVERLAP), (), ""
            query = Query(order=_BY_TIME, cursor=write_cursor(_BY_TIME, place))
        for record in self._store.records(query, _PAGE):
            if is_searched(record.namespace):
                yield record
        self._until = until


class MemoryKeywords:
    """The index of words in memory, in step with this process's writes at once and with those
    of others after ``every`` seconds."""

    def __init__(self, store: Store, every: float) -> None:
        self._store = store
        self._every = every
        self._lock = threading.RLock()
        self._postings = Postings()
        self._marks: dict[Id, tuple[datetime, int]] = {}  # the state of each that is known
        self._follower = Follower(store, every)

    def counts(self, tokens: list[str], scope: Scope) -> tuple[int, dict[str, int]]:
        with self._lock:
            self._catch_up()
            return self._postings.counts(tokens, scope)

    def best(self, tokens: Mapping[str, float], scope: Scope, limit: int) -> list[Id]:
        with self._lock:
            self._catch_up()
            return self._postings.best(tokens, scope, limit)

    def rebuild(self, progress: Progress | None = None) -> int:
        with self._lock:
            self._postings, self._marks = Postings(), {}
            self._follower = Follower(self._store, self._every)
            self._catch_up()
            if progress is not None:
                progress(len(self._postings), len(self._postings))
            return len(self._postings)

    # -- told by the layer -----------------------------------------------------------------

    def put(self, record: Record, *, anyway: bool = False) -> None:
        """Take note of a record, unless a later state of it is known."""
        with self._lock:
            state, known = (record.updated_at, record.version), self._marks.get(record.id)
            if anyway or known is None or state > known:
                self._marks[record.id] = state
                self._postings.put(record.id, tokens_of(record))

    def remove(self, id: Id) -> None:
        with self._lock:
            self._marks.pop(id, None)
            self._postings.remove(id)

    def clear(self, prefix: Namespace) -> None:
        with self._lock:
            self._postings.clear(prefix)
            size = len(prefix)
            for id in [id for id in self._marks if id[0][:size] == prefix]:
                del self._marks[id]

    def _catch_up(self) -> None:
        for record in self._follower.news():
            self.put(record)
