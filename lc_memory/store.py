"""The waist: three verbs over records, and what is derived from them once for every store."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from lc_memory import values
from lc_memory.errors import (
    Conflict,
    InvalidValue,
    LCMemoryError,
    MemoryNotFound,
    StoreClosed,
    Unsupported,
)
from lc_memory.forks import Holder, watch
from lc_memory.records import (
    ABSENT,
    Clear,
    Delete,
    Id,
    Namespace,
    Op,
    Page,
    Put,
    Query,
    Record,
    Restore,
    Seen,
    State,
    Value,
    check_namespace,
)

if TYPE_CHECKING:
    from lc_memory.search.asking import Hit, Keywords, Search

#: What became of one batch: its results, or why it was refused.
Outcome: TypeAlias = "list[Record | None] | Exception"

#: How often a read-change-write is tried again when others write the same record.
RETRIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store declares of itself; the contract tests what is declared."""

    persistent: bool = True  # survives the process
    shared: bool = True  # several processes may have it open at once
    atomic: bool = True  # a batch of several operations is all or nothing
    indexes: bool = False  # declared fields are found without a scan
    grouped: bool = False  # write_many commits several batches at once
    joined: bool = False  # find_many asks a server once, about one moment


@dataclass(frozen=True, slots=True)
class Index:
    """A field declared indexed, for the records of a namespace.

    A label ``*`` stands for any one label: ``("users", "*", "documents", "notes")``.
    """

    namespace: Namespace
    path: tuple[str, ...]

    @classmethod
    def of(cls, namespace: Namespace, field: str) -> Index:
        return cls(check_namespace(namespace), tuple(field.split(".")))

    def covers(self, namespace: Namespace) -> bool:
        return len(namespace) == len(self.namespace) and all(
            mine in ("*", label) for mine, label in zip(self.namespace, namespace, strict=True)
        )


