"""How records belong together: links, each with a relation as its name.

A link is two records, written in one batch: one lies beside its source and one beside its target,
so that each end finds it, and what deletes an end finds it by the end's own namespace:

    (*scope, "links", "out", *the source's namespace below the scope, digest of its key)
    (*scope, "links", "in",  *the target's …)

A link holds for as long as both ends are the records that were linked: if one was deleted and
made anew, it is another one (:mod:`lc_memory.layers.related` clears up at once).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from lc_memory import values
from lc_memory.documents import Documents, document_key
from lc_memory.errors import Conflict, CorruptStore, InvalidKey, InvalidQuery, MemoryNotFound
from lc_memory.layers.base import SYSTEM
from lc_memory.layers.reading import held
from lc_memory.layers.settings import SETTINGS
from lc_memory.records import (
    Delete,
    Expect,
    Id,
    Namespace,
    Put,
    Query,
    Record,
    Value,
    check_id,
    check_name,
    in_scope,
)
from lc_memory.store import RETRIES, Store

#: What becomes of the links of a record that is deleted.
OnDelete: TypeAlias = Literal["clear", "cascade", "refuse"]

Direction: TypeAlias = Literal["out", "in", "both"]

#: What can be linked: a record, the id of one, or a collection and a document's id in it.
End: TypeAlias = "Record | Id | tuple[str, str | int]"

#: Where the declared relations are kept, for every process that opens the store.
DECLARED: Final[Id] = (SETTINGS, "relations")

LINKS: Final = "links"

#: Which of these records the caller may read.
MayRead: TypeAlias = Callable[[Sequence[Id]], list[Id]]


@dataclass(frozen=True, slots=True)
class Link:
    """That a source stands in a relation to a target; both are ids of records."""

    source: Id
    relation: str
    target: Id
    created_at: datetime = field(compare=False)

    def __str__(self) -> str:
        return f"{'/'.join((*self.source[0], self.source[1]))} {self.relation} " + "/".join(
            (*self.target[0], self.target[1])
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """What a record of a link says: the ends, and since when they were there (microseconds)."""

    source: Id
    relation: str
    target: Id
    since: tuple[int, int]

    @classmethod
    def between(cls, source: Record, relation: str, target: Record) -> Stored:
        since = values.micros(source.created_at), values.micros(target.created_at)
        return cls(source.id, relation, target.id, since)

    @classmethod
    def of(cls, record: Record) -> Stored:
        """The link that a record holds. Raises CorruptStore."""
        try:
            source, target = (_id(record.value[end]) for end in ("from", "to"))
            first, second = map(int, record.value["since"])
            relation = check_relation(record.value["relation"])
            link = cls(source, relation, target, (first, second))
            if record.id in link.ids and is_end(source[0]) and is_end(target[0]):
                return link
        except (KeyError, TypeError, ValueError):
            pass
        raise CorruptStore(
            f"{'/'.join((*record.namespace, record.key))!r} is not the link that belongs there"
        )

    @property
    def value(self) -> Value:
        source, target = ([list(end[0]), end[1]] for end in (self.source, self.target))
        return {
            "relation": self.relation,
            "from": source,
            "to": target,
            "since": list(self.since),
        }

    @property
    def ids(self) -> tuple[Id, Id]:
        """The two records that it is stored in."""
        return (
            (beside(self.source, "out"), _digest(self.relation, *self.target[0], self.target[1])),
            (beside(self.target, "in"), _digest(self.relation, *self.source[0], self.source[1])),
        )

    def holds(self, found: Mapping[Id, Record]) -> bool:
        """Whether both ends are there, and the same as when they were linked."""
        ends = found.get(self.source), found.get(self.target)
        return self.since == tuple(end and values.micros(end.created_at) for end in ends)


class Links:
    """The links of the records of one memory handle."""

    def __init__(self, store: Store, documents: Documents, may_read: MayRead) -> None:
        self.store = store
        self.documents = documents
        self._may_read = may_read

    def id_of(self, end: End) -> Id:
        """The id of a record that is named in one of the three ways. Raises InvalidKey."""
        if isinstance(end, Record):
            id = end.id
        elif not (isinstance(end, tuple) and len(end) == 2):
            raise InvalidKey(f"{end!r} names no record; use a Record or (collection, id)")
        elif isinstance(end[0], str):
            id = self.documents.namespace(end[0]), document_key(end[1])
        else:
            id = check_id(end)
        if not is_end(id[0]):
            raise InvalidKey(f"{'/'.join(id[0])!r} holds the library's own records; link others")
        return id

    def link(
        self, source: End, relation: str, target: End, begin: Callable[[Sequence[Id]], None]
    ) -> Link:
        """Link them. ``begin`` is called with the ids of the link's records before they are
        written."""
        ids = self.id_of(source), self.id_of(target)
        check_relation(relation)
        for _ in range(RETRIES):
            ends = [record for record in self.store.read(ids) if record is not None]
            if len(ends) < len(ids):
                there = {record.id for record in ends}
                missing = next(id for id in ids if id not in there)
                raise MemoryNotFound(f"there is no {'/'.join((*missing[0], missing[1]))!r} to link")
            stored = Stored.between(ends[0], relation, ends[1])
            expected = [Expect(*record.id, record) for record in {r.id: r for r in ends}.values()]
            puts = [Put(*id, stored.value) for id in stored.ids]
            begin(stored.ids)
            try:
                *_, kept = self.store.write([*expected, *puts])
            except Conflict:
                continue
            assert kept is not None
            return _link(stored, kept)
        raise Conflict(f"what is to be linked by {relation!r} is changed by others all the time")

    def unlink(self, source: End, relation: str, target: End) -> bool:
        ends = self.id_of(source), self.id_of(target)
        ids = Stored(ends[0], check_relation(relation), ends[1], (0, 0)).ids
        return any(self.store.write([Delete(*id) for id in ids]))

    def links(
        self, end: End, direction: Direction = "both", relation: str | None = None
    ) -> list[Link]:
        return [link for link, _ in self._of([self.id_of(end)], direction, relation)]

    def related(
        self, end: End, depth: int, relation: str | None, direction: Direction
    ) -> list[Record]:
        if type(depth) is not int or depth < 1:
            raise InvalidQuery(f"depth: {depth!r} is not a whole number from 1 up")
        start = self.id_of(end)
        reached: dict[Id, Record] = {}
        edge = [start]
        for _ in range(depth):
            found: dict[Id, Record] = {}
            for _, far in self._of(edge, direction, relation, passing=edge != [start]):
                found |= {record.id: record for record in far}
            edge = [id for id in found if id not in reached and id != start]
            reached |= {id: found[id] for id in edge}
            if not edge:
                break
        return list(reached.values())

    def _of(
        self,
        ends: Iterable[Id],
        direction: Direction,
        relation: str | None,
        *,
        passing: bool = False,
    ) -> list[tuple[Link, list[Record]]]:
        """The links of these records that hold, oldest first, each with the other end's record.
        In ``passing``, a record whose links may not be read leads nowhere."""
        if direction not in get_args(Direction):
            raise InvalidQuery(f"direction: {direction!r}; use 'out', 'in' or 'both'")
        sides = ("out", "in") if direction == "both" else (direction,)
        wanted = None if relation is None else {"relation": check_relation(relation)}
        found: list[tuple[Stored, Record, Id]] = []
        for end in ends:
            for side in sides:
                place = beside(end, side)
                if passing and not self._may_read([(place, "")]):
                    continue
                query = Query(place, wanted, "@created_at", exact=True)
                for record in self.store.find(query).records:
                    stored = Stored.of(record)
                    far = stored.target if side == "out" else stored.source
                    if side == "out" or direction == "in" or stored.source != end:  # to itself
                        found.append((stored, record, far))
        found.sort(key=lambda each: each[1].created_at)
        there = present(self.store, [stored for stored, _, _ in found], self._may_read)
        return [
            (_link(stored, record), [there[far]])
            for stored, record, far in found
            if stored.holds(there)
        ]


def check_modes(relations: Mapping[str, object]) -> None:
    """Raise InvalidKey or InvalidQuery for what is no declaration of relations."""
    for name, on_delete in relations.items():
        check_relation(name)
        if on_delete not in get_args(OnDelete):
            raise InvalidQuery(f"on_delete: {on_delete!r}; use 'refuse', 'cascade' or 'clear'")


def check_relation(name: object) -> str:
    if not check_name(name, "relation"):
        raise InvalidKey("relation: empty")
    return cast("str", name)


def beside(end: Id, side: str) -> Namespace:
    """Where the links of a record lie."""
    scope, below = in_scope(end[0])
    return (*scope, LINKS, side, *below, mark(end))


def mark(end: Id) -> str:
    """What stands for a record's key in the namespaces of its links."""
    return _digest(end[1])


