"""What the offline model knows and says: the recalled memory, the results of tools, replies.

All text out of the memory and the tools is quoted, never followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .offline_english import (
    NEXT_ONE,
    THAT_ONE,
    WHOLE_COURSE,
    Ask,
    Chat,
    Forget,
    Meaning,
    Progress,
    Remember,
    Unclear,
)
from .offline_words import COURSE, READ_AT_MOST, told

# --- what is known -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of the person; an empty field is unknown.

    `mentioned` is the topic that the conversation spoke of last, for "it" and "that".
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
    facts: tuple[str, ...] = ()
    mentioned: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts and preferences, as a question about the person may be after either."""
        likes = (f"prefers {value} ({topic})" for topic, value in self.preferences.items())
        return (*self.facts, *likes)

    @property
    def brief(self) -> bool:
        """Whether replies are to be short."""
        return self.preferences.get("answer length", "").casefold() in ("short", "brief")


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
                preferences={k: _text(v) for k, v in _dict(profile.get("preferences")).items()},
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
    current = memory.current or memory.mentioned
    named = {THAT_ONE: (current,), NEXT_ONE: (memory.next,), WHOLE_COURSE: memory.course}

    def settled(meaning: Meaning) -> Meaning:
        match meaning:
            case Progress(completed, learning):
                done = [t for topic in completed for t in named.get(topic, (topic,)) if t]
                now = named.get(learning or "", (learning,))[0] or None
                return Progress(tuple(done), now) if done or now else Chat("which")
            case Ask("lesson", "<it>"):
                topic = memory.mentioned or memory.current
                return Ask("lesson", topic) if topic else Chat("which")
        return meaning

    return [settled(meaning) for meaning in meanings]


STOP_WORDS = frozenset(
    "a an and about again any anything are at can could did do does for have has how i i'm i've in "
    "is it know many me mine my of on or remember tell that the there thing to was were what "
    "what's when where which who why with would you your called told said".split()
)


def recollect(question: str, notes: Sequence[str]) -> list[str]:
    """The notes, three at most, that share the most words with a question."""
    asked = _stems(question)
    shared = {note: len(asked & _stems(note)) for note in notes}
    most = max(shared.values(), default=0)
    return [note for note, count in shared.items() if count == most][:3] if most else []


def _stems(text: str) -> set[str]:
    # Four letters make one of live and lives, study and studies, colour and color.
    found = re.findall(r"[^\W_][\w']*", text.casefold())
    return {word.removesuffix("'s").removesuffix("s")[:4] for word in found if word not in STOP_WORDS}


# --- what is said ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one tool call."""

    tool: str
    args: Mapping[str, Any]
    text: str
    failed: bool = False


HELP = (
    'I understand things like "I\'m Ada", "I prefer short answers with Python examples", '
    '"I have finished variables", "what\'s next?", "explain classes", "what do you know about me?" '
    'and "forget my name". Set OPENAI_API_KEY to talk with a large model.'
)
SMALL_REPLIES = {
    "thanks": "You're welcome.",
    "bye": "Goodbye, and see you soon.",
    "help": f"I'm the small offline model. {HELP}",
    "which": "Which topic do you mean?",
    "fine": "I'm a small program, so I'm always well.",
    "listening": "Go ahead.",
    "unkept": "I see. I have kept nothing of that.",
    "ok": "Good.",
}
ONLY_ALONE = frozenset(("hello", "ok", "fine", "unkept"))
"""Small talk that is passed over when a message says anything else."""

PROMISES = {
    "answer length": "keep my answers {}",
    "examples": "use {} examples",
    "emojis": "use {} emojis",
    "language": "remember that you prefer {}",
    "reply language": "remember that you would like {}, though I speak only English",
}


