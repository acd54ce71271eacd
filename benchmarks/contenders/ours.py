"""lc_memory, by each of its doors; ``url`` is a place of :func:`benchmarks.places.url_in`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from langchain_core.messages import BaseMessage

from benchmarks.contenders import Contender, Document, Item, Namespace
from benchmarks.contenders.ticker import longest_stall
from benchmarks.harness import Told
from benchmarks.places import url_in
from lc_memory import Index, Memory, Put, Query, open_store


class Waist(Contender):
    """The store itself: read, find, write."""

    def __init__(self, url: str, folder: Path, index: str | None = None) -> None:
        indexes = [Index.of(("documents", "conversation_history"), index)] if index else []
        self._store = open_store(url_in(folder, url), indexes=indexes)

    def close(self) -> None:
        self._store.close()

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        self._store.put(namespace, key, value)

    def put_many(self, items: Sequence[Item]) -> None:
        self._store.write([Put(namespace, key, value) for namespace, key, value in items])

    def get(self, namespace: Namespace, key: str) -> Document | None:
        record = self._store.get(namespace, key)
        return None if record is None else record.value

    def get_many(self, ids: Sequence[tuple[Namespace, str]]) -> list[Document | None]:
        return [None if record is None else record.value for record in self._store.read(ids)]

    def equal(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        page = self._store.find(Query(namespace, {field: value}, limit=10, exact=True))
        return [record.value for record in page.records]

    def at_least(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        query = Query(namespace, {field: {"$gte": value}}, limit=10, exact=True)
        return [record.value for record in self._store.find(query).records]

    def latest(self, namespace: Namespace, field: str) -> list[Document]:
        query = Query(namespace, order=f"-{field}", limit=10, exact=True)
        return [record.value for record in self._store.find(query).records]

    def namespaces(self, limit: int) -> list[Namespace]:
        return self._store.namespaces(limit=limit)


class Doorway(Contender):
    """``Memory`` and its documents."""

    def __init__(self, url: str, folder: Path, index: str | None = None) -> None:
        indexes = {"conversation_history": [index]} if index else None
        self._memory = Memory(url_in(folder, url), indexes=indexes)

    def close(self) -> None:
        self._memory.close()

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        self._memory.store_memory(namespace[-1], value, id=key)

    def put_many(self, items: Sequence[Item]) -> Told | None:
        self._memory.batch_store((namespace[-1], value) for namespace, _, value in items)
        return None

    def get(self, namespace: Namespace, key: str) -> Document | None:
        return self._memory.retrieve_memory(namespace[-1], id=key)

    def equal(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._memory.search_memory(namespace[-1], {field: value}, limit=10)

    def at_least(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._memory.search_memory(namespace[-1], {field: {"$gte": value}}, limit=10)

    def latest(self, namespace: Namespace, field: str) -> list[Document]:
        return self._memory.search_memory(namespace[-1], order_by=f"-{field}", limit=10)


class Coroutines(Doorway):
    """A coroutine for each document."""

    def __init__(self, url: str, folder: Path, index: str | None = None) -> None:
        super().__init__(url, folder, index)
        self._loop = asyncio.Runner()

    def close(self) -> None:
        self._loop.close()
        super().close()

    def put_many(self, items: Sequence[Item]) -> Told:
        puts = (
            self._memory.astore_memory(namespace[-1], value, id=key)
            for namespace, key, value in items
        )
        return self._loop.run(longest_stall(puts))


class Chat(Doorway):
    """LangChain's chat history."""

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        self._memory.chat_history(session).add_messages(messages)

    def last(self, session: str, count: int) -> Sequence[BaseMessage]:
        return self._memory.chat_history(session, limit=count).messages

    def all(self, session: str) -> Sequence[BaseMessage]:
        return self._memory.chat_history(session).messages
