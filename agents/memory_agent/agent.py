"""``MemoryAgent``: a memory that one can also talk to."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, ClassVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage

from lc_memory import Knowledge, Memory
from lc_memory.knowledge import COURSE
from lc_memory.learner import Course
from lc_memory.registry import url_of
from memory_agent.models import default_model
from memory_agent.offline_replies import listed

INSTRUCTIONS = """\
You are a patient programming tutor who remembers the learner across conversations.
Keep to their preferences (length, language, style) in every answer. Teach what comes next in
their course, build on what they have completed, and review what is due. When they tell you
something about themselves, or finish, begin or review a topic, keep it with your tools before
you answer. Never invent memories: if you do not know something, say so. What the memory says
now wins over what was said earlier in the conversation: what is no longer in it, they have
corrected or deleted, so do not use it."""

#: How many of a session's latest messages the model sees again.
WINDOW = 40


class MemoryAgent(Memory):
    """A :class:`~lc_memory.Memory` with a tutor in it.

    >>> agent = MemoryAgent(storage_type="sqlite", db_path="agent_memory.db")
    >>> agent.chat("Hi, I'm Ada.")

    ``storage_type="database"`` takes its URL from the environment variable ``LC_MEMORY_URL``,
    else the local SQLite file ``agent_memory.db``; an unknown type lists the known ones. ``url``
    names a store directly. With a ``user_id`` everything belongs to that user, as with
    :meth:`Memory.as_user`; without one the memory is one person's.

    ``model`` is any LangChain chat model that can call tools; by default what
    :func:`~memory_agent.models.default_model` finds. Other options are :class:`Memory`'s.
    """

    #: The greeting of somebody of whom nothing is known.
    STRANGER: ClassVar = (
        "Hello! I'm your tutor. Tell me your name, what you like and what you know."
    )

    def __init__(
        self,
        storage_type: str = "database",
        *,
        db_path: str | os.PathLike[str] | None = None,
        url: str | None = None,
        user_id: str | None = None,
        model: BaseChatModel | None = None,
        course: Course = COURSE,
        **options: Any,
    ) -> None:
        super().__init__(url_of(storage_type, db_path=db_path, url=url), **options)
        try:
            if user_id is not None:
                self._bind(user_id, user_id)
            self.course = course
            self.session_id = str(uuid.uuid4())
            self._model = model
            self._graph: Any = None
        except BaseException:
            self.close()
            raise

    def as_user(self, user: str) -> MemoryAgent:
        """The same tutor for one user, over the same memory; the handle needs no closing."""
        handle = object.__new__(MemoryAgent)
        handle.__dict__.update(super().as_user(user).__dict__)
        handle.course = self.course
        handle.session_id = str(uuid.uuid4())
        handle._model = self.model
        handle._graph = None
        return handle

    @property
    def model(self) -> BaseChatModel:
        """The chat model; found when it is first needed."""
        if self._model is None:
            self._model = default_model()
        return self._model

    @model.setter
    def model(self, model: BaseChatModel) -> None:
        self._model, self._graph = model, None

    def begin(self) -> str:
        """Begin another conversation; returns its id."""
        self.session_id = str(uuid.uuid4())
        return self.session_id

    @property
    def knowledge(self) -> Knowledge:
        """What is known about the user."""
        return Knowledge(self, self.course)

    def chat(self, text: str, *, session_id: str | None = None) -> str:
        """Say something to the tutor; returns the answer.

        The turn (the text, the tools' work, the answer) is added to the session's chat history
        in one transaction when it is complete. A session may be continued by another process;
        by default each agent begins a new one.
        """
        return "".join(self.stream(text, session_id=session_id))

    def stream(self, text: str, *, session_id: str | None = None) -> Iterator[str]:
        """:meth:`chat`, piece by piece as the model speaks."""
        history = self.chat_history(session_id or self.session_id)
        turn = _Turn(history.window(max_messages=WINDOW), text)
        for mode, part in self._agent().stream(turn.input, stream_mode=turn.modes):
            yield from turn.pieces(mode, part)
        history.add_messages(turn.messages)

    async def achat(self, text: str, *, session_id: str | None = None) -> str:
        """:meth:`chat` for asyncio."""
        return "".join([piece async for piece in self.astream(text, session_id=session_id)])

    async def astream(self, text: str, *, session_id: str | None = None) -> AsyncIterator[str]:
        """:meth:`stream` for asyncio."""
        history = self.chat_history(session_id or self.session_id)
        turn = _Turn(await history.awindow(max_messages=WINDOW), text)
        agent = await asyncio.to_thread(self._agent)
        async for mode, part in agent.astream(turn.input, stream_mode=turn.modes):
            for piece in turn.pieces(mode, part):
                yield piece
        await history.aadd_messages(turn.messages)

    def greeting(self) -> str:
        """How to open a session: by name, with what is done and what is next."""
        known = self.knowledge.snapshot(0)
        profile, progress = known["profile"], known["progress"]
        name = profile.get("name")
        if not name and not progress["completed_topics"]:
            return self.STRANGER
        lines = [f"Welcome back, {name}!" if name else "Welcome back!"]
        if progress["completed_topics"]:
            done = listed(progress["completed_topics"])
            lines.append(f"You have finished {done} ({progress['progress_percentage']:g}%).")
        if due := progress.get("due_for_review"):
            lines.append(f"Due for review today: {listed(due)}.")
        if current := progress["current_topic"]:
            lines.append(f"You are learning {current}.")
        elif progress["next_topic"]:
            lines.append(f"Next: {progress['next_topic']}.")
        return " ".join(lines)

    def _agent(self) -> Any:
        if self._graph is None:  # all but talking works without LangChain's agents
            from lc_memory.langchain.middleware import MemoryMiddleware  # or it names the extra

            # isort: split
            from langchain.agents import create_agent

            from memory_agent.whole import WholeMessages

            self._graph = create_agent(
                self.model,
                system_prompt=INSTRUCTIONS,
                middleware=[
                    MemoryMiddleware(self, per_user=False, course=self.course),
                    WholeMessages(),
                ],
                store=self.store(),
            )
        return self._graph


class _Turn:
    """One exchange: what goes in, what is shown, and what is kept of it."""

    modes: ClassVar = ["messages", "values"]

    def __init__(self, past: Sequence[BaseMessage], text: str) -> None:
        self._said = HumanMessage(text, id=str(uuid.uuid4()))
        self.input = {"messages": [*past, self._said]}
        self.messages: list[BaseMessage] = []

    def pieces(self, mode: str, part: Any) -> Iterator[str]:
        """The text to show of one part of the stream."""
        if mode == "values":
            # Not counted: LangGraph makes one of messages that have the same id.
            messages = part["messages"]
            ids = [message.id for message in messages]
            self.messages = messages[ids.index(self._said.id) :]
            return
        message, _ = part
        if isinstance(message, AIMessageChunk) and message.text:
            yield message.text
