"""langchain-community's chat histories."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from langchain_core.messages import BaseMessage, messages_to_dict

from benchmarks.contenders import Contender


class SQLHistory(Contender):
    """``SQLChatMessageHistory``; the object is kept, as a program would for one session."""

    def __init__(self, folder: Path, index: str | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from langchain_community.chat_message_histories import SQLChatMessageHistory

            self._engine = sa.create_engine(f"sqlite:///{folder}/community.db")
            sa.event.listen(self._engine, "connect", _same_durability)
            self._history = SQLChatMessageHistory("session", connection=self._engine)

    def close(self) -> None:
        self._engine.dispose()

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        self._history.add_messages(messages)

    def last(self, session: str, count: int) -> Sequence[BaseMessage]:
        return self._history.messages[-count:]  # it knows no limit

    def all(self, session: str) -> Sequence[BaseMessage]:
        return self._history.messages


class FileHistory(Contender):
    """``FileChatMessageHistory``; it never calls fsync."""

    def __init__(self, folder: Path, index: str | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from langchain_community.chat_message_histories import FileChatMessageHistory

        self._file = folder / "community.json"
        self._history = FileChatMessageHistory(str(self._file))

    def fill(self, session: str, messages: Sequence[BaseMessage]) -> None:
        self._file.write_text(json.dumps(messages_to_dict(messages)))

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        self._history.add_messages(messages)

    def last(self, session: str, count: int) -> Sequence[BaseMessage]:
        return self._history.messages[-count:]

    def all(self, session: str) -> Sequence[BaseMessage]:
        return self._history.messages


def _same_durability(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
