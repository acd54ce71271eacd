"""Processes that are forked with a memory open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lc_memory import Memory
from lc_memory.errors import StoreUnavailable
from lc_memory.stores.sql import SQLStore
from lc_memory.stores.sqlite import SQLite

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

CODE = """
import os, sys
from lc_memory import Memory

def work(memory, who):
    for at in range(20):
        memory.store_memory(who, {"id": at, "of": who})
        assert memory.retrieve_memory(who, {"of": who})["id"] == at, who
    assert [found["of"] for found in memory.search_memory(who)] == [who] * 20

memory = Memory(sys.argv[1])
work(memory, "before")
wait, go = os.pipe()
children = []
for number in range(3):
    children.append(os.fork())
    if not children[-1]:
        try:
            work(memory, f"beside {number}")
            os.close(go)
            os.read(wait, 1)  # until the parent has closed it
            work(memory, f"after {number}")
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(0)
work(memory, "parent")
memory.close()
os.close(go)
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("memory_url", ["sqlite", "json", "postgres", "mariadb"], indirect=True)
def test_forked_processes_do_not_share_connections(memory_url: str) -> None:
    """Or they would read each other's answers, and SQLite lose what a child wrote."""
    # From Python 3.12 on it warns of a fork beside other threads, as that of a file store.
    ignoring = "ignore:This process:DeprecationWarning"
    command = [sys.executable, "-W", ignoring, "-c", CODE, memory_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stderr, done.returncode) == ("", 0)
    with Memory(memory_url) as memory:
        kinds = [*(f"{when} {number}" for when in ("beside", "after") for number in range(3))]
        assert {k: len(memory.search_memory(k)) for k in kinds} == dict.fromkeys(kinds, 20)


def test_a_fork_in_the_middle_of_a_write_is_refused(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        database = store._db
        assert isinstance(database, SQLite)
        store.put(("n",), "k", {"v": 1})
        writer = database._writing_connection()
        writer.execute("BEGIN IMMEDIATE")
        database.forked()  # as in the child
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="anew"):
                store.get(("n",), "k")
        assert writer.in_transaction
        writer.execute("ROLLBACK")
        assert store.get(("n",), "k") is not None
