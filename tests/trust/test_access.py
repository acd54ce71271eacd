"""Access control: who has no right gets nothing, not even whether it is there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from lc_memory import (
    AccessDenied,
    Append,
    Clear,
    Delete,
    Expect,
    Memory,
    Put,
    Query,
    Restore,
    Touch,
)
from lc_memory.errors import InvalidValue, Unsupported
from lc_memory.records import Limits


@pytest.fixture
def guarded(memory_url: str) -> Iterator[Memory]:
    with Memory(memory_url, access_control=True, admins=["root"]) as memory:
        yield memory


@pytest.fixture
def notes(guarded: Memory) -> Memory:
    """Alice's handle, with two notes."""
    alice = guarded.as_user("alice")
    alice.store_memory("notes", {"id": "n1", "text": "peanuts"})
    alice.store_memory("notes", {"id": "n2", "text": "tea"})
    return alice


# -- every method of a handle --------------------------------------------------------------------

Use = Callable[[Memory, Path], Any]


def _ask(memory: Memory, name: str, *args: Any, **kwargs: Any) -> Any:
    return asyncio.run(getattr(memory, name)(*args, **kwargs))


def _graph_state(memory: Memory) -> Any:
    config: Any = {"configurable": {"thread_id": "t"}}
    return memory.checkpointer().get_tuple(config)


class _Model(FakeMessagesListChatModel):
    """A model that finds nothing to learn."""

    def __init__(self) -> None:
        super().__init__(responses=[])

    def with_structured_output(self, schema: Any, **options: Any) -> Any:
        nothing = schema.model_validate({next(iter(schema.model_fields)): []})
        return RunnableLambda(
            lambda asked: (
                {"raw": AIMessage(""), "parsed": nothing} if options.get("include_raw") else nothing
            )
        )


class _Thing(BaseModel):
    """Any model will do."""


N = ("notes", "n1")

#: Of each public method: how it is used on what is alice's. A new method needs a line here.
USES: dict[str, Use] = {
    "store_memory": lambda m, p: m.store_memory("notes", {"id": "n3"}),
    "batch_store": lambda m, p: m.batch_store([("notes", {"id": "n3"})]),
    "retrieve_memory": lambda m, p: m.retrieve_memory("notes"),
    "search_memory": lambda m, p: m.search_memory("notes"),
    "update_memory": lambda m, p: m.update_memory("notes", {"text": "x"}, id="n1"),
    "delete_memory": lambda m, p: m.delete_memory("notes"),
    "backup_data": lambda m, p: m.backup_data(p / "b.json"),
    "restore_data": lambda m, p: m.restore_data(p / "whole.json"),
    "backups": lambda m, p: m.backups.verify(p / "whole.json"),
    "schedule_backups": lambda m, p: m.schedule_backups(every="6h", to=p),
    "copy_to": lambda m, p: m.copy_to(f"json:///{p}/copy.json", dry_run=True),
    "migrate_to": lambda m, p: _moved(m.migrate_to(f"json:///{p}/moved.json")),
    "chat_history": lambda m, p: m.chat_history("s").messages,
    "store": lambda m, p: m.store().search(()),
    "checkpointer": lambda m, p: _graph_state(m),
    "key_value": lambda m, p: m.key_value().mget(["k"]),
    "llm_cache": lambda m, p: m.llm_cache().lookup("p", "m"),
    "session": lambda m, p: asyncio.run(m.session("s").get_items()),
    "share": lambda m, p: m.share("notes", "n1", with_user="bob"),
    "unshare": lambda m, p: m.unshare("notes", "n1", with_user="bob"),
    "sessions": lambda m, p: m.sessions(),
    "recall": lambda m, p: m.recall("peanuts"),
    "as_retriever": lambda m, p: m.as_retriever().invoke("peanuts"),
    "context": lambda m, p: m.context(query="peanuts"),
    "learn": lambda m, p: m.learn("I like tea", model=_Model()),
    "reindex": lambda m, p: m.reindex(),
    "register": lambda m, p: m.register("other", _Thing),
    "upgrade_documents": lambda m, p: m.upgrade_documents(),
    "check": lambda m, p: m.check(),
    "relation": lambda m, p: m.relation("next", on_delete="cascade"),
    "link": lambda m, p: m.link(N, "next", ("notes", "n2")),
    "unlink": lambda m, p: m.unlink(N, "next", ("notes", "n2")),
    "links": lambda m, p: m.links(N),
    "related": lambda m, p: m.related(N),
    "graph": lambda m, p: m.graph().mermaid(),
    "export_user": lambda m, p: m.export_user("alice"),
    "forget_user": lambda m, p: m.forget_user("alice"),
}
_ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "store_memory": (("notes", {"id": "n3"}), {}),
    "batch_store": (([("notes", {"id": "n3"})],), {}),
    "retrieve_memory": (("notes",), {}),
    "search_memory": (("notes",), {}),
    "update_memory": (("notes", {"text": "x"}), {"id": "n1"}),
    "delete_memory": (("notes",), {}),
    "share": (("notes", "n1"), {"with_user": "bob"}),
    "unshare": (("notes", "n1"), {"with_user": "bob"}),
    "sessions": ((), {}),
    "recall": (("peanuts",), {}),
    "context": ((), {"query": "peanuts"}),
    "reindex": ((), {}),
    "register": (("other", _Thing), {}),
    "upgrade_documents": ((), {}),
    "check": ((), {}),
    "relation": (("next",), {"on_delete": "cascade"}),
    "link": ((N, "next", ("notes", "n2")), {}),
    "unlink": ((N, "next", ("notes", "n2")), {}),
    "links": ((N,), {}),
    "related": ((N,), {}),
    "graph": ((), {}),
    "export_user": (("alice",), {}),
    "forget_user": (("alice",), {}),
}


