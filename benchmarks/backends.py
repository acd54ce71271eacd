"""Who is compared on which database. Another backend is another entry here, with its own raw
contender first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from benchmarks.contenders import Opener, community, langgraph, ours, raw

Contenders: TypeAlias = Mapping[str, Opener]

RAW = "raw sqlite3"
DICTS = "raw sqlite3, plain dicts"
ONE_THREAD = "raw sqlite3, one thread"


@dataclass(frozen=True)
class Backend:
    """The first contender of each group is the base of its ratios."""

    messages: Contenders  # append
    reading: Contenders  # messages
    documents: Contenders
    threads: Contenders
    processes: Contenders
    together: Contenders  # a hundred documents at once
    beside_reading: str | None = None
    beside_threads: str | None = None


_URL = "sqlite:///{folder}/ours.db"
_CHAT = partial(ours.Chat, _URL)
_MEMORY = partial(ours.Doorway, _URL)

SQLITE = Backend(
    messages={
        RAW: raw.Raw,
        "lc_memory chat_history": _CHAT,
        "community SQLChatMessageHistory": community.SQLHistory,
        "community FileChatMessageHistory": community.FileHistory,
    },
    reading={
        RAW: raw.Raw,
        DICTS: raw.RawDicts,
        "lc_memory chat_history": _CHAT,
        "community SQLChatMessageHistory": community.SQLHistory,
        "community FileChatMessageHistory": community.FileHistory,
    },
    documents={
        RAW: raw.Raw,
        "lc_memory backend": partial(ours.Waist, _URL),
        "lc_memory Memory": _MEMORY,
        "lc_memory LangGraph store": partial(langgraph.Ours, _URL),
        "LangGraph SqliteStore": langgraph.Theirs,
    },
    threads={RAW: raw.Raw, ONE_THREAD: raw.RawOneThread, "lc_memory chat_history": _CHAT},
    processes={RAW: raw.Raw, "lc_memory chat_history": _CHAT},
    together={
        "lc_memory batch_store": _MEMORY,
        "lc_memory 100 coroutines": partial(ours.Coroutines, _URL),
        "LangGraph AsyncSqliteStore": langgraph.TheirCoroutines,
        RAW: raw.Raw,
    },
    beside_reading=DICTS,
    beside_threads=ONE_THREAD,
)

BACKENDS = {"sqlite": SQLITE}
