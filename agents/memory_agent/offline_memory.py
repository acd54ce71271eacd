"""What the offline model knows: the recalled memory, and what tools have just done to it.

All text out of the memory and the tools is data: quoted in replies, never followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .offline_meanings import (
    NEXT_ONE,
    THAT_ONE,
    WHOLE_COURSE,
    Ask,
    Chat,
    Forget,
    Meaning,
    Progress,
    Review,
    Unfinished,
)
from .offline_words import COURSE, lexicon


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of the person; an empty field is unknown.

    `mentioned` are the topics that the conversation spoke of last, for "it" and "that".
    """

    name: str = ""
    email: str = ""
    level: str = ""
    preferences: Mapping[str, str] = field(default_factory=dict)
    course: tuple[str, ...] = COURSE
    completed: tuple[str, ...] = ()
    current: str = ""
    next: str = ""
    percentage: float | None = None
    due: tuple[str, ...] | None = None
    facts: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts and preferences, as a question about the person may be after either."""
        likes = (
            f"prefers {value}{_TASTES.get(topic, f' ({topic})')}"
            for topic, value in self.preferences.items()
        )
        return (*self.facts, *likes)

    @property
    def about(self) -> dict[str, str]:
        """What is known of name, level and email."""
        said = {"name": self.name, "level": self.level, "email": self.email}
        return {kind: value for kind, value in said.items() if value}

    @property
    def brief(self) -> bool:
        """Whether replies are to be short."""
        return self.preferences.get("answer length", "").casefold() in ("short", "brief")


_TASTES = {"answer length": " answers", "examples": " examples", "emojis": " emojis"}


def read_memory(text: str) -> Memory:
    """The memory in the `<memory>` block of a system text; a missing or broken block, or a part
    of the wrong shape, is unknown."""
    for part in text.split("<memory>")[1:]:
        body, closed, _ = part.partition("</memory>")
        block = _json(body) if closed else {}
        if block:
            profile = _dict(block.get("profile"))
            memory = Memory(
                name=_text(profile.get("name")),
                email=_text(profile.get("email")),
                level=_text(profile.get("experience_level")),
                preferences={
                    _text(topic): _text(value)
                    for topic, value in _dict(profile.get("preferences")).items()
                },
                facts=_texts(_dict(fact).get("text") for fact in _list(block.get("facts"))),
            )
            return _with_progress(memory, _dict(block.get("progress")))
    return Memory()


def _with_progress(memory: Memory, found: Mapping[str, Any]) -> Memory:
    percentage = found.get("progress_percentage", memory.percentage)
    known = isinstance(percentage, int | float) and 0 <= percentage <= 100
    return replace(
        memory,
        course=_texts(_list(found.get("course"))) or memory.course,
        completed=_texts(_list(found.get("completed_topics", memory.completed))),
        current=_text(found.get("current_topic", memory.current)),
        next=_text(found.get("next_topic", memory.next)),
        due=_texts(_list(found["due_for_review"])) if "due_for_review" in found else memory.due,
        percentage=percentage if known else None,
    )


def _json(text: str) -> dict[str, Any]:
    try:
        return _dict(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: object) -> str:
    """A scalar as one line of at most 200 characters; anything else is unknown."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    line = " ".join(str(value).split())
    return line if len(line) <= 200 else line[:199] + "\u2026"


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(filter(None, map(_text, values)))


def settle(meanings: Sequence[Meaning], memory: Memory) -> list[Meaning]:
    """The meanings with "it", "the next one" and "everything" put in words, where known."""
    last = memory.mentioned[-1] if memory.mentioned else ""
    named = {
        THAT_ONE: (memory.current or last,),
        NEXT_ONE: (memory.next,),
        WHOLE_COURSE: memory.course,
    }

    def settled(meaning: Meaning) -> Meaning:
        match meaning:
            case Unfinished(topic, begun):
                topic = last or memory.current if topic == THAT_ONE else topic
                noted = topic == memory.current if begun else topic in memory.completed
                return Forget(topic) if topic and noted else Chat("unkept")
            case Ask("next", subject) if subject == THAT_ONE:
                return Ask("next", last)
            case Progress(completed, learning):
                done = [t for topic in completed for t in named.get(topic, (topic,)) if t]
                now = named.get(learning or "", (learning,))[0] or None
                return Progress(tuple(done), now) if done or now else Chat("which")
            case Review(topic, "") if topic:
                return Chat("how it went")
            case Review(topic, rating) if topic == THAT_ONE:
                return Review(last, rating) if last else Chat("which")
            case Ask("lesson", subject) if subject == NEXT_ONE:
                return Ask("lesson", memory.next) if memory.next else Chat("which")
            case Ask("lesson", subject) if subject == THAT_ONE:
                topic = memory.current if memory.current in memory.mentioned else last
                topic = topic or memory.current
                return Ask("lesson", topic) if topic else Chat("which")
        return meaning

    return [settled(meaning) for meaning in meanings]


