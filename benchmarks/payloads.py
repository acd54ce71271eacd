"""What is stored: messages as a chat has them, and documents of about 300 bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

_TEXT = "The learner asked how a decorator keeps its state between two calls of a function. "
_START = datetime(2026, 1, 1, tzinfo=UTC)


def message(number: int) -> BaseMessage:
    """A question, or an answer with what providers add to it."""
    if number % 2 == 0:
        return HumanMessage(f"{number}: {_TEXT}", id=f"human-{number}")
    return AIMessage(
        f"{number}: {_TEXT * 2}",
        id=f"ai-{number}",
        response_metadata={"model_name": "gpt-4o-mini", "finish_reason": "stop"},
        usage_metadata={"input_tokens": 120, "output_tokens": 48, "total_tokens": 168},
    )


def messages(count: int) -> list[BaseMessage]:
    return [message(number) for number in range(count)]


def timestamp(number: int) -> str:
    """The time of a document; ten in a row share one."""
    return (_START + timedelta(seconds=number // 10)).isoformat()


def document(number: int, key: str | None = None) -> dict[str, Any]:
    return {
        "id": key or f"doc-{number:06d}",
        "timestamp": timestamp(number),
        "text": f"{number}: {_TEXT}",
        "tags": ["python", "decorators", f"lesson-{number % 7}"],
        "score": number / 8,
        "profile": {"level": number % 10, "language": "en", "active": True},
    }
