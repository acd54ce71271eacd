"""A process to be killed: it restores one backup after the other, and makes some."""

from __future__ import annotations

from itertools import cycle
from multiprocessing.connection import Connection

from lc_memory.jobs.backup import backup, restore
from lc_memory.registry import open_store


def restore_for_ever(url: str, folder: str, ready: Connection) -> None:
    """In turn restore the states ``a`` and ``b``, and back up what is there."""
    store = open_store(url)
    for name in cycle("ab"):
        ready.send(name)
        restore(store, f"{folder}/{name}.jsonl")
        backup(store, f"{folder}/made.jsonl.gz")


def migrate_for_ever(source: str, target: str, ready: Connection) -> None:
    """Move, finish, roll back, and again."""
    from lc_memory.jobs.move import Move

    move = Move(open_store(source), open_store(target))
    while True:
        ready.send(move.phase)
        if move.phase != "finished":
            move.run()
            move.finish()
        move.rollback()
