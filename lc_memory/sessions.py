"""Which conversations and users a memory holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lc_memory.log import Log
from lc_memory.records import Namespace, Query
from lc_memory.store import Store

_LAST: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation: its id, what it began with, how many messages, and when the last came."""

    id: str
    title: str
    messages: int
    updated_at: datetime


def sessions(store: Store, scope: Namespace = ()) -> list[Session]:
    """The conversations under a scope that have messages, the latest first."""
    found = []
    for namespace in store.namespaces((*scope, "messages")):
        if len(namespace) > len(scope) + 2:  # what is kept beside a session's messages
            continue
        log = Log(store, namespace)
        first = store.find(Query(namespace, exact=True, limit=4)).records
        last = log.tail(1)
        if first and last:  # others may delete them meanwhile
            title = next((t for r in first if (t := _said(r.value, "human"))), "")
            found.append(Session(namespace[-1], title, len(log), last[0].updated_at))
    return sorted(found, key=lambda session: session.updated_at, reverse=True)


def users(store: Store, limit: int | None = None) -> list[str]:
    """The users that a store keeps something for, in order."""
    found: list[str] = []
    after: Namespace = ("users",)
    while limit is None or len(found) < limit:
        namespaces = store.namespaces(("users",), after=after, limit=1)
        if not namespaces:
            break
        found.append(namespaces[0][1])
        after = ("users", found[-1], _LAST)
    return found


def _said(message: dict[str, Any], kind: str, length: int = 80) -> str:
    """What a stored message says in one short line, if it is of that kind."""
    data = message.get("data")
    content = data.get("content") if isinstance(data, dict) and message.get("type") == kind else ""
    if isinstance(content, list):
        blocks = [block.get("text") for block in content if isinstance(block, dict)]
        content = " ".join(text for text in blocks if isinstance(text, str))
    line = " ".join(str(content or "").split())
    return line if len(line) <= length else line[: length - 1] + "…"
