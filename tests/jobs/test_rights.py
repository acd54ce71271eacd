"""Who may back up, restore and move, and what of it is on record."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from lc_memory import AccessDenied, BackupError, InvalidDocument, Memory, Unsupported
from lc_memory.errors import StoreError


def guarded(path: Path, **options: object) -> Memory:
    return Memory(f"sqlite:///{path}", access_control=True, admins=["root"], **options)  # type: ignore[arg-type]  # as given


def told(memory: Memory) -> list[tuple[str | None, str, str]]:
    entries = memory.audit.entries()
    return [(e.principal, e.action, e.outcome) for e in entries if e.action != "audit"]


def test_only_an_administrator_has_a_part_in_the_schedule(tmp_path: Path) -> None:
    with guarded(tmp_path / "m.db") as memory:
        root, alice = memory.acting_as("root"), memory.as_user("alice")
        memory.as_user("bob").store_memory("notes", {"id": "1"})
        alice.store_memory("notes", {"id": "1"})
        root.schedule_backups("1h", to=tmp_path / "b", keep=1, start=False)
        for handle in (alice, memory.acting_as("alice"), memory):
            for asked in (
                handle.backups.run_due,
                handle.backups.scheduled,
                handle.backups.next_due,
                handle.backups.list,
                handle.backups.prune,
            ):
                with pytest.raises(AccessDenied):
                    asked()
        assert not (tmp_path / "b").exists()
        assert root.backups.next_due() is not None
        made = root.backups.run_due()
        assert made is not None
        assert made.count is not None
        assert made.count >= 2
    with Memory("memory://") as memory:
        memory.schedule_backups("1h", to=tmp_path / "c", start=False)
        with pytest.raises(Unsupported, match="whole memory"):
            memory.as_user("alice").backups.run_due()
        assert memory.backups.run_due()


def test_backups_of_everything_are_an_administrators(tmp_path: Path) -> None:
    """They hold grants, keys and settings: the right to read or change records is not enough."""
    whole = tmp_path / "whole.jsonl"
    with guarded(tmp_path / "m.db", encryption_key=b"k" * 32) as memory:
        root = memory.acting_as("root")
        root.store_memory("notes", {"id": "1"})
        root.access.grant("eve", "editor", ())
        root.access.grant("eve", "editor", ("users", "alice"))
        memory.as_user("alice").store_memory("notes", {"id": "1"})
        eve = memory.acting_as("eve")
        assert eve.retrieve_memory("notes") == {"id": "1"}
        root.backup_data(whole)
        for denied in (
            lambda: eve.backup_data(tmp_path / "eve.jsonl"),
            lambda: eve.restore_data(whole),
            lambda: eve.restore_data(whole, mode="merge"),
            lambda: eve.backups.verify(whole),
            lambda: eve.backups.drill(whole),
        ):
            with pytest.raises(AccessDenied):
                denied()
        assert not (tmp_path / "eve.jsonl").exists()
        hers = memory.as_user("eve").as_user("alice")
        assert hers.backup_data(tmp_path / "alice.jsonl").count == 1
        assert hers.restore_data(tmp_path / "alice.jsonl") == 1
        assert root.backups.verify(whole).collections["lc_memory/keys"]


def test_a_user_looks_into_nobody_elses_backup(tmp_path: Path) -> None:
    with Memory(f"sqlite:///{tmp_path}/m.db") as memory:
        alice = memory.as_user("alice")
        alice.store_memory("notes", {"id": "1"})
        memory.as_user("bob").store_memory("secrets", {"id": "1"})
        memory.backup_data(tmp_path / "whole.jsonl")
        alice.backup_data(tmp_path / "alice.jsonl")
        for look in (alice.backups.verify, alice.backups.drill):
            with pytest.raises(BackupError, match="outside") as refused:
                look(tmp_path / "whole.jsonl")
            assert "secrets" not in str(refused.value)
            assert look(tmp_path / "alice.jsonl").collections == {"documents/notes": 1}
            assert memory.as_user("bob").search_memory("secrets") == [{"id": "1"}]
        assert memory.backups.drill(tmp_path / "whole.jsonl").count == 2


def test_jobs_are_on_record_from_their_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Memory(f"sqlite:///{tmp_path}/m.db", audit=True) as memory:
        memory.store_memory("notes", {"id": "1"})
        path = tmp_path / "b.jsonl"
        memory.backup_data(path)
        memory.restore_data(path)
        memory.backups.verify(path)
        memory.backups.drill(path)
        memory.schedule_backups("1h", to=tmp_path / "s", start=False)
        memory.backups.run()
        memory.backups.prune()
        memory.backups.unschedule()
        memory.relation("has", on_delete="cascade")
        actions = [(action, outcome) for _, action, outcome in told(memory)]
        for entry in (
            ("backup", "begun"),
            ("backup", "done"),
            ("restore", "begun"),
            ("restore", "done"),
            *((one, "done") for one in ("verify", "drill", "schedule", "unschedule", "prune")),
            ("admin", "done"),
        ):
            assert entry in actions
        with pytest.raises(BackupError, match="nope"):
            memory.restore_data(tmp_path / "nope.jsonl")
        assert told(memory)[-1][1:] != ("restore", "done")
        assert told(memory)[-1][1] == "restore"

        def broken(*_: object) -> None:
            raise StoreError("the disk broke")

        monkeypatch.setattr(memory._layers.store, "restore", broken)
        with pytest.raises(StoreError, match="broke"):
            memory.restore_data(path)
        assert told(memory)[-2:] == [
            (None, "restore", "begun"),
            (None, "restore", "StoreError"),
        ]
        assert memory.audit.verify()


def test_a_move_takes_an_administrator_of_both_memories(tmp_path: Path) -> None:
    """It reads and writes below access control: nobody plants or takes another's things so."""
    with (
        guarded(tmp_path / "t.db", audit=True) as target,
        Memory(f"sqlite:///{tmp_path}/mine.db", audit=True) as mine,
    ):
        bob, root = target.as_user("bob"), target.acting_as("root")
        mine.as_user("bob").store_memory("evil", {"id": "1"})
        for handle in (target.as_user("alice"), target.acting_as("alice"), target):
            with pytest.raises(AccessDenied):
                mine.as_user("bob").migrate_to(handle)
        assert bob.search_memory("evil") == []
        with mine.as_user("bob").migrate_to(root) as move:
            move.run()
            move.finish()
            assert bob.search_memory("evil") == [{"id": "1"}]
            bob.store_memory("diary", {"id": "1"})
            assert move.rollback() == 1
        assert bob.search_memory("evil") == []
        for memory in (root, mine):
            entries = [e for e in memory.audit.entries() if e.action == "move"]
            assert len(entries) >= 3
            assert entries[-1].detail == "rolled back, 1 changes taken back"
            assert memory.audit.verify()
        moved = {e.principal for e in root.audit.entries(action="move")}
        assert moved == {"root"}


class Note(BaseModel):
    id: str
    age: int


def test_what_moves_is_held_against_the_schemas_of_where_it_goes(tmp_path: Path) -> None:
    with Memory("memory://") as source:
        source.store_memory("notes", {"id": "1", "age": 3})
        with Memory(f"sqlite:///{tmp_path}/t.db", schemas={"notes": Note}) as target:
            move = source.migrate_to(target)
            move.run()
            source.store_memory("notes", {"id": "2", "age": "bad"})
            with pytest.raises(InvalidDocument, match="age"):
                move.run()
            with pytest.raises(InvalidDocument, match="age"):
                move.finish()
            assert target.search_memory("notes") == [{"id": "1", "age": 3}]
            source.store_memory("notes", {"id": "2", "age": 4})
            move.run()
            move.finish()
            move.confirm()
            assert len(target.search_memory("notes")) == 2
        with Memory(f"sqlite:///{tmp_path}/u.db", schemas={"notes": Note}) as target:
            source.store_memory("notes", {"id": "3", "age": "bad"})
            with pytest.raises(InvalidDocument, match="age"):
                source.migrate_to(target).run()
            assert target.search_memory("notes") == []
