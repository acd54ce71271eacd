"""LangGraph's ``BaseStore``: ours, and its own on SQLite with the same durability."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from langgraph.store.base import BaseStore, GetOp, PutOp

from benchmarks.contenders import Contender, Document, Item, Namespace
from benchmarks.contenders.ticker import longest_stall
from benchmarks.harness import Told
from benchmarks.places import url_in
from lc_memory import Memory


class OverBaseStore(Contender):
    store: BaseStore

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        self.store.put(namespace, key, value)

    def put_many(self, items: Sequence[Item]) -> Told | None:
        self.store.batch([PutOp(*item) for item in items])
        return None

    def get(self, namespace: Namespace, key: str) -> Document | None:
        item = self.store.get(namespace, key)
        return None if item is None else item.value

    def get_many(self, ids: Sequence[tuple[Namespace, str]]) -> list[Document | None]:
        found: list[Any] = self.store.batch([GetOp(*id) for id in ids])
        return [None if item is None else item.value for item in found]

    def equal(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return [item.value for item in self.store.search(namespace, filter={field: value})]

    def at_least(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        found = self.store.search(namespace, filter={field: {"$gte": value}})
        return [item.value for item in found]

    def namespaces(self, limit: int) -> list[Namespace]:
        return self.store.list_namespaces(limit=limit)


class Ours(OverBaseStore):
    """``memory.store()``"""

    def __init__(self, url: str, folder: Path, index: str | None = None) -> None:
        if index:
            raise NotImplementedError
        self._memory = Memory(url_in(folder, url))
        try:
            self.store = self._memory.store()
        except BaseException:
            self._memory.close()
            raise

    def close(self) -> None:
        self._memory.close()


class Theirs(OverBaseStore):
    """``SqliteStore`` of langgraph-checkpoint-sqlite"""

    def __init__(self, folder: Path, index: str | None = None) -> None:
        if index:
            raise NotImplementedError
        from langgraph.store.sqlite import SqliteStore

        self._db = sqlite3.connect(
            folder / "langgraph.db", check_same_thread=False, isolation_level=None
        )
        store = SqliteStore(self._db)
        store.setup()
        self.store = store
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        self._db.close()


class TheirCoroutines(Contender):
    """A coroutine for each document, on ``AsyncSqliteStore``"""

    def __init__(self, folder: Path, index: str | None = None) -> None:
        from langgraph.store.sqlite import AsyncSqliteStore

        self._loop = asyncio.Runner()
        self._stack = AsyncExitStack()

        async def opened() -> AsyncSqliteStore:
            opening = AsyncSqliteStore.from_conn_string(str(folder / "langgraph.db"))
            store = await self._stack.enter_async_context(opening)
            await store.setup()
            await store.conn.execute("PRAGMA journal_mode = WAL")
            await store.conn.execute("PRAGMA synchronous = FULL")
            return store

        self._store = self._loop.run(opened())

    def close(self) -> None:
        self._loop.run(self._stack.aclose())
        self._loop.close()

    def put_many(self, items: Sequence[Item]) -> Told:
        return self._loop.run(longest_stall(self._store.aput(*item) for item in items))

    def get(self, namespace: Namespace, key: str) -> Document | None:
        item = self._loop.run(self._store.aget(namespace, key))
        return None if item is None else item.value
