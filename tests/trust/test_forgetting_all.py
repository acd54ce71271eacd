"""Forgetting and showing one person, whatever others have left in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from lc_memory import (
    AccessDenied,
    CorruptStore,
    InvalidInput,
    Memory,
    Put,
    Query,
    Record,
    WrongKey,
    generate_key,
)
from lc_memory.keys import KEYS, _name

ALICE, BOB = ("users", "alice"), ("users", "bob")
PLAIN = {"text": "not sealed"}


def sealed(memory_url: str) -> Memory:
    """An encrypted memory with something of alice, bob and carol, and what none can open."""
    memory = Memory(memory_url, encryption_key=generate_key(), relations={"has": "cascade"})
    for user in ("alice", "bob", "carol"):
        own = memory.as_user(user)
        for id in ("1", "2"):
            own.store_memory("notes", {"id": id, "text": f"{user}'s own"})
        own.link(("notes", "1"), "has", ("notes", "2"))
        memory.store_memory("profile", {"user_id": user, "text": f"profile of {user}"})
    store = memory._layers.store  # below encryption: as a crafted backup would leave it
    link = store.find(Query((*ALICE, "links", "out"))).records[0]
    store.write(
        [
            Put((*ALICE, "documents", "notes"), "bad", PLAIN),
            Put((*BOB, "documents", "notes"), "bad", PLAIN),
            Put(("documents", "notes"), "bad of alice", PLAIN, owner="alice"),
            Put(("documents", "notes"), "bad of nobody", PLAIN),
            Put(("documents", "profile"), "bad", PLAIN, owner="bob"),
            Put(link.namespace, "bad", PLAIN),
            Put(("checkpoints", "states", "x", "y"), "bad", PLAIN),
        ]
    )
    assert memory._layers.keyring is not None
    store.delete(KEYS, _name("carol"))
    memory._layers.keyring.reload()
    with pytest.raises(CorruptStore):
        memory.backend.find(Query(("users",)))
    return memory


def test_what_nobody_can_read_keeps_nobody_from_being_forgotten(memory_url: str) -> None:
    with sealed(memory_url) as memory:
        store = memory._layers.store
        forgotten = memory.forget_user("alice")
        assert forgotten.counts == {"documents": 5, "links": 3}
        assert store.find(Query(ALICE, expired=True)).records == []
        assert store.get(("documents", "notes"), "bad of alice") is None
        left = {id for id in forgotten.unreadable if id[0][:1] != ("users",)}
        assert left == {
            (("documents", "notes"), "bad of nobody"),
            (("documents", "profile"), "bad"),
            (("checkpoints", "states", "x", "y"), "bad"),
        }
        assert all(store.get(*id) is not None for id in forgotten.unreadable)
        kept = memory.as_user("bob").retrieve_memory("notes", id="1")
        assert kept == {"id": "1", "text": "bob's own"}
        assert memory.forget_user("bob").counts == {"documents": 5, "links": 2}
        assert memory.forget_user("carol").counts["documents"] == 3
        assert store.find(Query(("users",), expired=True)).records == []


def test_what_cannot_be_read_is_told_in_an_export(memory_url: str) -> None:
    with sealed(memory_url) as memory:
        told = memory.export_user("alice")
        assert [d["id"] for d in told["documents"]["notes"]] == ["1", "2"]
        assert len(told["documents"]["profile"]) == 1
        assert sorted(told["unreadable"])[:1] == ["documents/notes/bad of alice"]
        assert "users/alice/documents/notes/bad" in told["unreadable"]
        assert len(told["unreadable"]) == 3
        assert "bob" not in repr(told)
        assert "carol" not in repr(told)


def test_a_check_goes_on_where_something_cannot_be_read(memory_url: str) -> None:
    with sealed(memory_url) as memory:
        report = memory.check()
        assert not report
        told = {(*problem.namespace, problem.key) for problem in report.problems}
        assert (*ALICE, "documents", "notes", "bad") in told
        assert ("documents", "notes", "bad of nobody") in told
        carols = [problem for problem in report.problems if "carol" in problem.namespace]
        assert len(carols) == 4  # two notes, and both halves of their link
        assert report.found == 11
        assert report.links == 2
        assert memory.as_user("bob").check().found == 1


def test_records_of_another_master_key_are_passed_by(tmp_path: Path) -> None:
    url, key = f"sqlite:///{tmp_path}/m.db", generate_key()
    with Memory(url, encryption_key=key) as memory:
        for user in ("alice", "bob"):
            memory.as_user(user).store_memory("notes", {"id": "1"})
        store = memory._layers.store
        (record,) = (r for r in store.records(Query(KEYS)) if _wraps(memory, r, "bob"))
        held = {id: {**one, "master": "another"} for id, one in record.value["keys"].items()}
        store.put(*record.id, {**record.value, "keys": held})
    with Memory(url, encryption_key=key) as memory:
        with pytest.raises(WrongKey):
            memory.as_user("bob").search_memory("notes")
        assert len(memory.check().problems) == 1
        assert len(memory.export_user("alice")["documents"]["notes"]) == 1
        forgotten = memory.forget_user("alice")
        assert forgotten.counts == {"documents": 1}
        assert forgotten.unreadable == [((*BOB, "documents", "notes"), "1")]


def _wraps(memory: Memory, record: Record, user: str) -> bool:
    keyring = memory._layers.keyring
    assert keyring is not None
    return record.value["active"] == keyring.active(user)[0]


def test_a_user_called_as_a_label_is_not_everybody(memory: Memory) -> None:
    items = memory.store()
    items.put(("memories", "alice"), "k", {"text": "alice's"})
    items.put(("memories", "bob"), "k", {"text": "bob's"})
    items.put(("users", "bob", "memories"), "k", {"text": "bob's too"})
    for user in ("memories", "alice", "bob"):
        memory.as_user(user).store_memory("notes", {"id": "1"})
    before = memory.backend.find(Query()).records
    for work in (memory.forget_user, memory.export_user):
        for user in ("memories", "alice"):
            with pytest.raises(InvalidInput, match="label="):
                work(user)
    assert memory.backend.find(Query()).records == before
    assert memory.export_user("memories", label=-1)["store"] == []
    assert memory.forget_user("memories", label=1).counts == {"documents": 1}
    assert {item.value["text"] for item in items.search(("memories",))} == {"alice's", "bob's"}
    assert memory.forget_user("alice", label=-1).counts == {"documents": 1, "store": 1}
    assert memory.forget_user("bob", label=1).counts == {"documents": 1, "store": 2}
    assert items.search(()) == []
    items.put(("facts", "carol", "food"), "k", {"text": "carol's"})
    assert len(memory.export_user("carol")["store"]) == 1
    assert memory.forget_user("carol").counts == {"store": 1}


def test_a_user_exporting_for_herself_does_not_say_what_her_label_is(memory_url: str) -> None:
    with Memory(memory_url, access_control=True, admins=["root"]) as memory:
        root = memory.acting_as("root")
        root.store().put(("memories", "alice"), "k", {"text": "alice's"})
        hers = memory.as_user("memories")
        hers.store_memory("notes", {"id": "1"})
        with pytest.raises(AccessDenied):
            hers.export_user("memories", label=0)
        assert hers.export_user("memories")["store"] == []
        memory.as_user("bob").store_memory("notes", {"id": "1"})
        assert len(memory.as_user("bob").export_user("bob")["documents"]) == 1
        assert len(root.export_user("alice", label=1)["store"]) == 1


def test_the_grants_of_a_forgotten_user_go_with_them(memory_url: str) -> None:
    with Memory(memory_url, access_control=True, admins=["root"]) as memory:
        root, alice = memory.acting_as("root"), memory.as_user("alice")
        alice.store_memory("notes", {"id": "1"})
        alice.share("notes", "1", with_user="bob")
        alice.share("notes", with_user="group:team")
        root.access.add_to_group("team", "alice", "bob")
        root.access.grant("bob", "reader", ("documents", "course"))
        root.access.grant("alice", "editor", ("documents", "course"))
        root.forget_user("alice")
        assert "alice" not in root.access.users()
        assert root.access.groups() == {"team": ["bob"]}
        left = [(grant.to, grant.namespace) for grant in root.access.grants()]
        assert left == [("user:bob", ("documents", "course"))]
        alice.store_memory("notes", {"id": "1"})  # somebody new of that name
        assert not root.access.may("bob", "read", alice.collection("notes"), "1")
        assert not root.access.may("alice", "write", ("documents", "course"))
