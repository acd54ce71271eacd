"""Which text of which record is searched: the one place that says it, for every index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import regex

from lc_memory.documents import IDENTITY_FIELDS
from lc_memory.records import Id, Namespace, Record
from lc_memory.search.ranking import Passage, dated
from lc_memory.search.words import words

#: What lies under these labels (of a user, or of all) is searched; nothing else is.
SEARCHED: Final = ("documents", "messages", "items", "store")

#: Conversations: their records stand in an order, and give each other a context.
THREADS: Final = ("messages", "items")

#: The collection of facts, whose text is one field among many that say where it comes from.
FACTS: Final = "facts"

#: How many different words of one record are indexed.
MOST_WORDS: Final = 20_000

_SAID: Final = ("human", "ai", "chat", "user", "assistant")
_TIMES: Final = ("timestamp", "created_at", "date", "time", "valid_from")
_TIME: Final = regex.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
_EPOCH: Final = (1e8, 1e11)  # numbers of seconds that are taken for times: 1973 to 5138


@lru_cache(maxsize=4096)
def place_of(namespace: Namespace) -> Namespace:
    """The namespace without the user it belongs to: ``("documents", "notes")``."""
    return namespace[2:] if namespace[:1] == ("users",) else namespace


@lru_cache(maxsize=4096)
def first_of(namespace: Namespace) -> str:
    """What kind of thing lies in a namespace: the first label that is not the user's."""
    place = place_of(namespace)
    return place[0] if place else ""


def is_searched(namespace: Namespace) -> bool:
    """Whether records of this namespace are searched at all."""
    return first_of(namespace) in SEARCHED


def passage_of(record: Record) -> Passage | None:
    """What there is to find of a record; None if it has no text that is searched."""
    place, kind = place_of(record.namespace), first_of(record.namespace)
    value = record.value
    speaker, times = "", value
    if kind == "messages":
        data = value.get("data")
        if value.get("type") not in _SAID or not isinstance(data, dict):
            return None
        text = _content(data.get("content"))
        name = data.get("name")
        speaker = name if isinstance(name, str) else ""
        extra = data.get("additional_kwargs")
        times = extra if isinstance(extra, dict) else {}
    elif kind == "items":
        if value.get("role") not in _SAID:
            return None
        text = _content(value.get("content"))
    elif kind == "store":
        item, fields = value.get("value"), value.get("index")
        if fields is False or not isinstance(item, dict):
            return None
        text = "\n".join(_strings(item) if fields is None else _fields(item, fields))
        times = item
    elif kind == "documents":
        if place[1:] == (FACTS,) and isinstance(value.get("text"), str):
            text = value["text"]
        else:
            text = "\n".join(_strings(value))
    else:
        return None
    if not text.strip():
        return None
    turn = kind in THREADS and record.key.isdigit()
    return Passage(
        record.id,
        text,
        speaker,
        _time_in(times) or record.created_at,
        record.namespace if turn else None,
        int(record.key) if turn else 0,
    )


def neighbours(id: Id) -> list[Id]:
    """The ids of the turns before and after, if the id is a turn's."""
    namespace, key = id
    if first_of(namespace) not in THREADS or not key.isdigit():
        return []
    number = int(key)
    return [(namespace, f"{n:016d}") for n in (number - 1, number + 1) if n >= 0]


def tokens_of(record: Record) -> list[str]:
    """What an index of words keeps of a record: its words with speaker and date, and tokens for
    the places it lies in. Nothing if it is not searched."""
    passage = passage_of(record)
    if passage is None:
        return []
    found = words(f"{passage.text}\n{passage.speaker}\n{dated(passage.at)}")
    known = list(dict.fromkeys(found))[:MOST_WORDS]
    if len(known) == MOST_WORDS:
        found = known
    namespace = record.namespace
    places = [prefix_token(namespace[:size]) for size in range(1, len(namespace) + 1)]
    return [*places, id_token(record.id), *map(token, found)]


def token(word: str) -> str:
    """A word as every database keeps it whole: letters and digits, never a stop word, never too
    short or too long for it."""
    if word.isascii() and len(word) <= 40:
        return "xx" + word
    return "xh" + _digest(word)


def prefix_token(prefix: Namespace) -> str:
    """Marks the records under a namespace. (For all records there is none.)"""
    return "xs" + _digest("\0".join(prefix))


def id_token(id: Id) -> str:
    """Marks one record."""
    return "xi" + _digest("\0".join((*id[0], "", id[1])))


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _content(content: Any) -> str:
    """The text of a message: a string, or blocks of which some are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (
        block if isinstance(block, str) else block.get("text")
        for block in content
        if isinstance(block, (str, dict))
    )
    return "\n".join(part for part in parts if isinstance(part, str))


def _strings(value: Any, top: bool = True) -> Iterator[str]:
    """The texts in a value: its strings, but not its ids and times."""
    if isinstance(value, str):
        if value.strip() and not _TIME.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if not (top and name in IDENTITY_FIELDS):
                yield from _strings(inner, False)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner, False)


def _fields(value: Any, paths: Sequence[str]) -> Iterator[str]:
    """The texts at some paths, as LangGraph writes them: ``a.b``, ``a[*].b``, ``a[0]``, ``$``."""
    for path in paths:
        names = [] if path == "$" else path.replace("[", ".[").split(".")
        yield from _at(value, [name for name in names if name and name != "$"])


def _at(value: Any, names: Sequence[str]) -> Iterator[str]:
    if not names:
        yield from _strings(value, False)
        return
    name, rest = names[0], names[1:]
    if name.startswith("[") and name.endswith("]"):
        inside = name[1:-1]
        if isinstance(value, list) and value:
            if inside == "*":
                for inner in value:
                    yield from _at(inner, rest)
            elif inside.lstrip("-").isdigit() and -len(value) <= int(inside) < len(value):
                yield from _at(value[int(inside)], rest)
    elif name == "*" and isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _at(inner, rest)
    elif isinstance(value, dict) and name in value:
        yield from _at(value[name], rest)


def time_of(record: Record) -> datetime | None:
    """The time that a message says it is of."""
    data = record.value.get("data")
    extra = data.get("additional_kwargs") if isinstance(data, dict) else None
    return _time_in(extra) if isinstance(extra, dict) else None


def _time_in(value: Mapping[str, Any]) -> datetime | None:
    """The time that a value says it is of."""
    for name in _TIMES:
        said = value.get(name)
        try:
            if isinstance(said, str) and _TIME.fullmatch(said):
                said = datetime.fromisoformat(said)
            elif isinstance(said, (int, float)) and _EPOCH[0] < said < _EPOCH[1]:
                said = datetime.fromtimestamp(said, UTC)
            if isinstance(said, datetime):
                return said.astimezone(UTC) if said.tzinfo else said.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            continue
    return None
