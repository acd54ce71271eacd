"""What is killed while it works: backups, restores, schedules and moves, for ever."""

from __future__ import annotations

import tempfile
from datetime import datetime
from itertools import count, cycle
from pathlib import Path
from typing import Any

import psycopg  # noqa: F401 - so that workers need not load it

from lc_memory import Clear, Memory, Put, Query
from lc_memory.jobs import backups as backups_module
from lc_memory.jobs import drill, migrate, move, shelf, timer  # noqa: F401 - as above
from lc_memory.jobs.backup import backup, restore
from lc_memory.registry import open_store
from lc_memory.store import Store
from lc_memory.stores import files, mongo, postgres, sql, sql_bulk, tables  # noqa: F401 - as above
from lc_memory.stores.disk import Disk
from lc_memory.testing import FakeClock
from tests.forks import Say

#: What a worker writes of its own.
LIVE = ("live",)
KEY = b"k" * 32


def opened(url: str) -> Store:
    """A store that does not wait for the disk: a kill is no power loss."""
    return open_store(url, **{"durability": "normal"} if url.startswith("sqlite") else {})


class Telling(Disk):
    def __init__(self, say: Say) -> None:
        self._say = say

    def replace(self, source: Path, target: Path) -> None:
        self._say("swap")
        super().replace(source, target)


def number_in(store: Store) -> int:
    """The number written last, -1 without any."""
    return max(-1, *pair_in(store))


def pair_in(store: Store) -> list[int]:
    """The two records that are written together, and should be the same."""
    return [r.value["n"] if r else -1 for r in store.read([(LIVE, "left"), (LIVE, "right")])]


def write_number(store: Store, number: int) -> None:
    keys = ("left", "right", f"{number % 50:02}")
    store.write([Put(LIVE, key, {"n": number}) for key in keys])


def back_up_for_ever(say: Say, url: str, folder: str) -> None:
    """Write a number, and back it up; each file in turn, and both sealed and not."""
    store = opened(url)
    for number in count(number_in(store) + 1):
        write_number(store, number)
        name = ("made.jsonl.gz", "made.json", "sealed.jsonl.zst")[number % 3]
        say("read")
        key = KEY if name.startswith("sealed") else None
        backup(store, f"{folder}/{name}", key=key, disk=Telling(say))
        say(f"={number} {name}")


def restore_for_ever(say: Say, url: str, folder: str, mode: str, first: str) -> None:
    """In turn restore the states ``a`` and ``b``."""
    store = opened(url)
    for name in cycle(("ab", "ba")[first == "b"]):
        say("verify")
        restore(store, f"{folder}/{name}.jsonl", mode=mode, begin=lambda: say("write"))
        say(f"={name}")
        say("fold")
        if isinstance(store, files.FileStore):
            store.scrub()


def keep_schedule_for_ever(say: Say, url: str, folder: str, now: str) -> None:
    """A backup an hour, tried out, and the old ones deleted."""
    tempfile.tempdir = folder
    clock = FakeClock(datetime.fromisoformat(now))
    tried, prune = drill.drill, shelf.Shelf.prune

    def told_drill(*args: Any, **options: Any) -> Any:
        say("drill")
        return tried(*args, **options)

    def told_prune(*args: Any) -> Any:
        say("prune")
        return prune(*args)

    backups_module.drill = told_drill
    shelf.Shelf.prune = told_prune  # type: ignore[method-assign]
    memory = Memory(url, clock=clock)
    while True:
        say("backup")
        made = memory.backups.run_due()
        assert made is not None
        say(f"={made.name}")
        clock.forward(3600)


def copy_for_ever(say: Say, source_url: str, target_url: str) -> None:
    """Copy everything, or go on with it; then empty the copy."""
    migrate.PAGE = 40  # type: ignore[misc]  # so that there are many steps
    compared = migrate._compared

    def told(*args: Any) -> Any:
        say("compare")
        return compared(*args)

    migrate._compared = told
    source, target = opened(source_url), opened(target_url)
    while True:
        if target.get(*migrate.MARKER) is None:
            say("empty")
            target.write([Clear(())])
        say("copy")
        migrate.migrate(source, target)
        say("=copied")


def move_for_ever(say: Say, *urls: str) -> None:
    """Move to the other store, use it, and move or roll back again; one writes all the while."""
    migrate.PAGE = move.PAGE = 20  # type: ignore[misc]  # so that there are many steps
    here, there = stores = in_order([opened(url) for url in urls])
    number = max(map(number_in, stores))

    def write(store: Store) -> None:
        nonlocal number
        number += 1
        write_number(store, number)
        say(f"={number}")

    for end in cycle(("rollback", "confirm")):
        job = move.Move(here, there)
        if job.phase in ("rolling back", "emptying"):
            job.rollback()
        if job.phase == "new" and number_in(there) >= 0:
            there.write([Clear(())])  # it was the source of a move that is confirmed
        if job.phase != "finished":
            write(here)
            say("run")
            job.run()
            write(here)
            say("finish")
            job.finish()
        for _ in range(30):
            write(there)
        say(end)
        getattr(job, end)()
        if end == "confirm":
            here, there = there, here


def in_order(stores: list[Store]) -> list[Store]:
    """The source of a move under way first; else the one that was written last."""
    for target, source in (stores, stores[::-1]):
        if target.get(*migrate.MARKER) is not None:
            return [source, target]
    return sorted(stores, key=number_in, reverse=True)


def contents(store: Store) -> list[str]:
    return [repr(r) for r in store.records(Query(expired=True)) if r.id != migrate.MARKER]
