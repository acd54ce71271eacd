"""A store read as of one moment while others write, and replaced all or nothing."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Memory, Put, Query, Record, SnapshotLost, StoreReadOnly, Unsupported
from lc_memory.jobs.backup import backup, restore
from lc_memory.jobs.backup_file import reading
from lc_memory.registry import open_store
from lc_memory.store import Store
from tests import servers
from tests.jobs.test_migrate import everything, fill


def pairs(store: Store) -> dict[str, list[int]]:
    """The numbers in every place that one batch writes together."""
    found: dict[str, list[int]] = {}
    for record in store.records(Query(("pair",), expired=True), 7):
        found.setdefault(record.namespace[1], []).append(record.value["i"])
    return found


def write_pairs(store: Store, i: int) -> None:
    store.write([Put(("pair", side), f"{n}", {"i": i}) for side in "abcd" for n in range(10)])


class Writer(threading.Thread):
    """Writes pair after pair until the block ends."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store, self.written, self.stop = store, 0, threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            write_pairs(self.store, self.written)
            self.written += 1

    def __enter__(self) -> Writer:
        self.start()
        while not self.written:
            time.sleep(0.001)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join()


def test_a_snapshot_is_one_moment(memory: Memory) -> None:
    store = memory._layers.store
    with Writer(store) as writer:
        for _ in range(5):
            with store.snapshot() as view:
                began = writer.written
                seen = pairs(view)
                (number,) = {i for numbers in seen.values() for i in numbers}
                assert {side: len(n) for side, n in seen.items()} == dict.fromkeys("abcd", 10)
                while writer.written < began + 3:
                    time.sleep(0.001)
                with pytest.raises(StoreReadOnly):
                    view.put(("n",), "k", {})
            with store.snapshot() as view:
                assert next(view.records(Query(("pair",)))).value["i"] > number


def test_backups_are_one_moment_while_others_write(memory: Memory, tmp_path: Path) -> None:
    with Writer(memory._layers.store):
        for i in range(3):
            backup(memory._layers.store, tmp_path / f"{i}.jsonl")
    for i in range(3):
        with reading(tmp_path / f"{i}.jsonl") as file:
            numbers = [record.value["i"] for record in file.records()]
        assert len(numbers) == 40
        assert len(set(numbers)) == 1


def test_a_server_alone_says_that_it_cannot_keep_a_moment(tmp_path: Path) -> None:
    with servers.MongoDB(own=True, standalone=True) as server, Memory(server.url) as memory:
        memory.store_memory("a", {"id": "1"})
        before = everything(memory)
        made = memory.backup_data(tmp_path / "quiet.jsonl")
        assert made.count == 1
        with pytest.raises(SnapshotLost, match="quiet"), memory._layers.store.snapshot():
            memory.store_memory("a", {"id": "2"})
        with pytest.raises(Unsupported, match="whole"):
            memory.restore_data(tmp_path / "quiet.jsonl", collections=["a"])
        assert memory.restore_data(tmp_path / "quiet.jsonl") == 1
        assert everything(memory) == before


# -- all or nothing ----------------------------------------------------------------------------


def test_a_restore_that_fails_anywhere_changes_nothing(memory: Memory) -> None:
    fill(memory, many=1500)
    store = memory._layers.store
    before = everything(memory)
    new = [
        Record(("new",), f"{i:05}", {"i": i}, 3, r.created_at, r.updated_at)
        for i, r in enumerate([next(store.records())] * 2500)
    ]

    class Broken(Exception):
        pass

    for place in (0, 1000, 1001, 2500):

        def records(place: int = place) -> Iterator[Record]:
            yield from new[:place]
            raise Broken

        for clearing in ([()], [("users", "ada"), ("documents",)]):
            with pytest.raises(Broken):
                store.restore(records, clearing)
        assert everything(memory) == before
    store.restore(lambda: new, [()])
    assert list(store.records(Query(expired=True))) == new


def test_a_restored_store_is_as_fast_and_safe_as_before(mongodb_databases: Any) -> None:
    """On MongoDB the collection is another one: its indexes are there all the same."""
    with Memory(mongodb_databases(Path("/")), indexes={"a": ["x"]}) as memory:
        before = memory._layers.store._records.index_information()
        memory.store_memory("a", {"id": "1", "x": 1})
        memory._layers.store.restore(lambda: [], [()])
        after = memory._layers.store._records.index_information()
        assert before.items() <= after.items()
        assert everything(memory) == []
        assert [
            n for n in memory._layers.store._server.database.list_collection_names() if "rest" in n
        ] == []
        memory.store_memory("a", {"id": "1", "x": 1})
        assert memory.search_memory("a", {"x": 1}) == [{"id": "1", "x": 1}]


@pytest.mark.parametrize("kind", ["json", "yaml", "csv", "pickle"])
def test_restoring_into_a_file_takes_what_the_file_takes(kind: str, tmp_path: Path) -> None:
    """A few times the bytes of it, and not of Python's objects for each value."""
    with Memory("memory://") as memory:
        memory.batch_store([("many", {"id": str(i), "text": "x" * 500}) for i in range(3000)])
        size = memory.backup_data(tmp_path / "b.jsonl").size
    with open_store(f"{kind}:///{tmp_path}/m.{kind}") as store:
        tracemalloc.start()
        try:
            restore(store, tmp_path / "b.jsonl")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert store.count() == 3000
    assert most < 6.5 * size
