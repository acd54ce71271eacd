"""Backups, copies and moves of a memory that is encrypted, guarded and audited."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from lc_memory import (
    AccessDenied,
    BackupError,
    BackupKeyError,
    InvalidInput,
    Memory,
    WrongKey,
    generate_key,
)
from tests.jobs.test_migrate import everything, fill

KEY = b"m" * 32


def test_what_is_encrypted_stays_so_in_a_backup(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, encryption_key=KEY) as memory:
        fill(memory)
        memory.as_user("ada").store_memory("profile", {"name": "Geheim"})
        before = everything(memory)
        made = memory.backup_data(tmp_path / "b.jsonl")
        assert b"Geheim" not in (tmp_path / "b.jsonl").read_bytes()
        assert made.collections["lc_memory/keys"] >= 1
        memory.delete_memory("many")
        memory.restore_data(tmp_path / "b.jsonl")
        assert everything(memory) == before
        memory.as_user("ada").delete_memory("profile")
        memory.restore_data(tmp_path / "b.jsonl", user="ada")
        assert everything(memory) == before
    with Memory(f"sqlite:///{tmp_path}/plain.db") as plain:
        plain.store_memory("a", {"id": "1"})
        for options in ({}, {"user": "ada"}, {"mode": "merge"}):
            with pytest.raises(BackupError, match="encrypted"):
                plain.restore_data(tmp_path / "b.jsonl", **options)
        assert plain.retrieve_memory("a") == {"id": "1"}
        plain.backup_data(tmp_path / "plain.jsonl")
    with Memory(f"json:///{tmp_path}/new.json", encryption_key=KEY) as new:
        with pytest.raises(BackupError, match="not of an encrypted"):
            new.restore_data(tmp_path / "plain.jsonl")
        with pytest.raises(BackupError, match="cannot be mixed"):
            new.restore_data(tmp_path / "b.jsonl", mode="merge")
        new.restore_data(tmp_path / "b.jsonl")
        assert everything(new) == before
    with Memory(f"json:///{tmp_path}/new.json", encryption_key=KEY) as again:
        assert everything(again) == before
        assert again.as_user("ada").retrieve_memory("profile") == {"name": "Geheim"}


def test_schedules_and_copies_of_an_encrypted_memory(tmp_path: Path) -> None:
    with Memory(f"sqlite:///{tmp_path}/m.db", encryption_key=KEY) as memory:
        fill(memory)
        memory.schedule_backups("1d", to=tmp_path / "backups", start=False)
        assert memory.backups.run().drill == "passed"
        assert [m.good for m in memory.backups.list()] == [True]
        theirs = [line for line in everything(memory) if "'lc_memory'" not in line]
        with Memory("memory://") as plain:
            memory.copy_to(plain)
            assert everything(plain) == theirs
        with Memory("memory://", encryption_key=b"o" * 32) as other:
            memory.copy_to(other)
            found = everything(other)
            assert [line for line in found if "'lc_memory'" not in line] == theirs
            with pytest.raises(InvalidInput, match="URL"):
                memory.migrate_to(other)
        url = f"sqlite:///{tmp_path}/moved.db"
        with memory.migrate_to(url) as move:
            move.run()
            move.finish()
            move.confirm()
    with Memory(url, encryption_key=KEY) as moved:
        found = everything(moved)
        assert [line for line in found if "'lc_memory'" not in line] == theirs


def test_keys_that_were_changed_since_the_backup_stay(tmp_path: Path) -> None:
    """A restore makes nothing unreadable: not the audit log, not the store to its new key."""
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, encryption_key=KEY, audit=True) as memory:
        fill(memory)
        memory.as_user("ada").store_memory("profile", {"name": "before"})
        memory.backup_data(tmp_path / "b.jsonl")
        keyring = memory._layers.keyring
        assert keyring is not None
        for user in ("", "ada"):
            keyring.rotate(user)
        keyring.rotate_master(b"n" * 32)
        memory.as_user("ada").store_memory("profile", {"name": "after"})
        memory.as_user("eve").store_memory("profile", {"name": "new"})
        entries = len(list(memory.audit.entries()))
    for options in ({"user": "ada"}, {"mode": "merge"}, {}):
        with Memory(url, encryption_key=b"n" * 32) as memory:
            memory.as_user("ada").store_memory("profile", {"name": "spoiled"})
            memory.restore_data(tmp_path / "b.jsonl", **options)
            assert memory.as_user("ada").retrieve_memory("profile") == {"name": "before"}
        with Memory(url, encryption_key=b"n" * 32) as memory:
            assert memory.as_user("ada").retrieve_memory("profile") == {"name": "before"}
            eves = memory.as_user("eve").retrieve_memory("profile")
            assert eves == ({"name": "new"} if options else None)
            assert memory.audit.verify()
            assert len(list(memory.audit.entries())) > entries
    with Memory(f"sqlite:///{tmp_path}/o.db", encryption_key=KEY, audit=True) as other:
        other.store_memory("a", {"id": "1"})
        with pytest.raises(BackupError, match="audit log"):
            other.restore_data(tmp_path / "b.jsonl")
        assert other.retrieve_memory("a") == {"id": "1"}


def test_a_database_in_memory_keeps_what_stays(tmp_path: Path) -> None:
    with Memory("sqlite://") as memory:
        fill(memory)
        memory.backup_data(tmp_path / "b.jsonl")
        memory.schedule_backups("1d", to=tmp_path, start=False)
        memory.restore_data(tmp_path / "b.jsonl")
        assert memory.backups.scheduled() is not None


def test_who_may_not_read_may_not_back_up(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    with Memory("memory://", access_control=True, admins=["root"], audit=True) as memory:
        ada, bob, root = (memory.as_user(name) for name in ("ada", "bob", "root"))
        ada.store_memory("notes", {"id": "1"})
        bob.store_memory("notes", {"id": "1"})
        everyone = memory.acting_as("root")
        for denied in (
            lambda: memory.backup_data(path),
            lambda: memory.acting_as("ada").backup_data(path),
            lambda: memory.acting_as("ada").schedule_backups("1d", to=tmp_path, start=False),
            lambda: memory.schedule_backups("1d", to=tmp_path, start=False),
            lambda: memory.acting_as("ada").migrate_to("memory://"),
        ):
            with pytest.raises(AccessDenied):
                denied()
        assert not path.exists()
        assert ada.backup_data(tmp_path / "ada.jsonl").count == 1
        everyone.backup_data(path)
        ada.delete_memory("notes")
        bob.delete_memory("notes")
        ada.restore_data(tmp_path / "ada.jsonl")
        with pytest.raises(BackupError, match="outside"):
            ada.restore_data(path)
        with pytest.raises(AccessDenied):
            memory.acting_as("ada").restore_data(path)
        assert (ada.search_memory("notes"), bob.search_memory("notes")) == ([{"id": "1"}], [])
        everyone.restore_data(path)
        assert bob.search_memory("notes") == [{"id": "1"}]
        everyone.schedule_backups("1d", to=tmp_path / "backups", start=False)
        assert everyone.backups.run().good
        everyone.schedule_backups()  # the timer is a handle's, and ends with the memory
        told = {entry.action for entry in everyone.audit.entries()}
        assert {"backup", "restore"} <= told
        everyone.audit.verify()
        assert root.user == "root"
    assert [t.name for t in threading.enumerate() if "APScheduler" in t.name] == []


async def test_an_async_caller_moves_too(tmp_path: Path) -> None:
    async with Memory("memory://") as memory:
        await memory.astore_memory("a", {"id": "1"})
        move = await memory.amigrate_to(f"sqlite:///{tmp_path}/m.db")
        await asyncio.to_thread(move.run)
        await asyncio.to_thread(move.finish)
        await asyncio.to_thread(move.confirm)
        move.close()
    async with Memory(f"sqlite:///{tmp_path}/m.db") as moved:
        assert await moved.aretrieve_memory("a") == {"id": "1"}


@pytest.mark.parametrize("options", [{}, {"encryption_key": KEY}])
def test_what_is_found_by_words_is_what_was_restored(
    tmp_path: Path, options: dict[str, bytes]
) -> None:
    for url in (f"sqlite:///{tmp_path}/m.db", f"json:///{tmp_path}/m.json"):
        with Memory(url, recall=True, **options) as memory:

            def found(memory: Memory = memory) -> list[int]:
                return [len(memory.search_memory("notes", query=q)) for q in ("tea", "coffee")]

            memory.store_memory("notes", {"id": "1", "text": "green tea in the morning"})
            memory.backup_data(tmp_path / "b.jsonl")
            for part in ({}, {"collections": ["notes"]}):
                memory.delete_memory("notes")
                memory.store_memory("notes", {"id": "2", "text": "black coffee"})
                assert found() == [0, 1]
                memory.restore_data(tmp_path / "b.jsonl", **part)
                assert found() == [1, 0]


def test_a_failed_restore_does_not_keep_a_new_memory_from_the_next(tmp_path: Path) -> None:
    """What only looked, or changed nothing, leaves no entry under keys that a restore replaces."""
    path, other_key = tmp_path / "sealed.jsonl", generate_key()
    with Memory(f"sqlite:///{tmp_path}/m.db", encryption_key=KEY, audit=True) as memory:
        memory.store_memory("notes", {"id": "1", "text": "hers"})
        memory.backup_data(path, key="open sesame")
        told = len(list(memory.audit.entries()))
        with pytest.raises(BackupKeyError):  # one that has a log tells of it
            memory.restore_data(path, key="another")
        assert len(list(memory.audit.entries())) == told + 2  # and of reading the log
    for url in (f"sqlite:///{tmp_path}/new.db", f"json:///{tmp_path}/new.json"):
        with Memory(url, encryption_key=other_key, audit=True) as new:
            for options in ({}, {"key": "another"}, {"key": "open sesame"}):
                with pytest.raises((BackupKeyError, WrongKey)):
                    new.restore_data(path, **options)
            with pytest.raises(BackupError):
                new.restore_data(tmp_path / "missing.jsonl")
            with pytest.raises(BackupError, match="mixed"):
                new.restore_data(path, key="open sesame", collections=["notes"])
            new.backups.verify(path, key="open sesame")
            new.backups.drill(path, key="open sesame")
        with Memory(url, encryption_key=[KEY, other_key], audit=True) as new:
            new.restore_data(path, key="open sesame")
        with Memory(url, encryption_key=KEY) as new:
            assert new.retrieve_memory("notes") == {"id": "1", "text": "hers"}
            assert [e.outcome for e in new.audit.entries(action="restore")] == ["done"]
            assert new.audit.verify()
