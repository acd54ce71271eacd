"""Memory for LangChain's ``create_agent``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from lc_memory.briefing import brief
from lc_memory.errors import MissingExtra
from lc_memory.knowledge import COURSE
from lc_memory.langchain.context import MemoryContext as MemoryContext
from lc_memory.langchain.context import knowledge_of
from lc_memory.langchain.tools import memory_tools
from lc_memory.learner import Course
from lc_memory.memory import Memory

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingExtra("MemoryMiddleware", "agent") from error


class MemoryMiddleware(AgentMiddleware[Any, Any, Any]):
    """Gives an agent memory of its user: what is known goes into each model call, and tools
    let the model keep more.

    >>> create_agent(model, middleware=[MemoryMiddleware(memory)], context_schema=MemoryContext)

    What is recalled enters the model call only, fenced as data; it never reaches the saved
    state, so it is never learned again. A run without a user raises InvalidKey, unless
    ``per_user=False`` (the memory belongs to one person). ``facts`` bounds how many facts are
    told, ``max_tokens`` about how much in all. With ``Memory(recall=…)`` the facts are those that
    bear on the last message, and other memories of it come with them; else the latest facts.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        per_user: bool = True,
        course: Course = COURSE,
        facts: int = 20,
        max_tokens: int = 4000,
    ) -> None:
        super().__init__()
        self.memory = memory
        self.per_user = per_user
        self.course = course
        self.facts = facts
        self.max_tokens = max_tokens
        self.tools = memory_tools(memory, per_user=per_user, course=course)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        return handler(_with_memory(request, self._prompt(request)))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        prompt = await self.memory.bridge.run(self._prompt, request)
        return await handler(_with_memory(request, prompt))

    def _prompt(self, request: ModelRequest[Any]) -> str:
        known = knowledge_of(self.memory, request.runtime, self.per_user, self.course)
        said = [str(m.text) for m in request.messages if isinstance(m, HumanMessage | AIMessage)]
        asked = [str(m.text) for m in request.messages if isinstance(m, HumanMessage)]
        return brief(
            known,
            asked[-1] if asked else None,
            self.max_tokens,
            facts=self.facts,
            recent=0,  # the conversation itself is in the call
            present=said,
        )


def _with_memory(request: ModelRequest[Any], prompt: str) -> ModelRequest[Any]:
    system = request.system_message
    if system is None:
        return request.override(system_message=SystemMessage(prompt))
    blocks: list[Any] = [*system.content_blocks, {"type": "text", "text": "\n\n" + prompt}]
    if isinstance(system.content, str):
        return request.override(system_message=SystemMessage(f"{system.content}\n\n{prompt}"))
    return request.override(system_message=SystemMessage(content=blocks))
