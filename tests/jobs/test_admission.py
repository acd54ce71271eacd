"""What a restore does not bring: rights, unreadable records, and who was forgotten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lc_memory import (
    AccessDenied,
    BackupError,
    InvalidDocument,
    LinkedRecord,
    Memory,
    Query,
    WrongKey,
)
from lc_memory.keys import KEYS, generate_key
from tests.jobs.test_rights import guarded

KEY, NEW = b"k" * 32, b"n" * 32


def crafted(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A backup with a record changed, and its digest right."""
    head, *lines, tail = source.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    change(records[0])
    body = "".join(line + "\n" for line in [head, *map(json.dumps, records)]).encode()
    trailer = json.loads(tail) | {"sha256": hashlib.sha256(body).hexdigest()}
    target.write_bytes(body + json.dumps(trailer, separators=(",", ":")).encode() + b"\n")
    return target


def test_a_part_or_a_merge_brings_no_rights_back(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    with guarded(tmp_path / "m.db") as memory:
        root = memory.acting_as("root")
        root.store_memory("notes", {"id": "1"})
        root.access.grant("bob", "reader", ())
        root.backup_data(path)
        root.access.remove_user("bob")
        for part in ({"collections": ["notes"]}, {"mode": "merge"}):
            root.delete_memory("notes")
            assert root.restore_data(path, **part) == 1
            assert root.retrieve_memory("notes") == {"id": "1"}
            assert not root.access.may("bob", "read", ())
        root.restore_data(path)  # everything as it was is what an administrator asked for
        assert root.access.may("bob", "read", ())


def test_no_restore_turns_control_or_audit_off(tmp_path: Path) -> None:
    url, old = f"sqlite:///{tmp_path}/m.db", tmp_path / "old.jsonl"
    with Memory(url) as memory:
        memory.store_memory("notes", {"id": "1"})
        memory.backup_data(old)
    with guarded(tmp_path / "m.db", audit=True) as memory:
        memory.acting_as("root").restore_data(old)
        memory.acting_as("root").backup_data(tmp_path / "new.jsonl")
    with Memory(url, admins=["root"]) as memory:
        with pytest.raises(AccessDenied):
            memory.search_memory("notes")
        root = memory.acting_as("root")
        assert root.search_memory("notes") == [{"id": "1"}]
        assert root.audit.entries(action="restore")
    with Memory(f"sqlite:///{tmp_path}/fresh.db") as fresh:  # where nothing was set, what was
        fresh.restore_data(tmp_path / "new.jsonl")
    with Memory(f"sqlite:///{tmp_path}/fresh.db") as fresh, pytest.raises(AccessDenied):
        fresh.search_memory("notes")


def test_nobody_restores_what_cannot_be_read(tmp_path: Path) -> None:
    honest = tmp_path / "honest.jsonl"

    def unsealed(record: dict[str, Any]) -> None:
        record["value"] = {"x": 1}

    def spoiled(record: dict[str, Any]) -> None:
        record["value"]["sealed"] = record["value"]["sealed"][:-8] + "AAAAAAA="

    def moved(record: dict[str, Any]) -> None:
        record["key"] += "0"

    def owned(record: dict[str, Any]) -> None:
        record["owner"] = "bob"

    with guarded(tmp_path / "m.db", encryption_key=KEY) as memory:
        alice, root = memory.as_user("alice"), memory.acting_as("root")
        alice.store_memory("notes", {"id": "1"})
        memory.as_user("bob").store_memory("notes", {"id": "1"})
        alice.backup_data(honest)
        for change in (unsealed, spoiled, moved):
            with pytest.raises(BackupError, match="nothing was restored"):
                alice.restore_data(crafted(honest, tmp_path / "crafted.jsonl", change))
        with pytest.raises(AccessDenied):
            alice.restore_data(crafted(honest, tmp_path / "crafted.jsonl", owned))
        assert len(list(root.backend.records(Query(("users",))))) == 2
        alice.delete_memory("notes")
        untouched = crafted(honest, tmp_path / "crafted.jsonl", lambda record: None)
        assert alice.restore_data(untouched) == 1
        assert alice.search_memory("notes") == [{"id": "1"}]
        assert root.forget_user("bob").counts == {"documents": 1}
    with guarded(tmp_path / "p.db") as plain:  # owners are asked about without encryption too
        plain.as_user("alice").store_memory("notes", {"id": "1"})
        plain.as_user("alice").backup_data(honest)
        with pytest.raises(AccessDenied):
            plain.as_user("alice").restore_data(crafted(honest, tmp_path / "c.jsonl", owned))
        assert plain.as_user("alice").restore_data(honest) == 1


class Note(BaseModel):
    id: str
    age: int


def test_a_sealed_part_is_held_against_schemas_too(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    with Memory(f"sqlite:///{tmp_path}/m.db", encryption_key=KEY) as memory:
        memory.as_user("alice").store_memory("notes", {"id": "1", "age": "bad"})
        memory.as_user("bob").store_memory("notes", {"id": "1", "age": 3})
        memory.backup_data(path)
        memory.register("notes", Note)
        with pytest.raises(InvalidDocument, match="age"):
            memory.restore_data(path, user="alice")
        assert memory.restore_data(path, user="bob") == 1


def test_keys_of_a_part_are_wrapped_by_the_present_master_key(tmp_path: Path) -> None:
    url, path = f"sqlite:///{tmp_path}/m.db", tmp_path / "b.jsonl"
    with Memory(url, encryption_key=KEY) as memory:
        memory.as_user("ada").store_memory("notes", {"id": "1"})
        memory.backup_data(path)
        # Her key goes, as one that was changed and needed no more.
        (record,) = [r for r in memory._layers.store.records(Query(KEYS)) if r.key != "digests"]
        memory.as_user("ada").delete_memory("notes")
        memory._layers.store.delete(KEYS, record.key)
        memory.encryption.rotate_master(NEW)
    with Memory(url, encryption_key=NEW) as memory:
        for part in ({"user": "ada"}, {"mode": "merge"}, {}):
            with pytest.raises(WrongKey, match=r"\[new, old\]"):
                memory.restore_data(path, **part)
        assert memory.as_user("ada").search_memory("notes") == []
        memory.as_user("ada").store_memory("other", {"id": "2"})
    with Memory(url, encryption_key=[NEW, KEY]) as memory:
        assert memory.restore_data(path, user="ada") == 1
    with Memory(url, encryption_key=NEW) as memory:
        assert memory.as_user("ada").search_memory("notes") == [{"id": "1"}]


def test_a_store_takes_nobody_back_whom_it_forgot(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    whole, hers = tmp_path / "w.jsonl", tmp_path / "a.jsonl"
    with Memory(url, encryption_key=KEY) as memory:
        alice, bob = memory.as_user("alice"), memory.as_user("bob")
        alice.store_memory("notes", {"id": "1", "text": "FORGET ME"})
        bob.store_memory("notes", {"id": "1"})
        memory.backup_data(whole)
        alice.backup_data(hers)
        assert memory.restore_data(whole, user="alice") == 1
        memory.forget_user("alice")
        for restore in (
            lambda: memory.restore_data(whole, user="alice"),
            lambda: memory.restore_data(hers),
            lambda: alice.restore_data(hers),
        ):
            with pytest.raises(BackupError, match="forgotten"):
                restore()
        for part in ({"collections": ["notes"]}, {"mode": "merge"}, {}):
            bob.delete_memory("notes")
            memory.restore_data(whole, **part)
            assert bob.search_memory("notes") == [{"id": "1"}]
            assert alice.search_memory("notes") == []
        stored = "".join(str(r) for r in memory._layers.store.records(Query(expired=True)))
        assert "alice" not in stored
        alice.store_memory("notes", {"id": "2"})  # somebody of that name, later
        alice.backup_data(hers)
        alice.delete_memory("notes")
        assert alice.restore_data(hers) == 1
        memory.restore_data(whole, mode="merge")
    with Memory(url, encryption_key=KEY) as memory:
        assert memory.as_user("alice").search_memory("notes") == [{"id": "2"}]
        assert memory.export_user("bob")["documents"]
        assert memory.check()


def test_a_part_deletes_nothing_that_a_relation_forbids_to_delete(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    with Memory(f"sqlite:///{tmp_path}/m.db", relations={"needs": "refuse"}) as memory:
        memory.store_memory("tasks", {"id": "a"})
        memory.backup_data(path)
        memory.store_memory("tasks", {"id": "b"})
        a, b = ("tasks", "a"), ("tasks", "b")
        memory.link(a, "needs", b)
        with pytest.raises(LinkedRecord, match="needs"):
            memory.restore_data(path, collections=["tasks"])
        assert len(memory.links(a)) == 1
        assert memory.check()
        memory.restore_data(path, collections=["tasks"], mode="merge")
        memory.backup_data(tmp_path / "both.jsonl")
        memory.restore_data(tmp_path / "both.jsonl", collections=["tasks"])
        assert len(memory.links(a)) == 1
        memory.unlink(a, "needs", b)
        memory.restore_data(path, collections=["tasks"])
        assert memory.search_memory("tasks") == [{"id": "a"}]
        memory.restore_data(tmp_path / "both.jsonl")  # everything as it was, its links too
        assert len(memory.links(a)) == 1
        memory.restore_data(path)
        assert memory.search_memory("tasks") == [{"id": "a"}]


def test_a_backup_under_another_master_key_changes_nothing(tmp_path: Path) -> None:
    mine, other = generate_key(), generate_key()
    with Memory(f"sqlite:///{tmp_path}/a.db", encryption_key=other) as memory:
        memory.store_memory("notes", {"id": "1", "text": "theirs"})
        memory.backup_data(tmp_path / "b.jsonl")
    with Memory(f"sqlite:///{tmp_path}/m.db", encryption_key=mine) as memory:
        memory.store_memory("notes", {"id": "1", "text": "mine"})
        before = list(memory._layers.store.records())
        with pytest.raises(WrongKey, match="nothing was restored"):
            memory.restore_data(tmp_path / "b.jsonl")
        assert list(memory._layers.store.records()) == before
    with Memory(f"sqlite:///{tmp_path}/n.db", encryption_key=[other, mine]) as memory:
        memory.restore_data(tmp_path / "b.jsonl")
        assert memory.retrieve_memory("notes") == {"id": "1", "text": "theirs"}


@pytest.mark.timeout(60)  # it used to wait for itself
@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_a_refused_owner_is_on_record(tmp_path: Path, kind: str) -> None:
    url = f"{kind}:///{tmp_path}/m.{kind}"
    with Memory(url, access_control=True, admins=["root"], audit=True) as memory:
        alice, root = memory.as_user("alice"), memory.acting_as("root")
        alice.store_memory("notes", {"id": "1"})
        alice.backup_data(tmp_path / "b.jsonl")
        crafted(tmp_path / "b.jsonl", tmp_path / "c.jsonl", lambda r: r.update(owner="bob"))
        with pytest.raises(AccessDenied, match="'alice' lacks the right 'admin'"):
            alice.restore_data(tmp_path / "c.jsonl")
        alice.store_memory("notes", {"id": "2"})  # nobody is kept waiting
        told = [(e.principal, e.action, e.outcome) for e in root.audit.entries()]
        assert ("alice", "denied", "AccessDenied") in told
        assert ("alice", "restore", "AccessDenied") in told
        assert root.audit.verify()
