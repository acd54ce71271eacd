"""What starting costs: a fresh interpreter each time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.harness import Case, Prepare, Work

ROOT = Path(__file__).parents[2]

_IMPORT = {
    "bare Python": "pass",
    "lc_memory: import": "import lc_memory",
}
_OPEN = {
    "bare Python": "pass",
    "raw sqlite3, import and open": (
        "import json, sqlite3\n"
        "db = sqlite3.connect('raw.db')\n"
        "db.execute('PRAGMA journal_mode = WAL')\n"
        "db.execute('CREATE TABLE IF NOT EXISTS t (a, b, PRIMARY KEY (a, b))')\n"
        "db.close()"
    ),
    "lc_memory: Memory(...)": ("from lc_memory import Memory\nMemory('sqlite:///ours.db').close()"),
    "lc_memory: and a chat history": (
        "from lc_memory import Memory\n"
        "with Memory('sqlite:///ours.db') as memory:\n"
        "    memory.chat_history('s')"
    ),
    "langchain_core messages alone": "import langchain_core.messages",
    "community SQLChatMessageHistory": (
        "import warnings\nwarnings.simplefilter('ignore')\n"
        "from langchain_community.chat_message_histories import SQLChatMessageHistory\n"
        "SQLChatMessageHistory('s', connection='sqlite:///community.db')"
    ),
    "LangGraph SqliteStore": (
        "from langgraph.store.sqlite import SqliteStore\n"
        "with SqliteStore.from_conn_string('langgraph.db') as store: store.setup()"
    ),
}


def cases() -> list[Case]:
    return [
        Case("import lc_memory", _each(_IMPORT), target=3, best=True, rounds=11),
        Case("import and open", _each(_OPEN), best=True, rounds=5),
    ]


def _each(programs: dict[str, str]) -> dict[str, Prepare]:
    return {name: partial(_program, text) for name, text in programs.items()}


@contextmanager
def _program(text: str, folder: Path) -> Iterator[Work]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(_: object) -> None:
        subprocess.run([sys.executable, "-c", text], cwd=folder, env=environment, check=True)

    yield Work(run)


def slowest_imports(text: str, count: int = 15) -> list[str]:
    """The modules whose own import takes longest, as ``-X importtime`` tells it."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", text],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    rows = [line.removeprefix("import time:").split("|") for line in told.splitlines()[1:]]
    rows = [row for row in rows if len(row) == 3 and row[0].strip().isdigit()]
    rows.sort(key=lambda row: -int(row[0]))
    return [f"{int(own):>8} µs  {name.strip()}" for own, _, name in rows[:count]]