def reply(
    text: str,
    meanings: Sequence[Meaning],
    memory: Memory,
    outcomes: Sequence[Outcome],
    bound: frozenset[str],
) -> str:
    """The answer to a message, given what its tool calls came to; never empty."""
    memory = learned(memory, outcomes)
    said = [*confirmations(memory, outcomes)]
    said += [*dict.fromkeys(_unable(m) for m in meanings if _TOOL.get(type(m), "") not in bound)]
    said = [*filter(None, said)]
    said += [answered(meaning, memory) for meaning in meanings if isinstance(meaning, Ask)]
    talk = [m.kind for m in meanings if isinstance(m, Chat)]
    unclear = [m.text for m in meanings if isinstance(m, Unclear)]
    for kind in talk:
        if kind not in ONLY_ALONE or not said:
            said.append(welcome(memory) if kind == "hello" else SMALL_REPLIES[kind])
    if not said:
        said.append(f"I'm the small offline model, and I did not follow that. {HELP}")
    elif unclear:
        said.append(f'I did not follow "{_text(unclear[0])}".')
    if len(text) > READ_AT_MOST:
        said.append(f"That was long: I read only its first {READ_AT_MOST} characters.")
    return " ".join(said)


_TOOL: dict[type, str] = {Remember: "remember", Forget: "forget", Progress: "update_progress"}


def _unable(meaning: Meaning) -> str:
    tool = _TOOL.get(type(meaning))
    return f"I understood you, but I have no {tool} tool here to keep that with." if tool else ""


def learned(memory: Memory, outcomes: Sequence[Outcome]) -> Memory:
    """`memory` with what the tools have just stored or found."""
    for outcome in outcomes:
        result = _json(outcome.text)
        kind, content = outcome.args.get("kind", "fact"), _text(outcome.args.get("content"))
        topic = _text(outcome.args.get("topic"))
        match outcome.tool:
            case _ if _failure(outcome):
                continue
            case "update_progress":
                memory = _with_progress(memory, result)
            case "recall":
                memory = replace(memory, facts=(*memory.facts, *_recalled(outcome.text)))
            case "remember" if kind == "preference" and topic:
                memory = replace(memory, preferences={**memory.preferences, topic: content})
            case "remember" if kind in ("name", "email", "level"):
                memory = replace(memory, **{kind: content})
            case "remember" if content not in memory.facts:
                memory = replace(memory, facts=(*memory.facts, content))
    return memory


def _recalled(text: str) -> Iterator[str]:
    """The texts in a recall's result: of its facts, or else its lines."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text.splitlines()
    if isinstance(found, dict):
        found = next((value for value in found.values() if isinstance(value, list)), [])
    for item in _list(found):
        yield from _texts([item.get("text") if isinstance(item, dict) else item])


def _failure(outcome: Outcome) -> str:
    """What a tool says went wrong, or "" when it went well."""
    error = _text(_json(outcome.text).get("error"))
    return error or (_text(outcome.text) or "no reason given" if outcome.failed else "")


def confirmations(memory: Memory, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What was stored, forgotten or refused, a sentence each; wishes and facts share one."""
    wishes, facts, progress = list[str](), list[str](), False
    for outcome in outcomes:
        args = {key: _text(value) for key, value in outcome.args.items()}
        content, kind = args.get("content", ""), args.get("kind", "fact")
        if problem := _failure(outcome):
            yield f"I could not {_deed(outcome.tool, args)}: {problem.rstrip('.')}."
        elif outcome.tool == "update_progress":
            progress = True
        elif outcome.tool == "forget":
            gone = _texts(_list(_json(outcome.text).get("forgotten")))
            yield f"I have forgotten {listed(gone)}." if gone else f"I found no {args['what']} to forget."
        elif outcome.tool == "remember" and kind == "preference":
            wishes.append(PROMISES.get(args.get("topic", ""), "remember that you prefer {}").format(content))
        elif outcome.tool == "remember" and kind == "name":
            yield f"Nice to meet you, {content}."
        elif outcome.tool == "remember" and kind in ("email", "level"):
            yield f"I have noted your {kind}: {content}."
        elif outcome.tool == "remember":
            facts.append(told(content))
    if wishes:
        yield f"I'll {listed(wishes)}."
    if facts:
        yield f"I'll remember that {listed(facts)}."
    if progress:
        yield standing(memory)
