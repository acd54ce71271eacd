"""Who an agent is talking to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lc_memory.errors import InvalidKey
from lc_memory.knowledge import Knowledge
from lc_memory.learner import Course
from lc_memory.memory import Memory


@dataclass(frozen=True, slots=True)
class MemoryContext:
    """The context of an agent with memory: ``create_agent(…, context_schema=MemoryContext)``,
    then ``agent.invoke(…, context=MemoryContext(user_id="ada"))``."""

    user_id: str


def knowledge_of(memory: Memory, runtime: Any, per_user: bool, course: Course) -> Knowledge:
    """What is known about the user of a run. Raises InvalidKey if the run names none."""
    if not per_user:
        return Knowledge(memory, course)
    context = getattr(runtime, "context", None)
    if isinstance(context, Mapping):
        user = context.get("user_id")
    else:
        user = getattr(context, "user_id", None)
    if not isinstance(user, str) or not user:
        raise InvalidKey(
            "no user: run the agent with context=MemoryContext(user_id=…) and create it with "
            "context_schema=MemoryContext"
        )
    return Knowledge(memory.as_user(user), course)
