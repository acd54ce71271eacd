"""SQLite keeps the contract."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from lc_memory import Index, Order, Put, Query
from lc_memory.stores.sql import SQLStore
from lc_memory.testing import PropertyContract, StoreContract

LATEST = Order("updated_at", descending=True)
NEWEST = Query(("docs",), exact=True, order=LATEST, limit=2)


class TestSQLite(StoreContract, PropertyContract):
    def open_store(self, folder: Path, **options: Any) -> SQLStore:
        return SQLStore(f"sqlite:///{folder}/memory.db", **options)

    def test_a_range_that_half_of_all_match_is_not_walked_for_a_page(self, tmp_path: Path) -> None:
        """Counted are SQLite's own instructions, in thousands."""
        with self.open_store(tmp_path, indexes=[Index.of(("docs",), "n")]) as store:
            store.write([Put(("docs",), f"{i:05}", {"n": i}) for i in range(20_000)])
            query = Query(("docs",), {"n": {"$gte": 10_000}}, exact=True, order=LATEST, limit=10)
            store.find(query)  # which makes an index by time
            counted: list[None] = []
            for _, connection in store._db._connections:  # type: ignore[attr-defined]
                connection.set_progress_handler(lambda: counted.append(None), 1000)
            assert [record.value["n"] for record in store.find(query).records][-1] == 19_990
            assert len(counted) < 30


def _indexes(path: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
    return {name for (name,) in found}


def _newest(store: SQLStore) -> list[str]:
    return [record.key for record in store.find(NEWEST).records]


def _filled(path: Path, count: int = 120) -> SQLStore:
    store = SQLStore(f"sqlite:///{path}")
    store.write([Put(("docs",), f"{i:03}", {"n": i}) for i in range(count)])
    store.put(("docs",), "001", {"n": -1})
    return store


BY_TIME = "lc_memory_records_by_time"
SEEN = ["001", "119"]


def test_the_index_by_time_is_made_when_it_is_first_of_use(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with _filled(path) as store:
        store.find(Query(("docs",), {"n": 2}))
        store.find(Query(("few",), exact=True, order=LATEST))
        assert BY_TIME not in _indexes(path)  # each write would have to keep it in step
        assert _newest(store) == SEEN
        assert BY_TIME in _indexes(path)
        store.put(("docs",), "000", {"n": -2})
        assert _newest(store) == ["000", "001"]
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_few_records_are_sorted_without_an_index(tmp_path: Path) -> None:
    with _filled(tmp_path / "memory.db", 100) as store:
        assert _newest(store) == ["001", "099"]
        assert BY_TIME not in _indexes(tmp_path / "memory.db")


def test_who_reads_by_time_waits_for_no_writer(tmp_path: Path) -> None:
    """Neither for another process nor for a transaction of this one: the index comes later."""
    path = tmp_path / "memory.db"
    with _filled(path) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert _newest(store) == SEEN
            other.execute("ROLLBACK")
        store._db.transact(lambda session: _newest(store))
        assert BY_TIME not in _indexes(path)
        assert _newest(store) == SEEN
        assert BY_TIME in _indexes(path)


def test_a_file_that_is_only_read_is_read_by_time(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with _filled(path) as store:
        with SQLStore(f"sqlite:///file:{path}?mode=ro&uri=true") as reader:
            assert _newest(reader) == _newest(reader) == SEEN
        with store.snapshot() as snapshot:
            assert [record.key for record in snapshot.find(NEWEST).records] == SEEN
        assert BY_TIME not in _indexes(path)
