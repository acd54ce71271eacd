"""What a message may mean: small frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

THAT_ONE, NEXT_ONE, WHOLE_COURSE = "<it>", "<next>", "<all>"
"""Stand for topics that only the conversation or the memory can name."""


@dataclass(frozen=True, slots=True)
class Remember:
    """Something to keep; `topic` is what a preference is about."""

    content: str
    kind: Literal["name", "email", "level", "preference", "fact"] = "fact"
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """Something to forget: a kind, a preference's topic, a fact's words, or "everything"."""

    what: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Topics that are finished, and the one being learned."""

    completed: tuple[str, ...] = ()
    current: str | None = None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A topic that is not finished, whatever was said of it before; if `begun`, one that is no
    longer being learned."""

    topic: str
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Review:
    """A topic that was looked at again, and how that went ("" where it is not said)."""

    topic: str
    rating: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question about "me", "name", "email", "level", "next", "progress", "preferences",
    "completed" (`subject`: a topic or ""), "review", "course", a "lesson" (`subject`: the topic)
    or a "fact" (`subject`: the question). The `subject` of "next" is the topic before, or ""."""

    about: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Chat:
    """Small talk: a key of `SMALL_TALK`, or "unkept" for what is heard and not kept."""

    kind: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """A clause that no rule follows."""

    text: str


Meaning = Remember | Forget | Progress | Unfinished | Review | Ask | Chat | Unclear
