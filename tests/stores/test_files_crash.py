"""The file stores when the process, the disk or the power fails."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from lc_memory.errors import StoreFull, StoreReadOnly, StoreUnavailable
from lc_memory.records import Append, Put
from lc_memory.stores.disk import Disk
from lc_memory.stores.files import FileStore
from tests.crash import kill_writers
from tests.stores.file_writer import batch, check, write_and_fold_for_ever
from tests.stores.test_files import FORMATS, open_file, records_of

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["lc_memory.memory", "lc_memory.stores.sql", "tests.crash", "tests.stores.file_writer"]
)


# -- kill -9 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_kill_minus_nine_loses_nothing_acknowledged(tmp_path: Path, format: str) -> None:
    kill_writers(f"{format}:///{tmp_path}/memory.{format}", 40)


@pytest.mark.parametrize("format", FORMATS)
def test_kills_in_the_middle_of_folds(tmp_path: Path, format: str) -> None:
    """The writers fold every few writes, so that many die while they replace the file."""
    url = f"{format}:///{tmp_path}/memory.{format}"
    chance = random.Random(7)
    last = -1
    for _ in range(60):
        ours, theirs = _processes.Pipe(duplex=False)
        writer = _processes.Process(
            target=write_and_fold_for_ever, args=(url, last + 1, theirs), daemon=True
        )
        writer.start()
        theirs.close()
        acknowledged = ours.recv()
        time.sleep(chance.uniform(0, 0.03))
        writer.kill()
        writer.join()
        with suppress(EOFError):
            while ours.poll():
                acknowledged = ours.recv()
        writer.close()
        ours.close()
        store = FileStore(url, idle=60)
        last = check(store, acknowledged)
        store._archive.unfolded = False  # what the next writer finds is what this one left
        store.close()
    assert last > 60


# -- power loss ------------------------------------------------------------------------------


class Platter(Disk):
    """A disk that remembers what of its files would survive the loss of power.

    After every step, ``survivors`` holds the folders that might then be found: with and without
    the names and the bytes that were not synced yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, int] = {}  # name → file, as programs see it
        self.safe_names: dict[str, int] = {}
        self.bytes: dict[int, bytes] = {}
        self.safe_bytes: dict[int, bytes] = {}
        self.open_files: dict[int, tuple[int, str]] = {}
        self.survivors: list[dict[str, bytes]] = []

    def open(self, path: Path, flags: int) -> int:
        file = super().open(path, flags)
        if path.suffix != ".lock":
            if path.name not in self.names or flags & os.O_EXCL:
                self.names[path.name] = len(self.bytes)
                self.bytes[len(self.bytes)] = b""
            self.open_files[file] = self.names[path.name], path.name
        return file

    def write(self, file: int, data: memoryview) -> int:
        count = super().write(file, data)
        self._changed(file)
        return count

    def truncate(self, file: int, size: int) -> None:
        super().truncate(file, size)
        self._changed(file)

    def sync(self, file: int) -> None:
        super().sync(file)
        number, _ = self.open_files[file]
        self.safe_bytes[number] = self.bytes[number]
        self._step()

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self.names[target.name] = self.names.pop(source.name)
        self._step()

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        self.safe_names = self.names.copy()
        self._step()

    def _changed(self, file: int) -> None:
        number, name = self.open_files[file]
        self.bytes[number] = (self.folder / name).read_bytes()
        self._step()

    def _step(self) -> None:
        for names in (self.names, self.safe_names):
            for kept in (1.0, 0.5, 0.0):
                found = {name: self._left(number, kept) for name, number in names.items()}
                if found not in self.survivors:
                    self.survivors.append(found)

    def _left(self, number: int, kept: float) -> bytes:
        """The bytes of a file, of which so much of what was not synced has reached the disk."""
        safe, now = self.safe_bytes.get(number, b""), self.bytes[number]
        if not now.startswith(safe):  # cut or rewritten
            return now if kept == 1 else safe
        return now[: len(safe) + int(kept * (len(now) - len(safe)))]


