"""The frameworks' own interfaces to a :class:`~lc_memory.memory.Memory`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from lc_memory.aio import AsyncStore
from lc_memory.layers.base import Layer
from lc_memory.layers.stack import Stack
from lc_memory.records import Namespace

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.store.base import IndexConfig, TTLConfig

    from agents import SessionSettings
    from lc_memory.langchain.cache import LLMCache
    from lc_memory.langchain.chat_history import ChatHistory
    from lc_memory.langchain.checkpointer import Checkpointer
    from lc_memory.langchain.key_value import KeyValueStore
    from lc_memory.langchain.store import LangGraphStore
    from lc_memory.openai_agents import AgentSession
    from lc_memory.sessions import Session


class Interfaces:
    """A part of Memory."""

    _layers: Stack
    backend: Layer
    bridge: AsyncStore
    scope: Namespace
    principal: str | None

    def chat_history(self, session_id: str, *, limit: int | None = None) -> ChatHistory:
        """LangChain's ``BaseChatMessageHistory`` of one session.

        ``limit``: ``messages`` gives the latest so many only; nothing is deleted.
        """
        from lc_memory.langchain.chat_history import ChatHistory

        return ChatHistory(self.backend, self.bridge, session_id, self.scope, limit)

    def sessions(self) -> list[Session]:
        """The conversations that have messages, the latest first."""
        from lc_memory.sessions import sessions

        return sessions(self.backend, self.scope)

    def store(
        self, *, ttl: TTLConfig | None = None, index: IndexConfig | None = None
    ) -> LangGraphStore:
        """LangGraph's ``BaseStore``, sync and async in one object. TTLs are in minutes."""
        from lc_memory.langchain.store import LangGraphStore

        return LangGraphStore(
            self.backend,
            self.bridge,
            self.scope,
            ttl=ttl,
            index=index,
            may_renew=partial(self._layers.permitted, self.principal, "write"),
        )

    def checkpointer(
        self, serde: SerializerProtocol | None = None, *, keep: int | None = None
    ) -> Checkpointer:
        """LangGraph's ``BaseCheckpointSaver``, sync and async in one object.

        ``keep``: the latest so many checkpoints of a thread stay, others are deleted.
        """
        from lc_memory.langchain.checkpointer import Checkpointer

        return Checkpointer(self.backend, self.bridge, self.scope, serde=serde, keep=keep)

    def key_value(self, namespace: Namespace | None = None) -> KeyValueStore:
        """LangChain's ``BaseStore[str, bytes]``; stores of different namespaces share no key."""
        from lc_memory.langchain.key_value import KeyValueStore

        return KeyValueStore(self.backend, self.bridge, self.scope, namespace)

    def llm_cache(self, *, ttl: float | None = None) -> LLMCache:
        """LangChain's ``BaseCache`` of model answers, each good for ``ttl`` minutes (None: for
        ever)."""
        from lc_memory.langchain.cache import LLMCache

        return LLMCache(self.backend, self.bridge, self.scope, ttl)

    def session(
        self,
        session_id: str,
        session_settings: SessionSettings | Mapping[str, Any] | None = None,
    ) -> AgentSession:
        """The OpenAI Agents SDK's ``Session`` of one conversation."""
        from lc_memory.openai_agents import AgentSession

        return AgentSession(self.backend, self.bridge, session_id, self.scope, session_settings)

    async def asessions(self) -> list[Session]:
        """:meth:`sessions` for asyncio."""
        return await self.bridge.run(self.sessions)
