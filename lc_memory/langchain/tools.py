"""Tools with which an agent keeps and changes what it knows about its user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lc_memory.errors import LCMemoryError, MissingExtra
from lc_memory.knowledge import COURSE, Kind, Knowledge, as_json
from lc_memory.langchain.context import knowledge_of
from lc_memory.learner import Course, Rating
from lc_memory.memory import Memory

try:
    from langchain.tools import BaseTool, ToolRuntime
    from langchain_core.tools import StructuredTool, ToolException
except ImportError as error:
    raise MissingExtra("Agent tools", "agent") from error

T = TypeVar("T")


def memory_tools(
    memory: Memory, *, per_user: bool = True, course: Course = COURSE
) -> list[BaseTool]:
    """The tools ``remember``, ``recall``, ``forget``, ``update_progress`` and ``review``, for
    ``create_agent``.

    The user is the ``user_id`` of the agent's context (``context_schema=MemoryContext``); with
    ``per_user=False`` the memory belongs to one person, and no context is asked for.
    Each tool answers with JSON; what it refuses comes back to the model as an error to mend.
    """

    def known(runtime: Any) -> Knowledge:
        return knowledge_of(memory, runtime, per_user, course)

    def remember(
        content: str, runtime: ToolRuntime[Any, Any], kind: Kind = "fact", topic: str | None = None
    ) -> str:
        """Remember something about the user for all later conversations.

        kind: "name", "email", "level" (beginner, intermediate or advanced), "preference" (say in
        topic what it is about, such as "answer length"), or "fact" for anything else.
        """
        return _answer(lambda: known(runtime).remember(content, kind, topic))

    def recall(runtime: ToolRuntime[Any, Any], query: str = "") -> str:
        """Look up what is known about the user; with a query, the facts that fit it."""
        return _answer(lambda: known(runtime).recall(query))

    def forget(what: str, runtime: ToolRuntime[Any, Any]) -> str:
        """Forget a fact, a preference, a topic, "name", "email", "level", "preferences",
        "progress" or "everything"."""
        return _answer(lambda: {"forgotten": known(runtime).forget(what)})

    def update_progress(
        runtime: ToolRuntime[Any, Any],
        completed: list[str] | None = None,
        current: str | None = None,
    ) -> str:
        """Note topics that the user has completed, or the one they are learning now."""
        return _answer(lambda: known(runtime).advance(completed or [], current))

    def review(topic: str, rating: Rating, runtime: ToolRuntime[Any, Any]) -> str:
        """Note that the user has reviewed a topic, and how it went: "again" (they had forgotten
        it), "hard", "good" or "easy". What to review today is in the memory's due_for_review."""
        return _answer(lambda: known(runtime).review(topic, rating))

    tools = (remember, recall, forget, update_progress, review)
    return [_tool(memory, function) for function in tools]


def _tool(memory: Memory, function: Callable[..., str]) -> BaseTool:
    async def without_blocking(**arguments: Any) -> str:
        return await memory.bridge.run(function, **arguments)

    return StructuredTool.from_function(
        func=function,
        coroutine=without_blocking,
        name=function.__name__,
        handle_tool_error=True,
    )


def _answer(work: Callable[[], dict[str, Any]]) -> str:
    try:
        return as_json(work())
    except LCMemoryError as error:
        raise ToolException(str(error)) from error
