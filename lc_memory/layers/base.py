"""What all layers have in common: they forward the verbs, and override only what they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final

from lc_memory.errors import AccessDenied
from lc_memory.filters import Node
from lc_memory.paging import cut, page_of
from lc_memory.records import BY_KEY, Clear, Id, Limits, Namespace, Op, Page, Query, Record
from lc_memory.store import Capabilities, Index, Outcome, Store

if TYPE_CHECKING:
    from lc_memory.search.asking import Hit, Search

#: The namespace of the library's own records: settings, keys, grants, the audit log.
SYSTEM: Final[Namespace] = ("lc_memory",)

#: Records a page, where Python filters.
PULL: Final = 500


class Layer(Store):
    """A store over another one.

    A layer overrides :meth:`enter` to change or refuse a batch on its way down (what it adds
    comes at the end), :meth:`leave` to change what comes back, and ``read`` and ``find``
    likewise. Layers have a rank, from the caller (low) to the store (high); stacking them in
    another order raises TypeError.
    """

    rank: ClassVar[int] = 0

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self._check_rank()

    def _check_rank(self) -> None:
        below = self.inner
        while isinstance(below, Layer):
            if self.rank and below.rank and below.rank <= self.rank:
                raise TypeError(
                    f"{type(self).__name__} goes below {type(below).__name__}, not over it"
                )
            below = below.inner

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # the inner store's
        held = self.inner.capabilities
        return replace(held, joined=False) if held.joined and self._asks_one_by_one() else held

    # -- what a layer overrides ------------------------------------------------------------

    def enter(self, ops: Sequence[Op]) -> Sequence[Op]:
        """The batch that goes down instead of this one. Raises to refuse it."""
        return ops

    def leave(self, ops: Sequence[Op], results: list[Record | None]) -> list[Record | None]:
        """What the caller gets of a batch that was carried out; ``ops`` are the caller's."""
        return results

    # -- the verbs -------------------------------------------------------------------------

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        return self.inner.read(ids, expired=expired)

    def find(self, query: Query) -> Page:
        return self.inner.find(query)

    def find_many(self, queries: Sequence[Query]) -> list[Page]:
        if self._asks_one_by_one():
            return super().find_many(queries)
        return self.inner.find_many(queries)

    @classmethod
    def _asks_one_by_one(cls) -> bool:
        return cls.find is not Layer.find and cls.find_many is Layer.find_many

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        entered = self.enter(ops)
        return self.leave(ops, asked(ops, entered, self.inner.write(entered)))

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        entered: list[Sequence[Op] | Exception] = []
        for ops in batches:
            try:
                entered.append(self.enter(ops))
            except Exception as error:  # noqa: BLE001 - it is the batch's outcome
                entered.append(error)
        done = iter(self.inner.write_many([e for e in entered if not isinstance(e, Exception)]))
        outcomes: list[Outcome] = []
        for ops, admitted in zip(batches, entered, strict=True):
            if isinstance(admitted, Exception):
                outcomes.append(admitted)
                continue
            result = next(done)
            try:
                if not isinstance(result, Exception):
                    result = self.leave(ops, asked(ops, admitted, result))
            except Exception as error:  # noqa: BLE001 - it is the batch's outcome
                result = error
            outcomes.append(result)
        return outcomes

    def search(self, search: Search) -> list[Hit]:
        # A layer that limits what is read narrows ``search.scope``, as it does with queries.
        return self.inner.search(search)

    def count(self, query: Query | None = None) -> int:
        return self.inner.count(query)

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        return self.inner.namespaces(prefix, after=after, limit=limit, expired=expired)

    def sweep(self) -> int:
        return self.inner.sweep()

    def scrub(self) -> bool:
        return self.inner.scrub()

    def declare(self, indexes: Sequence[Index]) -> None:
        self.inner.declare(indexes)

    def now(self) -> datetime:
        return self.inner.now()

    def close(self) -> None:
        self.inner.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