def _moved(move: Any) -> None:
    with move:
        move.run()
        move.rollback()


def _twin(memory: Memory, path: Path, name: str) -> Any:
    match name:
        case "backup_data":
            args: tuple[Any, ...] = (path / "b.json",)
        case "restore_data":
            args = (path / "whole.json",)
        case "copy_to":
            return _ask(memory, "acopy_to", f"json:///{path}/copy.json", dry_run=True)
        case "migrate_to":
            return _moved(_ask(memory, "amigrate_to", f"json:///{path}/moved.json"))
        case "schedule_backups":
            return _ask(memory, "aschedule_backups", every="6h", to=path)
        case "learn":
            return _ask(memory, "alearn", "I like tea", model=_Model())
        case _:
            args, kwargs = _ARGUMENTS[name]
            return _ask(memory, f"a{name}", *args, **kwargs)
    return _ask(memory, f"a{name}", *args)


USES |= {
    f"a{name}": lambda m, p, name=name: _twin(m, p, name)
    for name in list(USES)
    if hasattr(Memory, f"a{name}")
}

#: For an administrator only.
ADMIN = {"register", "relation", "export_user", "forget_user", "reindex", "schedule_backups"}
ADMIN |= {"migrate_to"}

#: What touches nothing of anybody's, or has tests of its own.
HARMLESS = {"as_user", "acting_as", "collection", "close", "aclose"}
HARMLESS |= {"access", "audit", "encryption"}


def test_every_public_method_has_its_negative_test() -> None:
    public = {name for name in dir(Memory) if not name.startswith("_")}
    assert public - HARMLESS == set(USES)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Memory]:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, access_control=True, admins=["root"], recall=True) as memory:
        alice = memory.as_user("alice")
        alice.store_memory("notes", {"id": "n1", "text": "peanuts"})
        alice.store_memory("notes", {"id": "n2", "text": "tea"})
        alice.link(N, "next", ("notes", "n2"))
        alice.chat_history("s").add_messages([HumanMessage("peanuts again")])
        alice.backup_data(tmp_path / "whole.json")
        yield memory


@pytest.mark.parametrize("name", sorted(USES))
def test_a_method_works_for_its_user_and_for_nobody_else(
    own: Memory, tmp_path: Path, name: str
) -> None:
    use, root = USES[name], own.acting_as("root")
    before = root.backend.find(Query(("users",))).records
    with pytest.raises(AccessDenied, match="bound to nobody"):
        use(own, tmp_path)
    with pytest.raises(AccessDenied, match="lacks the right"):
        use(own.as_user("bob").as_user("alice"), tmp_path)
    with suppress(AccessDenied):  # or all that bob may see, in which there is nothing of hers
        assert "peanuts" not in repr(use(own.acting_as("bob"), tmp_path))
    assert root.backend.find(Query(("users", "alice"))).records == before
    admin = name in ADMIN or name.removeprefix("a") in ADMIN
    use(root if admin else own.as_user("alice"), tmp_path)  # the positive control


#: Each verb of the waist, on alice's n1.
N1 = (("users", "alice", "documents", "notes"), "n1")


