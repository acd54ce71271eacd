"""What :class:`~lc_memory.memory.Memory` does so that its content can be trusted: schemas,
links, checks, and a person's right to their data."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lc_memory.aio import AsyncStore
from lc_memory.documents import Documents, user_scope
from lc_memory.errors import StoreError
from lc_memory.layers.base import Layer
from lc_memory.layers.stack import Stack
from lc_memory.records import Id, Namespace, Record

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from pydantic import BaseModel

    from lc_memory.graph import Graph
    from lc_memory.jobs.check import Report, Upgraded
    from lc_memory.jobs.people import Forgotten
    from lc_memory.relations import Direction, End, Link, Links, OnDelete
    from lc_memory.validation import Upgrade

_log = logging.getLogger("lc_memory")


class Upkeep:
    """A part of Memory."""

    _layers: Stack
    _documents: Documents
    backend: Layer
    bridge: AsyncStore
    scope: Namespace
    user: str | None
    principal: str | None

    # -- schemas ---------------------------------------------------------------------------

    def register(
        self,
        name: str,
        model: type[BaseModel],
        *,
        version: int = 1,
        upgrades: Mapping[int, Upgrade] | None = None,
    ) -> None:
        """Have the documents of the collection ``name`` held against a pydantic model.

        From now on, on every way in (for all handles of this memory), a document that the model
        refuses raises InvalidDocument, naming the JSON path, and nothing is changed. It is
        stored as it is given: without the model's defaults and conversions. The model also holds
        for LangGraph's items in namespaces whose last label is ``name``.

        ``version`` is that of the schema, and ``upgrades`` lead there: ``{1: f}`` says how a
        document of version 1 becomes one of version 2. With a version above 1 every document
        carries it in ``schema_version`` (without the field it is version 1); old ones are
        upgraded when they are read, and stored upgraded by :meth:`upgrade_documents`. Reading one
        of a newer version raises NewerFormat.
        """
        self._layers.require(self.principal, "admin", ())
        self._layers.schemas.register(name, model, version, upgrades)
        self._layers.rebuild()

    def upgrade_documents(self, name: str | None = None) -> Upgraded:
        """Store old documents (of one collection, or all) in their schema's present version.

        Versions and times of the records stay as they are. When it is interrupted, the next call
        goes on. What cannot be upgraded is in the result's ``problems``, and stays. Raises
        KeyError for a name that has no schema.
        """
        from lc_memory.jobs.check import upgrade

        self._begin("upgrade", "read", "write")
        below = self._layers.indexed or self._layers.sealed
        return upgrade(self.backend, below, self._layers.schemas, self.scope, name)

    def check(self, *, repair: bool = False) -> Report:
        """Hold everything stored against its schema and its links, and report.

        Changes nothing; with ``repair`` links that lost an end are removed. The report is true
        when all is well.
        """
        from lc_memory.jobs.check import check

        self._begin("check", "read", *(["delete"] if repair else []))
        return check(
            self.backend, self._layers.sealed, self._layers.schemas, self.scope, repair=repair
        )

    def _begin(self, action: str, *rights: str) -> None:
        """Ask for the rights to do work that reads below access control, and put it on record."""
        for right in rights:
            self._layers.require(self.principal, right, self.scope)
        self._layers.tell(self.principal, action, self.scope)

    # -- links -----------------------------------------------------------------------------

    @property
    def _links(self) -> Links:
        from lc_memory.relations import Links

        return Links(self.backend, self._documents, self._may_read)

    def _may_read(self, ids: Sequence[Id]) -> list[Id]:
        return self._layers.permitted(self.principal, "read", ids)

    def relation(self, name: str, *, on_delete: OnDelete = "clear") -> None:
        """Declare a relation, for every program that opens this store from now on.

        ``on_delete`` says what becomes of a link when an end of it is deleted. ``"clear"``: the
        link goes (as with relations that were never declared). ``"cascade"``: when its source is
        deleted, the target is too (and so on); when its target is, the link goes. ``"refuse"``:
        neither end can be deleted while it is linked, except together; it raises LinkedRecord.
        """
        self._layers.require(self.principal, "admin", ())
        self._layers.tell(self.principal, "admin", detail=f"relation {name!r}: {on_delete}")
        self._layers.relate({name: on_delete})

    def link(self, source: End, relation: str, target: End) -> Link:
        """Say that one record is in a relation to another: ``link(ada, "has_conversation", c1)``.

        An end is a :class:`~lc_memory.records.Record`, ``(collection, id)`` as in
        :meth:`store_memory`, or a record's own id ``(namespace, key)``. Linking twice is linking
        once. Raises MemoryNotFound unless both are there.
        """

        def begin(ids: Sequence[Id]) -> None:
            for id in ids:
                self._layers.require(self.principal, "write", *id)
            self._layers.relate({})

        return self._links.link(source, relation, target, begin)

    def unlink(self, source: End, relation: str, target: End) -> bool:
        """Remove a link; says whether there was one."""
        return self._links.unlink(source, relation, target)

    def links(
        self, end: End, direction: Direction = "both", relation: str | None = None
    ) -> list[Link]:
        """The links of a record, oldest first: those that lead ``"out"`` of it, ``"in"`` to it,
        or both. A link whose other end is gone (or expired), or may not be read, is not among
        them."""
        return self._links.links(end, direction, relation)

    def related(
        self,
        end: End,
        depth: int = 2,
        relation: str | None = None,
        direction: Direction = "out",
    ) -> list[Record]:
        """The records that links lead to from this one, over at most ``depth`` links: each once,
        the nearest first. Circles are no trouble."""
        return self._links.related(end, depth, relation, direction)

    def graph(self, user: str | None = None, *, limit: int = 100) -> Graph:
        """A picture of what is remembered (of a user, or of this handle's): collections, their
        documents and the links between them, with at most ``limit`` records.

        In a notebook it is drawn; ``.mermaid()`` and ``.dot()`` are text.
        """
        from lc_memory.graph import graph

        scope = self.scope if user is None else user_scope(user)
        name = user or self.user
        return graph(self.backend, scope, name or "memory", limit, self._may_read)

    # -- people ----------------------------------------------------------------------------

    def export_user(
        self,
        user: str,
        path: str | os.PathLike[str] | None = None,
        *,
        serde: SerializerProtocol | None = None,
        label: int | None = None,
    ) -> dict[str, Any]:
        """Everything that is kept of a user, in a form that a person can read.

        With a ``path`` it is also written there as JSON (mode 0600). ``serde`` is that of the
        checkpointers, if it is not the usual one. ``label`` says at which place (0: the first,
        -1: the last) the namespaces of LangGraph's items, stored through a handle of nobody's,
        have the user's id, where that is not after "users"; InvalidInput, if it matters and is
        not said. What belongs to a user: :mod:`lc_memory.jobs.people`. With access control on,
        for that user (without ``label``) and administrators.
        """
        from lc_memory.jobs.people import export

        scope = user_scope(user)
        own = self._layers.guards and self.principal == user and label is None
        if own:  # and no guess at labels: who is called "memories" is not given everybody's items
            self._layers.require(user, "read", scope)
        else:
            self._layers.require(self.principal, "admin", ())
        self._layers.tell(self.principal, "export", scope)
        below = self._layers.sealed
        return export(below, self._documents, user, path, serde, label, guess=not own)

    def forget_user(
        self,
        user: str,
        *,
        serde: SerializerProtocol | None = None,
        label: int | None = None,
    ) -> Forgotten:
        """Delete everything that is kept of a user, and say what that was.

        One batch, all or nothing, where the store can; otherwise do it again after an error.
        Then the store is scrubbed: deleted bytes do not stay in its files, as far as that is in
        its power (``docs/privacy.md``). Relations that refuse a deletion do not refuse this one.
        The grants of the user go, and everybody's on the user's things. ``serde`` and ``label``
        are those of :meth:`export_user`.
        """
        from lc_memory.jobs.people import forget

        scope = user_scope(user)
        self._layers.require(self.principal, "admin", ())
        self._layers.tell(self.principal, "forget", scope)
        below = self._layers.inner(self.principal)
        forgotten = forget(below, self._layers.sealed, self._documents, user, serde, label)
        self._layers.forget(user)
        try:
            forgotten.scrubbed = self._layers.store.scrub()
        except StoreError as error:  # what was to be deleted is; only its bytes may be there yet
            _log.warning("%r could not be scrubbed: %s", self._layers.store, error)
        return forgotten

    # -- async twins -----------------------------------------------------------------------

    async def aregister(
        self,
        name: str,
        model: type[BaseModel],
        *,
        version: int = 1,
        upgrades: Mapping[int, Upgrade] | None = None,
    ) -> None:
        """:meth:`register` for asyncio."""
        await self.bridge.run(self.register, name, model, version=version, upgrades=upgrades)

    async def aupgrade_documents(self, name: str | None = None) -> Upgraded:
        """:meth:`upgrade_documents` for asyncio."""
        return await self.bridge.run(self.upgrade_documents, name)

    async def acheck(self, *, repair: bool = False) -> Report:
        """:meth:`check` for asyncio."""
        return await self.bridge.run(self.check, repair=repair)

    async def arelation(self, name: str, *, on_delete: OnDelete = "clear") -> None:
        """:meth:`relation` for asyncio."""
        await self.bridge.run(self.relation, name, on_delete=on_delete)

    async def alink(self, source: End, relation: str, target: End) -> Link:
        """:meth:`link` for asyncio."""
        return await self.bridge.run(self.link, source, relation, target)

    async def aunlink(self, source: End, relation: str, target: End) -> bool:
        """:meth:`unlink` for asyncio."""
        return await self.bridge.run(self.unlink, source, relation, target)

    async def alinks(
        self, end: End, direction: Direction = "both", relation: str | None = None
    ) -> list[Link]:
        """:meth:`links` for asyncio."""
        return await self.bridge.run(self.links, end, direction, relation)

    async def arelated(
        self,
        end: End,
        depth: int = 2,
        relation: str | None = None,
        direction: Direction = "out",
    ) -> list[Record]:
        """:meth:`related` for asyncio."""
        return await self.bridge.run(self.related, end, depth, relation, direction)

    async def agraph(self, user: str | None = None, *, limit: int = 100) -> Graph:
        """:meth:`graph` for asyncio."""
        return await self.bridge.run(self.graph, user, limit=limit)

    async def aexport_user(
        self,
        user: str,
        path: str | os.PathLike[str] | None = None,
        *,
        serde: SerializerProtocol | None = None,
        label: int | None = None,
    ) -> dict[str, Any]:
        """:meth:`export_user` for asyncio."""
        return await self.bridge.run(self.export_user, user, path, serde=serde, label=label)

    async def aforget_user(
        self,
        user: str,
        *,
        serde: SerializerProtocol | None = None,
        label: int | None = None,
    ) -> Forgotten:
        """:meth:`forget_user` for asyncio."""
        return await self.bridge.run(self.forget_user, user, serde=serde, label=label)
