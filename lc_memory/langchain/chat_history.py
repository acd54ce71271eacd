"""LangChain's chat history over a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from lc_memory.aio import AsyncStore
from lc_memory.errors import InvalidKey
from lc_memory.log import Log
from lc_memory.records import Namespace, Record, check_name
from lc_memory.store import Store


class ChatHistory(BaseChatMessageHistory):
    """The messages of one session, in the order they were added.

    Every message type comes back equal: ids, tool calls, content blocks, usage and response
    metadata. ``limit`` bounds what :attr:`messages` gives (the latest so many; None: all).
    Messages are stored as plain data and built again by type; nothing stored can name a class.
    """

    def __init__(
        self,
        store: Store,
        bridge: AsyncStore,
        session_id: str,
        scope: Namespace = (),
        limit: int | None = None,
    ) -> None:
        if not check_name(session_id, "session id"):
            raise InvalidKey("session id: empty")
        self.session_id = session_id
        self.limit = limit
        self._bridge = bridge
        self._log = Log(store, (*scope, "messages", session_id))

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # the base declares a field
        """The messages, oldest first; with a ``limit`` only the latest."""
        return self.latest(self.limit)

    def latest(self, limit: int | None = None) -> list[BaseMessage]:
        """The latest ``limit`` messages (None: all), oldest first."""
        return _messages(self._log.tail(limit))

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add all messages, next to one another, in one transaction."""
        self._log.append(map(_entry, messages))

    def clear(self) -> None:
        """Delete the session's messages."""
        self._log.clear()

    async def aget_messages(self) -> list[BaseMessage]:
        """:attr:`messages` for asyncio."""
        return await self.alatest(self.limit)

    async def alatest(self, limit: int | None = None) -> list[BaseMessage]:
        """:meth:`latest` for asyncio."""
        return await self._bridge.run(self.latest, limit)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """:meth:`add_messages` for asyncio."""
        ops = self._log.operations(map(_entry, messages))
        if ops:
            await self._bridge.write(ops)

    async def aclear(self) -> None:
        """:meth:`clear` for asyncio."""
        await self._bridge.run(self.clear)

    def __len__(self) -> int:
        return len(self._log)

    def __bool__(self) -> bool:  # a history is there even when it is empty
        return True


def _entry(message: BaseMessage) -> dict[str, Any]:
    return message_to_dict(message)


def _messages(records: Sequence[Record]) -> list[BaseMessage]:
    return messages_from_dict([record.value for record in records])
