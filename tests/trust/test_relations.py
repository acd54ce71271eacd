"""Links between records: kept, followed, drawn, and gone with their ends."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lc_memory import (
    Clear,
    Conflict,
    CorruptStore,
    Delete,
    InvalidKey,
    InvalidQuery,
    LinkedRecord,
    Memory,
    MemoryNotFound,
    Query,
    Record,
)
from lc_memory.relations import is_link


def half_links(memory: Memory) -> list[Record]:
    """Every record that a link is stored in, wherever it lies."""
    return [r for r in memory.backend.records(Query(expired=True)) if is_link(r.namespace)]


def family(memory: Memory) -> tuple[Record, Record, Record]:
    """A user, her conversation, and its message."""
    user = memory.store_memory("user_profile", {"user_id": "ada"})
    talk = memory.store_memory("conversation_history", {"conversation_id": "c1"})
    memory.chat_history("c1").add_messages([_human("hello")])
    (message,) = memory.backend.find(Query(("messages", "c1"))).records
    memory.link(user, "has_conversation", talk)
    memory.link(talk, "has_message", message)
    return user, talk, message


def _human(text: str) -> Any:
    from langchain_core.messages import HumanMessage

    return HumanMessage(text)


def test_links_are_found_from_both_ends_and_followed(memory: Memory) -> None:
    user, talk, message = family(memory)
    (link,) = memory.links(("user_profile", "ada"))
    assert (link.source, link.relation, link.target) == (user.id, "has_conversation", talk.id)
    assert memory.links(talk, "in") == [link]
    assert [each.relation for each in memory.links(talk)] == ["has_conversation", "has_message"]
    assert memory.links(talk, relation="has_message", direction="in") == []
    assert [r.id for r in memory.related(user)] == [talk.id, message.id]
    assert [r.id for r in memory.related(user, depth=1)] == [talk.id]
    assert memory.related(user, relation="has_message") == []
    assert [r.id for r in memory.related(message.id, direction="in")] == [talk.id, user.id]
    assert memory.check()
    assert memory.check().links == 2


def test_linking_twice_is_linking_once_and_unlinking_leaves_nothing(memory: Memory) -> None:
    user, talk, _ = family(memory)
    first = memory.links(user)
    memory.link(user, "has_conversation", ("conversation_history", "c1"))
    assert memory.links(user) == first
    assert memory.unlink(user, "has_conversation", talk) is True
    assert memory.unlink(user, "has_conversation", talk) is False
    assert memory.links(user) == []
    assert len(half_links(memory)) == 2  # those of the message's link


def test_only_what_is_there_can_be_linked(memory: Memory) -> None:
    user = memory.store_memory("user_profile", {"user_id": "ada"})
    with pytest.raises(MemoryNotFound, match="documents/conversation_history/c9"):
        memory.link(user, "has", ("conversation_history", "c9"))
    for wrong in ("ada", ("a", "b", "c"), (("a",), 7), 5):
        with pytest.raises(InvalidKey):
            memory.link(user, "has", wrong)  # type: ignore[arg-type]  # on purpose
    for relation in ("", "a\0b", None):
        with pytest.raises(InvalidKey):
            memory.link(user, relation, user)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidQuery, match="direction"):
        memory.links(user, "up")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidQuery, match="depth"):
        memory.related(user, depth=0)
    assert half_links(memory) == []


def test_by_default_links_go_with_either_end(memory: Memory) -> None:
    user, talk, message = family(memory)
    memory.backend.delete(*message.id)
    assert memory.links(talk) == memory.links(user)
    memory.delete_memory("user_profile", id="ada")
    assert half_links(memory) == []
    assert memory.retrieve_memory("conversation_history") == {"conversation_id": "c1"}


def test_a_cascade_deletes_what_hangs_on_it_and_circles_end(memory: Memory) -> None:
    user, talk, message = family(memory)
    memory.relation("has_conversation", on_delete="cascade")
    memory.relation("has_message", on_delete="cascade")
    memory.relation("of", on_delete="cascade")
    memory.link(message, "of", user)
    assert memory.delete_memory("user_profile") == 1
    assert memory.backend.read([user.id, talk.id, message.id]) == [None, None, None]
    assert half_links(memory) == []


def test_a_cascade_goes_from_the_source_to_the_target_only(memory: Memory) -> None:
    user, talk, _ = family(memory)
    memory.relation("has_conversation", on_delete="cascade")
    memory.backend.delete(*talk.id)
    assert memory.backend.get(*user.id) == user
    assert memory.links(user) == []


def test_a_refused_deletion_says_why_and_changes_nothing(memory: Memory) -> None:
    memory.relation("requires", on_delete="refuse")
    topics = [memory.store_memory("topics", {"id": name}) for name in ("a", "b", "c")]
    memory.link(topics[0], "requires", topics[2])
    memory.link(topics[1], "requires", topics[2])
    before = memory.backend.find(Query()).records
    for delete in (
        lambda: memory.delete_memory("topics", id="c"),
        lambda: memory.backend.write([Delete(*topics[2].id), Delete(*topics[0].id)]),
    ):
        with pytest.raises(LinkedRecord, match=r"\d of 'requires'"):
            delete()
        kept = memory.backend.find(Query()).records
        assert [record for record in before if record not in kept] == []
    with pytest.raises(LinkedRecord, match="2 of 'requires'"):
        memory.delete_memory("topics", id="c")
    memory.unlink(topics[0], "requires", topics[2])
    memory.unlink(topics[1], "requires", topics[2])
    assert memory.delete_memory("topics", id="c") == 1


def test_all_ends_together_may_always_go(memory: Memory) -> None:
    memory.relation("requires", on_delete="refuse")
    first, second = (memory.store_memory("topics", {"id": name}) for name in "ab")
    memory.link(first, "requires", second)
    assert memory.delete_memory("topics") == 2
    assert half_links(memory) == []


def test_clearing_a_whole_namespace_asks_the_relations_too(memory: Memory) -> None:
    user, talk, message = family(memory)
    memory.chat_history("c1").clear()
    assert memory.links(talk, "out") == []
    assert len(half_links(memory)) == 2
    memory.relation("has_conversation", on_delete="refuse")
    with pytest.raises(LinkedRecord):
        memory.backend.write([Clear(memory.collection("conversation_history"))])
    memory.relation("has_conversation", on_delete="cascade")
    memory.backend.write([Clear(memory.collection("user_profile"))])
    assert memory.backend.get(*talk.id) is None
    assert half_links(memory) == []
    assert message.id[0] == ("messages", "c1")
    assert user.key == "ada"


def test_the_links_of_many_deleted_at_once_go_with_them(memory: Memory) -> None:
    hub = memory.store_memory("hub", {"id": "h"})
    for record in memory.batch_store(("spokes", {"id": str(i)}) for i in range(40)):
        memory.link(hub, "has", record)
    assert len(memory.links(hub)) == 40
    assert memory.delete_memory("spokes") == 40
    assert half_links(memory) == []


def test_a_cascade_stays_within_a_users_own(memory: Memory) -> None:
    """What another has, or all have, is only unlinked."""
    memory.relation("wrote", on_delete="cascade")
    ada, bob = memory.as_user("ada"), memory.as_user("bob")
    mine = ada.store_memory("notes", {"id": "mine"})
    hers = ada.store_memory("notes", {"id": "hers"})
    his = bob.store_memory("notes", {"id": "his"})
    shared = memory.store_memory("topics", {"id": "shared"})
    for target in (hers, his, shared):
        ada.link(mine, "wrote", target)
    assert len(bob.links(his)) == 1
    ada.delete_memory("notes", id="mine")
    assert ada.search_memory("notes") == []
    assert bob.retrieve_memory("notes") == {"id": "his"}
    assert memory.retrieve_memory("topics") == {"id": "shared"}
    assert half_links(memory) == []


def test_what_is_deleted_and_made_anew_is_not_linked(memory_url: str) -> None:
    """Not even if a program deleted it that knew nothing of links."""
    if memory_url == "memory://":
        pytest.skip("one program only")
    with Memory(memory_url) as ignorant, Memory(memory_url) as memory:
        user, talk, _ = family(memory)
        memory.relation("has_conversation", on_delete="cascade")
        ignorant.backend.delete(*user.id)
        assert memory.links(talk, "in") == []
        ignorant.store_memory("user_profile", {"user_id": "ada"})
        assert memory.links(talk, "in") == []
        assert memory.related(("user_profile", "ada")) == []
        report = memory.check()
        assert not report
        assert [p.reason for p in report.problems] == [
            "its source 'documents/user_profile/ada' was made anew since"
        ]
        memory.delete_memory("user_profile")
        assert memory.backend.get(*talk.id) == talk  # not cascaded along a link that is dead


def test_relations_are_known_to_every_program_that_opens_the_store(memory_url: str) -> None:
    if memory_url == "memory://":
        pytest.skip("one program only")
    with Memory(memory_url, relations={"has_conversation": "refuse"}) as memory:
        family(memory)
    with Memory(memory_url) as memory:
        with pytest.raises(LinkedRecord, match="1 of 'has_conversation'"):
            memory.delete_memory("user_profile")
        with pytest.raises(InvalidQuery, match="on_delete"):
            memory.relation("x", on_delete="destroy")  # type: ignore[arg-type]  # on purpose


def test_relations_need_no_declaration_and_leave_no_names_behind(memory: Memory) -> None:
    assert memory.backend.inner is memory._layers.store  # nothing is paid before the first link
    user = memory.store_memory("user_profile", {"user_id": "ada"})
    memory.link(user, "a name that a model made up", user)
    memory.delete_memory("user_profile")
    assert "made up" not in repr(memory.backend.find(Query()).records)


def test_restoring_a_backup_brings_its_links_back(memory: Memory, tmp_path: Path) -> None:
    user, talk, message = family(memory)
    memory.relation("has_conversation", on_delete="cascade")
    memory.backup_data(tmp_path / "b.json")
    memory.delete_memory("user_profile")
    assert memory.related(user) == []
    memory.restore_data(tmp_path / "b.json")
    assert [r.id for r in memory.related(user)] == [talk.id, message.id]
    assert memory.check()


def test_restoring_one_users_backup_keeps_links_whole(memory: Memory, tmp_path: Path) -> None:
    memory.relation("knows", on_delete="cascade")
    ada = memory.as_user("ada")
    notes = [ada.store_memory("notes", {"id": name}) for name in "ab"]
    topic = memory.store_memory("topics", {"id": "t"})
    ada.link(notes[0], "knows", notes[1])
    ada.link(notes[0], "knows", topic)
    ada.backup_data(tmp_path / "b.json")
    ada.store_memory("notes", {"id": "c"})
    ada.restore_data(tmp_path / "b.json")
    assert len(ada.search_memory("notes")) == 2
    assert {r.key for r in ada.related(notes[0])} == {"b", "t"}
    assert memory.check()


def test_a_copy_of_a_memory_keeps_links_and_declarations(memory: Memory, tmp_path: Path) -> None:
    user, talk, message = family(memory)
    memory.relation("has_conversation", on_delete="cascade")
    with Memory(f"sqlite:///{tmp_path}/copy.db") as copy:
        memory.copy_to(copy)
        assert [r.id for r in copy.related(user)] == [talk.id, message.id]
        copy.delete_memory("user_profile")
        assert copy.backend.get(*talk.id) is None
        assert half_links(copy) == []


def test_a_backup_brings_links_into_a_store_that_had_none(memory: Memory, tmp_path: Path) -> None:
    ada = memory.as_user("ada")
    first, second = (ada.store_memory("notes", {"id": name}) for name in "ab")
    ada.link(first, "next", second)
    ada.backup_data(tmp_path / "b.json")
    with Memory(f"sqlite:///{tmp_path}/fresh.db") as fresh:
        fresh.as_user("ada").restore_data(tmp_path / "b.json")
        assert [r.key for r in fresh.as_user("ada").related(first)] == ["b"]
        fresh.as_user("ada").delete_memory("notes", id="b")
        assert half_links(fresh) == []


def test_a_check_finds_what_dangles_and_repairs_it_when_asked(memory_url: str) -> None:
    if memory_url == "memory://":
        pytest.skip("one program only")
    with Memory(memory_url) as ignorant, Memory(memory_url) as memory:
        family(memory)
        half = half_links(memory)[0]
        ignorant.backend.delete(*half.id)
        ignorant.backend.delete(("documents", "user_profile"), "ada")
        before = memory.backend.find(Query()).records
        report = memory.check()
        assert report.found == len({problem.key for problem in report.problems}) >= 1
        assert not report
        assert memory.backend.find(Query()).records == before
        repaired = memory.check(repair=True)
        assert repaired
        assert repaired.repaired == report.found
        assert memory.check().found == 0


def test_a_record_that_is_no_link_is_told_and_not_followed(memory: Memory) -> None:
    family(memory)
    link = next(r for r in half_links(memory) if r.namespace[1:2] == ("out",))
    memory.backend.put(link.namespace, link.key, {**link.value, "to": [["x"], "y"]})
    with pytest.raises(CorruptStore, match="not the link that belongs there"):
        memory.links((tuple(link.value["from"][0]), link.value["from"][1]), "out")
    report = memory.check(repair=True)
    assert not report
    assert "not the link that belongs there" in str(report)


def test_async_callers_have_the_same(memory: Memory) -> None:
    async def live() -> None:
        await memory.arelation("has", on_delete="refuse")
        first = await memory.astore_memory("a", {"id": "1"})
        second = await memory.astore_memory("a", {"id": "2"})
        link = await memory.alink(first, "has", second)
        assert await memory.alinks(second) == [link]
        assert [r.id for r in await memory.arelated(first)] == [second.id]
        assert "has" in (await memory.agraph()).mermaid()
        with pytest.raises(LinkedRecord):
            await memory.adelete_memory("a", id="1")
        assert await memory.aunlink(first, "has", second)
        assert (await memory.acheck()).found == 0

    asyncio.run(live())


# -- at once -------------------------------------------------------------------------------


def _whole(memory: Memory) -> None:
    """Every link has both halves and both ends."""
    halves = half_links(memory)
    assert len(halves) % 2 == 0
    report = memory.check()
    assert report, str(report)


def test_linking_while_an_end_is_deleted_leaves_both_or_neither(memory: Memory) -> None:
    memory.relation("has")
    hub = memory.store_memory("hub", {"id": "h"})
    wrong: list[BaseException] = []

    def link(i: int, other: Record) -> None:
        try:
            with suppress(MemoryNotFound):
                memory.link(hub, "has", other)
        except BaseException as error:
            wrong.append(error)

    def delete(i: int, other: Record) -> None:
        try:
            if i % 2:
                memory.backend.write([Clear(other.namespace)])
            else:
                memory.backend.delete(*other.id)
        except BaseException as error:
            wrong.append(error)

    for i in range(24):
        other = memory.store_memory(f"spoke{i}", {"id": "x"})
        pair = [threading.Thread(target=work, args=(i, other)) for work in (link, delete)]
        for thread in pair[:: 1 if i % 3 else -1]:
            thread.start()
        for thread in pair:
            thread.join()
        assert wrong == []
        assert half_links(memory) == []  # linked first: cleared; deleted first: refused
    assert memory.links(hub) == []


def work_in_a_process(url: str, number: int, rounds: int, started: Any) -> None:
    with Memory(url) as memory:
        started.wait()
        for i in range(rounds):
            name = f"n{(i * 7 + number) % 5}"
            with suppress(MemoryNotFound, Conflict):
                if (i + number) % 3 == 0:
                    memory.delete_memory("nodes", id=name)
                elif (i + number) % 3 == 1:
                    memory.store_memory("nodes", {"id": name})
                    memory.link(("nodes", name), "next", ("nodes", f"n{i % 5}"))
                else:
                    memory.link(("nodes", f"n{i % 4}"), "next", ("nodes", name))


@pytest.fixture(params=["sqlite", "json", "postgres", "mariadb", "mongodb"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind = request.param
    if kind in ("sqlite", "json"):
        return f"{kind}:///{tmp_path}/memory.{kind}"
    url: str = request.getfixturevalue("own_database")(request.getfixturevalue(kind))
    return url


def test_processes_that_link_and_delete_leave_no_half_links(shared_url: str) -> None:
    processes = multiprocessing.get_context("spawn")
    with Memory(shared_url, relations={"next": "clear"}) as memory:
        memory.batch_store(("nodes", {"id": f"n{i}"}) for i in range(5))
        started = processes.Barrier(3)
        workers = [
            processes.Process(target=work_in_a_process, args=(shared_url, n, 40, started))
            for n in range(3)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        _whole(memory)


def test_concurrent_cascades_and_links_leave_no_orphans(shared_url: str) -> None:
    """A target linked while its source is cascaded goes too, or stays unlinked: never half."""
    with Memory(shared_url, relations={"has": "cascade"}) as memory:
        for i in range(15):
            user = memory.store_memory("users_", {"id": f"u{i}"})
            talks = [memory.store_memory("talks", {"id": f"t{i}{j}"}) for j in range(3)]
            memory.link(user, "has", talks[0])

            def link(user: Record = user, talks: list[Record] = talks) -> None:
                with suppress(MemoryNotFound):
                    for talk in talks[1:]:
                        memory.link(user, "has", talk)

            pair = [
                threading.Thread(target=link),
                threading.Thread(target=memory.delete_memory, args=("users_",)),
            ]
            for thread in pair:
                thread.start()
            for thread in pair:
                thread.join()
            assert memory.backend.get(*talks[0].id) is None
            _whole(memory)
        assert half_links(memory) == []


# -- pictures ------------------------------------------------------------------------------

HOSTILE = '"]; click n0 "javascript:alert(1)" <script>alert(1)</script>\n}-->|x|{\\" end'


def test_the_picture_shows_collections_records_and_links(memory: Memory) -> None:
    user, _, _ = family(memory)
    graph = memory.graph()
    text = graph.mermaid()
    assert text.startswith("graph LR\n")
    for title in ("ada", "c1", "user_profile (1)", "messages/c1 (1)"):
        assert f'"{title}"]' in text
    places = {title: i for i, title in enumerate(graph.nodes)}
    assert f'n{places["ada"]} -->|"has_conversation"| n{places["c1"]}' in text
    assert f'n{places["ada"]} -> n{places["c1"]} [label="has_conversation"];' in graph.dot()
    assert user.key == "ada"


def test_a_users_picture_shows_nobody_elses(memory: Memory) -> None:
    memory.as_user("ada").store_memory("notes", {"id": "1", "text": "ada's own"})
    memory.as_user("bob").store_memory("notes", {"id": "1", "text": "bob's secret"})
    assert "bob" not in memory.as_user("ada").graph().mermaid()
    assert memory.graph("ada").nodes == memory.as_user("ada").graph().nodes
    assert "ada#39;s own" in memory.graph("ada").mermaid()
    assert "secret" not in memory.graph().mermaid()


def test_hostile_names_stay_names(memory: Memory) -> None:
    first = memory.store_memory("a", {"id": "1", "title": HOSTILE})
    second = memory.store_memory(HOSTILE.replace("\n", ""), {"id": HOSTILE})
    memory.link(first, HOSTILE, second)
    graph = memory.graph()
    line = re.compile(r'    n\d+\["[\w #;._\-/()…]*"\]|    n\d+ -->(\|"[\w #;._\-/()…]*"\|)? n\d+')
    for each in graph.mermaid().splitlines()[1:]:
        assert line.fullmatch(each), each
    quoted = re.compile(r'    n\d+( -> n\d+)?( \[label="([^"\\]|\\.)*"\])?;')
    for each in graph.dot().splitlines()[3:-1]:
        assert quoted.fullmatch(each), each
    svg = graph.svg()
    tree = ElementTree.fromstring(svg)
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} == {
        "svg", "defs", "marker", "path", "rect", "text", "title",
    }  # fmt: skip
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


def test_a_notebook_draws_it_without_the_network(memory: Memory) -> None:
    family(memory)
    shown = memory.graph()._repr_mimebundle_()
    assert shown["text/html"].startswith("<svg ")
    assert shown["text/vnd.mermaid"] == memory.graph().mermaid()
    assert memory.graph()._repr_markdown_().startswith("```mermaid\ngraph LR")


def test_arrows_within_a_column_stay_in_the_picture(memory: Memory) -> None:
    first, second = (memory.store_memory("topics", {"id": id}) for id in ("functions", "closures"))
    memory.link(second, "requires", first)
    tree = ElementTree.fromstring(memory.graph().svg())
    paths = [element.get("d", "") for element in tree.iter() if element.tag.endswith("path")]
    across = [int(x) for path in paths for x in re.findall(r"(\d+) \d+", path)]
    assert max(across) < int(tree.get("width", ""))


def test_a_large_memorys_picture_is_bounded(memory: Memory) -> None:
    memory.batch_store(("notes", {"id": str(i)}) for i in range(300))
    assert len(memory.graph(limit=20).nodes) == 22
    assert "notes (300)" in memory.graph(limit=20).nodes
