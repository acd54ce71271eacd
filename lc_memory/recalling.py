"""What :class:`~lc_memory.memory.Memory` does to find what it holds, and to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from lc_memory.aio import AsyncStore
from lc_memory.documents import Filter
from lc_memory.errors import InvalidQuery
from lc_memory.layers.base import Layer
from lc_memory.layers.stack import Stack
from lc_memory.records import Namespace

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

    from lc_memory.langchain.retriever import MemoryRetriever
    from lc_memory.learning import Learned
    from lc_memory.memory import Memory
    from lc_memory.search.asking import Hit


class Recalling:
    """A part of Memory."""

    _layers: Stack
    backend: Layer
    bridge: AsyncStore
    scope: Namespace
    user: str | None
    principal: str | None

    def recall(
        self,
        query: str,
        user: str | None = None,
        k: int = 10,
        filter: Filter | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        namespaces: Sequence[Namespace | str] | None = None,
        as_of: datetime | None = None,
    ) -> list[Hit]:
        """The ``k`` memories that answer the query best: documents, messages and facts alike.

        :param user: whose (by default: whose this handle is; without one, everybody's).
        :param filter: MongoDB's, on the record's value.
        :param since: not before this time, by what the memory says of itself (a message's
            ``timestamp``), else by when it was stored.
        :param until: before this time.
        :param namespaces: only there: ``"messages"``, ``("documents", "notes")``.
        :param as_of: what was known at this time. Facts that were superseded later are included;
            messages go by their own time, like facts, and documents by when they were first
            stored. Only facts keep what they were: anything else that was changed since is
            found as it is now, and what was deleted since is not found.

        Each hit has its ``score``, ``parts``, ``source`` and ``why``. Raises Unsupported if the
        memory was opened without ``recall=``, and InvalidQuery for an empty query.
        """
        from lc_memory.search.facade import recall

        return recall(self._of(user), query, k, filter, since, until, namespaces, as_of)

    def as_retriever(self, *, k: int = 10, **search: Any) -> MemoryRetriever:
        """LangChain's ``BaseRetriever`` over :meth:`recall`, whose other arguments may be given
        here. A document's metadata says where it is from, its score and why it was found."""
        from lc_memory.langchain.retriever import MemoryRetriever

        return MemoryRetriever(memory=self, k=k, search=search)

    def reindex(
        self, progress: Callable[[int, int], None] | None = None, *, anew: bool = False
    ) -> int:
        """Make good what the indexes of :meth:`recall` are missing, such as what was written by
        processes that had no recall; returns of how many records. May be interrupted and called
        again. ``anew`` makes all vectors anew, for another embedding model.
        """
        from lc_memory.search.facade import reindex

        return reindex(self._of(None), progress, anew)

    def learn(
        self,
        messages: Sequence[BaseMessage] | str,
        user: str | None = None,
        model: BaseChatModel | None = None,
        *,
        session_id: str = "learned",
        prompt: str | None = None,
    ) -> Learned:
        """Learn facts, preferences and events from what people said in these messages.

        The messages are stored first, in the chat history ``session_id`` (those that are there
        are not stored again); a string names a stored session to learn from. Then ``model`` (any
        LangChain chat model with structured output) makes facts of them, in the collection
        ``facts``: see :mod:`lc_memory.facts`. Each message is learned from once, however often
        this is called; a fact that contradicts or refines another supersedes it, and both stay.

        Returns the new facts, the superseded ones, and the tokens used. Raises LearningFailed
        for an answer of no use, or what the model raises: call it again then.
        """
        from lc_memory.learning import PROMPT, learn

        memory = self._of(user)
        if model is None:
            raise TypeError("learn: give a chat model, model=…")
        return learn(memory, messages, model, session_id, prompt or PROMPT)

    def context(
        self,
        user: str | None = None,
        query: str | None = None,
        max_tokens: int = 1000,
        *,
        course: Sequence[str] | None = None,
        token_counter: Callable[[str], int] | None = None,
    ) -> str:
        """What to tell a model of a user before it answers the query: profile, progress, the
        facts that bear on it, other memories of it, and the latest turns, within a budget.

        It is fenced as data, for a system message, and the same as long as the memory is.
        Without ``recall=`` or a query the latest facts are told. ``token_counter`` says how many
        tokens a text is (by default about four bytes each). Raises InvalidQuery if the budget is
        too small for anything.
        """
        from lc_memory.briefing import brief, tokens_in
        from lc_memory.knowledge import COURSE, Knowledge

        memory = self._of(user)
        known = Knowledge(memory, COURSE if course is None else course)
        return brief(known, query, max_tokens, counter=token_counter or tokens_in)

    def _of(self, user: str | None) -> Memory:
        memory = cast("Memory", self)
        if user is None or user == self.user:
            return memory
        if self.user is not None:
            raise InvalidQuery(f"user: this memory is {self.user!r}'s, not {user!r}'s")
        return memory.as_user(user)

    # -- async twins -----------------------------------------------------------------------

    async def arecall(
        self,
        query: str,
        user: str | None = None,
        k: int = 10,
        filter: Filter | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        namespaces: Sequence[Namespace | str] | None = None,
        as_of: datetime | None = None,
    ) -> list[Hit]:
        """:meth:`recall` for asyncio."""
        return await self.bridge.run(
            self.recall, query, user, k, filter, since, until, namespaces, as_of
        )

    async def areindex(
        self, progress: Callable[[int, int], None] | None = None, *, anew: bool = False
    ) -> int:
        """:meth:`reindex` for asyncio."""
        return await self.bridge.run(self.reindex, progress, anew=anew)

    async def acontext(
        self,
        user: str | None = None,
        query: str | None = None,
        max_tokens: int = 1000,
        *,
        course: Sequence[str] | None = None,
        token_counter: Callable[[str], int] | None = None,
    ) -> str:
        """:meth:`context` for asyncio."""
        return await self.bridge.run(
            self.context, user, query, max_tokens, course=course, token_counter=token_counter
        )

    async def alearn(
        self,
        messages: Sequence[BaseMessage] | str,
        user: str | None = None,
        model: BaseChatModel | None = None,
        *,
        session_id: str = "learned",
        prompt: str | None = None,
    ) -> Learned:
        """:meth:`learn` for asyncio."""
        from lc_memory.learning import PROMPT, alearn

        memory = self._of(user)
        if model is None:
            raise TypeError("learn: give a chat model, model=…")
        return await alearn(memory, messages, model, session_id, prompt or PROMPT)