def _verbs(seen: Any) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    space, key = N1
    return {
        "read": ("read", lambda s: s.read([N1])),
        "find": ("read", lambda s: s.find(Query(space, exact=True))),
        "find under": ("read", lambda s: s.find(Query(space[:2], {"text": "x"}, "text"))),
        "count": ("read", lambda s: s.count(Query(space))),
        "namespaces": ("read", lambda s: s.namespaces(space[:2])),
        "expect": ("read", lambda s: s.write([Expect(space, key)])),
        "put": ("write", lambda s: s.write([Put(space, key, {})])),
        "append": ("write", lambda s: s.write([Append((*space[:2], "log"), {})])),
        "touch": ("write", lambda s: s.write([Touch(space, key, None)])),
        "delete": ("delete", lambda s: s.write([Delete(space, key)])),
        "clear": ("delete", lambda s: s.write([Clear(space[:2])])),
        "restore": ("write", lambda s: s.write([Restore(seen)])),
        "hidden in a batch": (
            "write",
            lambda s: s.write([Put(("users", s.principal_of_test), "k", {}), Put(space, key, {})]),
        ),
    }


@pytest.mark.parametrize("verb", sorted(_verbs(None)))
def test_a_verb_needs_its_right(guarded: Memory, notes: Memory, verb: str) -> None:
    """Without the right it is refused, whether there is something or not; with it, carried out."""
    seen = notes.backend.get(*N1)
    right, use = _verbs(seen)[verb]
    bob = guarded.acting_as("bob").backend
    bob.principal_of_test = "bob"  # type: ignore[attr-defined]  # for the batch above
    with pytest.raises(AccessDenied) as refused:
        use(bob)
    assert isinstance(refused.value, PermissionError)
    assert f"'{right}'" in str(refused.value)
    guarded.as_user("alice").backend.write([Clear(("users", "alice"))])
    with pytest.raises(AccessDenied) as again:
        use(bob)
    assert str(again.value) == str(refused.value)
    assert guarded.acting_as("root").backend.count(Query(("users",))) == 0
    notes.store_memory("notes", {"id": "n1", "text": "peanuts"})
    guarded.acting_as("root").access.grant("bob", ("read", "write", "delete"), ("users", "alice"))
    use(bob)


def test_an_unbound_handle_can_do_nothing(guarded: Memory, notes: Memory) -> None:
    for use in (
        lambda: guarded.backend.find(Query()),
        lambda: guarded.backend.read([N1]),
        lambda: guarded.backend.write([]),
        lambda: guarded.backend.sweep(),
        lambda: guarded.backend.count(),
        lambda: guarded.backend.namespaces(),
        lambda: guarded.access.grants(),
    ):
        with pytest.raises(AccessDenied):
            use()


def test_who_is_bound_stays_bound(guarded: Memory, notes: Memory) -> None:
    bob = guarded.as_user("bob")
    for handle in (bob.as_user("alice"), bob.as_user("alice").as_user("alice")):
        with pytest.raises(AccessDenied):
            handle.search_memory("notes")
    with pytest.raises(AccessDenied):
        bob.acting_as("root")


def test_control_stays_on_for_all_who_open_the_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    Memory(url, access_control=True).close()
    with Memory(url) as memory, pytest.raises(AccessDenied):
        memory.search_memory("notes")
    with Memory(url, access_control=False) as memory:
        assert memory.search_memory("notes") == []
    with Memory(url) as memory, pytest.raises(Unsupported, match="access_control=True"):
        _ = memory.access


# -- sharing ---------------------------------------------------------------------------------------


def test_one_memory_is_shared_and_taken_back(guarded: Memory, notes: Memory) -> None:
    theirs = guarded.as_user("bob").as_user("alice")
    notes.share("notes", "n1", with_user="bob")
    assert theirs.retrieve_memory("notes", id="n1") == {"id": "n1", "text": "peanuts"}
    assert [d["id"] for d in theirs.search_memory("notes")] == ["n1"]
    assert theirs.backend.count(Query(("users",))) == 1
    assert theirs.backend.namespaces(("users",)) == [N1[0]]
    for use in (
        lambda: theirs.retrieve_memory("notes", id="n2"),
        lambda: theirs.update_memory("notes", {"text": "x"}, id="n1"),
        lambda: theirs.delete_memory("notes", id="n1"),
        lambda: theirs.share("notes", "n1", with_user="carol"),
    ):
        with pytest.raises(AccessDenied):
            use()
    assert notes.unshare("notes", "n1", with_user="bob") == 1
    with pytest.raises(AccessDenied):
        theirs.retrieve_memory("notes", id="n1")
    with pytest.raises(AccessDenied):
        theirs.search_memory("notes")


