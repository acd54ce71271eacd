"""Schemas, links and people's rights with every other layer on: sealed, guarded, on record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lc_memory import AccessDenied, InvalidDocument, LinkedRecord, Memory, Query, Unsupported
from lc_memory.upkeep import Upkeep


class Note(BaseModel):
    id: str
    text: str = ""


def renamed(value: dict[str, Any]) -> dict[str, Any]:
    return {"id": value["id"], "text": value.pop("body", "")}


@pytest.fixture
def guarded(memory_url: str) -> Iterator[Memory]:
    """A memory with all layers, bound to its administrator."""
    with Memory(
        memory_url,
        encryption_key="correct horse",
        access_control=True,
        admins=["root"],
        audit=True,
        schemas={"notes": Note},
        relations={"owns": "refuse", "has": "cascade"},
    ) as memory:
        yield memory.acting_as("root")


def test_all_layers_work_together(guarded: Memory, tmp_path: Path) -> None:
    alice, bob = guarded.as_user("alice"), guarded.as_user("bob")
    assert alice.principal == "root"
    first = alice.store_memory("notes", {"id": "1", "text": "a secret of alice"})
    second = alice.store_memory("notes", {"id": "2"})
    bob.store_memory("notes", {"id": "1", "text": "bob's"})
    with pytest.raises(InvalidDocument, match=r"^\$\.id: "):
        alice.store_memory("notes", {"text": "x"})
    alice.link(first, "owns", second)
    with pytest.raises(LinkedRecord):
        alice.delete_memory("notes", id="2")
    assert [r.value["id"] for r in alice.related(first)] == ["2"]
    assert guarded.check().links == 1
    assert guarded.check()
    assert "a secret" in repr(guarded.export_user("alice", tmp_path / "a.json"))
    actions = {entry.action for entry in guarded.audit.entries()}
    assert {"put", "export", "check"} <= actions
    keyring = guarded._layers.keyring
    assert keyring is not None
    assert keyring._record("alice") is not None
    forgotten = guarded.forget_user("alice")
    assert len(keyring._record("alice").value["keys"]) == 2  # the old one goes: Encryption.sweep
    assert keyring._record("bob") is not None
    assert forgotten.counts == {"documents": 2, "links": 2}
    assert "forget" in {entry.action for entry in guarded.audit.entries()}
    assert alice.search_memory("notes") == []
    assert bob.search_memory("notes") == [{"id": "1", "text": "bob's"}]


def test_old_versions_are_found_when_sealed(guarded: Memory) -> None:
    guarded.store_memory("notes", {"id": "1", "body": "old"})
    guarded.register("notes", Note, version=2, upgrades={1: renamed})
    guarded.store_memory("notes", {"id": "2", "text": "new"})
    assert guarded.search_memory("notes", {"text": "old"}) == [
        {"id": "1", "text": "old", "schema_version": 2}
    ]
    assert guarded.check().old == 1
    assert guarded.upgrade_documents().upgraded == 1
    assert guarded.check().old == 0
    raw = repr(guarded._layers.store.find(Query(("documents",))).records)
    assert "old" not in raw
    assert "body" not in raw


def test_users_may_not_do_the_administrators_work(guarded: Memory, tmp_path: Path) -> None:
    root = guarded
    theirs = root.as_user("bob").store_memory("notes", {"id": "1"})
    common = root.store_memory("topics", {"id": "t"})
    with _as("alice", root) as alice:
        mine = alice.store_memory("notes", {"id": "1"})
        for work in (
            lambda: alice.register("x", Note),
            lambda: alice.relation("x", on_delete="cascade"),
            lambda: alice.export_user("bob"),
            lambda: alice.export_user("alice", tmp_path / "x.json", label=0),
            lambda: alice.forget_user("bob"),
            lambda: alice.link(mine, "has", theirs),
            lambda: alice.link(theirs, "has", mine),
            lambda: alice.link(mine, "has", common),
            lambda: alice.unlink(theirs, "has", mine),
            lambda: alice.links(theirs),
            lambda: alice.related(theirs),
            lambda: alice.graph("bob"),
        ):
            with pytest.raises(AccessDenied):
                work()
        assert not (tmp_path / "x.json").exists()
        other = alice.store_memory("notes", {"id": "2"})
        alice.link(mine, "has", other)
        assert [r.key for r in alice.related(mine)] == ["2"]
        assert alice.check()
        assert alice.upgrade_documents().upgraded == 0
        assert len(alice.graph().nodes) == 4
        assert alice.delete_memory("notes", id="1") == 1
        assert alice.search_memory("notes") == []  # "has" cascades
        unbound = _unbound(root)
        for work in (
            lambda: unbound.check(),
            lambda: unbound.upgrade_documents(),
            lambda: unbound.graph(),
            lambda: unbound.links(common),
            lambda: unbound.forget_user("alice"),
        ):
            with pytest.raises(AccessDenied):
                work()
    assert root.as_user("bob").retrieve_memory("notes") == {"id": "1"}


def _unbound(memory: Memory) -> Memory:
    return memory._bound(None, None)


def _as(user: str, memory: Memory) -> Any:
    return _unbound(memory).as_user(user)


def test_without_transactions_links_are_refused_and_nothing_else(memory: Memory) -> None:
    """As on a MongoDB server that stands alone."""
    from dataclasses import replace

    from lc_memory.layers.base import Layer

    class Alone(Layer):
        @property
        def capabilities(self) -> Any:  # type: ignore[override]  # as declared by another store
            return replace(self.inner.capabilities, atomic=False)

        def write(self, ops: Any) -> Any:
            if len(ops) > 1:
                raise Unsupported("no batches")
            return self.inner.write(ops)

    with Memory(Alone(memory._layers.store)) as alone:
        record = alone.store_memory("notes", {"id": "1", "user_id": "alice"})
        with pytest.raises(Unsupported):
            alone.link(record, "has", record)
        memory.link(record, "has", record)
        with pytest.raises(Unsupported, match="unlink it first"):
            alone.delete_memory("notes")
        assert alone.forget_user("alice").counts == {"documents": 1, "links": 2}
        alone.store_memory("notes", {"id": "1"})
        assert alone.delete_memory("notes") == 1


# -- each method has its negative test, and its positive control -----------------------------

_MINE = (("users", "alice", "documents", "notes"), "1")
CALLS: dict[str, tuple[Any, ...]] = {
    "register": ("x", Note),
    "upgrade_documents": (),
    "check": (),
    "relation": ("x",),
    "link": (_MINE, "has", _MINE),
    "unlink": (_MINE, "has", _MINE),
    "links": (_MINE,),
    "related": (_MINE,),
    "graph": (),
    "export_user": ("alice",),
    "forget_user": ("alice",),
}
CALLS |= {f"a{name}": given for name, given in CALLS.items()}


def test_every_method_is_among_them() -> None:
    assert {name for name in vars(Upkeep) if not name.startswith("_")} == set(CALLS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_method_works_for_who_has_the_right_and_for_nobody_else(
    name: str, tmp_path: Path
) -> None:
    def call(memory: Memory) -> Any:
        done = getattr(memory, name)(*CALLS[name])
        return asyncio.run(done) if name.startswith("a") else done

    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, access_control=True, admins=["root"]) as memory:
        memory.as_user("alice").store_memory("notes", {"id": "1"})
        before = memory._layers.store.find(Query(("users",))).records
        for stranger in (memory, memory.as_user("bob").as_user("alice")):
            with pytest.raises(AccessDenied):
                call(stranger)
            assert memory._layers.store.find(Query(("users",))).records == before
        call(memory.acting_as("root").as_user("alice"))
