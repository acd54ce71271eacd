"""Several threads, processes and openers on one file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from lc_memory.errors import StoreUnavailable
from lc_memory.log import Log
from lc_memory.records import Delete, Op, Put, Query, Record
from lc_memory.stores.disk import Disk
from lc_memory.stores.files import FileStore
from lc_memory.stores.kept import Lock
from tests.stores.test_files import FORMATS, open_file


@contextmanager
def held(path: Path) -> Iterator[None]:
    """The lock of this file, in other hands."""
    lock = Lock(Disk(), path)
    lock.acquire(1)
    try:
        yield
    finally:
        lock.close()


def test_a_lock_that_is_held_too_long_is_an_error_in_time(tmp_path: Path) -> None:
    with open_file(tmp_path, "json", timeout=0.1, idle=60) as store:
        store.put(("n",), "k", {"v": 1})
        with held(tmp_path / "memory.json.lock"):
            with pytest.raises(StoreUnavailable, match=r"memory\.json\.lock: others held"):
                store.put(("n",), "k", {"v": 2})
            assert store.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]
        assert store.put(("n",), "k", {"v": 3}).version == 2


@pytest.mark.parametrize("format", FORMATS)
def test_threads_and_processes_write_together(tmp_path: Path, format: str) -> None:
    """Three processes of four threads each, folding all the while: nothing is lost."""
    url = f"{format}:///{tmp_path}/memory.{format}"
    code = """
import sys, threading
from lc_memory.log import Log
from lc_memory.stores import archive
from lc_memory.stores.files import FileStore
from lc_memory.stores.kept import Lock
archive.SMALL = 3000
with FileStore(sys.argv[1], idle=0.005) as store:
    def work(name):
        for i in range(20):
            Log(store, ("log",)).append([{"who": name, "i": i, "part": part} for part in (0, 1)])
            store.update(("count",), "c", lambda value: {"n": value["n"] + 1})
    threads = [threading.Thread(target=work, args=(f"{sys.argv[2]}.{t}",)) for t in range(4)]
    [t.start() for t in threads]; [t.join() for t in threads]
"""
    with FileStore(url, idle=60) as store:
        store.put(("count",), "c", {"n": 0})
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, url, str(n)], stderr=subprocess.PIPE, text=True
            )
            for n in range(3)
        ]
        while any(process.poll() is None for process in processes):
            found: list[Record] = store.find(Query(("log",))).records
            assert [record.value["part"] for record in found] == [0, 1] * (len(found) // 2)
        assert [process.communicate()[1] for process in processes] == [""] * 3
        assert store.get(("count",), "c").value == {"n": 240}  # type: ignore[union-attr]
        entries = [record.value for record in Log(store, ("log",)).tail()]
    assert len(entries) == 480
    for name in {entry["who"] for entry in entries}:
        mine = [(entry["i"], entry["part"]) for entry in entries if entry["who"] == name]
        assert mine == [(i, part) for i in range(20) for part in (0, 1)]


class Interrupted(Disk):
    """A disk on which something happens just before a file is read."""

    def __init__(self) -> None:
        self.before: dict[str, Callable[[], object]] = {}

    def read(self, path: Path, start: int = 0) -> bytes:
        self.before.pop(path.name, lambda: None)()
        return super().read(path, start)


@pytest.mark.parametrize("name", ["memory.json", "memory.json.journal"])
@pytest.mark.parametrize("folds", [1, 2])
@pytest.mark.parametrize("missed", [False, True])
def test_a_fold_in_the_middle_of_a_read(
    tmp_path: Path, name: str, folds: int, missed: bool
) -> None:
    disk = Interrupted()
    with (
        open_file(tmp_path, "json", idle=60) as writer,
        open_file(tmp_path, "json", idle=60, disk=disk) as reader,
    ):

        def write_and_fold(last: list[Op]) -> None:
            for i in range(folds):
                writer.write([Put(("n",), f"{i}", {}), Delete(("n",), "k")])
                writer._fold_alone(1)
            writer.write(last)

        endings: list[list[Op]] = [[], [Put(("n",), "last", {})]]
        for last in endings:
            writer.put(("n",), "k", {})
            if missed:  # the reader has to load everything
                writer._fold_alone(1)
            writer.put(("n",), "new", {})
            disk.before[name] = partial(write_and_fold, last)
            assert list(reader.records()) == list(writer.records())
            assert reader.put(("n",), "new", {}).version == writer.get(("n",), "new").version  # type: ignore[union-attr]


def test_openers_at_once_make_one_file(tmp_path: Path) -> None:
    url = f"json:///{tmp_path}/memory.json"
    code = (
        "from lc_memory.records import Append\n"
        "from lc_memory.stores.files import FileStore\n"
        f"with FileStore({url!r}) as store: store.write([Append(('log',), {{}})])"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)
    ]
    assert [process.communicate()[1] for process in processes] == [b""] * 4
    with FileStore(url) as store:
        assert store.count() == 4
