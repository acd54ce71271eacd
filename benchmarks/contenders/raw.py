"""sqlite3 by hand, as a sensible program would use it: WAL, synchronous=FULL, an index."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from benchmarks.contenders import Contender, Document, Item, Namespace

_TABLES = """
CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, session TEXT, payload TEXT);
CREATE INDEX IF NOT EXISTS by_session ON messages (session, seq);
CREATE TABLE IF NOT EXISTS documents (ns TEXT, key TEXT, value TEXT, PRIMARY KEY (ns, key));
"""
_PUT = (
    "INSERT INTO documents (ns, key, value) VALUES (?, ?, ?) "
    "ON CONFLICT (ns, key) DO UPDATE SET value = excluded.value"
)


class Raw(Contender):
    def __init__(self, folder: Path, index: str | None = None) -> None:
        self._path = folder / "raw.db"
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._db.executescript(_TABLES)
        if index:
            self._db.execute(
                "CREATE INDEX IF NOT EXISTS by_field "
                f"ON documents (ns, json_extract(value, '$.{index}'))"
            )

    @property
    def _db(self) -> sqlite3.Connection:
        """This thread's connection."""
        try:
            connection: sqlite3.Connection = self._local.connection
        except AttributeError:
            connection = sqlite3.connect(self._path, timeout=60, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
            self._opened.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._opened:
            connection.close()

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        rows = [(session, json.dumps(message_to_dict(message))) for message in messages]
        with self._db as db:
            db.executemany("INSERT INTO messages (session, payload) VALUES (?, ?)", rows)

    def last(self, session: str, count: int) -> Sequence[BaseMessage | Document]:
        sql = "SELECT payload FROM messages WHERE session = ? ORDER BY seq DESC LIMIT ?"
        rows = self._db.execute(sql, (session, count)).fetchall()
        return messages_from_dict([json.loads(payload) for (payload,) in reversed(rows)])

    def all(self, session: str) -> Sequence[BaseMessage | Document]:
        sql = "SELECT payload FROM messages WHERE session = ? ORDER BY seq"
        rows = self._db.execute(sql, (session,))
        return messages_from_dict([json.loads(payload) for (payload,) in rows])

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        with self._db as db:
            db.execute(_PUT, ("/".join(namespace), key, json.dumps(value)))

    def put_many(self, items: Sequence[Item]) -> None:
        rows = [("/".join(namespace), key, json.dumps(value)) for namespace, key, value in items]
        with self._db as db:
            db.executemany(_PUT, rows)

    def get(self, namespace: Namespace, key: str) -> Document | None:
        sql = "SELECT value FROM documents WHERE ns = ? AND key = ?"
        row = self._db.execute(sql, ("/".join(namespace), key)).fetchone()
        return None if row is None else json.loads(row[0])

    def get_many(self, ids: Sequence[tuple[Namespace, str]]) -> list[Document | None]:
        names = [("/".join(namespace), key) for namespace, key in ids]
        marks = ", ".join(["(?, ?)"] * len(names))
        rows = self._db.execute(
            f"SELECT ns, key, value FROM documents WHERE (ns, key) IN (VALUES {marks})",
            [part for name in names for part in name],
        )
        found = {(ns, key): json.loads(value) for ns, key, value in rows}
        return [found.get(name) for name in names]

    def equal(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._where(namespace, field, "=", value)

    def at_least(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._where(namespace, field, ">=", value)

    def _where(self, namespace: Namespace, field: str, sign: str, value: str) -> list[Document]:
        rows = self._db.execute(
            f"SELECT value FROM documents WHERE ns = ? AND json_extract(value, '$.{field}') "
            f"{sign} ? LIMIT 10",
            ("/".join(namespace), value),
        )
        return [json.loads(found) for (found,) in rows]

    def latest(self, namespace: Namespace, field: str) -> list[Document]:
        rows = self._db.execute(
            "SELECT value FROM documents WHERE ns = ? "
            f"ORDER BY json_extract(value, '$.{field}') DESC LIMIT 10",
            ("/".join(namespace),),
        )
        return [json.loads(found) for (found,) in rows]

    def namespaces(self, limit: int) -> list[Namespace]:
        rows = self._db.execute("SELECT DISTINCT ns FROM documents ORDER BY ns LIMIT ?", (limit,))
        return [tuple(ns.split("/")) for (ns,) in rows]


class RawDicts(Raw):
    """Stops at plain dicts, and builds no messages."""

    def last(self, session: str, count: int) -> Sequence[BaseMessage | Document]:
        sql = "SELECT payload FROM messages WHERE session = ? ORDER BY seq DESC LIMIT ?"
        rows = self._db.execute(sql, (session, count)).fetchall()
        return [json.loads(payload) for (payload,) in reversed(rows)]

    def all(self, session: str) -> Sequence[BaseMessage | Document]:
        sql = "SELECT payload FROM messages WHERE session = ? ORDER BY seq"
        return [json.loads(payload) for (payload,) in self._db.execute(sql, (session,))]


class RawOneThread(Raw):
    threads = 1
