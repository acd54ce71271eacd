"""Pydantic models of what agents commonly keep: a user's profile, conversations, progress.

Extra fields are kept, so that an application may add its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from lc_memory.validation import refused

#: From which mastery on (0 to 1) others may build on a topic.
MASTERED: Final = 0.6


class _Document(BaseModel):
    model_config = ConfigDict(extra="allow")

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The model of a document. Raises InvalidDocument, naming the JSON path, for one of
        another form."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise refused(error, cls.__name__) from None

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


class Card(_Document):
    """When a topic is to be reviewed, as FSRS sees it; days and UTC."""

    stability: float = Field(gt=0)
    difficulty: float
    due: AwareDatetime
    last_review: AwareDatetime


class Topic(_Document):
    """What is known of a learner and one topic.

    ``mastery`` goes from 0 to 1 and is what reviews have shown (None: none has); ``studied_at`` is
    when the topic was last completed.
    """

    prerequisites: list[str] = Field(default_factory=list)
    mastery: float | None = Field(default=None, ge=0, le=1)
    studied_at: AwareDatetime | None = None
    reviews: int = 0
    card: Card | None = None


class LearningProgress(_Document):
    """The collection ``user_learning_progress``: how far a user is in a course.

    ``progress_percentage`` is the mean mastery of the course's topics, from 0 to 100; a completed
    topic counts fully until a review shows otherwise. :class:`~lc_memory.learner.Learner` keeps it.
    """

    user_id: str
    course: list[str] = Field(default_factory=list)
    completed_topics: list[str] = Field(default_factory=list)
    current_topic: str | None = None
    progress_percentage: float = Field(default=0.0, ge=0, le=100)
    topics: dict[str, Topic] = Field(default_factory=dict)

    @property
    def next_topic(self) -> str | None:
        """What to learn next: the current topic, else the course's first that is not mastered and
        whose prerequisites are."""
        if self.current_topic is not None:
            return self.current_topic
        return next((t for t in self.course if not self.mastered(t) and self.ready(t)), None)

    def mastery(self, topic: str) -> float:
        """From 0 to 1: what reviews have shown, else 1 for a completed topic."""
        known = self.topics.get(topic)
        if known is not None and known.mastery is not None:
            return known.mastery
        return float(topic in self.completed_topics)

    def mastered(self, topic: str) -> bool:
        """Whether others may build on this topic."""
        return self.mastery(topic) >= MASTERED

    def ready(self, topic: str) -> bool:
        """Whether all its prerequisites are mastered."""
        known = self.topics.get(topic)
        return known is None or all(map(self.mastered, known.prerequisites))

    def named(self, topic: str) -> str:
        """The topic's name as it is known: without regard to case and surrounding space."""
        known = (*self.topics, *self.completed_topics, *self.course)
        return {_plain(name): name for name in known}.get(_plain(topic), topic.strip())

    def advanced(
        self,
        completed: Iterable[str] = (),
        current: str | None = None,
        at: datetime | None = None,
    ) -> Self:
        """The progress after these topics were completed, or another one was begun, at that time.

        Topics are told apart without regard to case and surrounding space.
        """
        done = dict.fromkeys(self.completed_topics)
        topics = dict(self.topics)
        finished = [self.named(topic) for topic in completed if topic.strip()]
        for name in finished:
            if name not in done or not self.mastered(name):
                known = topics.get(name, Topic())
                topics[name] = known.model_copy(update={"mastery": None, "studied_at": at})
            done[name] = None
        now = self.current_topic
        if current is not None and current.strip():
            now = self.named(current)
            if now in done and now not in finished:
                del done[now]  # it is being learned again
                if now in topics:
                    topics[now] = topics[now].model_copy(update={"mastery": None})
        if now in done:
            now = None
        return self._with(list(done), now, topics)

    def without(self, topic: str) -> Self:
        """The progress as if that topic had not been begun."""
        gone = self.named(topic)
        done = [t for t in self.completed_topics if t != gone]
        topics = {name: known for name, known in self.topics.items() if name != gone}
        now = self.current_topic
        return self._with(done, None if now and self.named(now) == gone else now, topics)

    def with_topic(self, name: str, topic: Topic) -> Self:
        """The progress with what is known of one topic; one that is mastered is completed."""
        progress = self.model_copy(update={"topics": {**self.topics, name: topic}})
        done = list(dict.fromkeys([*self.completed_topics, *[name] * progress.mastered(name)]))
        now = None if self.current_topic in done else self.current_topic
        return progress._with(done, now, progress.topics)

    def _with(self, done: list[str], now: str | None, topics: dict[str, Topic]) -> Self:
        changed = self.model_copy(
            update={"completed_topics": done, "current_topic": now, "topics": topics}
        )
        share = sum(map(changed.mastery, self.course)) / len(self.course or [""])
        return changed.model_copy(update={"progress_percentage": round(100 * share, 1)})


def _plain(topic: str) -> str:
    return " ".join(topic.casefold().split())