class Store(ABC):
    """Records in namespaces.

    A backend supplies :meth:`read`, :meth:`find`, :meth:`write` and :meth:`close`; everything
    else is derived, and overridden only to be faster. A store may be shared between threads.
    """

    capabilities: Capabilities = Capabilities()

    @abstractmethod
    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        """The records of those ids, in that order; None where there is none (or it expired)."""

    @abstractmethod
    def find(self, query: Query) -> Page:
        """One page of the records that match, sorted as asked."""

    @abstractmethod
    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        """Carry out one atomic batch, in order: all of it, or nothing and an error.

        Each operation gives the record it left (Put, Append, Touch, Restore) or deleted
        (Delete), else None. When this returns, the batch is durable.

        Raises Conflict if a precondition did not hold, InvalidValue or InvalidKey for what
        cannot be stored, and StoreError if the store failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Release everything the store holds; closing twice is allowed."""

    def states(self, ids: Sequence[Id]) -> list[State | None]:
        """Which states those records are in, in that order, be they expired or not; None where
        there is none. For those who remember records: where the state is the one they know, so
        is the record."""
        found = self.read(ids, expired=True)
        return [None if record is None else record.state for record in found]

    # -- searching by words and meaning ----------------------------------------------------

    def search(self, search: Search) -> list[Hit]:
        """What is most like a text, best first; see :mod:`lc_memory.search`.

        Raises Unsupported if the store was opened without an index to search.
        """
        raise Unsupported("recall is off, and costs nothing; open the memory with recall=True")

    def keywords(self) -> Keywords | None:
        """The store's own index of words, from now on kept in step with every write; None if it
        has none. A layer whose records are not what lies below it has none."""
        return None

    # -- derived ---------------------------------------------------------------------------

    def find_many(self, queries: Sequence[Query]) -> list[Page]:
        """A page of each query; a server may be asked for all of them at once."""
        return [self.find(query) for query in queries]

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        """Carry out several batches, each atomic by itself; a store may commit them together."""
        outcomes: list[Outcome] = []
        for ops in batches:
            try:
                outcomes.append(self.write(ops))
            except Exception as error:  # noqa: BLE001 - it is the batch's outcome
                outcomes.append(error)
        return outcomes

    def get(self, namespace: Namespace, key: str) -> Record | None:
        return self.read([(namespace, key)])[0]

    def put(
        self,
        namespace: Namespace,
        key: str,
        value: Mapping[str, Any],
        *,
        expires_at: datetime | None = None,
        replacing: Seen | None = None,
        owner: str | None = None,
    ) -> Record:
        (record,) = self.write([Put(namespace, key, value, expires_at, replacing, owner)])
        assert record is not None
        return record

    def delete(self, namespace: Namespace, key: str, *, replacing: Seen | None = None) -> bool:
        """Delete a record; says whether there was one."""
        return self.write([Delete(namespace, key, replacing)])[0] is not None

    def update(
        self,
        namespace: Namespace,
        key: str,
        change: Mapping[str, Any] | Callable[[Value], Value],
        *,
        default: Mapping[str, Any] | None = None,
    ) -> Record:
        """Change a record by a JSON Merge Patch, or by a function of its value.

        Atomic against other writers: the change is applied to what is there at that moment; the
        function may be called more than once. Where there is no record, the ``default`` is
        changed and created; without one, MemoryNotFound is raised.
        """
        for _ in range(RETRIES):
            seen = self.get(namespace, key)
            if seen is None and default is None:
                raise MemoryNotFound(f"there is no {key!r} in {'/'.join(namespace)!r}")
            old = dict(default or {}) if seen is None else seen.value
            new = change(old) if callable(change) else values.merge_patch(old, change)
            expires_at = None if seen is None else seen.expires_at
            try:
                return self.put(
                    namespace, key, new, expires_at=expires_at, replacing=seen or ABSENT
                )
            except Conflict:
                continue
        raise Conflict(f"{key!r} in {'/'.join(namespace)!r} is changed by others all the time")

    def count(self, query: Query | None = None) -> int:
        """How many records match."""
        return sum(len(page.records) for page in self._pages(query or Query(), 1000))

    def records(self, query: Query | None = None, size: int = 500) -> Iterator[Record]:
        """Every record that matches, fetched in pages of that size."""
        for page in self._pages(query or Query(), size):
            yield from page.records

    def _pages(self, query: Query, size: int) -> Iterator[Page]:
        left = query.limit
        while True:
            page = self.find(replace(query, limit=size if left is None else min(size, left)))
            yield page
            left = None if left is None else left - len(page.records)
            if page.cursor is None or left == 0:
                return
            query = replace(query, cursor=page.cursor, offset=0)

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        """The namespaces under the prefix that hold records, in order, from after ``after``."""
        Query(prefix, limit=limit), check_namespace(after or ())  # or they raise
        found: list[Namespace] = []
        for record in self.records(Query(prefix, expired=expired)):
            if (not found or found[-1] != record.namespace) and (
                after is None or record.namespace > after
            ):
                if limit is not None and len(found) >= limit:
                    break
                found.append(record.namespace)
        return found

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        """The store as it is at one moment, whatever is written meanwhile: to be read only.

        Read it by :meth:`records` in the order of keys, which needs no more memory than a page.
        """
        from lc_memory.stores.table_store import FrozenTable

        yield FrozenTable.of(self.find(Query(expired=True)).records, self.now)

    def restore(
        self, records: Callable[[], Iterable[Record]], clearing: Sequence[Namespace] = ()
    ) -> None:
        """Delete everything under these prefixes and write the records verbatim, as one batch.

        All of it or nothing, however many they are and whatever happens meanwhile; ``records``
        may be called more than once, and what it raises leaves the store as it was.
        """
        self.write([*map(Clear, clearing), *map(Restore, records())])

    def sweep(self) -> int:
        """Delete what has expired; returns how many records that were."""
        swept = 0
        now = self.now()
        for page in self._pages(Query(expired=True), 500):
            dead = [record for record in page.records if not record.lives_at(now)]
            for record in dead:
                try:
                    self.write([Delete(record.namespace, record.key, replacing=ABSENT)])
                except Conflict:  # written again in the meantime: alive
                    continue
                swept += 1
        return swept

    def scrub(self) -> bool:
        """See that deleted bytes do not stay in the store's own files; says whether that was in
        its power. It may rewrite everything that is stored."""
        return True

    def declare(self, indexes: Sequence[Index]) -> None:  # noqa: B027 - for most, nothing
        """Find these fields without a scan from now on, where the store has indexes."""

    def now(self) -> datetime:
        """The store's time (UTC), which decides what has expired."""
        return datetime.now(UTC)

    def expiry(self, ttl: float | None) -> datetime | None:
        """When something expires that lives for so many minutes from now (None: never).

        Raises InvalidValue if that is not a number above 0.
        """
        if ttl is None:
            return None
        if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl < 1e9:
            raise InvalidValue("ttl", f"{ttl!r} is not a number of minutes above 0")
        return self.now() + timedelta(minutes=ttl)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Clock(Holder):
    """Times that never repeat and never go back within one process.

    ``now`` is where time comes from (tests pass their own). Two writes never share a time stamp,
    so that "the latest" is always one record, and delete-and-recreate is always seen.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now
        self._last = 0
        self.forked()
        watch(self)

    def forked(self) -> None:
        self._lock = threading.Lock()  # a thread of the parent may have had the other

    def now(self) -> int:
        """The time in microseconds since 1970, for asking what has expired."""
        if self._now is None:
            return time.time_ns() // 1000
        return values.micros(self._now())

    def ticks(self, count: int) -> int:
        """Reserve that many microseconds in a row, for that many writes; returns the first."""
        now = self.now()
        with self._lock:
            first = max(now, self._last + 1)
            self._last = first + count - 1
        return first

    def release(self, first: int, count: int) -> None:
        """Give back what was reserved, as nothing was written with it (if it is still the last)."""
        with self._lock:
            if self._last == first + count - 1:
                self._last = first - 1


def outcome(result: Outcome) -> list[Record | None]:
    """The results of a batch, or its error raised."""
    if isinstance(result, Exception):
        raise result
    return result


def closed(what: str) -> LCMemoryError:
    return StoreClosed(f"this {what} is closed; open it again to use it")