def test_a_collection_is_shared_for_writing(guarded: Memory, notes: Memory) -> None:
    theirs = guarded.as_user("bob").as_user("alice")
    notes.share("notes", with_user="bob", write=True)
    theirs.update_memory("notes", {"text": "changed"}, id="n1")
    assert notes.retrieve_memory("notes", id="n1") == {"id": "n1", "text": "changed"}
    record = notes.backend.get(*N1)
    assert record is not None
    assert record.owner == "alice"
    with pytest.raises(AccessDenied):
        theirs.search_memory("diary")
    with pytest.raises(AccessDenied):
        theirs.delete_memory("notes", id="n1")


def test_nobody_shares_what_is_not_theirs(guarded: Memory, notes: Memory) -> None:
    carol = guarded.as_user("carol").as_user("alice")
    notes.share("notes", with_user="carol")
    with pytest.raises(AccessDenied, match="'share'"):
        carol.share("notes", with_user="bob")
    with pytest.raises(AccessDenied, match="'admin'"):
        guarded.as_user("carol").access.grant("carol", "read", ("users", "alice"))


# -- groups, roles, administration -----------------------------------------------------------------


def test_groups_and_roles(guarded: Memory, notes: Memory) -> None:
    root = guarded.acting_as("root").access
    root.add_to_group("tutors", "bob", "carol")
    root.define_role("corrector", ["read", "write"])
    root.grant("group:tutors", "corrector", ("users", "alice", "documents"))
    bob = guarded.as_user("bob").as_user("alice")
    bob.update_memory("notes", {"text": "better"}, id="n1")
    root.define_role("corrector", ["read"])
    with pytest.raises(AccessDenied, match="'write'"):
        bob.update_memory("notes", {"text": "worse"}, id="n1")
    assert root.groups() == {"tutors": ["bob", "carol"]}
    assert root.may("bob", "read", N1[0])
    root.remove_from_group("tutors", "bob")
    with pytest.raises(AccessDenied):
        bob.search_memory("notes")
    assert guarded.as_user("carol").as_user("alice").retrieve_memory("notes", id="n1")
    assert root.users() == ["alice", "bob", "carol"]
    root.remove_group("tutors")
    assert root.groups() == {}
    with pytest.raises(InvalidValue, match="no role"):
        root.grant("bob", "emperor", ())


def test_grants_are_listed_and_revoked(guarded: Memory, notes: Memory) -> None:
    root = guarded.acting_as("root").access
    root.grant("bob", "reader", ("users", "alice"))
    notes.share("notes", "n1", with_user="bob")
    mine = guarded.as_user("bob").access.grants("bob")
    assert [(g.namespace, g.key, g.role, g.by) for g in mine] == [
        (("users", "alice"), None, "reader", "root"),
        (*N1, None, "alice"),
    ]
    assert root.revoke("bob", ("users", "alice")) == 1
    assert len(root.grants()) == 1
    assert root.remove_user("bob")
    assert root.grants() == []
    with pytest.raises(AccessDenied):
        guarded.as_user("alice").access.grants("bob")


def test_an_administrator_sees_all_but_the_librarys_own(guarded: Memory, notes: Memory) -> None:
    root = guarded.acting_as("root")
    root.access.grant("bob", "reader", ("users", "alice"))
    assert {r.namespace[0] for r in root.backend.records()} == {"users"}
    for space in (("lc_memory",), ("lc_memory", "access", "cards")):
        with pytest.raises(AccessDenied):
            root.backend.find(Query(space))
        with pytest.raises(AccessDenied):
            root.backend.write([Put(space, "user:bob", {})])
    root.backend.write([Clear(())])
    assert root.backend.count() == 0
    assert [g.role for g in root.access.grants()] == ["reader"]


def test_a_user_may_export_what_is_theirs(guarded: Memory, notes: Memory) -> None:
    assert "peanuts" in repr(notes.export_user("alice"))
    with pytest.raises(AccessDenied):
        notes.export_user("bob")


def test_nobody_writes_in_anothers_name(guarded: Memory) -> None:
    bob = guarded.as_user("bob").backend
    with pytest.raises(AccessDenied):
        bob.write([Put(("users", "bob", "documents", "x"), "k", {}, owner="alice")])
    bob.write([Put(("users", "bob", "documents", "x"), "k", {}, owner="bob")])


