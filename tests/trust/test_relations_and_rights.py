"""Links under access control: no right is gained by one, and none is needed to see one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lc_memory import AccessDenied, InvalidKey, Memory, MemoryNotFound, Put, Query, Record
from lc_memory.relations import DECLARED, Stored

OWN = ("users", "alice")


@pytest.fixture
def guarded(memory_url: str) -> Iterator[Memory]:
    with Memory(memory_url, access_control=True, admins=["root"]) as memory:
        yield memory


def note_of(memory: Memory, user: str, id: str = "1", name: str = "notes") -> Record:
    return memory.as_user(user).store_memory(name, {"id": id, "text": f"of {user}"})


def test_what_goes_along_is_deleted_only_by_who_may_delete_it(guarded: Memory) -> None:
    root, alice = guarded.acting_as("root"), guarded.as_user("alice")
    root.relation("has", on_delete="cascade")
    note_of(guarded, "alice")
    note_of(guarded, "alice", name="diary")
    alice.link(("notes", "1"), "has", ("diary", "1"))
    root.access.grant("bob", "editor", (*OWN, "documents", "notes"))
    bob = guarded.as_user("bob").as_user("alice")
    with pytest.raises(AccessDenied) as refused:
        bob.delete_memory("notes", id="1")
    assert "diary" not in str(refused.value)
    assert alice.retrieve_memory("diary") == {"id": "1", "text": "of alice"}
    assert alice.retrieve_memory("notes") is not None
    note_of(guarded, "alice", "2")
    assert bob.delete_memory("notes", id="2") == 1  # with nothing that hangs on it
    root.access.grant("bob", "editor", (*OWN, "documents", "diary"))
    assert bob.delete_memory("notes", id="1") == 1
    assert alice.retrieve_memory("diary") is None


def test_a_half_link_that_a_reader_made_up_moves_nothing(guarded: Memory) -> None:
    root, alice = guarded.acting_as("root"), guarded.acting_as("alice")
    root.relation("has", on_delete="cascade")
    course = root.store_memory("course", {"id": "c1"})
    root.access.grant("alice", "reader", ("documents", "course"))
    note = note_of(guarded, "alice")
    link = Stored.between(note, "has", course)
    alice.backend.write([Put(*link.ids[0], link.value)])
    assert root.forget_user("alice").counts == {"documents": 1, "links": 1}
    assert root.retrieve_memory("course", id="c1") == {"id": "c1"}
    # An honest one does:
    note = note_of(guarded, "alice")
    root.link(note, "has", course)
    assert root.forget_user("alice").counts == {"documents": 2, "links": 2}
    assert root.retrieve_memory("course", id="c1") is None


def test_a_half_link_neither_cascades_nor_refuses(memory: Memory) -> None:
    memory.relation("has", on_delete="cascade")
    memory.relation("needs", on_delete="refuse")
    for relation in ("has", "needs"):
        first, second = (memory.store_memory("n", {"id": relation + end}) for end in "ab")
        link = Stored.between(first, relation, second)
        memory.backend.write([Put(*link.ids[0], link.value)])
        assert memory.delete_memory("n", id=f"{relation}a") == 1
        assert memory.retrieve_memory("n", id=f"{relation}b") == {"id": f"{relation}b"}


def test_what_is_no_link_keeps_nobody_from_forgetting_and_drawing(guarded: Memory) -> None:
    root, alice = guarded.acting_as("root"), guarded.as_user("alice")
    first, second = note_of(guarded, "alice"), note_of(guarded, "alice", "2")
    alice.link(first, "next", second)
    place = Stored.between(first, "next", second).ids[0][0]
    guarded.acting_as("alice").backend.put(place, "junk", {"a": 1})
    assert '|"next"|' in alice.graph().mermaid()
    assert not root.check()
    note_of(guarded, "bob")
    assert root.forget_user("alice").counts == {"documents": 2, "links": 3}
    assert root.check()
    assert guarded.as_user("bob").retrieve_memory("notes") is not None


def test_links_to_what_may_not_be_read_are_left_out(guarded: Memory) -> None:
    root, alice = guarded.acting_as("root"), guarded.as_user("alice")
    mine, bobs = note_of(guarded, "alice"), note_of(guarded, "bob", "hidden")
    other = note_of(guarded, "alice", "other")
    root.link(mine, "about", bobs)
    root.link(mine, "about", other)
    assert [link.target for link in alice.links(("notes", "1"))] == [other.id]
    assert [record.id for record in alice.related(("notes", "1"))] == [other.id]
    assert "hidden" not in alice.graph().mermaid()
    assert "about" in alice.graph().mermaid()
    guarded.as_user("bob").share("notes", "hidden", with_user="alice")
    assert {link.target for link in alice.links(("notes", "1"))} == {other.id, bobs.id}
    assert {record.id for record in alice.related(("notes", "1"))} == {other.id, bobs.id}


def test_a_link_that_is_refused_changes_nothing(guarded: Memory) -> None:
    root, alice = guarded.acting_as("root"), guarded.as_user("alice")
    mine, bobs = note_of(guarded, "alice"), note_of(guarded, "bob")
    guarded.as_user("bob").share("notes", "1", with_user="alice")
    store = guarded._layers.store

    def stored() -> list[Record]:
        return store.find(Query(expired=True)).records

    before = stored()
    for memory in (alice, guarded, guarded.as_user("eve")):
        with pytest.raises(AccessDenied):
            memory.link(mine, "about", bobs)
    with pytest.raises(MemoryNotFound):
        alice.link(mine, "about", ("notes", "nothing"))
    with pytest.raises(InvalidKey):
        alice.link(mine, "", mine)
    assert stored() == before
    assert store.get(*DECLARED) is None
    root.link(mine, "about", bobs)
    assert store.get(*DECLARED) is not None


def test_a_copy_declares_relations_only_where_one_may(guarded: Memory, tmp_path: Path) -> None:
    with Memory(f"sqlite:///{tmp_path}/mine.db", relations={"has": "refuse"}) as mine:
        own = mine.as_user("alice")
        first, second = (own.store_memory("notes", {"id": id}) for id in "ab")
        own.link(first, "has", second)
        own.copy_to(guarded.as_user("alice"))
        declared = guarded._layers.store.get(*DECLARED)
        assert declared is not None
        assert declared.value == {}
        alice = guarded.as_user("alice")
        assert [record.key for record in alice.related(("notes", "a"))] == ["b"]
        assert alice.delete_memory("notes", id="b") == 1  # its links are kept in order all the same
        assert guarded.acting_as("root").check()
        mine.copy_to(guarded.acting_as("root"), merge=True)
        declared = guarded._layers.store.get(*DECLARED)
        assert declared is not None
        assert declared.value == {"has": "refuse"}
