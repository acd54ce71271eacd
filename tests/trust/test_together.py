"""Schemas, links and people's rights with every other layer on: sealed, guarded, on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lc_memory import AccessDenied, InvalidDocument, LinkedRecord, Memory, Query, Unsupported


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
    forgotten = guarded.forget_user("alice")
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
            lambda: alice.export_user("alice", tmp_path / "x.json"),
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
