"""Threads of checkpoints for tests, put one after the other as a graph does."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint

from lc_memory import Checkpointer, Memory, values


class Thread:
    """Puts one checkpoint after the other, as a graph does."""

    def __init__(self, saver: Checkpointer, thread_id: str = "t", ns: str = "") -> None:
        self.saver = saver
        self.config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns}}
        self.here = self.config
        self.versions: dict[str, int] = {}
        self.step = 0

    def put(self, metadata: dict[str, Any] | None = None, **values: Any) -> Any:
        checkpoint = empty_checkpoint()
        self.step += 1
        new = dict.fromkeys(values, self.step)
        self.versions = {**self.versions, **new}
        checkpoint["channel_values"] = values
        checkpoint["channel_versions"] = dict(self.versions)
        about: Any = {"source": "loop", "step": self.step, "parents": {}, **(metadata or {})}
        self.here = self.saver.put(self.here, checkpoint, about, new)
        return self.here

    def latest(self) -> CheckpointTuple:
        found = self.saver.get_tuple(self.config)
        assert found is not None
        return found

    def ids(self) -> list[str]:
        return [
            found.config["configurable"]["checkpoint_id"] for found in self.saver.list(self.config)
        ]


def say(number: int) -> list[BaseMessage]:
    return [
        HumanMessage(f"question {number} " + "x" * 150, id=f"h{number}"),
        AIMessage(f"answer {number} " + "y" * 150, id=f"a{number}", usage_metadata=USAGE),
    ]


USAGE: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


def stored(memory: Memory) -> dict[Any, int]:
    """How many bytes each record's value takes."""
    return {r.id: len(values.encode(r.value)) for r in memory.backend.records()}


def grown(saver: Checkpointer, thread_id: str = "t", turns: int = 40) -> tuple[Thread, list[Any]]:
    thread = Thread(saver, thread_id)
    messages: list[BaseMessage] = []
    for turn in range(turns):
        messages = [*messages, *say(turn)]
        saver.put_writes(thread.put(messages=messages), [("w", turn)], "task")
    return thread, messages
