"""What the panel shows of a user, read in one go away from the event loop."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from lc_memory.knowledge import Knowledge
from lc_memory.layers.indexed import indexed_in
from lc_memory.printable import whole
from lc_memory.records import Id, Namespace, Value
from lc_memory.sessions import Session
from memory_agent.agent import MemoryAgent

#: How many of the latest facts go into every answer (what MemoryMiddleware takes by default).
ALWAYS: Final = 20

#: So many things that were said in other conversations are recalled at most.
RECALLED: Final = 10

#: So many of the latest conversations are listed.
LISTED: Final = 50


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact, and why the tutor has it in mind (or not)."""

    id: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Said:
    """Something that was said in another conversation, and why it is recalled now."""

    id: Id
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Known:
    """All that the panel shows."""

    profile: Value
    topics: list[dict[str, Any]]
    percentage: float
    facts: list[Fact]
    said: list[Said]
    sessions: list[Session]


def known_to(tutor: MemoryAgent, question: str = "", session: str = "") -> Known:
    """What is known of the tutor's user; ``question`` is what they said last, in ``session``."""
    knowledge = tutor.knowledge
    reasons, said = _recalled(tutor, question, session)
    profile = knowledge.profile().profile.model_dump(mode="json", exclude_none=True)
    return Known(
        profile=_sendable(profile),
        topics=_sendable(knowledge.learner.overview()),
        percentage=knowledge.progress().progress_percentage,
        facts=_facts(knowledge, reasons),
        said=said,
        sessions=[replace(s, title=whole(s.title)) for s in tutor.sessions()[:LISTED]],
    )


def _sendable(data: Any) -> Any:
    """The data with all its texts made whole."""
    return json.loads(whole(json.dumps(data, ensure_ascii=False)))


def _recalled(tutor: MemoryAgent, question: str, session: str) -> tuple[dict[str, str], list[Said]]:
    """Why facts are recalled for what was said last, and what else is."""
    if not question.strip() or indexed_in(tutor.backend) is None:
        return {}, []
    reasons, said = {}, []
    where: list[Namespace | str] = ["messages", ("documents", "facts")]
    for hit in tutor.recall(question, k=ALWAYS + RECALLED, namespaces=where):
        kind, name = hit.record.namespace[len(tutor.scope) :][:2]
        why = whole(f"recalled: {hit.why}")
        if kind == "documents":
            reasons[hit.record.key] = why
        elif name == session or not hit.parts.keys() & {"words", "meaning"}:
            continue  # it is in the talk anyway, or merely stands beside what was found
        elif hit.record.value.get("type") == "human":
            said.append(Said((hit.record.namespace, hit.record.key), whole(hit.text), why))
    return reasons, said[:RECALLED]


def _facts(knowledge: Knowledge, reasons: dict[str, str]) -> list[Fact]:
    """The facts with their reasons, those that are recalled first."""
    found = []
    for place, fact in enumerate(knowledge.facts()):
        usual = "a latest one: always in mind" if place < ALWAYS else "older: recalled when it fits"
        found.append(Fact(fact["id"], whole(fact["text"]), reasons.get(fact["id"], usual)))
    order = {id: place for place, id in enumerate(reasons)}
    return sorted(found, key=lambda fact: order.get(fact.id, len(order)))
