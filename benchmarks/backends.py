"""Who is compared on which database. Another backend is another entry here, with its own raw
contender first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from benchmarks.contenders import (
    Contender,
    Opener,
    community,
    files,
    langgraph,
    mariadb,
    mongo,
    ours,
    postgres,
    raw,
)

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
    batches: Contenders = field(default_factory=dict)  # a hundred messages at once
    beside_reading: str | None = None
    beside_threads: str | None = None
    longest_in_threads: float = 1.0  # seconds
    cases: Mapping[str, float | None] | None = None  # with their targets; None: all, with theirs
    server: bool = False


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
    batches={RAW: raw.Raw, "lc_memory chat_history": _CHAT},
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
    longest_in_threads=0.2,
)

_ON_SERVERS = {
    "append one message": 1.5,
    "append 100 messages at once": 2.0,
    "last 20 of 1,000 messages": None,
    "put one new document": 1.5,
    "put one document again": 1.5,
    "get one document of 1,000": 1.5,
    "get 100 of 100 namespaces": 1.5,
    "put 1,000 new in one batch": None,
    "indexed $eq: 10 of 100,000": 3.0,
    "indexed $gte: 10 of 100,000": 3.0,
    "append, eight threads": None,
    "append, four processes": None,
}


def _on_server(
    place: str,
    base: str,
    by_hand: type[Contender],
    histories: Contenders,
    stores: Contenders,
    batches: Contenders,
    cases: Mapping[str, float | None] = _ON_SERVERS,
) -> Backend:
    ours_and_base: Contenders = {
        base: by_hand,
        "lc_memory chat_history": partial(ours.Chat, place),
    }
    return Backend(
        messages={**ours_and_base, **histories},
        reading={**ours_and_base, **histories},
        batches={**batches, **ours_and_base, **histories},
        documents={
            base: by_hand,
            "lc_memory backend": partial(ours.Waist, place),
            "lc_memory Memory": partial(ours.Doorway, place),
            "lc_memory LangGraph store": partial(langgraph.Ours, place),
            **stores,
        },
        threads=ours_and_base,
        processes=ours_and_base,
        together={},
        cases=cases,
        server=True,
    )


POSTGRESQL = _on_server(
    "postgresql",
    "raw psycopg",
    postgres.Raw,
    histories={"langchain-postgres PostgresChatMessageHistory": postgres.History},
    stores={"LangGraph PostgresStore": postgres.Store},
    batches={"raw psycopg, COPY": postgres.RawCopy},
)
MARIADB = _on_server("mariadb", "raw pymysql", mariadb.Raw, {}, {}, {})
# SecantusDB takes a millisecond or two for each document that it is given.
_FEWER = {name.replace("of 100,000", "of 10,000"): most for name, most in _ON_SERVERS.items()}
MONGODB = _on_server(
    "mongodb",
    "raw pymongo",
    mongo.Raw,
    histories={"langchain-mongodb MongoDBChatMessageHistory": mongo.History},
    stores={"LangGraph MongoDBStore": mongo.Store},
    batches={},
    cases=_FEWER,
)

_FORMATS = ("json", "yaml", "csv", "pickle")
_BY_HAND: Contenders = {"an append with fdatasync": files.Raw}
_FILES: Contenders = {
    f"lc_memory {name}": partial(ours.Chat, f"{name}:///{{folder}}/ours.{name}")
    for name in _FORMATS
}
_FILE_PEER: Contenders = {"community FileChatMessageHistory": community.FileHistory}
FILES = Backend(
    messages={**_BY_HAND, **_FILES, **_FILE_PEER},
    reading={**_BY_HAND, **_FILES, **_FILE_PEER},
    batches={**_BY_HAND, **_FILES},
    documents={
        **_BY_HAND,
        **{
            f"lc_memory {name}": partial(ours.Waist, f"{name}:///{{folder}}/ours.{name}")
            for name in _FORMATS
        },
    },
    threads={**_BY_HAND, **_FILES},
    processes={**_BY_HAND, **_FILES},
    together={},
    cases={
        "append one message": 2.0,
        "append one message to 100": 2.0,
        "append one message to 10,000": 2.0,
        "append 100 messages at once": 2.0,
        "last 20 of 1,000 messages": None,
        "last 20 of 10,000 messages": None,
        "put one new document": 2.0,
        "append, eight threads": None,
        "append, four processes": None,
    },
)

BACKENDS = {
    "sqlite": SQLITE,
    "postgresql": POSTGRESQL,
    "mariadb": MARIADB,
    "mongodb": MONGODB,
    "files": FILES,
}
