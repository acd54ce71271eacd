"""The OpenAI Agents SDK's session over a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import BaseMessage

from lc_memory.aio import AsyncStore
from lc_memory.errors import InvalidKey, MissingExtra
from lc_memory.log import Log
from lc_memory.openai_items import messages_of
from lc_memory.records import Namespace, Record, check_name
from lc_memory.store import Store

if TYPE_CHECKING:
    from agents import SessionSettings, TResponseInputItem


class AgentSession:
    """The items of one conversation: a ``Session`` for the OpenAI Agents SDK.

    >>> await Runner.run(agent, "Hi, I'm Ada.", session=memory.session("s1"))

    Items are kept as the plain JSON that they are and come back equal, in the order of the
    writes. A session and a chat history of the same id are kept apart, each in its own words;
    :meth:`as_messages` and :meth:`ChatHistory.as_items` show one as the other, and
    :func:`~lc_memory.openai_items.messages_of` and :func:`~lc_memory.openai_items.items_of`
    convert any list.

    ``session_settings.limit`` is how many of the latest items :meth:`get_items` gives by default.
    Serves any number of event loops; nothing is to be closed.
    """

    session_id: str
    session_settings: SessionSettings | None

    def __init__(
        self,
        store: Store,
        bridge: AsyncStore,
        session_id: str,
        scope: Namespace = (),
        session_settings: SessionSettings | Mapping[str, Any] | None = None,
    ) -> None:
        if not check_name(session_id, "session id"):
            raise InvalidKey("session id: empty")
        self.session_id = session_id
        self.session_settings = _settings(session_settings)
        self._bridge = bridge
        self._log = Log(store, (*scope, "items", session_id))

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The latest ``limit`` items (None: as many as the settings say, else all), oldest first.

        Raises InvalidQuery for a limit below 0.
        """
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        return [_item(record) for record in await self._bridge.run(self._log.tail, limit)]

    async def add_items(self, items: Sequence[TResponseInputItem]) -> None:
        """Add all items, next to one another, in one transaction.

        Raises InvalidValue, naming the JSON path, for one that is not plain JSON.
        """
        ops = self._log.operations(cast("Sequence[dict[str, Any]]", items))
        if ops:
            await self._bridge.write(ops)

    async def pop_item(self) -> TResponseInputItem | None:
        """Take the latest item off (None: there is none); no two callers get the same one."""
        record = await self._bridge.run(self._log.pop)
        return None if record is None else _item(record)

    async def clear_session(self) -> None:
        """Delete the session's items."""
        await self._bridge.run(self._log.clear)

    async def as_messages(self, limit: int | None = None) -> list[BaseMessage]:
        """The items of :meth:`get_items` as LangChain's messages."""
        items = await self.get_items(limit)
        return await self._bridge.run(messages_of, cast("list[dict[str, Any]]", items))


def _item(record: Record) -> TResponseInputItem:
    return cast("TResponseInputItem", record.value)


def _settings(given: SessionSettings | Mapping[str, Any] | None) -> SessionSettings | None:
    if not isinstance(given, Mapping):
        return given
    try:
        from agents import SessionSettings
    except ImportError as error:
        raise MissingExtra("Session settings", "openai-agents") from error
    return SessionSettings(**given)
