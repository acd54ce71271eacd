"""PostgreSQL: psycopg by hand, in autocommit mode, and the peers."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from benchmarks.contenders import Contender, Document, Item, Namespace
from benchmarks.contenders.langgraph import OverBaseStore
from benchmarks.places import url_in

_TABLES = """
CREATE TABLE IF NOT EXISTS messages (seq bigserial PRIMARY KEY, session text, payload text);
CREATE INDEX IF NOT EXISTS by_session ON messages (session, seq);
CREATE TABLE IF NOT EXISTS documents (ns text, key text, value jsonb, PRIMARY KEY (ns, key));
"""
_PUT = (
    "INSERT INTO documents (ns, key, value) VALUES (%s, %s, %s) "
    "ON CONFLICT (ns, key) DO UPDATE SET value = excluded.value"
)


class Raw(Contender):
    def __init__(self, folder: Path, index: str | None = None) -> None:
        self._url = url_in(folder, "postgresql")
        self._local = threading.local()
        self._opened: list[psycopg.Connection[Any]] = []
        self._db.execute(_TABLES)
        if index:
            self._db.execute(
                f"CREATE INDEX IF NOT EXISTS by_field ON documents (ns, (value->>'{index}'))"
            )

    @property
    def _db(self) -> psycopg.Connection[Any]:
        """This thread's connection."""
        try:
            connection: psycopg.Connection[Any] = self._local.connection
        except AttributeError:
            connection = psycopg.connect(self._url, autocommit=True)
            self._local.connection = connection
            self._opened.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._opened:
            connection.close()

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        sql = "INSERT INTO messages (session, payload) VALUES (%s, %s)"
        rows = [(session, json.dumps(message_to_dict(message))) for message in messages]
        if len(rows) == 1:
            self._db.execute(sql, rows[0])
            return
        with self._db.transaction(), self._db.cursor() as cursor:
            cursor.executemany(sql, rows)

    def last(self, session: str, count: int) -> Sequence[BaseMessage | Document]:
        sql = "SELECT payload FROM messages WHERE session = %s ORDER BY seq DESC LIMIT %s"
        rows = self._db.execute(sql, (session, count)).fetchall()
        return messages_from_dict([json.loads(payload) for (payload,) in reversed(rows)])

    def all(self, session: str) -> Sequence[BaseMessage | Document]:
        sql = "SELECT payload FROM messages WHERE session = %s ORDER BY seq"
        rows = self._db.execute(sql, (session,))
        return messages_from_dict([json.loads(payload) for (payload,) in rows])

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        self._db.execute(_PUT, ("/".join(namespace), key, json.dumps(value)))

    def put_many(self, items: Sequence[Item]) -> None:
        rows = [("/".join(namespace), key, json.dumps(value)) for namespace, key, value in items]
        with self._db.transaction(), self._db.cursor() as cursor:
            cursor.executemany(_PUT, rows)

    def get(self, namespace: Namespace, key: str) -> Document | None:
        sql = "SELECT value FROM documents WHERE ns = %s AND key = %s"
        row = self._db.execute(sql, ("/".join(namespace), key)).fetchone()
        return None if row is None else row[0]

    def get_many(self, ids: Sequence[tuple[Namespace, str]]) -> list[Document | None]:
        names = [("/".join(namespace), key) for namespace, key in ids]
        rows = self._db.execute(
            "SELECT ns, key, value FROM documents "
            "JOIN unnest(%s::text[], %s::text[]) AS w (n, k) ON ns = n AND key = k",
            ([ns for ns, _ in names], [key for _, key in names]),
        )
        found = {(ns, key): value for ns, key, value in rows}
        return [found.get(name) for name in names]

    def equal(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._where(namespace, field, "=", value)

    def at_least(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._where(namespace, field, ">=", value)

    def _where(self, namespace: Namespace, field: str, sign: str, value: str) -> list[Document]:
        sql = f"SELECT value FROM documents WHERE ns = %s AND value->>'{field}' {sign} %s LIMIT 10"
        return [found for (found,) in self._db.execute(sql, ("/".join(namespace), value))]


class RawCopy(Raw):
    """Writes messages by COPY."""

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        with (
            self._db.cursor() as cursor,
            cursor.copy("COPY messages (session, payload) FROM STDIN") as copy,
        ):
            for message in messages:
                copy.write_row((session, json.dumps(message_to_dict(message))))


class History(Contender):
    """``PostgresChatMessageHistory`` of langchain-postgres; its session ids are UUIDs."""

    def __init__(self, folder: Path, index: str | None = None) -> None:
        from langchain_postgres import PostgresChatMessageHistory

        self._db = psycopg.connect(url_in(folder, "postgresql"))
        PostgresChatMessageHistory.create_tables(self._db, "chat")
        self._history = PostgresChatMessageHistory(
            "chat", str(uuid.uuid4()), sync_connection=self._db
        )

    def close(self) -> None:
        self._db.close()

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        self._history.add_messages(messages)

    def last(self, session: str, count: int) -> Sequence[BaseMessage]:
        return self._history.messages[-count:]  # it knows no limit

    def all(self, session: str) -> Sequence[BaseMessage]:
        return self._history.messages


class Store(OverBaseStore):
    """``PostgresStore`` of langgraph-checkpoint-postgres"""

    def __init__(self, folder: Path, index: str | None = None) -> None:
        if index:
            raise NotImplementedError
        from langgraph.store.postgres import PostgresStore

        self._stack = ExitStack()
        opening = PostgresStore.from_conn_string(url_in(folder, "postgresql"))
        store = self._stack.enter_context(opening)
        store.setup()
        self.store = store

    def close(self) -> None:
        self._stack.close()
