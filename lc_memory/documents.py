"""Documents in collections: what ``store_memory`` and its kin do, over the waist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from lc_memory import values
from lc_memory.errors import Conflict, InvalidKey, InvalidQuery, InvalidValue, MemoryNotFound
from lc_memory.filters import Node, parse
from lc_memory.records import (
    NEWEST,
    Clear,
    Delete,
    Namespace,
    Order,
    Put,
    Query,
    Record,
    Value,
    check_name,
)
from lc_memory.store import RETRIES, Store

#: The fields that name a document when no ``id=`` does: the first one present.
IDENTITY_FIELDS: Final = (
    "id",
    "memory_id",
    "message_id",
    "conversation_id",
    "session_id",
    "user_id",
)

#: The key of the document of a collection that has just one; no identity makes it.
SINGLE: Final = "#single"

Filter: TypeAlias = Mapping[str, Any] | Node


@dataclass(frozen=True, slots=True)
class Documents:
    """The collections under one scope of a store; ``owner`` owns what is stored here."""

    store: Store
    scope: Namespace
    owner: str | None
    identity: Mapping[str, Sequence[str]]

    def namespace(self, name: str) -> Namespace:
        if not isinstance(name, str) or not name:
            raise InvalidKey(f"memory name: {name!r} is not a string with something in it")
        return (*self.scope, "documents", name)

    def put(
        self,
        name: str,
        data: Mapping[str, Any],
        id: str | int | None = None,
        ttl: float | None = None,
    ) -> Put:
        """The operation that stores a document."""
        if not isinstance(data, (dict, Mapping)):  # dict: sooner
            raise InvalidValue("$", f"a {type(data).__name__}, not an object (a dict)")
        key = self._key_of(name, data) if id is None else document_key(id)
        return Put(self.namespace(name), key, data, self.store.expiry(ttl), owner=self.owner)

    def put_all(self, items: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Put]:
        """The operations that store several documents."""
        puts: list[Put] = []
        for item in items:
            try:
                name, data = item
            except (TypeError, ValueError):
                raise InvalidValue(f"items[{len(puts)}]", "not a pair (name, data)") from None
            puts.append(self.put(name, data))
        return puts

    def newest(self, name: str, filter: Filter | None, id: str | int | None) -> Record | None:
        """The most recently stored document that matches."""
        namespace = self.namespace(name)
        if id is not None:
            query = Query(filter=filter)
            record = self.store.get(namespace, document_key(id))
            fits = record and (query.node is None or query.node.matches(record.value))
            return record if fits else None
        page = self.store.find(Query(namespace, filter, NEWEST, limit=1, exact=True))
        return page.records[0] if page.records else None

    def search(
        self,
        name: str,
        filter: Filter | None,
        query: str | None,
        order_by: str | Order | None,
        limit: int | None,
    ) -> list[Value]:
        if query is not None:
            return self._recalled(name, filter, query, order_by, limit)
        find = Query(
            self.namespace(name),
            filter,
            NEWEST if order_by is None else order_by,
            limit,
            exact=True,
        )
        return [record.value for record in self.store.find(find).records]

    def _recalled(
        self,
        name: str,
        filter: Filter | None,
        query: str,
        order_by: str | Order | None,
        limit: int | None,
    ) -> list[Value]:
        """The documents that are most like the query, best first."""
        from lc_memory.search.asking import MOST_HITS, Scope, Search
        from lc_memory.search.facade import checked_limit, checked_text

        if order_by is not None:
            raise InvalidQuery("order_by: with query= the best come first; sort them afterwards")
        search = Search(
            checked_text(query),
            Scope((self.namespace(name),)),
            MOST_HITS if limit is None else checked_limit(limit, "limit"),
            None if filter is None else parse(filter),
        )
        return [hit.record.value for hit in self.store.search(search)]

    def update(
        self, name: str, changes: Mapping[str, Any], filter: Filter | None, id: str | int | None
    ) -> Record:
        """Merge the changes into the newest match, whoever else is writing."""
        if not isinstance(changes, Mapping):
            raise InvalidValue("$", f"a {type(changes).__name__}, not an object (a dict)")
        for _ in range(RETRIES):
            seen = self.newest(name, filter, id)
            if seen is None:
                raise MemoryNotFound(f"there is no {name!r} to update; store_memory creates one")
            merged = values.merge_patch(seen.value, changes)
            self._same_identity(name, seen, merged)
            put = Put(seen.namespace, seen.key, merged, seen.expires_at, seen, self.owner)
            try:
                (record,) = self.store.write([put])
            except Conflict:
                continue
            assert record is not None
            return record
        raise Conflict(f"{name!r} is changed by others all the time; try again later")

    def delete(self, name: str, filter: Filter | None, id: str | int | None) -> int:
        """Delete what matches; returns how many documents that were."""
        everything = Query(self.namespace(name), filter, exact=True)
        for _ in range(RETRIES):
            if id is None:
                matches = self.store.find(everything).records
            else:
                seen = self.newest(name, filter, id)
                matches = [seen] if seen is not None else []
            if not matches:
                return 0
            try:
                return len(self.store.write([Delete(r.namespace, r.key, r) for r in matches]))
            except Conflict:  # one of them changed meanwhile: does it still match?
                continue
        raise Conflict(f"{name!r} is changed by others all the time; try again later")

    def clear(self) -> None:
        self.store.write([Clear((*self.scope, "documents"))])

    def _key_of(self, name: str, data: Mapping[str, Any]) -> str:
        for field in self.identity.get(name, IDENTITY_FIELDS):
            id = data.get(field)
            if id is not None:
                return document_key(id, "$." + field)
        return SINGLE

    def _same_identity(self, name: str, seen: Record, merged: Value) -> None:
        if self._key_of(name, seen.value) == seen.key != self._key_of(name, merged):
            raise InvalidValue(
                "$", f"the changes would rename {seen.key!r}; store it anew and delete this one"
            )


def user_scope(user: str) -> Namespace:
    """What a user's things lie under. Raises InvalidKey for an id that no store can keep."""
    if not check_name(user, "user id"):
        raise InvalidKey("user id: empty")
    return "users", user


def document_key(id: object, place: str = "id") -> str:
    """The key of an identity: a string as it is, a number with a ``#`` before it."""
    if isinstance(id, str):
        return "#" + id if id.startswith("#") else str.__str__(id)
    if isinstance(id, int) and not isinstance(id, bool):
        return f"#{id}"
    raise InvalidKey(f"{place}: {id!r} cannot name a document; use a string or a whole number")


def document_id(key: str) -> str | int:
    """The identity that a key stands for."""
    if key.startswith("##") or not key.startswith("#"):
        return key.removeprefix("#")
    number = key.removeprefix("#")
    return int(number) if number.lstrip("-").isdecimal() else key
