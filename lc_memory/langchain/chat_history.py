"""LangChain's chat history over a log."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any, Final

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from lc_memory.aio import AsyncStore
from lc_memory.errors import InvalidKey, InvalidValue
from lc_memory.langchain.window import TokenCounter, window
from lc_memory.log import Log
from lc_memory.openai_items import Item, items_of
from lc_memory.records import Append, Namespace, Query, Record, check_name
from lc_memory.store import Store

_READ: Final = 64

#: Types of messages that are known to be built again from their data.
_KNOWN: Final[set[str]] = set()


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
        self.bridge = bridge
        self.log = Log(store, (*scope, "messages", session_id))

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # the base declares a field
        """The messages, oldest first; with a ``limit`` only the latest."""
        return self.latest(self.limit)

    def latest(self, limit: int | None = None) -> list[BaseMessage]:
        """The latest ``limit`` messages (None: all), oldest first."""
        return messages_in(self.log.tail(limit))

    def window(
        self,
        *,
        max_messages: int | None = None,
        max_tokens: int | None = None,
        token_counter: TokenCounter | None = None,
    ) -> list[BaseMessage]:
        """The latest messages that fit, cut where the conversation keeps its meaning.

        See :func:`~lc_memory.langchain.window.window`. Nothing is deleted, no more is read than
        is needed, and the history's own ``limit`` does not count here.
        """
        size = None if max_messages is None and max_tokens is None else _READ
        while True:
            messages = self.latest(size)
            whole = size is None or len(messages) < size
            if not whole:  # from a question on, behind the system message that it all began with
                turn = next((i for i, m in enumerate(messages) if m.type == "human"), size)
                first = messages_in(
                    self.log.store.find(Query(self.log.namespace, exact=True, limit=1)).records
                )
                messages = [*(m for m in first if m.type == "system"), *messages[turn:]]
            found = window(
                messages,
                max_messages=max_messages,
                max_tokens=max_tokens,
                token_counter=token_counter,
            )
            if whole or (len(found) < len(messages) and _ends(found, messages)):
                return found
            size = 4 * (size or _READ)

    def as_items(self, limit: int | None = None) -> list[Item]:
        """The latest ``limit`` messages (None: all) as OpenAI's items, for an agent of the OpenAI
        Agents SDK; see :mod:`lc_memory.openai_items`."""
        return items_of(self.latest(limit))

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add all messages, next to one another, in one transaction.

        Raises InvalidValue, adding none, for one of a type that LangChain could not read again.
        """
        if ops := self.operations(messages):
            self.log.store.write(ops)

    def operations(self, messages: Sequence[BaseMessage]) -> list[Append]:
        """The batch that adds these messages."""
        return self.log.operations(map(_entry, messages))

    def clear(self) -> None:
        """Delete the session's messages."""
        self.log.clear()

    async def aget_messages(self) -> list[BaseMessage]:
        """:attr:`messages` for asyncio."""
        return await self.alatest(self.limit)

    async def alatest(self, limit: int | None = None) -> list[BaseMessage]:
        """:meth:`latest` for asyncio."""
        return await self.bridge.run(self.latest, limit)

    async def awindow(
        self,
        *,
        max_messages: int | None = None,
        max_tokens: int | None = None,
        token_counter: TokenCounter | None = None,
    ) -> list[BaseMessage]:
        """:meth:`window` for asyncio."""
        return await self.bridge.run(
            self.window,
            max_messages=max_messages,
            max_tokens=max_tokens,
            token_counter=token_counter,
        )

    async def aas_items(self, limit: int | None = None) -> list[Item]:
        """:meth:`as_items` for asyncio."""
        return await self.bridge.run(self.as_items, limit)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """:meth:`add_messages` for asyncio."""
        if ops := self.operations(messages):
            await self.bridge.write(ops)

    async def aclear(self) -> None:
        """:meth:`clear` for asyncio."""
        await self.bridge.run(self.clear)

    def __len__(self) -> int:
        return len(self.log)

    def __bool__(self) -> bool:  # a history is there even when it is empty
        return True


def _entry(message: BaseMessage) -> dict[str, Any]:
    if not isinstance(message, BaseMessage):
        raise InvalidValue("$", f"a {type(message).__name__}, not a message such as HumanMessage")
    entry = message_to_dict(message)
    if message.type not in _KNOWN:
        try:
            messages_from_dict([entry])
        except ValueError as error:
            raise InvalidValue("$.type", f"{error}: it could be stored, but not read") from None
        _KNOWN.add(message.type)
    return entry


def _ends(found: Sequence[BaseMessage], messages: Sequence[BaseMessage]) -> bool:
    """Whether a window has all messages from its first one on: where one is left out, what it
    belongs to may not have been read yet."""
    rest = found[1:] if found and found[0].type == "system" else found
    return all(map(is_, reversed(rest), reversed(messages)))


def messages_in(records: Sequence[Record]) -> list[BaseMessage]:
    """The messages of a log's entries."""
    return messages_from_dict([record.value for record in records])