def test_a_write_that_rests_on_a_grant_does_not_outlive_it(guarded: Memory, notes: Memory) -> None:
    """However a write and the taking back meet: after unshare returned, nothing comes through."""
    theirs = guarded.as_user("bob").as_user("alice")
    failed: list[Exception] = []

    def write() -> None:
        try:
            while True:
                theirs.update_memory("notes", {"text": "bob's"}, id="n1")
        except AccessDenied:
            pass
        except Exception as error:  # what it was, the assertion says
            failed.append(error)

    notes.share("notes", "n1", with_user="bob", write=True)
    thread = threading.Thread(target=write)
    thread.start()
    notes.unshare("notes", "n1", with_user="bob")
    after = notes.backend.get(*N1)
    thread.join()
    assert not failed
    assert notes.backend.get(*N1) == after


def test_a_query_within_a_callers_own_limits_stays_within_both(
    guarded: Memory, notes: Memory
) -> None:
    notes.share("notes", "n1", with_user="bob")
    bob = guarded.acting_as("bob").backend
    wide = Query(("users",), within=Limits((("users", "alice"), ("users", "bob"))))
    assert [record.key for record in bob.find(wide).records] == ["n1"]
    other = Query(("users",), within=Limits(((*N1[0], "deeper"),)))
    assert bob.find(other).records == []


def test_limits_are_what_both_allow() -> None:
    alice, bob = ("users", "alice"), ("users", "bob")
    assert Limits((alice,)).both(Limits((bob,))) == Limits()
    assert Limits((alice,)).both(Limits((("users",),))) == Limits((alice,))
    assert Limits((("users",),)).both(Limits((alice, bob))) == Limits((alice, bob))
    assert Limits((alice,), ((bob, "k"),)).both(Limits((bob,))) == Limits((), ((bob, "k"),))


def test_sharing_leaves_what_an_administrator_granted(guarded: Memory, notes: Memory) -> None:
    root = guarded.acting_as("root").access
    root.grant("bob", "editor", N1[0])
    notes.share("notes", with_user="bob")
    bob = guarded.as_user("bob").as_user("alice")
    bob.update_memory("notes", {"text": "still"}, id="n1")
    assert notes.unshare("notes", with_user="bob") == 1
    bob.update_memory("notes", {"text": "again"}, id="n1")
    assert root.revoke("bob", N1[0]) == 1
    with pytest.raises(AccessDenied):
        bob.search_memory("notes")


def test_the_store_itself_is_the_administrators(guarded: Memory, notes: Memory) -> None:
    for handle in (notes, guarded):
        with pytest.raises(AccessDenied):
            handle.backend.scrub()
        with pytest.raises(AccessDenied):
            handle.backend.declare([])
        handle.backend.close()
    assert notes.retrieve_memory("notes", id="n1")
    guarded.acting_as("root").backend.declare([])


def test_the_librarys_own_records_are_written_by_no_handle(memory: Memory) -> None:
    for op in (
        Put(("lc_memory", "settings"), "encryption", {}),
        Delete(("lc_memory", "settings"), "access"),
        Clear(("lc_memory",)),
    ):
        with pytest.raises(AccessDenied, match="own records"):
            memory.backend.write([op])


async def test_a_reader_reads_items_whose_time_reading_would_renew(guarded: Memory) -> None:
    """Reading renews for who may write; others read all the same, and renew nothing."""
    guarded.as_user("alice").store(ttl={"default_ttl": 1}).put(("n",), "k", {"x": 1})
    guarded.acting_as("root").access.grant("bob", "reader", ("users", "alice"))
    theirs = guarded.as_user("bob").as_user("alice").store()
    alice = guarded.as_user("alice").backend
    items = Query(("users", "alice", "store"))
    (held,) = alice.find(items).records
    for found in (
        theirs.get(("n",), "k"),
        await theirs.aget(("n",), "k"),
        *theirs.search(("n",)),
        *await theirs.asearch(("n",)),
    ):
        assert found is not None
        assert found.value == {"x": 1}
    assert alice.find(items).records == [held]
    assert guarded.as_user("alice").store().get(("n",), "k") is not None
    (renewed,) = alice.find(items).records
    assert renewed.expires_at != held.expires_at


def test_a_sweeper_that_may_not_sweep_ends_and_says_so(guarded: Memory) -> None:
    store = guarded.as_user("alice").store(ttl={"default_ttl": 1})
    ended = store.start_ttl_sweeper(1 / 6000)
    with pytest.raises(AccessDenied, match="'alice' lacks the right 'admin'"):
        ended.result(30)
    assert store.stop_ttl_sweeper(30)
    swept = guarded.acting_as("root").store().start_ttl_sweeper(1 / 6000)
    assert swept.cancel()
