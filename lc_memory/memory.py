"""``Memory``: the one object a user opens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import sqlalchemy as sa

from lc_memory.aio import AsyncStore
from lc_memory.documents import Documents, Filter, document_key, user_scope
from lc_memory.errors import AccessDenied
from lc_memory.interfaces import Interfaces
from lc_memory.layers.stack import Stack
from lc_memory.recalling import Recalling
from lc_memory.records import Namespace, Order, Record, Value
from lc_memory.registry import open_store, url_of
from lc_memory.safekeeping import Safekeeping
from lc_memory.store import Index, Store
from lc_memory.upkeep import Upkeep

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lc_memory.access import Access, Grant
    from lc_memory.audit import Audit
    from lc_memory.jobs.backups import Backups
    from lc_memory.keys import Source
    from lc_memory.layers.encrypted import Encryption
    from lc_memory.relations import OnDelete
    from lc_memory.search.recall import Recall

T = TypeVar("T")


class Memory(Interfaces, Recalling, Upkeep, Safekeeping):
    """Persistent memory for an agent.

    >>> memory = Memory("sqlite:///agent_memory.db")

    ``url`` names the store; without one it is the environment's ``LC_MEMORY_URL``, else
    ``sqlite:///agent_memory.db``. An open :class:`~lc_memory.store.Store` may be given instead.

    A memory *name* is a collection of documents (dicts). A document is kept under its identity:
    ``id=`` if given, else the value of the first of the collection's identity fields that it
    has, else it is the collection's single document. Storing the same identity again replaces it.

    :param indexes: fields to find without a scan, by collection:
        ``{"conversation_history": ["timestamp"]}``. Stores that hold everything in memory (files)
        take no notice.
    :param identity: identity fields by collection; by default the first present of ``id``,
        ``memory_id``, ``message_id``, ``conversation_id``, ``session_id``, ``user_id``.
    :param recall: True keeps an index of words for :meth:`recall`; a
        :class:`~lc_memory.search.recall.Recall` also one of meaning. None: nothing is paid for.
    :param schemas: pydantic models by collection, as for :meth:`register`.
    :param relations: what becomes of links when an end is deleted, by relation, as for
        :meth:`relation`.
    :param encryption_key: seals every value (see docs/security.md): 32 bytes, their base64 text,
        a passphrase, the ``Path`` of a key file, or a function that gives one of these; the
        environment's ``LC_MEMORY_ENCRYPTION_KEY`` if not given. Several, ``[new, old]``, to open
        a store whose change of keys was interrupted. Raises WrongKey.
    :param encrypt_fields: seal only these fields (``["profile.email"]``) of all values.
    :param access_control: users, groups, roles and grants (see docs/security.md): a handle that is
        bound to nobody can do nothing. Once on, it is on for all who open the store; False
        turns it off.
    :param admins: users who may do everything.
    :param audit: keep a log of every access (``memory.audit``). Once on, on for all, as above.
    :param options: the store's own options, such as ``durability="normal"`` for SQLite.

    One object serves threads and event loops alike; every method has an async twin with an ``a``
    before its name. Close it, or use it in a ``with`` (or ``async with``) block.
    """

    def __init__(
        self,
        url: str | sa.URL | Store | None = None,
        *,
        indexes: Mapping[str, Sequence[str]] | None = None,
        identity: Mapping[str, Sequence[str]] | None = None,
        recall: Recall | bool | None = None,
        schemas: Mapping[str, type[BaseModel]] | None = None,
        relations: Mapping[str, OnDelete] | None = None,
        encryption_key: Source | list[Source] | None = None,
        encrypt_fields: Sequence[str] | None = None,
        access_control: bool | None = None,
        admins: Sequence[str] = (),
        audit: bool | None = None,
        **options: Any,
    ) -> None:
        _check_lists("admins", admins)
        _check_lists("indexes", *(indexes or {}).values())
        _check_lists("identity", *(identity or {}).values())
        if isinstance(url, Store):
            if indexes or options:
                raise TypeError("an open store takes its options when it is opened")
            store, self._owns_store = url, False
        else:
            store, self._owns_store = open_store(url_of() if url is None else url, **options), True
        declared = [
            Index.of((*scope, "documents", name), field)
            for scope in ((), ("users", "*"))
            for name, fields in (indexes or {}).items()
            for field in fields
        ]
        try:
            self._layers = Stack(
                store,
                encryption_key=encryption_key,
                encrypt_fields=encrypt_fields,
                access_control=access_control,
                admins=admins,
                audit=audit,
                indexes=declared,
                recall=recall,
                schemas=schemas,
                relations=relations,
            )
        except BaseException:
            if self._owns_store:
                store.close()
            raise
        self.bridge = AsyncStore(store)
        self._identity = identity or {}
        self._opened = True
        self._bind(None, None)

    def _bind(self, principal: str | None, user: str | None) -> None:
        """Work with a principal's rights, on a user's things (None: on everybody's)."""
        for name in (principal, user):
            if name is not None:
                user_scope(name)
        self.principal, self.user = principal, user
        self.scope = () if user is None else user_scope(user)
        self.backend = self._layers.handle(principal)
        self.bridge = self.bridge.over(self.backend)
        self._backups: Backups | None = None
        self._documents = Documents(self.backend, self.scope, user, self._identity)

    def _bound(self, principal: str | None, user: str | None) -> Memory:
        handle = object.__new__(Memory)
        handle._layers, handle.bridge, handle._identity = self._layers, self.bridge, self._identity
        handle._opened = False
        handle._bind(principal, user)
        return handle

    def as_user(self, user: str) -> Memory:
        """The same memory, bound to one user: it reads and writes that user's things only.

        What is stored through it (documents, chats, the LangGraph store) lies under the
        namespace ``("users", user)``. The handle needs no closing. With access control on, who is
        bound stays bound: ``alice.as_user("bob")`` sees of bob's what alice may see. Raises
        InvalidKey for a user id that is empty or that no store can keep.
        """
        bound = self.principal if self._layers.guards and self.principal else user
        return self._bound(bound, user)

    def acting_as(self, user: str) -> Memory:
        """The same memory, with the rights of a user, not bound to their namespace: for an
        administrator, or to see what others share. Raises AccessDenied where access control is
        on and the handle is bound to another user."""
        if self._layers.guards and self.principal not in (None, user):
            raise AccessDenied(f"{self.principal!r} cannot act as somebody else")
        return self._bound(user, None)

    def collection(self, name: str) -> Namespace:
        """The namespace in which a collection's documents lie, for use with the waist."""
        return self._documents.namespace(name)

    # -- documents -------------------------------------------------------------------------

    def store_memory(
        self,
        name: str,
        data: Mapping[str, Any],
        *,
        id: str | int | None = None,
        ttl: float | None = None,
    ) -> Record:
        """Store a document in the collection ``name``, replacing the one of the same identity.

        ``ttl`` is how long it lives, in minutes (None: for ever). Returns the stored record.
        Raises InvalidValue, naming the JSON path, for what cannot be stored.
        """
        (record,) = self.backend.write([self._documents.put(name, data, id, ttl)])
        assert record is not None
        return record

    def batch_store(self, items: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Record]:
        """Store several ``(name, data)``: all of them, or none and an error."""
        return [r for r in self.backend.write(self._documents.put_all(items)) if r]

    def retrieve_memory(
        self,
        name: str,
        filter: Filter | None = None,
        default: T | None = None,
        *,
        id: str | int | None = None,
    ) -> Value | T | None:
        """The most recently stored document that matches the filter, or the default.

        Filters are MongoDB's (:mod:`lc_memory.filters`): ``{"user_id": "u1"}``,
        ``{"progress": {"$gte": 50}}``.
        """
        record = self._documents.newest(name, filter, id)
        return default if record is None else record.value

    def search_memory(
        self,
        name: str,
        filter: Filter | None = None,
        *,
        query: str | None = None,
        order_by: str | Order | None = None,
        limit: int | None = None,
    ) -> list[Value]:
        """All documents that match, the most recently stored first.

        ``order_by`` sorts by a field instead: ``"timestamp"``, ``"-profile.age"`` for
        descending, ``"@created_at"`` for the record's own times. With ``query=`` those come first
        that are most like it (at most 100 without a limit); that wants ``recall=``, see
        :meth:`recall`.
        """
        return self._documents.search(name, filter, query, order_by, limit)

    def update_memory(
        self,
        name: str,
        changes: Mapping[str, Any],
        filter: Filter | None = None,
        *,
        id: str | int | None = None,
    ) -> Record:
        """Change the document that :meth:`retrieve_memory` would give, by a JSON Merge Patch
        (RFC 7396: objects merge, None removes a field). Atomic against other writers.

        Returns the new record. Raises MemoryNotFound (a KeyError) if nothing matches.
        """
        return self._documents.update(name, changes, filter, id)

    def delete_memory(
        self, name: str, filter: Filter | None = None, *, id: str | int | None = None
    ) -> int:
        """Delete every document that matches (without a filter: the whole collection).

        Returns how many were deleted.
        """
        return self._documents.delete(name, filter, id)

    # -- trust -----------------------------------------------------------------------------

    @property
    def access(self) -> Access:
        """Users, groups, roles and grants. Raises Unsupported without access control."""
        from lc_memory.access import Access

        self._layers.policy()
        return Access(self._layers, self.principal)

    @property
    def audit(self) -> Audit:
        """The audit log. Raises AccessDenied to who is no administrator."""
        from lc_memory.audit import Audit

        return Audit(self._layers, self.principal)

    @property
    def encryption(self) -> Encryption:
        """Changing keys. Raises Unsupported for a store that is not encrypted."""
        from lc_memory.layers.encrypted import Encryption

        return Encryption(self._layers, self.principal)

    def share(
        self, name: str, id: str | int | None = None, *, with_user: str, write: bool = False
    ) -> Grant:
        """Let another user (or ``"group:team"``) read a document, or without an ``id`` the
        collection; with ``write`` change it too. They reach it by ``as_user`` of this user."""
        key = None if id is None else document_key(id)
        return self.access.share(with_user, self.collection(name), key, write=write)

    def unshare(self, name: str, id: str | int | None = None, *, with_user: str) -> int:
        """Take back what was shared; returns how many grants that were."""
        key = None if id is None else document_key(id)
        return self.access.unshare(with_user, self.collection(name), key)

    # -- async twins -----------------------------------------------------------------------

    async def astore_memory(
        self,
        name: str,
        data: Mapping[str, Any],
        *,
        id: str | int | None = None,
        ttl: float | None = None,
    ) -> Record:
        """:meth:`store_memory` for asyncio."""
        (record,) = await self.bridge.write([self._documents.put(name, data, id, ttl)])
        assert record is not None
        return record

    async def abatch_store(self, items: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Record]:
        """:meth:`batch_store` for asyncio."""
        return [r for r in await self.bridge.write(self._documents.put_all(items)) if r]

    async def aretrieve_memory(
        self,
        name: str,
        filter: Filter | None = None,
        default: T | None = None,
        *,
        id: str | int | None = None,
    ) -> Value | T | None:
        """:meth:`retrieve_memory` for asyncio."""
        return await self.bridge.run(self.retrieve_memory, name, filter, default, id=id)

    async def asearch_memory(
        self,
        name: str,
        filter: Filter | None = None,
        *,
        query: str | None = None,
        order_by: str | Order | None = None,
        limit: int | None = None,
    ) -> list[Value]:
        """:meth:`search_memory` for asyncio."""
        return await self.bridge.run(
            self.search_memory, name, filter, query=query, order_by=order_by, limit=limit
        )

    async def aupdate_memory(
        self,
        name: str,
        changes: Mapping[str, Any],
        filter: Filter | None = None,
        *,
        id: str | int | None = None,
    ) -> Record:
        """:meth:`update_memory` for asyncio."""
        return await self.bridge.run(self.update_memory, name, changes, filter, id=id)

    async def adelete_memory(
        self, name: str, filter: Filter | None = None, *, id: str | int | None = None
    ) -> int:
        """:meth:`delete_memory` for asyncio."""
        return await self.bridge.run(self.delete_memory, name, filter, id=id)

    async def ashare(
        self, name: str, id: str | int | None = None, *, with_user: str, write: bool = False
    ) -> Grant:
        """:meth:`share` for asyncio."""
        return await self.bridge.run(self.share, name, id, with_user=with_user, write=write)

    async def aunshare(self, name: str, id: str | int | None = None, *, with_user: str) -> int:
        """:meth:`unshare` for asyncio."""
        return await self.bridge.run(self.unshare, name, id, with_user=with_user)

    # -- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        """Finish the work under way and close the store. Closing twice is allowed; a handle
        from :meth:`as_user` closes nothing."""
        if self._opened:
            for end in self._layers.closing:
                end()
            self.bridge.close()
            try:
                self._layers.close()
            finally:
                if self._owns_store:
                    self._layers.store.close()

    async def aclose(self) -> None:
        """:meth:`close` for asyncio."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(
            f"a {kind} is an open store and cannot be copied or pickled; open its URL again there"
        )

    def __repr__(self) -> str:
        bound = f" as {self.user!r}" if self.user else ""
        return f"<{type(self).__name__} over {self._layers.store!r}{bound}>"


def _check_lists(option: str, *given: object) -> None:
    """One text where several are meant would be taken for its letters."""
    for one in given:
        if isinstance(one, str):
            raise TypeError(f"{option}: a list, such as [{one!r}]")
