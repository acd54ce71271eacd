"""What is stored is what was meant: documents are held against their schemas on every way in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from lc_memory.errors import InvalidDocument, NewerFormat
from lc_memory.filters import Node, Or, parse
from lc_memory.layers.base import Layer, find_through
from lc_memory.records import Append, Id, Op, Page, Put, Query, Record, Restore
from lc_memory.store import Store
from lc_memory.validation import Schemas

if TYPE_CHECKING:
    from lc_memory.search.asking import Hit, Search


class Validated(Layer):
    """Refuses documents that their schema refuses, and gives old ones in their present form.

    What is restored is stored verbatim, if its present form is right. Filters and orders speak of
    the present form.
    """

    rank: ClassVar[int] = 40

    def __init__(self, inner: Store, schemas: Schemas) -> None:
        super().__init__(inner)
        self.schemas = schemas

    def enter(self, ops: Sequence[Op]) -> Sequence[Op]:
        return [self._admitted(op) for op in ops]

    def _admitted(self, op: Op) -> Op:
        if isinstance(op, Put | Append):
            cover = self.schemas.covering(op.namespace)
            return op if cover is None else op._replace(value=cover.admitted(op.value))
        if isinstance(op, Restore):
            cover = self.schemas.covering(op.record.namespace)
            if cover is not None:
                cover.check(op.record.value)
        return op

    def leave(self, ops: Sequence[Op], results: list[Record | None]) -> list[Record | None]:
        return [
            self._gone(record) if record is not None and not isinstance(op, Restore) else record
            for op, record in zip(ops, results, strict=True)
        ]

    def _gone(self, record: Record) -> Record:
        """What a write gives back; it is done, so that an upgrade that fails is no error now."""
        try:
            return self._lifted(record)
        except (InvalidDocument, NewerFormat):
            return record

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        found = self.inner.read(ids, expired=expired)
        return [record and self._lifted(record) for record in found]

    def find(self, query: Query) -> Page:
        if not self.schemas.may_cover(query.prefix):
            return self.inner.find(query)
        if self.schemas.upgrade:
            return find_through(self.inner, query, self._weaker(query), self._lifted)
        page = self.inner.find(query)
        return page.having([self._lifted(record) for record in page.records])

    def search(self, search: Search) -> list[Hit]:
        return self.inner.search(replace(search, lift=self._lifted))

    def count(self, query: Query | None = None) -> int:
        query = query or Query()
        if query.node and self.schemas.upgrade and self.schemas.may_cover(query.prefix):
            return Store.count(self, query)
        return self.inner.count(query)

    def _lifted(self, record: Record) -> Record:
        cover = self.schemas.covering(record.namespace)
        return record if cover is None else cover.upgraded(record)

    def _weaker(self, query: Query) -> Node | None:
        """A filter on what is stored that every match passes: old versions pass unseen."""
        cover = self.schemas.covering(query.prefix) if query.exact else None
        if query.node is None or cover is None:
            return None
        if cover.schema.version == 1:
            return Or((query.node, parse({cover.field: {"$exists": True}})))
        return Or((query.node, parse({cover.field: {"$ne": cover.schema.version}})))
