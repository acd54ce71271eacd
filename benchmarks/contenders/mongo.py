"""MongoDB's protocol: pymongo by hand, and the peers; all with ``w: majority, j: true``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymongo
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from pymongo import ReplaceOne, WriteConcern

from benchmarks.contenders import Contender, Document, Item, Namespace
from benchmarks.contenders.langgraph import OverBaseStore
from benchmarks.places import url_in


def _database(folder: Path) -> Any:
    client: Any = pymongo.MongoClient(url_in(folder, "mongodb"), w="majority", journal=True)
    return client.get_default_database()


class Raw(Contender):
    def __init__(self, folder: Path, index: str | None = None) -> None:
        self._db = _database(folder)
        self._messages = self._db["messages"]
        self._messages.create_index([("session", 1), ("_id", 1)])
        self._documents = self._db["documents"]
        if index:
            self._documents.create_index([("ns", 1), (f"value.{index}", 1)])

    def close(self) -> None:
        self._db.client.close()

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        rows = [{"session": session, "payload": message_to_dict(message)} for message in messages]
        if len(rows) == 1:
            self._messages.insert_one(rows[0])
        else:
            self._messages.insert_many(rows)

    def last(self, session: str, count: int) -> Sequence[BaseMessage | Document]:
        rows = self._messages.find({"session": session}).sort("_id", -1).limit(count)
        return messages_from_dict([row["payload"] for row in rows][::-1])

    def all(self, session: str) -> Sequence[BaseMessage | Document]:
        rows = self._messages.find({"session": session}).sort("_id", 1)
        return messages_from_dict([row["payload"] for row in rows])

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        row = _row(namespace, key, value)
        self._documents.replace_one({"_id": row["_id"]}, row, upsert=True)

    def put_many(self, items: Sequence[Item]) -> None:
        rows = [_row(*item) for item in items]
        writes = [ReplaceOne({"_id": row["_id"]}, row, upsert=True) for row in rows]
        with self._db.client.start_session() as session, session.start_transaction():
            self._documents.bulk_write(writes, ordered=False, session=session)

    def get(self, namespace: Namespace, key: str) -> Document | None:
        row = self._documents.find_one({"_id": _id(namespace, key)})
        return None if row is None else row["value"]

    def get_many(self, ids: Sequence[tuple[Namespace, str]]) -> list[Document | None]:
        names = [_id(*id) for id in ids]
        rows = self._documents.find({"_id": {"$in": names}})
        found = {row["_id"]: row["value"] for row in rows}
        return [found.get(name) for name in names]

    def equal(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._where(namespace, field, {"$eq": value})

    def at_least(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._where(namespace, field, {"$gte": value})

    def _where(self, namespace: Namespace, field: str, asked: Document) -> list[Document]:
        asked = {"ns": "/".join(namespace), f"value.{field}": asked}
        return [row["value"] for row in self._documents.find(asked).limit(10)]


def _id(namespace: Namespace, key: str) -> str:
    return "/".join((*namespace, key))


def _row(namespace: Namespace, key: str, value: Document) -> Document:
    return {"_id": _id(namespace, key), "ns": "/".join(namespace), "value": value}


class History(Contender):
    """``MongoDBChatMessageHistory`` of langchain-mongodb"""

    def __init__(self, folder: Path, index: str | None = None) -> None:
        from langchain_mongodb import MongoDBChatMessageHistory

        self._db = _database(folder)
        self._history = MongoDBChatMessageHistory(
            None, "session", database_name=self._db.name, client=self._db.client
        )

    def close(self) -> None:
        self._db.client.close()

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        self._history.add_messages(messages)

    def last(self, session: str, count: int) -> Sequence[BaseMessage]:
        return self._history.messages[-count:]

    def all(self, session: str) -> Sequence[BaseMessage]:
        return self._history.messages


class Store(OverBaseStore):
    """``MongoDBStore`` of langgraph-store-mongodb; a batch takes it too long to wait for."""

    def __init__(self, folder: Path, index: str | None = None) -> None:
        if index:
            raise NotImplementedError
        from langgraph.store.mongodb import MongoDBStore

        self._db = _database(folder)
        concern = WriteConcern("majority", j=True)
        self.store = MongoDBStore(self._db.get_collection("store", write_concern=concern))

    def close(self) -> None:
        self._db.client.close()

    def put_many(self, items: Sequence[Item]) -> None:
        raise NotImplementedError
