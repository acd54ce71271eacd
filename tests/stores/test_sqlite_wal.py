"""SQLite's log is made longer before commits need it, and means the same."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Put, Query
from lc_memory.stores.sql import SQLStore
from lc_memory.stores.sqlite_wal import WHOLE, Room


def _write(store: SQLStore, count: int) -> None:
    for i in range(count):
        if i % 2:
            store.put(("n",), f"{i:04}", {"text": "x" * 200})
        else:
            store.write([Put(("n",), f"{i:04}", {}), Put(("other",), f"{i:04}", {})])


def _size(folder: Path, name: str) -> int:
    return (folder / name).stat().st_size


def test_a_log_that_grows_is_made_as_long_as_it_gets(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        _write(store, 4)
        assert _size(tmp_path, "m.db-wal") < 128 << 10  # for a few writes nothing is done
        _write(store, 50)
        assert 1 << 20 < _size(tmp_path, "m.db-wal") < WHOLE
        _write(store, 300)
        size = _size(tmp_path, "m.db-wal")
        assert size > 0.99 * WHOLE  # the last pages stay in memory
        with closing(sqlite3.connect(tmp_path / "m.db")) as other:  # of which it is told nothing
            _, frames, _ = other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            assert 500 < frames < 1000
            ((rows,),) = other.execute("SELECT count(*) FROM lc_memory_schema").fetchall()
            assert rows == 1
        writer = store._db._writer[1]  # type: ignore[attr-defined]
        assert writer.execute("PRAGMA cache_size").fetchone() == (-2000,)
        _write(store, 200)  # from its start again
        assert _size(tmp_path, "m.db-wal") == size
    assert os.listdir(tmp_path) == ["m.db"]
    assert _size(tmp_path, "m.db") < 500_000
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        assert len(list(store.records(Query(("n",))))) == 300


def test_who_comes_later_makes_no_log_longer_that_others_have_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with SQLStore(url) as store:
        _write(store, 50)
        size = _size(tmp_path, "m.db-wal")
        assert size > 1 << 20
        with SQLStore(url) as other:
            statements: list[str] = []
            writer = other._db._writing_connection()  # type: ignore[attr-defined]
            writer.set_trace_callback(statements.append)
            other.put(("n",), "a", {})
            _write(other, 3)
            assert statements
            assert not any("zeroblob" in statement for statement in statements)
        assert _size(tmp_path, "m.db-wal") == size


@pytest.mark.skipif(sys.platform == "win32", reason="SQLite keeps its log beside a link there")
def test_the_log_of_a_linked_file_is_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "m.db")
    with SQLStore(f"sqlite:///{tmp_path}/link.db") as store:
        _write(store, 50)
        assert _size(tmp_path, "m.db-wal") > 1 << 20


class _Interrupted(sqlite3.Connection):
    """Interrupted as a statement is done."""

    statements_left = -1

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        cursor = super().execute(*statement)
        self.statements_left -= 1
        if self.statements_left == 0:
            raise KeyboardInterrupt
        return cursor


def test_who_is_interrupted_meanwhile_goes_on_with_the_connection_as_it_was(
    tmp_path: Path,
) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        _write(store, 1)
        with closing(
            sqlite3.connect(tmp_path / "m.db", isolation_level=None, factory=_Interrupted)
        ) as connection:
            interrupts = 0
            while True:
                room = Room(str(tmp_path / "m.db"))
                room._length = 1
                connection.statements_left = interrupts + 1
                try:
                    room.look(connection)
                except KeyboardInterrupt:
                    interrupts += 1
                else:
                    break
                finally:
                    connection.statements_left = -1
                    assert not connection.in_transaction
                    assert connection.execute("PRAGMA cache_size").fetchone() == (-2000,)
        assert interrupts == 6
        assert _size(tmp_path, "m.db-wal") > 1 << 20


def test_who_does_not_sync_needs_no_room(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db", durability="normal") as store:
        _write(store, 40)
        assert _size(tmp_path, "m.db-wal") < 1 << 20


def test_where_there_is_no_room_writes_go_on(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        _write(store, 1)
        writer = store._db._writer[1]  # type: ignore[attr-defined]
        writer.execute("PRAGMA max_page_count = 60")
        _write(store, 100)
        assert _size(tmp_path, "m.db-wal") < WHOLE
        assert len(list(store.records(Query(("n",))))) == 100


KILLED = """
import os, signal, sys
from lc_memory.stores.sql import SQLStore

store = SQLStore(sys.argv[1])
for i in range(100):
    store.put(("n",), f"{i:04}", {"text": "x" * 200})
    print(i, flush=True)
    if i == 4:  # the first statement that rolls back what was written ahead
        kill = lambda sql: sql == "ROLLBACK" and os.kill(os.getpid(), signal.SIGKILL)
        store._db._writer[1].set_trace_callback(kill)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals of that kind")
def test_who_is_killed_meanwhile_has_lost_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, f"sqlite:///{tmp_path}/m.db"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    told = [f"{int(i):04}" for i in done.stdout.split()]
    assert _size(tmp_path, "m.db-wal") > 1 << 20
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        found = [record.key for record in store.records(Query(("n",)))]
        assert found[: len(told)] == told
        assert len(found) - len(told) in (0, 1)  # the one in whose commit it was
        assert store._db.select("PRAGMA integrity_check") == [("ok",)]
        _write(store, 30)
