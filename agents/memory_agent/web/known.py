"""What the panel shows of a user, read in one go away from the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lc_memory.knowledge import Knowledge, words_of
from lc_memory.records import Value
from lc_memory.sessions import Session
from memory_agent.agent import MemoryAgent

#: How many of the latest facts go into every answer (what MemoryMiddleware takes by default).
ALWAYS = 20

#: So many of the latest conversations are listed.
LISTED = 50


@dataclass(frozen=True, slots=True)
class Recalled:
    """A fact, and why the tutor has it in mind (or not)."""

    id: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Known:
    """All that the panel shows."""

    profile: Value
    topics: list[dict[str, Any]]
    percentage: float
    facts: list[Recalled]
    sessions: list[Session]


def known_to(tutor: MemoryAgent, question: str = "") -> Known:
    """What is known of the tutor's user; ``question`` is what they said last."""
    knowledge = tutor.knowledge
    return Known(
        profile=knowledge.profile().profile.model_dump(mode="json", exclude_none=True),
        topics=knowledge.learner.overview(),
        percentage=knowledge.progress().progress_percentage,
        facts=recalled(knowledge, question),
        sessions=tutor.sessions()[:LISTED],
    )


def recalled(knowledge: Knowledge, question: str) -> list[Recalled]:
    """The facts, each with the reason why it is in the tutor's mind, those that fit first."""
    asked = words_of(question) - _COMMON
    found = []
    for place, fact in enumerate(knowledge.facts()):
        shared = sorted(asked & words_of(fact["text"]))
        if shared:
            reason = "shares " + ", ".join(f"“{word}”" for word in shared[:3]) + " with you"
        elif place < ALWAYS:
            reason = f"one of the latest {ALWAYS}: always in mind"
        else:
            reason = "older: looked up when it fits"
        found.append(Recalled(fact["id"], fact["text"], reason))
    return sorted(found, key=lambda fact: not fact.reason.startswith("shares"))


_COMMON = words_of(
    "a an and are at do does for from have has i in is it me my of on or that the this to was what "
    "when where which who with you your"
)
