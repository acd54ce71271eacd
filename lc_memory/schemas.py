"""Pydantic models of what agents commonly keep: a user's profile, conversations, progress.

Extra fields are kept, so that an application may add its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field


class _Document(BaseModel):
    model_config = ConfigDict(extra="allow")

    def to_document(self) -> dict[str, Any]:
        """The model as a document to store: plain JSON, without what is not known."""
        return self.model_dump(mode="json", exclude_none=True)


class Profile(_Document):
    """Who the user is and what they like."""

    name: str | None = None
    email: str | None = None
    experience_level: str | None = None
    preferences: dict[str, Any] = Field(default_factory=dict)


class Metadata(_Document):
    """When a document came about, and the version of its schema."""

    created_at: datetime | None = None
    last_updated: datetime | None = None
    version: str = "1.0"


class UserProfile(_Document):
    """The collection ``user_profile``: one document a user."""

    user_id: str
    profile: Profile = Field(default_factory=Profile)
    metadata: Metadata = Field(default_factory=Metadata)


class Message(_Document):
    """One message of a conversation."""

    message_id: str
    role: Literal["user", "assistant", "system", "tool"]
    content: str
    timestamp: datetime


class Conversation(_Document):
    """The collection ``conversation_history``: one document a conversation."""

    conversation_id: str
    user_id: str
    messages: list[Message] = Field(default_factory=list)
    context: dict[str, Any] = Field(default_factory=dict)


class LearningProgress(_Document):
    """The collection ``user_learning_progress``: how far a user is in a course.

    ``progress_percentage`` is the share of the course's topics that are completed, from 0 to 100.
    """

    user_id: str
    course: list[str] = Field(default_factory=list)
    completed_topics: list[str] = Field(default_factory=list)
    current_topic: str | None = None
    progress_percentage: float = Field(default=0.0, ge=0, le=100)

    @property
    def next_topic(self) -> str | None:
        """What to learn next: the current topic, else the course's first that is not done."""
        if self.current_topic is not None:
            return self.current_topic
        return next((t for t in self.course if t not in self.completed_topics), None)

    def advanced(self, completed: Iterable[str] = (), current: str | None = None) -> Self:
        """The progress after these topics were completed, or another one was begun.

        Topics are told apart without regard to case and surrounding space.
        """
        known = {_plain(topic): topic for topic in (*self.course, *self.completed_topics)}
        done = dict.fromkeys(self.completed_topics)
        done.update(dict.fromkeys(known.get(_plain(t), t.strip()) for t in completed if t.strip()))
        now = self.current_topic
        if current is not None and current.strip():
            now = known.get(_plain(current), current.strip())
            if now in done and not any(_plain(t) == _plain(now) for t in completed):
                del done[now]  # it is being learned again
        if now in done:
            now = None
        return self._with(list(done), now)

    def without(self, topic: str) -> Self:
        """The progress as if that topic had not been begun."""
        done = [t for t in self.completed_topics if _plain(t) != _plain(topic)]
        now = self.current_topic
        return self._with(done, None if now and _plain(now) == _plain(topic) else now)

    def _with(self, done: list[str], now: str | None) -> Self:
        share = sum(topic in done for topic in self.course) / len(self.course or [""])
        return self.model_copy(
            update={
                "completed_topics": done,
                "current_topic": now,
                "progress_percentage": round(100 * share, 1),
            }
        )


def _plain(topic: str) -> str:
    return " ".join(topic.casefold().split())