STOP_WORDS = lexicon(
    "a an and about again any anything are at can could did do does for have has how i i'm i've in "
    "is it know many me mine my of on or remember tell that the there thing to was were what "
    "what's when where which who why with would you your called told said"
)


SAME = {"age": "old", "job": "work", "color": "colour", "favorite": "favourite"}
# What a person has one of at a time.
ONE_OF = re.compile(
    r"(?:lives in|works (?:as|at|for)|is from|is(?= \d+ years old)|(?:[\w'-]+ ){1,6}(?:is|are) on|"
    r"(?:[\w'-]+ ){0,3}favou?rite (?:[\w'-]+ ){1,3}is|(?:[\w'-]+ ){0,4}(?:name|birthday|job) is)"
    r"(?!\w)"
)


def outdated(fact: str, memory: Memory) -> list[str]:
    """The facts that a new one takes the place of: who lives in Rome lives in Oslo no longer."""
    one = ONE_OF.match(fact)
    held = [old for old in memory.facts if one and old.startswith(one[0] + " ")]
    kept = [fact, *(other for other in memory.facts if other not in held)]

    def also_in(text: str, old: str) -> bool:  # to forget the old one would forget this too
        return set(old.casefold().split()) <= set(text.casefold().split())

    return [old for old in held if not any(also_in(text, old) for text in kept)]


def recollect(question: str, memory: Memory) -> list[str]:
    """What is known, three things at most, that shares the most words with a question."""
    asked = _stems(question)
    notes = [*memory.notes, *(f"{kind} is {value}" for kind, value in memory.about.items())]
    shared = {note: len(asked & _stems(note)) for note in notes}
    most = max(shared.values(), default=0)
    return [note for note, count in shared.items() if count == most][:3] if most else []


def _stems(text: str) -> set[str]:
    # One stem for live, lives, lived and living, and for study and studies.
    found = set(re.findall(r"[^\W_][\w']*", text.casefold())) - STOP_WORDS
    found = {SAME.get(word, word) for word in found}
    return {re.sub("(?<=..)(?:'s|ies|ys|ing|es|ed|[esy])$", "", word) for word in found}


# --- what tools did ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one tool call: the text that the tool gave back, or its error."""

    tool: str
    args: Mapping[str, Any]
    text: str
    failed: bool = False

    @property
    def failure(self) -> str:
        """What the tool says went wrong, or "" when it went well."""
        error = _text(_json(self.text).get("error"))
        return error or (_text(self.text) or "no reason given" if self.failed else "")

    @property
    def forgotten(self) -> tuple[str, ...]:
        """What a `forget` found to forget."""
        return _texts(_list(_json(self.text).get("forgotten")))

    def said(self, arg: str) -> str:
        """An argument of the call, as one short line; "" where it has none."""
        return _text(self.args.get(arg))


def learned(memory: Memory, outcomes: Sequence[Outcome]) -> Memory:
    """`memory` with what the tools have just stored, forgotten or found."""
    for outcome in outcomes:
        kind, content = outcome.said("kind") or "fact", outcome.said("content")
        match outcome.tool:
            case _ if outcome.failure:
                continue
            case "update_progress" | "review":
                memory = _with_progress(memory, _json(outcome.text))
            case "recall":
                memory = replace(memory, facts=(*memory.facts, *_recalled(outcome.text)))
            case "forget":
                memory = _without(memory, {outcome.said("what"), *outcome.forgotten})
            case "remember" if kind in ("name", "email", "level"):
                memory = _with(memory, kind, content)
            case "remember" if kind == "preference" and (topic := outcome.said("topic")):
                memory = replace(memory, preferences={**memory.preferences, topic: content})
            case "remember" if content not in memory.facts:
                memory = replace(memory, facts=(*memory.facts, content))
    return memory


def _with(memory: Memory, kind: str, value: str) -> Memory:
    changes: dict[str, Any] = {kind: value}
    return replace(memory, **changes)


def _without(memory: Memory, gone: Collection[str]) -> Memory:
    if "everything" in gone:
        return Memory(mentioned=memory.mentioned)
    for kind in ("name", "email", "level"):
        memory = _with(memory, kind, "") if kind in gone else memory
    done = [t for t in memory.completed if not {"progress", t.casefold()} & {*gone}]
    if len(done) < len(memory.completed):
        memory = replace(memory, completed=tuple(done), current="", next="", percentage=None)
    return replace(
        memory,
        preferences={
            topic: value
            for topic, value in memory.preferences.items()
            if topic not in gone and f"{topic}: {value}" not in gone
        },
        facts=tuple(fact for fact in memory.facts if fact not in gone),
    )


def _recalled(text: str) -> Iterator[str]:
    """The texts in a recall's result: those of its first list, or else its lines."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text.splitlines()
    if isinstance(found, dict):
        found = next((value for value in found.values() if isinstance(value, list)), ())
    for item in _list(found):
        yield from _texts([item.get("text") if isinstance(item, dict) else item])
