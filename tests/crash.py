"""Writers that are killed at random moments, and what must be found after them."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.connection import Connection

from lc_memory import Append, Memory, Put
from lc_memory.log import Log

#: Processes are forked from a server that has imported everything, so that a writer's time goes
#: into writing, and hundreds can be killed in seconds.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["lc_memory.memory", "lc_memory.stores.sql"])


def write_for_ever(url: str, start: int, acknowledged: Connection) -> None:
    """Batch after batch: a log entry and a pair of documents; says what was acknowledged."""
    store = Memory(url).backend
    for i in range(start, 10**9):
        store.write(
            [
                Append(("log",), {"i": i, "pad": "x" * (i * 37 % 3000)}),
                Put(("left",), "k", {"i": i}),
                Put(("right",), "k", {"i": i}),
            ]
        )
        acknowledged.send(i)


def kill_writers(url: str, times: int, seed: int = 7, longest: float = 0.02) -> None:
    """Kill so many writers on one store, each going on where the last one died.

    After each, every acknowledged batch is there, and none is there by half.
    """
    chance = random.Random(seed)
    acknowledged = -1
    for _ in range(times):
        acknowledged = max(acknowledged, _kill_one(url, acknowledged + 1, chance, longest))
        with Memory(url) as memory:
            store = memory.backend
            kept = [record.value["i"] for record in Log(store, ("log",)).tail(2)]
            pair = [store.get((side,), "k") for side in ("left", "right")]
        last = max(kept, default=-1)
        assert {record.value["i"] if record else -1 for record in pair} == {last}
        assert last in (acknowledged, acknowledged + 1)
        acknowledged = last
    with Memory(url) as memory:
        entries = [record.value["i"] for record in Log(memory.backend, ("log",)).tail()]
    assert entries == list(range(acknowledged + 1))
    assert acknowledged >= times  # they did write


def _kill_one(url: str, start: int, chance: random.Random, longest: float) -> int:
    """The last number that one writer acknowledged before it was killed."""
    theirs: Connection
    ours, theirs = _processes.Pipe(duplex=False)
    writer = _processes.Process(target=write_for_ever, args=(url, start, theirs), daemon=True)
    writer.start()
    theirs.close()
    last = ours.recv()  # it is writing
    time.sleep(chance.uniform(0, longest))
    writer.kill()
    writer.join()
    try:
        while ours.poll():
            last = ours.recv()
    except EOFError:
        pass
    writer.close()
    ours.close()
    return int(last)
