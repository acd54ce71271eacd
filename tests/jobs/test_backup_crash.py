"""Backups, restores and moves when the process, the disk or the power fails at any moment."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lc_memory import BackupError, Memory, Query
from lc_memory.jobs.backup import backup, restore, verify
from lc_memory.registry import open_store
from lc_memory.store import Store
from lc_memory.stores.disk import Disk
from tests.jobs.restorer import migrate_for_ever, restore_for_ever
from tests.stores.test_files import open_file
from tests.stores.test_files_crash import Platter

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        *("lc_memory.memory", "lc_memory.stores.sql", "lc_memory.stores.files"),
        *("lc_memory.jobs.drill", "tests.jobs.restorer", "psycopg", "lc_memory.stores.postgres"),
    ]
)


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


def killed(work: Callable[..., None], *args: str, after: float, patience: int = 2) -> str:
    """Kill a process at a moment of its work; the last thing that it said."""
    ours, theirs = _processes.Pipe(duplex=False)
    worker = _processes.Process(target=work, args=(*args, theirs), daemon=True)
    worker.start()
    theirs.close()
    for _ in range(patience):
        last = ours.recv()
    time.sleep(after)
    worker.kill()
    worker.join()
    with suppress(EOFError):
        while ours.poll():
            last = ours.recv()
    ours.close()
    worker.close()
    return str(last)


@pytest.mark.parametrize(("kind", "times"), [("sqlite", 25), ("json", 15), ("postgres", 10)])
def test_kill_minus_nine_leaves_the_old_state_or_the_new(
    kind: str, times: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"{kind}:///{tmp_path}/memory.{kind}"
    if kind == "postgres":
        url = request.getfixturevalue("postgres_databases")(tmp_path)
    states = two_states(tmp_path)
    with open_store(url) as store:
        restore(store, tmp_path / "b.jsonl")
    chance = random.Random(7)
    found = set()
    for _ in range(times):
        killed(restore_for_ever, url, str(tmp_path), after=chance.uniform(0, 0.12))
        with open_store(url) as store:
            now = contents(store)
        assert now in states.values()
        found.add(now == states["a"])
        if (tmp_path / "made.jsonl.gz").exists():
            assert verify(tmp_path / "made.jsonl.gz").count == 120
    assert found == {True, False}  # they were killed before and after


def test_kill_minus_nine_while_mongodb_is_restored(mongodb_databases: Any, tmp_path: Path) -> None:
    url = mongodb_databases(tmp_path)
    states = two_states(tmp_path)
    with open_store(url) as store:
        restore(store, tmp_path / "b.jsonl")
        chance = random.Random(7)
        for _ in range(8):
            killed(restore_for_ever, url, str(tmp_path), after=chance.uniform(0, 0.3))
            assert contents(store) in states.values()
        restore(store, tmp_path / "a.jsonl")
        assert contents(store) == states["a"]


def test_a_move_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    source, target = (f"sqlite:///{tmp_path}/{name}.db" for name in ("source", "target"))
    states = two_states(tmp_path)
    with open_store(source) as store:
        restore(store, tmp_path / "a.jsonl")
        open_store(target).close()
        chance = random.Random(7)
        for _ in range(25):
            killed(migrate_for_ever, source, target, after=chance.uniform(0, 0.15), patience=1)
            assert contents(store) == states["a"]
    from lc_memory.jobs.move import Move

    with open_store(source) as store, open_store(target) as copy:
        move = Move(store, copy)
        if move.phase == "finished":
            move.rollback()
        move.run()
        move.finish()
        move.confirm()
        assert contents(copy) == contents(store) == states["a"]


# -- every step, in this process ---------------------------------------------------------------


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
