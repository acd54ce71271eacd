"""LangChain's key-value store (``BaseStore[str, bytes]``) over a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Final

from langchain_core.stores import ByteStore

from lc_memory.aio import AsyncStore
from lc_memory.errors import InvalidValue
from lc_memory.records import Delete, Id, Namespace, Put, Query, Record, check_namespace
from lc_memory.store import Store

_PAGE: Final = 500


class KeyValueStore(ByteStore):
    """Bytes under keys, for everything of LangChain's that takes a ``ByteStore``: embedding
    caches, document stores, parent documents.

    Each write is one transaction. Keys are texts of up to 1024 bytes without NUL. Raises
    InvalidKey for others, and InvalidValue for a value that is not ``bytes``; nothing was
    changed then.
    """

    def __init__(
        self,
        store: Store,
        bridge: AsyncStore,
        scope: Namespace = (),
        namespace: Namespace | None = None,
    ) -> None:
        inner = check_namespace(() if namespace is None else namespace)
        self._store = store
        self._bridge = bridge
        self._namespace = check_namespace((*scope, "key_value", *inner))

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of those keys, in that order; None where there is none."""
        return _values(self._store.read(self._ids(keys)))

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Set all values, or none and raise; of a key given twice the last one counts."""
        self._store.write(self._puts(key_value_pairs))

    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete those keys; one that is not there is no error."""
        self._store.write(self._deletes(keys))

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """The keys that begin with the prefix, in byte order, read page by page."""
        for record in self._store.records(self._all(), size=_PAGE):
            if record.key.startswith(prefix or ""):
                yield record.key

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """:meth:`mget` for asyncio."""
        return _values(await self._bridge.read(self._ids(keys)))

    async def amset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """:meth:`mset` for asyncio."""
        await self._bridge.write(self._puts(key_value_pairs))

    async def amdelete(self, keys: Sequence[str]) -> None:
        """:meth:`mdelete` for asyncio."""
        await self._bridge.write(self._deletes(keys))

    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        """:meth:`yield_keys` for asyncio."""
        query: Query | None = replace(self._all(), limit=_PAGE)
        while query is not None:
            page = await self._bridge.find(query)
            for record in page.records:
                if record.key.startswith(prefix or ""):
                    yield record.key
            query = replace(query, cursor=page.cursor) if page.cursor else None

    def _all(self) -> Query:
        return Query(self._namespace, exact=True)

    def _ids(self, keys: Sequence[str]) -> list[Id]:
        return [(self._namespace, key) for key in keys]

    def _puts(self, pairs: Sequence[tuple[str, bytes]]) -> list[Put]:
        puts = []
        for key, value in pairs:  # once: a generator has no second time
            if not isinstance(value, bytes):
                raise InvalidValue(key, f"a {type(value).__name__}, not bytes")
            puts.append(Put(self._namespace, key, {"value": value}))
        return puts

    def _deletes(self, keys: Sequence[str]) -> list[Delete]:
        return [Delete(self._namespace, key) for key in keys]


def _values(records: Sequence[Record | None]) -> list[bytes | None]:
    return [None if record is None else record.value["value"] for record in records]