class Handle(Layer):
    """The outermost layer: without looking for them, one does not meet the library's own records,
    nor write them, nor clear them with everything else. Raises AccessDenied."""

    def enter(self, ops: Sequence[Op]) -> Sequence[Op]:
        firsts = [op.namespace[:1] for op in ops]
        if SYSTEM in firsts:
            place = "/".join(ops[firsts.index(SYSTEM)].namespace)
            raise AccessDenied(f"{place!r}: these are the library's own records")
        return spare_system(self.inner, ops) if () in firsts else ops

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        entered = self.enter(ops)
        done = self.inner.write(entered)
        return done if entered is ops else asked(ops, entered, done)

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        try:
            firsts = {op.namespace[:1] for ops in batches for op in ops}
        except (AttributeError, TypeError):  # no operation: its batch fails alone
            firsts = {()}
        if SYSTEM in firsts or () in firsts:
            return super().write_many(batches)
        return self.inner.write_many(batches)  # there is nothing to refuse or to change

    def find(self, query: Query) -> Page:
        return self.inner.find(query if query.prefix else without_system(self.inner, query))

    def find_many(self, queries: Sequence[Query]) -> list[Page]:
        if all(query.prefix for query in queries):
            return self.inner.find_many(queries)
        return super().find_many(queries)

    def count(self, query: Query | None = None) -> int:
        query = query or Query()
        return self.inner.count(query if query.prefix else without_system(self.inner, query))

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        found: list[Namespace] = []
        while True:
            left = None if limit is None else limit - len(found)
            names = self.inner.namespaces(prefix, after=after, limit=left, expired=expired)
            found += [name for name in names if prefix or name[:1] != SYSTEM]
            if left is None or len(names) < left or len(found) == limit:
                return found
            after = names[-1]


class Further(Clear):
    """A Clear that a layer added to a batch; its result is nobody's."""

    __slots__ = ()


def spare_system(store: Store, ops: Sequence[Op]) -> Sequence[Op]:
    """The batch, with what would clear everything clearing all but the library's own records."""
    labels = _labels(store)
    rest = [label for label in labels if label != SYSTEM] or [(*SYSTEM, "nothing")]
    cleared = [Clear(rest[0]), *map(Further, rest[1:])]
    spared: list[Op] = []
    for op in ops:
        spared += cleared if isinstance(op, Clear) and not op.prefix else [op]
    return spared


def without_system(store: Store, query: Query) -> Query:
    """A query over everything, as one over everything but the library's own records."""
    labels = _labels(store)
    within = Limits(tuple(label for label in labels if label != SYSTEM))
    return replace(query, within=within if query.within is None else within.both(query.within))


def _labels(store: Store) -> list[Namespace]:
    """The first labels of all namespaces; what may be seen of them, a layer on the way says."""
    while isinstance(store, Layer):
        store = store.inner
    return list(dict.fromkeys(name[:1] for name in store.namespaces(expired=True)))


def asked(
    ops: Sequence[Op], entered: Sequence[Op], results: list[Record | None]
) -> list[Record | None]:
    """The results of the caller's own operations: layers add theirs at the end of a batch, or
    mark them as further."""
    if len(entered) == len(ops):
        return results
    pairs = zip(entered, results, strict=True)
    return [result for op, result in pairs if type(op) is not Further][: len(ops)]


def find_through(
    inner: Store, query: Query, weaker: Node | None, lift: Callable[[Record], Record]
) -> Page:
    """The page of a query over values that are stored in another form.

    ``lift`` gives a record in the form that the query speaks of. ``weaker`` is a filter on the
    stored form that lets every match through (None: everything); the query's own is asked about
    what comes back, and pages are pulled until one is full.
    """
    if query.sort.attribute is None:  # by a field: Python sorts
        stored = replace(query, filter=weaker, order=BY_KEY, limit=None, offset=0, cursor=None)
        return page_of(map(lift, inner.find(stored).records), query)
    if query.node is None:
        page = inner.find(query)
        return page.having([lift(record) for record in page.records])
    wanted = None if query.limit is None else query.offset + query.limit + 1
    stored = replace(query, filter=weaker, limit=wanted, offset=0)
    found: list[Record] = []
    while True:
        page = inner.find(stored)
        found += [r for r in map(lift, page.records) if query.node.matches(r.value)]
        if page.cursor is None or wanted is None or len(found) >= wanted:
            return cut(found[query.offset : wanted], query)
        stored = replace(stored, cursor=page.cursor, limit=max(wanted, PULL))
