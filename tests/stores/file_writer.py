"""A writer to be killed: it folds every few writes, so that it often dies in the middle of one."""

from __future__ import annotations

from multiprocessing.connection import Connection

from lc_memory.log import Log
from lc_memory.records import Append, Delete, Op, Put
from lc_memory.stores import archive
from lc_memory.stores.files import FileStore


def batch(i: int) -> list[Op]:
    """A log entry (of which twenty are kept), and a pair that must always agree."""
    return [
        Append(("log",), {"i": i, "pad": "x" * (i * 37 % 500)}),
        Put(("left",), "k", {"i": i}),
        Put(("right",), "k", {"i": i}),
        Delete(("log",), f"{i - 20:016d}"),
    ]


def check(store: FileStore, acknowledged: int) -> int:
    """Everything acknowledged is there, nothing by half; the last batch that is there."""
    entries = [record.value["i"] for record in Log(store, ("log",)).tail()]
    last = max(entries, default=-1)
    assert last in (acknowledged, acknowledged + 1)
    assert entries == list(range(max(last - 19, 0), last + 1))
    pair = store.read([((side,), "k") for side in ("left", "right")])
    assert {record.value["i"] if record else -1 for record in pair} == {last}
    return last


def write_and_fold_for_ever(url: str, start: int, acknowledged: Connection) -> None:
    archive.SMALL = 2000  # type: ignore[misc]
    store = FileStore(url, idle=0.001)
    for i in range(start, 10**9):
        store.write(batch(i))
        acknowledged.send(i)
