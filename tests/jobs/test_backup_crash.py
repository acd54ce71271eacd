"""Backups and restores when the process, the disk or the power fails at any step."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path

import pytest

from lc_memory import BackupError, Memory, Query
from lc_memory.jobs.backup import backup, restore, verify
from lc_memory.store import Store
from lc_memory.stores.disk import Disk
from tests.stores.test_files import open_file
from tests.stores.test_files_crash import Platter


def contents(store: Store) -> list[str]:
    return [repr(record) for record in store.records(Query(expired=True))]


def two_states(folder: Path) -> dict[str, list[str]]:
    """Backups of two different memories, and what each holds."""
    states = {}
    for name in "ab":
        with Memory("memory://") as memory:
            memory.batch_store([(name, {"id": str(i), "v": name * 50}) for i in range(60)])
            memory.batch_store([("both", {"id": str(i), "v": name}) for i in range(60)])
            memory.backup_data(folder / f"{name}.jsonl")
            states[name] = contents(memory.backend)
    return states


class Death(BaseException):
    """What happens to a process at a step of its disk."""


class Mortal(Disk):
    """Dies at its nth step, before it or after it (half a write counts as one)."""

    def __init__(self, left: int) -> None:
        self.left = left

    def _step(self) -> None:
        if self.left == 0:
            raise Death
        self.left -= 1

    def open(self, path: Path, flags: int) -> int:
        self._step()
        return super().open(path, flags)

    def write(self, file: int, data: memoryview) -> int:
        if self.left == 0 and len(data) > 1:
            super().write(file, data[: len(data) // 2])
        self._step()
        return super().write(file, data)

    def sync(self, file: int) -> None:
        self._step()
        super().sync(file)

    def truncate(self, file: int, size: int) -> None:
        self._step()
        super().truncate(file, size)

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        super().replace(source, target)
        self._step()

    def sync_folder(self, folder: Path) -> None:
        self._step()
        super().sync_folder(folder)


@pytest.mark.parametrize("name", ["made.jsonl", "made.jsonl.gz", "made.json"])
def test_a_backup_that_dies_at_any_step_leaves_the_old_one_or_the_new(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lc_memory.jobs.backup_file._BUFFER", 500)  # so that there are many steps
    with Memory("memory://") as memory:
        memory.batch_store([("a", {"id": str(i), "v": os.urandom(99).hex()}) for i in range(150)])
        old = memory.backup_data(tmp_path / name)
        memory.store_memory("new", {"id": "1"})
        died = 0
        for step in count():
            try:
                backup(memory.backend, tmp_path / name, disk=Mortal(step))
                break
            except Death:
                died += 1
            found = verify(tmp_path / name)
            assert found.count in (old.count, old.count + 1)
        assert verify(tmp_path / name).count == old.count + 1
        assert died > (6 if name.endswith(".gz") else 20)  # which hands on more at once


@pytest.mark.parametrize("format", ["json", "yaml", "csv", "pickle"])
def test_a_restore_that_dies_at_any_step_of_a_file_store(tmp_path: Path, format: str) -> None:
    states = two_states(tmp_path)
    place = tmp_path / "store"
    for step in count():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        with open_file(place, format) as store:
            restore(store, tmp_path / "a.jsonl")
        disk = Mortal(10**9)
        store = open_file(place, format, disk=disk, idle=60)
        disk.left = step
        died = False
        try:
            restore(store, tmp_path / "b.jsonl")
            store._fold_alone(1)
        except Death:
            died = True
        disk.left = 10**9
        store._archive.unfolded = False  # it is dead: it does not fold at its end
        store.close()
        with open_file(place, format, idle=60) as found:
            now = contents(found)
        assert now in states.values()
        if not died:
            assert now == states["b"]
            break
    assert step > 8


@pytest.mark.parametrize("format", ["json", "yaml", "csv", "pickle"])
def test_power_loss_at_any_step_of_a_restore(tmp_path: Path, format: str) -> None:
    """What was not synced may be there, by half, or not at all."""
    states = two_states(tmp_path)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    disk = Platter(here)
    with open_file(here, format, disk=disk, idle=60) as store:
        restore(store, tmp_path / "a.jsonl")
        disk.survivors.clear()
        restore(store, tmp_path / "b.jsonl")
        restored = len(disk.survivors)
        store._fold_alone(1)
        survivors = disk.survivors[:]
    assert restored >= 3
    for number, files in enumerate(survivors):
        shutil.rmtree(there, ignore_errors=True)
        there.mkdir()
        for name, content in files.items():
            (there / name).write_bytes(content)
        with open_file(there, format, idle=60) as found:
            now = contents(found)
        assert now in states.values()
        if number >= restored:  # it was acknowledged
            assert now == states["b"]


def test_power_loss_at_any_step_of_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lc_memory.jobs.backup_file._BUFFER", 2000)
    two_states(tmp_path)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    disk = Platter(here)
    with Memory("memory://") as memory:
        for name in "ab":
            memory.restore_data(tmp_path / f"{name}.jsonl")
            if name == "b":
                disk.survivors.clear()
            backup(memory.backend, here / "made.jsonl", disk=disk)
    last = disk.survivors[-1]
    complete = 0
    for files in disk.survivors:
        assert files.keys() >= {"made.jsonl"}
        (there / "made.jsonl").write_bytes(files["made.jsonl"])
        verify(there / "made.jsonl")
        complete += files["made.jsonl"] == last["made.jsonl"]
        for name in files.keys() - {"made.jsonl"}:  # a draft is never taken for a backup
            (there / "draft").write_bytes(files[name])
            if files[name] != last["made.jsonl"]:
                with pytest.raises(BackupError):
                    verify(there / "draft")
    assert len(disk.survivors) > 20
    assert complete >= 1
