"""SQLite when things go wrong: killed writers, crowds, full disks, broken and read-only files."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lc_memory.errors import (
    CorruptStore,
    NewerFormat,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from lc_memory.log import Log
from lc_memory.records import ABSENT, Append, Put, Query
from lc_memory.store import Index
from lc_memory.stores.schema import VERSION
from lc_memory.stores.sql import SQLStore
from lc_memory.stores.sqlite import SQLite
from tests.crash import kill_writers


def test_kill_minus_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    kill_writers(f"sqlite:///{tmp_path}/m.db", 300)
    with contextlib.closing(sqlite3.connect(tmp_path / "m.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_threads_and_processes_write_together(tmp_path: Path) -> None:
    """Three processes of four threads each: nothing is lost, and nothing is ever "locked"."""
    url = f"sqlite:///{tmp_path}/m.db"
    code = """
import sys, threading
from lc_memory.log import Log
from lc_memory.stores.sql import SQLStore
from lc_memory.stores.sqlite import SQLite
with SQLStore(sys.argv[1]) as store:
    store.put(("count",), "c", {"n": 0}) if store.get(("count",), "c") is None else None
    def work(name):
        for i in range(60):
            Log(store, ("log",)).append([{"who": name, "i": i}])
            store.update(("count",), "c", lambda v: {"n": v["n"] + 1}, default={"n": 0})
    threads = [threading.Thread(target=work, args=(f"{sys.argv[2]}.{t}",)) for t in range(4)]
    [t.start() for t in threads]; [t.join() for t in threads]
"""
    with SQLStore(url) as store:
        store.put(("count",), "c", {"n": 0})
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, url, str(n)], stderr=subprocess.PIPE, text=True
            )
            for n in range(3)
        ]
        errors = [process.communicate()[1] for process in processes]
        assert errors == ["", "", ""]
        entries = [record.value for record in Log(store, ("log",)).tail()]
        assert store.get(("count",), "c").value == {"n": 720}  # type: ignore[union-attr]
    assert len(entries) == 720
    for name in {entry["who"] for entry in entries}:
        assert [e["i"] for e in entries if e["who"] == name] == list(range(60))


def test_readers_see_whole_batches_while_others_write(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        stop = threading.Event()
        torn: list[object] = []

        def read() -> None:
            while not stop.is_set():
                values = {record.value["i"] for record in store.find(Query(("pair",))).records}
                if len(values) > 1:
                    torn.append(values)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for i in range(300):
            store.write([Put(("pair",), "a", {"i": i}), Put(("pair",), "b", {"i": i})])
        stop.set()
        for reader in readers:
            reader.join()
        assert torn == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SQLStore]:
    """A store whose database may not grow any more."""
    store = SQLStore(f"sqlite:///{tmp_path}/m.db")
    store.put(("n",), "before", {"v": 1})
    store._db.transact(lambda session: None)  # the writer's connection is open
    writer = store._db._writer[1]  # type: ignore[attr-defined]
    pages = writer.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[union-attr]
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")  # type: ignore[union-attr]
    yield store
    store.close()


def test_a_full_disk_keeps_what_was_there(small_disk: SQLStore) -> None:
    with pytest.raises(StoreFull, match="full"):
        small_disk.write([Put(("n",), "big", {"x": "y" * 100_000}), Append(("log",), {})])
    assert [record.key for record in small_disk.records()] == ["before"]
    assert small_disk.put(("n",), "small", {}).version == 1  # and the store goes on


GROWING = """
import resource, signal, sys
from lc_memory import Memory, StoreFull

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
memory = Memory(sys.argv[1])
kept = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    while True:
        memory.store_memory("many", {"id": kept, "text": "x" * 5000})
        kept += 1
except StoreFull as error:
    print(error)