def is_link(namespace: Namespace) -> bool:
    return in_scope(namespace)[1][:1] == (LINKS,)


def is_end(namespace: Namespace) -> bool:
    """Whether the records of a namespace can be linked."""
    return not is_link(namespace) and namespace[: len(SYSTEM)] != SYSTEM


def present(store: Store, links: Iterable[Stored], may_read: MayRead) -> dict[Id, Record]:
    """Those ends of the links that are there, and may be read."""
    ids = dict.fromkeys(end for link in links for end in (link.source, link.target))
    allowed = may_read(list(ids)) if ids else []
    return {record.id: record for record in store.read(allowed) if record} if allowed else {}


def holding(store: Store, links: Iterable[Stored], *, expired: bool = False) -> set[Stored]:
    """Those of the links that hold, and have both halves: only what both sides say is acted on,
    for who may write on one side alone could make up the other's half."""
    links = list(links)
    ids = {id: None for link in links for id in (link.source, link.target, *link.ids)}
    there = {record.id: record for record, _ in held(store, list(ids), expired=expired)}
    return {
        link
        for link in links
        if link.holds(there)
        and all(id in there and there[id].value == link.value for id in link.ids)
    }


def _link(stored: Stored, record: Record) -> Link:
    return Link(stored.source, stored.relation, stored.target, record.created_at)


def _id(end: Sequence[Any]) -> Id:
    labels, key = end
    return check_id((tuple(labels), key))


def _digest(*parts: str) -> str:
    data = b"".join(b"%d:%b" % (len(p.encode()), p.encode()) for p in parts)
    return hashlib.sha256(data).hexdigest()[:32]
