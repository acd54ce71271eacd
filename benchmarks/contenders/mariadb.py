"""MariaDB: pymysql by hand, in autocommit mode."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymysql
import sqlalchemy as sa
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from benchmarks.contenders import Contender, Document, Item, Namespace
from benchmarks.places import url_in

_NAME = "VARCHAR(255) COLLATE utf8mb4_bin"
_TABLES = (
    f"""CREATE TABLE IF NOT EXISTS messages (seq BIGINT AUTO_INCREMENT PRIMARY KEY,
    session {_NAME}, payload LONGTEXT, INDEX by_session (session, seq))""",
    f"""CREATE TABLE IF NOT EXISTS documents (ns {_NAME}, `key` {_NAME}, value LONGTEXT,
    PRIMARY KEY (ns, `key`))""",
)
_PUT = (
    "INSERT INTO documents (ns, `key`, value) VALUES (%s, %s, %s) "
    "ON DUPLICATE KEY UPDATE value = VALUES(value)"
)


class Raw(Contender):
    def __init__(self, folder: Path, index: str | None = None) -> None:
        self._url = sa.make_url(url_in(folder, "mariadb"))
        self._local = threading.local()
        self._opened: list[Any] = []
        for statement in _TABLES:
            self._execute(statement)
        if index:
            self._execute(
                f"ALTER TABLE documents ADD COLUMN IF NOT EXISTS field {_NAME} AS "
                f"(JSON_UNQUOTE(JSON_EXTRACT(value, '$.{index}'))) PERSISTENT"
            )
            self._execute("CREATE INDEX IF NOT EXISTS by_field ON documents (ns, field)")

    @property
    def _db(self) -> Any:
        """This thread's connection."""
        try:
            connection = self._local.connection
        except AttributeError:
            url = self._url
            connection = self._local.connection = pymysql.connect(
                host=url.host or "127.0.0.1",
                port=url.port or 3306,
                user=url.username or "root",
                password=url.password or "",
                database=url.database,
                autocommit=True,
            )
            self._opened.append(connection)
        return connection

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Any]:
        with self._db.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: Sequence[Any] = cursor.fetchall()
            return rows

    def _execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """All of them in one transaction."""
        self._db.begin()
        with self._db.cursor() as cursor:
            cursor.executemany(sql, rows)
        self._db.commit()

    def close(self) -> None:
        for connection in self._opened:
            connection.close()

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        sql = "INSERT INTO messages (session, payload) VALUES (%s, %s)"
        rows = [(session, json.dumps(message_to_dict(message))) for message in messages]
        if len(rows) == 1:
            self._execute(sql, rows[0])
        else:
            self._execute_many(sql, rows)

    def last(self, session: str, count: int) -> Sequence[BaseMessage | Document]:
        sql = "SELECT payload FROM messages WHERE session = %s ORDER BY seq DESC LIMIT %s"
        rows = self._execute(sql, (session, count))
        return messages_from_dict([json.loads(payload) for (payload,) in reversed(rows)])

    def all(self, session: str) -> Sequence[BaseMessage | Document]:
        sql = "SELECT payload FROM messages WHERE session = %s ORDER BY seq"
        rows = self._execute(sql, (session,))
        return messages_from_dict([json.loads(payload) for (payload,) in rows])

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        self._execute(_PUT, ("/".join(namespace), key, json.dumps(value)))

    def put_many(self, items: Sequence[Item]) -> None:
        rows = [("/".join(namespace), key, json.dumps(value)) for namespace, key, value in items]
        self._execute_many(_PUT, rows)

    def get(self, namespace: Namespace, key: str) -> Document | None:
        sql = "SELECT value FROM documents WHERE ns = %s AND `key` = %s"
        rows = self._execute(sql, ("/".join(namespace), key))
        return json.loads(rows[0][0]) if rows else None

    def get_many(self, ids: Sequence[tuple[Namespace, str]]) -> list[Document | None]:
        names = [("/".join(namespace), key) for namespace, key in ids]
        marks = ", ".join(["(%s, %s)"] * len(names))
        rows = self._execute(
            f"SELECT ns, `key`, value FROM documents WHERE (ns, `key`) IN ({marks})",
            [part for name in names for part in name],
        )
        found = {(ns, key): json.loads(value) for ns, key, value in rows}
        return [found.get(name) for name in names]

    def equal(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._where(namespace, "=", value)

    def at_least(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        return self._where(namespace, ">=", value)

    def _where(self, namespace: Namespace, sign: str, value: str) -> list[Document]:
        sql = f"SELECT value FROM documents WHERE ns = %s AND field {sign} %s LIMIT 10"
        return [json.loads(found) for (found,) in self._execute(sql, ("/".join(namespace), value))]
