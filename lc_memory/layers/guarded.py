"""Access control: a store bound to a principal, which does nothing that is not granted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NoReturn

from lc_memory.access import Permits, Policy, denied
from lc_memory.errors import AccessDenied, Conflict
from lc_memory.layers.base import SYSTEM, Layer, asked
from lc_memory.records import (
    Append,
    Clear,
    Delete,
    Expect,
    Id,
    Limits,
    Namespace,
    Op,
    Page,
    Put,
    Query,
    Record,
    Restore,
    Touch,
)
from lc_memory.store import RETRIES, Index, Outcome, Store

if TYPE_CHECKING:
    from lc_memory.search.asking import Hit, Search

#: Told of each denial: the right that was missing, and where.
Denial = Callable[[str, Namespace, "str | None"], None]


class Guarded(Layer):
    """A store bound to a principal; bound to nobody (None), it refuses everything.

    What may be seen is part of each query (``Query.within``), so that the store finds nothing
    else. A write that rests on a grant is refused if the grant is taken back before it commits.
    """

    rank: ClassVar[int] = 10

    def __init__(
        self, inner: Store, policy: Policy, principal: str | None, tell: Denial | None = None
    ) -> None:
        super().__init__(inner)
        self.principal = principal
        self._policy = policy
        self._tell = tell

    # -- reading ---------------------------------------------------------------------------

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        permits = self._permits("read", ids[0][0] if ids else ())
        for namespace, key in ids:
            self._check(permits, "read", namespace, key)
        return self.inner.read(ids, expired=expired)

    def find(self, query: Query) -> Page:
        return self.inner.find(self._limited(query))

    def search(self, search: Search) -> list[Hit]:
        permits = self._permits("read", ())
        limits = Limits()
        for prefix in search.scope.prefixes:
            if prefix[:1] == SYSTEM:
                self._deny("read", prefix, None)
            allowed = permits.under("read", prefix, False)
            if permits.may("read", prefix):
                allowed = Limits((prefix,))
            elif not allowed.prefixes and not allowed.ids:
                self._deny("read", prefix, None)
            limits = Limits(limits.prefixes + allowed.prefixes, limits.ids + allowed.ids)
        return self.inner.search(search.limited(limits))

    def count(self, query: Query | None = None) -> int:
        return self.inner.count(self._limited(query or Query()))

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        within = self._limited(Query(prefix)).within
        if within is None:
            return self.inner.namespaces(prefix, after=after, limit=limit, expired=expired)
        found = {
            name
            for allowed in within.prefixes
            for name in self.inner.namespaces(allowed, after=after, limit=limit, expired=expired)
        }
        records = self.inner.read(within.ids, expired=expired)
        found |= {r.namespace for r in records if r and (after is None or r.namespace > after)}
        return sorted(found)[:limit]

    def _limited(self, query: Query) -> Query:
        permits = self._permits("read", query.prefix)
        if query.prefix[:1] == SYSTEM:
            self._deny("read", query.prefix, None)
        if permits.may("read", query.prefix):
            return query
        within = permits.under("read", query.prefix, query.exact)
        if not within.prefixes and not within.ids:
            self._deny("read", query.prefix, None)
        if query.within is not None:
            within = within.both(query.within)
        return replace(query, within=within)

    # -- writing ---------------------------------------------------------------------------

    def enter(self, ops: Sequence[Op]) -> Sequence[Op]:
        permits = self._permits("write", _place(ops[0])[0] if ops else ())
        needed: dict[Id, Record] = {}
        for op in ops:
            namespace, key = _place(op)
            for right in _rights(op):
                self._check(permits, right, namespace, key)
                needed |= {r.id: r for r in permits.needed(right, namespace, key)}
            self._check_owner(permits, op, namespace, key)
        if not needed or not self.inner.capabilities.atomic:
            return ops
        return [*ops, *(Expect(r.namespace, r.key, r) for r in needed.values())]

    def leave(self, ops: Sequence[Op], results: list[Record | None]) -> list[Record | None]:
        """Who may change but not read gets no values back that were there."""
        if not any(isinstance(op, Delete | Touch) for op in ops):
            return results
        permits = self._permits("read", ())
        return [
            replace(record, value={})
            if record is not None
            and isinstance(op, Delete | Touch)
            and not permits.may("read", record.namespace, record.key)
            else record
            for op, record in zip(ops, results, strict=True)
        ]

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        for _ in range(RETRIES):
            entered = self.enter(ops)
            try:
                return self.leave(ops, asked(ops, entered, self.inner.write(entered)))
            except Conflict:
                if len(entered) == len(ops) or self._still(entered):
                    raise  # the caller's own precondition failed
        raise Conflict("the grants change all the time; try again later")

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        outcomes = super().write_many(batches)
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, Conflict):  # a grant's change, or the caller's affair
                try:
                    outcomes[place] = self.write(batches[place])
                except Exception as error:  # noqa: BLE001 - it is the batch's outcome
                    outcomes[place] = error
        return outcomes

    def _still(self, entered: Sequence[Op]) -> bool:
        """Whether the grants are still what they were."""
        seen = [op.seen for op in entered if isinstance(op, Expect) and op.namespace[:1] == SYSTEM]
        held = [record for record in seen if isinstance(record, Record)]
        return self.inner.read([record.id for record in held]) == held

    def sweep(self) -> int:
        self._check(self._permits("admin", ()), "admin", (), None)
        return self.inner.sweep()

    def scrub(self) -> bool:
        self._check(self._permits("admin", ()), "admin", (), None)
        return self.inner.scrub()

    def declare(self, indexes: Sequence[Index]) -> None:
        self._check(self._permits("admin", ()), "admin", (), None)
        self.inner.declare(indexes)

    def close(self) -> None:
        """Who opened the memory closes it."""

    # -- rights ----------------------------------------------------------------------------

    def require(self, right: str, namespace: Namespace, key: str | None = None) -> None:
        """Raise AccessDenied unless the principal has the right there."""
        self._check(self._permits(right, namespace), right, namespace, key)

    def _permits(self, right: str, namespace: Namespace) -> Permits:
        if self.principal is None:
            self._deny(right, namespace, None)
        return self._policy.permits(self.principal)

    def _check(self, permits: Permits, right: str, namespace: Namespace, key: str | None) -> None:
        if namespace[:1] == SYSTEM or not permits.may(right, namespace, key):
            self._deny(right, namespace, key)

    def _check_owner(self, permits: Permits, op: Op, namespace: Namespace, key: str | None) -> None:
        owner = op.record.owner if isinstance(op, Restore) else getattr(op, "owner", None)
        theirs = namespace[1] if namespace[:1] == ("users",) and len(namespace) > 1 else None
        if owner not in (None, self.principal, theirs):
            self._check(permits, "admin", namespace, key)

    def _deny(self, right: str, namespace: Namespace, key: str | None) -> NoReturn:
        if self._tell is not None:
            self._tell(right, namespace, key)
        raise AccessDenied(denied(self.principal, right, namespace, key))


def _place(op: Op) -> tuple[Namespace, str | None]:
    if isinstance(op, Restore):
        return op.record.id
    return op.namespace, None if isinstance(op, Clear | Append) else op.key


def _rights(op: Op) -> Iterator[str]:
    """What an operation needs."""
    if isinstance(op, Put | Append | Touch | Restore):
        yield "write"
    if isinstance(op, Delete | Clear | Restore):
        yield "delete"
    if isinstance(op, Expect):
        yield "read"