@pytest.mark.parametrize("format", FORMATS)
def test_power_loss_at_any_step(tmp_path: Path, format: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    disk = Platter(here)
    store = open_file(here, format, disk=disk, idle=60)
    acknowledged = -1
    tried = 0

    def step(action: Callable[[], object], in_flight: int) -> None:
        nonlocal tried
        disk.survivors.clear()
        action()
        for files in disk.survivors:
            tried += 1
            for old in there.iterdir():
                old.unlink()
            for name, content in files.items():
                (there / name).write_bytes(content)
            with open_file(there, format, idle=60) as found:
                last = check(found, acknowledged)
                assert last <= in_flight
                found.write(batch(last + 1))
            with open_file(there, format, idle=60) as found:
                check(found, last + 1)

    for i in range(12):
        step(partial(store.write, batch(i)), i)
        acknowledged = i
        if i % 3 == 2:
            step(partial(store._fold_alone, 1), i)
        if i == 6:
            step(store.close, i)
            store = open_file(here, format, disk=disk, idle=60)
    step(store.close, acknowledged)
    assert tried > 60


# -- full and failing disks ------------------------------------------------------------------


class Small(Disk):
    """A disk with room for so many more bytes; ``broken`` fails instead of syncing."""

    def __init__(self) -> None:
        self.room = 1 << 40
        self.broken = False

    def write(self, file: int, data: memoryview) -> int:
        count = min(len(data), self.room)
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= count
        return super().write(file, data[:count])

    def sync(self, file: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(file)


def test_a_disk_that_is_full_at_any_byte(tmp_path: Path) -> None:
    disk = Small()
    with open_file(tmp_path, "json", disk=disk, idle=60) as store:
        store.put(("n",), "k", {"v": 1})
        journal = tmp_path / "memory.json.journal"
        size = journal.stat().st_size
        before = list(store.records())
        with open_file(tmp_path, "json", idle=60) as other:
            room = 0
            while room < 400:
                disk.room = room
                (outcome,) = store.write_many([[Put(("n",), "k", {"v": 2}), Append(("log",), {})]])
                if not isinstance(outcome, Exception):
                    break
                assert isinstance(outcome, StoreFull)
                assert list(store.records()) == list(other.records()) == before
                assert journal.stat().st_size == size
                room += 1
            assert 200 < room < 400
            assert [record.value for record in other.records()] == [{}, {"v": 2}]
            disk.room = 1 << 40
            store.put(("n",), "k", {"v": 3})
            assert other.count() == 2


@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_that_is_full_while_folding(tmp_path: Path, format: str) -> None:
    """The file is whole all the time, and the journal keeps what was written."""
    disk = Small()
    with open_file(tmp_path, format, idle=60) as store:
        store.put(("n",), "a", {"v": 1})
    for room in (*range(0, 400, 7), *range(400, 2000, 50)):
        disk.room = 1 << 40
        store = open_file(tmp_path, format, disk=disk, idle=60)
        store.put(("n",), "b", {"v": room})
        disk.room = room
        store._fold_alone(1)
        assert [record.value["v"] for record in store.records()] == [1, room]
        with suppress(StoreFull):
            store.put(("n",), "b", {"v": room})
        store.close()
        assert len(records_of(store.path)) in (1, 2)
        with open_file(tmp_path, format, idle=60) as other:
            assert [record.value["v"] for record in other.records()] == [1, room]
    assert not (tmp_path / f"memory.{format}.new").exists()


def test_a_sync_that_fails_is_a_write_that_failed(tmp_path: Path) -> None:
    disk = Small()
    with (
        open_file(tmp_path, "json", disk=disk, idle=60) as store,
        open_file(tmp_path, "json", idle=60) as other,
    ):
        store.put(("n",), "k", {"v": 1})
        disk.broken = True
        with pytest.raises(StoreUnavailable, match="error"):
            store.put(("n",), "k", {"v": 2})
        disk.broken = False
        for each in (store, other):
            assert each.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]
        store.put(("n",), "k", {"v": 3})
        assert other.get(("n",), "k").value == {"v": 3}  # type: ignore[union-attr]


class ReadOnly(Disk):
    def open(self, path: Path, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return super().open(path, flags)


class Protected(Disk):
    def writable(self, path: Path) -> bool:
        return False


@pytest.mark.parametrize("disk", [ReadOnly(), Protected()])
def test_what_may_not_be_written_can_be_read(tmp_path: Path, disk: Disk) -> None:
    with open_file(tmp_path, "json", idle=60) as writer:
        writer.put(("n",), "k", {"v": 1})
        with open_file(tmp_path, "json", disk=disk) as store:
            with pytest.raises(StoreReadOnly, match=r"memory\.json"):
                store.put(("n",), "k", {"v": 2})
            assert store.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]
            writer.put(("n",), "k", {"v": 3})
            assert store.get(("n",), "k").value == {"v": 3}  # type: ignore[union-attr]


def test_where_nothing_may_be_written_no_store_begins(tmp_path: Path) -> None:
    with pytest.raises(StoreReadOnly):
        open_file(tmp_path, "json", disk=ReadOnly())
    assert list(tmp_path.iterdir()) == []