print(kept == len(memory.search_memory("many")) > 10)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of that kind")
def test_a_file_that_may_not_grow_keeps_what_was_there(tmp_path: Path) -> None:
    """As with a quota: the write fails, and not for want of room on the disk."""
    command = [sys.executable, "-c", GROWING, f"sqlite:///{tmp_path}/m.db"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    said, kept = done.stdout.splitlines()
    assert "nothing of this write was kept" in said
    assert (kept, done.stderr) == ("True", "")


def test_a_read_only_file(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        store.put(("n",), "k", {"v": 1})
        store.put(("n",), "open", {})
        with SQLStore(f"sqlite:///file:{tmp_path}/m.db?mode=ro&uri=true") as reader:
            assert reader.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]
            with pytest.raises(StoreReadOnly, match="read-only"):
                reader.put(("n",), "k", {})
        assert store.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.db"
    path.write_bytes(content)
    with pytest.raises(CorruptStore, match=r"m\.db"):
        SQLStore(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_file_of_a_format_that_is_none(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        store.put(("n",), "k", {"v": 1})
    content = bytearray((tmp_path / "m.db").read_bytes())
    content[44:48] = b"\xff" * 4  # the format of its schema
    (tmp_path / "m.db").write_bytes(content)
    with pytest.raises(CorruptStore, match="restore a backup"):
        SQLStore(f"sqlite:///{tmp_path}/m.db")


def test_a_damaged_value_is_never_answered(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        store.put(("n",), "k", {"v": 1})
        for text in ('{"v":', "[1]", "", '{"$what": 1}', '{"x": {"$bytes": "é"}}', "null"):
            with contextlib.closing(sqlite3.connect(tmp_path / "m.db")) as database, database:
                database.execute("UPDATE lc_memory_records SET value = ?", (text,))
            with pytest.raises(CorruptStore, match=r"n, 'k': a stored value .*; restore a backup"):
                store.get(("n",), "k")
            with pytest.raises(CorruptStore, match="n, 'k': "):
                store.find(Query(("n",)))
        _change(tmp_path / "m.db", "UPDATE lc_memory_records SET value = CAST(x'22ff22' AS TEXT)")
        with pytest.raises(CorruptStore, match="restore a backup"):
            store.get(("n",), "k")


def test_a_damaged_row_is_an_error_of_ours(tmp_path: Path) -> None:
    """A page that is lost leaves values of other types, which SQLite hands on."""
    url = f"sqlite:///{tmp_path}/m.db"
    with SQLStore(url) as store:
        store.put(("n",), "k", {"v": 1})
        _change(tmp_path / "m.db", "UPDATE lc_memory_records SET namespace = x'ff'")
        with pytest.raises(CorruptStore):
            list(store.records())
    _change(tmp_path / "m.db", "UPDATE lc_memory_schema SET version = 'x'")
    with pytest.raises(CorruptStore, match="restore a backup"):
        SQLStore(url)


def _change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    SQLStore(f"sqlite:///{tmp_path}/m.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "m.db")) as database, database:
        database.execute("UPDATE lc_memory_schema SET version = ?", (VERSION + 1,))
    with pytest.raises(NewerFormat, match="upgrade"):
        SQLStore(f"sqlite:///{tmp_path}/m.db")


def test_places_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no folder"):
        SQLStore(f"sqlite:///{tmp_path}/missing/m.db")
    with pytest.raises(StoreUnavailable, match="a folder"):
        SQLStore(f"sqlite:///{tmp_path}")


def test_a_lock_that_is_held_too_long_is_an_error_in_time(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db", timeout=0.2) as store:
        store.put(("n",), "k", {"v": 1})
        with contextlib.closing(sqlite3.connect(tmp_path / "m.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="another process"):
                store.put(("n",), "k", {"v": 2})
            assert store.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]
            other.execute("ROLLBACK")
        assert store.put(("n",), "k", {"v": 3}).version == 2


def test_an_interrupt_leaves_no_transaction_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with SQLStore(url, timeout=0.2) as store, SQLStore(url, timeout=0.2) as other:
        database = store._db
        assert isinstance(database, SQLite)
        patiently = database._patiently

        def interrupted(begin: Callable[..., Any], *given: Any) -> Any:
            patiently(begin, *given)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(database, "_patiently", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.put(("n",), "k", {"v": 1})
        assert other.put(("n",), "k", {"v": 2}).version == 1  # nobody holds the lock

        conditions: dict[str, Any]
        for conditions in ({}, {"replacing": ABSENT}):  # interrupted twice, it may be left open
            database._writing_connection().execute("BEGIN")
            store.put(("n",), f"of {len(conditions)}", {"v": 3}, **conditions)
            assert other.get(("n",), f"of {len(conditions)}") is not None


def test_openers_at_once_make_one_schema(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    code = f"from lc_memory.stores.sql import SQLStore; SQLStore({url!r}).close()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)
    ]
    assert [process.communicate()[1] for process in processes] == [b""] * 4
    with contextlib.closing(sqlite3.connect(tmp_path / "m.db")) as database:
        assert database.execute("SELECT version FROM lc_memory_schema").fetchall() == [(VERSION,)]


def test_a_new_file_is_its_owners_alone_and_durable(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        store.put(("n",), "k", {})
        for name in os.listdir(tmp_path):
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert store._db.select("PRAGMA journal_mode") == [("wal",)]
        assert store._db.select("PRAGMA synchronous") == [(2,)]
    with SQLStore(f"sqlite:///{tmp_path}/m.db", durability="normal") as store:
        assert store._db.select("PRAGMA synchronous") == [(1,)]
    with pytest.raises(ValueError, match="durability"):
        SQLStore(f"sqlite:///{tmp_path}/m.db", durability="fast")


def test_an_indexed_filter_does_not_scan(tmp_path: Path) -> None:
    """The plan goes through the field's index, whatever else there is to choose."""
    index = Index.of(("docs",), "timestamp")
    with SQLStore(f"sqlite:///{tmp_path}/m.db", indexes=[index]) as store:
        query = Query(("docs",), {"timestamp": {"$gte": "2024"}}, limit=10, exact=True)
        source, conditions, parameters = store._candidates(query)
        plan = store._db.select(
            f"EXPLAIN QUERY PLAN SELECT r.id FROM {source} WHERE {' AND '.join(conditions)}",
            parameters,
        )
        steps = " | ".join(row[3] for row in plan)
        assert "lc_memory_fields USING PRIMARY KEY (index_id=? AND namespace=? AND sort_k" in steps
        assert "SEARCH r USING INTEGER PRIMARY KEY" in steps
        assert "SCAN lc_memory_records" not in steps


def test_an_order_by_an_indexed_field_reads_one_page(tmp_path: Path) -> None:
    """Along the index, a row for each record of the page: also within a range of the field."""
    index = Index.of(("docs",), "timestamp")
    with SQLStore(f"sqlite:///{tmp_path}/m.db", indexes=[index]) as store:
        store.write([Put(("docs",), f"{i:04}", {"timestamp": f"{i:04}"}) for i in range(1000)])
        asked: list[list[object]] = []
        select = store._db.select

        def seen(sql: str, parameters: Sequence[object] = ()) -> list[object]:
            asked.append(select(sql, parameters))
            return asked[-1]

        store._db.select = seen  # type: ignore[method-assign]
        for filter in ({}, {"timestamp": {"$lt": "0500"}}, {"timestamp": {"$gte": "0100"}}):
            query = Query(("docs",), filter, "-timestamp", limit=5, exact=True)
            page = store.find(query)
            last = 499 if "$lt" in str(filter) else 999
            assert [r.key for r in page.records] == [f"{last - i:04}" for i in range(5)]
            following = store.find(replace(query, cursor=page.cursor))
            assert following.records[0].key == f"{last - 5:04}"
        assert 30 <= sum(map(len, asked)) < 100


def test_the_newest_of_a_wide_range_are_not_all_sorted(tmp_path: Path) -> None:
    index = Index.of(("docs",), "n")
    with SQLStore(f"sqlite:///{tmp_path}/m.db", indexes=[index]) as store:
        store.write([Put(("docs",), f"{i:04}", {"n": i}) for i in range(3000)])
        asked: list[str] = []
        select = store._db.select

        def seen(sql: str, parameters: Sequence[object] = ()) -> list[object]:
            asked.append(sql)
            return select(sql, parameters)

        store._db.select = seen  # type: ignore[method-assign]
        query = Query(("docs",), {"n": {"$gte": 10}}, "-@updated_at", limit=5, exact=True)
        assert [r.key for r in store.find(query).records] == [f"{2999 - i:04}" for i in range(5)]
        for sql in asked:  # each stops early, by its count or by its order
            assert "LIMIT 1000" in sql or "lc_memory_fields" not in sql
        few = replace(query, filter={"n": {"$gte": 2990}})
        asked.clear()
        assert len(store.find(few).records) == 5
        assert len(asked) == 1


def test_an_older_format_is_indexed_again(tmp_path: Path) -> None:
    """An index of format 1 held nothing of records without the field."""
    index = Index.of(("docs",), "n")
    with SQLStore(f"sqlite:///{tmp_path}/m.db", indexes=[index]) as store:
        store.write([Put(("docs",), "a", {"n": 1}), Put(("docs",), "b", {})])
    with sqlite3.connect(tmp_path / "m.db") as raw:
        raw.execute("DELETE FROM lc_memory_fields WHERE sort_key = x''")
        raw.execute("ALTER TABLE lc_memory_schema DROP COLUMN library")
        raw.execute("UPDATE lc_memory_schema SET version = 1")
    raw.close()
    with SQLStore(f"sqlite:///{tmp_path}/m.db", indexes=[index]) as store:
        query = Query(("docs",), order="n", limit=2, exact=True)
        assert [record.key for record in store.find(query).records] == ["b", "a"]
        assert store._db.select("SELECT version FROM lc_memory_schema") == [(VERSION,)]
