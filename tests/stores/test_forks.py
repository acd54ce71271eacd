"""Processes that are forked with a memory open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lc_memory import Memory, Record, forks, open_store
from lc_memory.errors import StoreClosed, StoreUnavailable

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


BUSY = """
import asyncio, os, signal, sys, threading, time
from lc_memory import Memory

memory = Memory(sys.argv[1])
memory.batch_store([("many", {"id": at, "text": "x" * 100}) for at in range(2000)])
done = threading.Event()

def write(number):
    while not done.is_set():
        memory.store_memory("written", {"id": number})

def read(number):
    while not done.is_set():
        memory.search_memory("many", {"text": {"$gt": "y"}})

def loop(number):
    async def writes():
        while not done.is_set():
            await memory.astore_memory("looped", {"id": number})
    asyncio.run(writes())

async def work(at):
    await memory.astore_memory("children", {"id": f"a{at}"})
    assert await memory.aretrieve_memory("children", id=f"a{at}")

threads = [threading.Thread(target=f, args=(n,)) for f in (write, read, loop) for n in range(2)]
for thread in threads:
    thread.start()
ends = []
for at in range(15):
    child = os.fork()
    if not child:
        signal.alarm(60)  # or who hangs would hang for ever
        try:
            memory.store_memory("children", {"id": at})
            assert memory.retrieve_memory("children", id=at)
            asyncio.run(work(at))
            memory.close()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(0)
    ends.append(os.waitpid(child, 0)[1])
done.set()
for thread in threads:
    thread.join()
memory.close()
print(ends)
"""


@pytest.mark.parametrize("memory_url", ["sqlite", "json", "postgres", "mariadb"], indirect=True)
def test_a_child_works_whatever_its_parent_s_threads_were_doing(memory_url: str) -> None:
    """The locks that they held are not held for ever there, and nothing waits for them."""
    ignoring = "ignore:This process:DeprecationWarning"
    command = [sys.executable, "-W", ignoring, "-c", BUSY, memory_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert (done.stderr, done.stdout) == ("", f"{[0] * 15}\n")
    with Memory(memory_url) as memory:
        assert len(memory.search_memory("children")) == 30


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(
    ("scheme", "refused"), [("sqlite", StoreUnavailable), ("json", StoreClosed)]
)
def test_a_fork_in_the_middle_of_a_long_write_is_refused(
    scheme: str, refused: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child can use nothing of it, and says so; to the parent nothing happens."""
    monkeypatch.setattr(forks, "PATIENCE", 0.01)
    reached, forked = threading.Event(), threading.Event()

    def records() -> Iterator[Record]:
        reached.set()
        forked.wait()
        yield record

    with open_store(f"{scheme}:///{tmp_path}/m.{scheme}") as store:
        record = store.put(("n",), "k", {"v": 1})
        thread = threading.Thread(target=lambda: store.restore(records, [()]))
        thread.start()
        reached.wait()
        child = os.fork()
        if not child:
            signal.alarm(60)
            said = 0
            for _ in range(2):
                try:
                    store.put(("n",), "child", {"v": 2})
                except refused:
                    said += 1
            os._exit(said)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        forked.set()
        thread.join()
        assert [found.id for found in store.records()] == [record.id]


NESTED = """
import os, signal, sys, threading
from lc_memory import open_store

store = open_store(sys.argv[1])
record = store.put(("n",), "k", {"v": 1})
reached, go = threading.Event(), threading.Event()

def records():
    reached.set()
    go.wait()
    yield record

def fork(*_):
    go.set() if _ else None  # by the signal: the write may end
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)

thread = threading.Thread(target=lambda: store.restore(records, [()]))
thread.start()
reached.wait()
signal.signal(signal.SIGALRM, fork)
signal.setitimer(signal.ITIMER_REAL, 0.3)
fork()
thread.join()

def goes_on():
    with open_store(sys.argv[1]) as anew:
        anew.put(("n",), "after", {"v": 2})
    print(go.is_set(), len([*store.records()]))

thread = threading.Thread(target=goes_on)
thread.start()
thread.join()
store.close()
"""


@pytest.mark.parametrize("scheme", ["sqlite", "json"])
def test_a_signal_may_fork_while_a_fork_waits(scheme: str, tmp_path: Path) -> None:
    """What the first fork held is free afterwards."""
    ignoring = "ignore:This process:DeprecationWarning"
    url = f"{scheme}:///{tmp_path}/m.{scheme}"
    command = [sys.executable, "-W", ignoring, "-c", NESTED, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stderr, done.stdout) == ("", "True 2\n")
