"""What becomes of links when one of their ends is deleted.

Who links and who deletes must not overtake each other, in whatever process. Every record belongs
to one of sixteen *gates*, which are records themselves: linking writes the gates of both ends,
deleting expects the gate of what it deletes to be as it was before the links were looked up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import ClassVar, Final, TypeAlias

from lc_memory.errors import AccessDenied, Conflict, LinkedRecord, Unsupported
from lc_memory.layers.base import SYSTEM, Layer
from lc_memory.layers.reading import UNREADABLE, readable
from lc_memory.records import (
    ABSENT,
    Clear,
    Delete,
    Expect,
    Id,
    Namespace,
    Op,
    Put,
    Query,
    Record,
    Restore,
    Value,
    in_scope,
)
from lc_memory.relations import (
    DECLARED,
    LINKS,
    Stored,
    beside,
    holding,
    is_end,
    is_link,
    mark,
)
from lc_memory.store import RETRIES, Outcome, Store

_GATES: Final[Namespace] = (*SYSTEM, LINKS)
_NAMES: Final = "0123456789abcdef"

#: Raises AccessDenied unless a right is given on a record.
Require: TypeAlias = Callable[[str, Namespace, str], None]

#: How many records of one namespace have their links looked up one by one.
_FEW: Final = 16


class Related(Layer):
    """Refuses, cascades or clears, as the relation is declared.

    A cascade does not leave a user's own namespace: what another user has is only unlinked. Who
    may not delete what goes along may not delete what it hangs on (``require``). A
    batch that unlinks by itself (deletes the link's records) is not asked about that link.
    """

    rank: ClassVar[int] = 20

    def __init__(
        self, inner: Store, below: Store | None = None, require: Require | None = None
    ) -> None:
        super().__init__(inner)
        self._below = below or inner  # where links are looked up: that is no access of anybody's
        self._require = require

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        if not any(map(_concerns, ops)):
            return self.inner.write(ops)
        before = self._planned(ops)
        for _ in range(RETRIES):
            try:
                return self.inner.write([*before, *ops])[len(before) :]
            except Conflict:
                again = self._planned(ops)
                if again == before:  # it was a precondition of the caller's
                    raise
                before = again
        raise Conflict("the links of what is to be deleted are changed by others all the time")

    def _planned(self, ops: Sequence[Op]) -> list[Op]:
        plan = _Plan(self._below, ops)
        before = plan.made()
        if self._require is None:
            return before
        try:
            for namespace, key in plan.cascaded:
                self._require("delete", namespace, key)
        except AccessDenied:  # names no record that the caller may not know of
            raise AccessDenied(
                "by a relation more would be deleted with it, where the right 'delete' is missing"
            ) from None
        return before

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        if not any(_concerns(op) for ops in batches for op in ops):
            return self.inner.write_many(batches)
        return Store.write_many(self, batches)


class _Plan:
    """What is to be done before a batch, in the same transaction."""

    def __init__(self, store: Store, ops: Sequence[Op]) -> None:
        self._store = store
        self._linking = {_gate_of(op) for op in ops} - {""}
        self._restored = {op.record.id for op in ops if isinstance(op, Restore)}
        deletes = [(op.namespace, op.key) for op in ops if isinstance(op, Delete)]
        self._unlinked = {id for id in deletes if is_link(id[0])}
        self._deleted = {id: None for id in deletes if is_end(id[0]) and id not in self._restored}
        self._cleared = [op.prefix for op in ops if isinstance(op, Clear)]
        self._gates: dict[str, Record | None] = {}
        self._modes: Value = {}
        self._links: dict[tuple[Id, Id], Stored] = {}
        self.cascaded: dict[Id, Record] = {}

    def made(self) -> list[Op]:
        self._look_up()
        self._check_refused()
        undone: list[Op] = [
            Delete(*id) for ids in self._links for id in ids if not self._is_cleared(id[0])
        ]
        undone += [Delete(*id, replacing=record) for id, record in self.cascaded.items()]
        if self._store.capabilities.atomic:
            return [*self._guards(), *undone]
        if undone:
            raise Unsupported(
                "what is to be deleted is linked, and this store has no batches of several "
                "records; unlink it first"
            )
        return []

    def _look_up(self) -> None:
        """Find the links of what is deleted, and of what goes with it, and so on."""
        self._read_gates(_NAMES if self._cleared else self._linking)
        wave = list(self._deleted)
        found = [link for prefix in self._cleared for link in self._under(prefix)]
        while wave or found:
            self._read_gates({mark(id)[0] for id in wave})
            found += self._beside(wave)
            new = {link.ids: link for link in found if self._is_undone(link)}
            self._links |= new
            found, wave = [], self._taken_along(new.values())

    def _is_undone(self, link: Stored) -> bool:
        return (
            link.ids not in self._links
            and self._unlinked.isdisjoint(link.ids)
            and (self._is_gone(link.source) or self._is_gone(link.target))
        )

    def _taken_along(self, links: Iterable[Stored]) -> list[Id]:
        """The targets that are deleted with their source, and were not yet."""
        cascades = [
            link
            for link in links
            if self._modes.get(link.relation) == "cascade"
            and self._is_gone(link.source)
            and not self._is_gone(link.target)
            and in_scope(link.source[0])[0] in ((), in_scope(link.target[0])[0])
        ]
        targets = {link.target for link in holding(self._store, cascades)} - self._restored
        there = self._store.read(sorted(targets)) if targets else []
        taken = {record.id: record for record in there if record is not None}
        self.cascaded |= taken
        return list(taken)

    def _check_refused(self) -> None:
        refusing = [
            link
            for link in self._links.values()
            if self._modes.get(link.relation) == "refuse"
            and not (self._is_gone(link.source) and self._is_gone(link.target))
        ]
        count = Counter(link.relation for link in holding(self._store, refusing))
        if count:
            by = ", ".join(f"{number} of {name!r}" for name, number in sorted(count.items()))
            raise LinkedRecord(
                f"it has links that forbid to delete it: {by}; unlink first, or delete both ends "
                "in one batch"
            )

    def _is_gone(self, id: Id) -> bool:
        if id in self._restored:
            return False
        return id in self._deleted or id in self.cascaded or self._is_cleared(id[0])

    def _is_cleared(self, namespace: Namespace) -> bool:
        return any(namespace[: len(prefix)] == prefix for prefix in self._cleared)

    # -- the gates -------------------------------------------------------------------------

    def _read_gates(self, names: Iterable[str]) -> None:
        new = sorted(set(names) - self._gates.keys())
        if new:
            declared, *gates = self._store.read([DECLARED, *((_GATES, name) for name in new)])
            self._modes = {} if declared is None else declared.value
            self._gates |= zip(new, gates, strict=True)

    def _guards(self) -> Iterator[Op]:
        deletes = bool(self._deleted or self._cleared)
        for name, gate in self._gates.items():
            if name in self._linking:
                seen = (gate or ABSENT) if deletes else None
                yield Put(_GATES, name, {}, replacing=seen)
            elif gate is None:  # only what is there can be expected
                yield Put(_GATES, name, {}, replacing=ABSENT)
            else:
                yield Expect(_GATES, name, gate)

    # -- the links -------------------------------------------------------------------------

    def _beside(self, ids: Sequence[Id]) -> Iterator[Stored]:
        """The links of some records."""
        spaces: dict[Namespace, list[Id]] = {}
        for id in ids:
            spaces.setdefault(id[0], []).append(id)
        for namespace, group in spaces.items():
            places = {beside(id, side) for id in group for side in ("out", "in")}
            if len(group) <= _FEW:
                for place in sorted(places):
                    yield from self._stored(Query(place, exact=True, expired=True))
                continue
            scope, below = in_scope(namespace)
            for side in ("out", "in"):
                query = Query((*scope, LINKS, side, *below), expired=True)
                yield from self._stored(query, places)

    def _under(self, prefix: Namespace) -> Iterator[Stored]:
        """The links of all records under a prefix."""
        scope, below = in_scope(prefix)
        if below and is_end(prefix):
            for side in ("out", "in"):
                yield from self._stored(Query((*scope, LINKS, side, *below), expired=True))
        elif len(scope) == 2 and not below:
            yield from self._stored(Query((*scope, LINKS), expired=True))
        elif prefix == ("users",):
            for namespace in self._store.namespaces(prefix, expired=True):
                if is_link(namespace):
                    yield from self._stored(Query(namespace, exact=True, expired=True))

    def _stored(self, query: Query, places: Collection[Namespace] = ()) -> Iterator[Stored]:
        """The links of a query (in these places), without those that go with the batch and that
        nobody can read."""
        for record, error in readable(self._store, query):
            if places and record.namespace not in places:
                continue
            try:
                if error is not None:
                    raise error
                link = Stored.of(record)
            except UNREADABLE:
                if record.id in self._unlinked or self._is_cleared(record.namespace):
                    continue
                raise
            yield link


def _concerns(op: Op) -> bool:
    """Whether the operation deletes what may be linked, or links."""
    if isinstance(op, Delete):
        return is_end(op.namespace)
    if isinstance(op, Clear):
        return op.prefix == () or is_end(op.prefix)
    return bool(_gate_of(op))


def _gate_of(op: Op) -> str:
    """The gate of the end that a link is written beside, or ``""``."""
    namespace = op.namespace if isinstance(op, Put | Restore) else ()
    return namespace[-1][:1] if namespace and is_link(namespace) else ""
