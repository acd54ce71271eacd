"""A person's data: shown whole, and forgotten whole."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import Generation

from lc_memory import CorruptStore, InvalidKey, Memory, Query, Record
from lc_memory.jobs.people import kind_of
from tests.checkpoints import Thread
from tests.servers import Server


def secret(user: str, number: int) -> str:
    return f"{user}-whispers-{number:02}-to-nobody-else"


def fill(memory: Memory, user: str) -> int:
    """Leave a secret of the user everywhere that one can be; how many there are."""
    numbers = iter(range(100))

    def tell() -> str:
        return secret(user, next(numbers))

    own = memory.as_user(user)
    note = own.store_memory("notes", {"id": "n", "text": tell()})
    own.store_memory("notes", {"id": "m", "text": tell()}, ttl=0.00001)  # expired, not swept
    own.chat_history("talk").add_messages([HumanMessage(tell()), AIMessage(tell())])
    asyncio.run(own.session("call").add_items([{"role": "user", "content": tell()}]))
    own.store().put(("prefs",), "p", {"text": tell()})
    Thread(own.checkpointer(), "t").put(messages=[HumanMessage(tell())])
    own.key_value().mset([("k", tell().encode())])
    own.llm_cache().update(tell(), "llm", [Generation(text=tell())])
    # And where nobody was bound:
    profile = memory.store_memory("user_profile", {"user_id": user, "text": tell()})
    memory.store_memory("settings", {"text": tell()}, id=user)
    memory.backend.put(("elsewhere",), user, {"text": tell()}, owner=user)
    memory.store().put(("users", user, "facts"), "f", {"text": tell()})
    thread = Thread(memory.checkpointer(), f"thread of {user}")
    thread.put({"user_id": user}, messages=[HumanMessage(tell())])
    thread.put({"user_id": user}, messages=[HumanMessage(tell()), AIMessage(tell())])
    talk = memory.store_memory("talks", {"id": f"{user}'s", "text": tell()})
    topic = memory.backend.get(memory.collection("topics"), "python")
    topic = topic or memory.store_memory("topics", {"id": "python"})
    memory.link(profile, "has_talk", talk)
    memory.link(note, tell(), topic)
    memory.link(topic, "known_to", profile)
    # Written over and deleted before: old bytes.
    memory.store_memory("user_profile", {"user_id": user, "text": tell() * 50})
    memory.store_memory("user_profile", {"user_id": user, "text": tell()})
    memory.store_memory("scrap", {"user_id": user, "text": tell()})
    memory.delete_memory("scrap", {"user_id": user})
    return next(numbers)


#: Which of them were written over or deleted.
GONE = {10, 19, 21}


def forms(text: str) -> list[bytes]:
    """The text as it may stand in a file: as it is, and at each place within base64."""
    data = text.encode()
    coded = [base64.b64encode(b"\0" * i + data)[4 if i else 0 : -4] for i in range(3)]
    return [data, *coded]


def _is_in(data: bytes, text: str) -> bool:
    return any(form in data for form in forms(text))


def files_of(memory: Memory, url: str, folder: Path, request: Any) -> bytes | None:
    """All bytes that the store keeps (of a server: its tables and indexes)."""
    kind = sa.make_url(url).get_backend_name()
    if kind in ("memory", "mongodb"):
        return None
    if kind in ("postgresql", "mysql"):
        name = "postgres" if kind == "postgresql" else "mariadb"
        server: Any = request.getfixturevalue(name)
        if not isinstance(server, Server) or not server.ours:
            return None
        if kind == "postgresql":
            server.execute("CHECKPOINT")
            paths = [*(server.data / "base").rglob("*")]
        else:
            server.restart()  # it writes to its files when it stops
            paths = [*(server.data / str(sa.make_url(url).database)).rglob("*")]
    else:
        paths = [*folder.rglob("*")]
    return b"\n".join(path.read_bytes() for path in paths if path.is_file())


def everything(memory: Memory) -> list[Record]:
    return memory.backend.find(Query(expired=True)).records


INDEXES = {"notes": ["text"], "user_profile": ["text"]}


@pytest.fixture
def opened(memory_url: str) -> Iterator[Memory]:
    """A memory in which alice's talks go with her profile, and her topics may not be deleted."""
    relations: Any = {"has_talk": "cascade", "known_to": "refuse"}
    with Memory(memory_url, indexes=INDEXES, relations=relations) as memory:
        yield memory


def test_nothing_of_a_forgotten_user_remains(
    opened: Memory, memory_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    memory = opened
    fill(memory, "bob")
    fill(memory, "alicent")
    others = [r for r in everything(memory) if r.namespace[0] != "lc_memory"]
    many = fill(memory, "alice")
    mine = {r.id for r in everything(memory)} - {r.id for r in others}
    mine = {id for id in mine if id[0][0] != "lc_memory"}

    forgotten = memory.forget_user("alice")

    assert [r for r in everything(memory) if r.namespace[0] != "lc_memory"] == others
    assert mine <= set(forgotten.ids)
    assert sum(forgotten.counts.values()) == len(forgotten.ids)
    assert forgotten.counts.keys() == {
        "documents", "messages", "items", "store", "checkpoints", "key_value", "llm_cache",
        "links", "elsewhere",
    }  # fmt: skip
    assert forgotten.counts["documents"] == 5
    assert forgotten.counts["messages"] == 2
    assert forgotten.counts["links"] == 6
    assert memory.check()

    kept = files_of(memory, memory_url, tmp_path, request)
    if kept is not None:
        assert forgotten.scrubbed
        assert secret("bob", 0).encode() in kept  # it is the right place to look
        left = [n for n in range(many) if _is_in(kept, secret("alice", n))]
        assert left == []

    again = memory.forget_user("alice")
    assert (again.counts, again.ids) == ({}, [])


def test_the_index_tables_forget_too(memory_url: str, request: pytest.FixtureRequest) -> None:
    if not memory_url.startswith(("sqlite", "postgres", "mysql")):
        pytest.skip("keeps no index tables")
    with Memory(memory_url, indexes=INDEXES) as memory:
        fill(memory, "alice")
        select = memory._layers.store._db.select  # type: ignore[attr-defined]  # a SQLStore
        assert select("SELECT count(*) FROM lc_memory_fields")[0][0] == 3
        memory.forget_user("alice")
        assert select("SELECT count(*) FROM lc_memory_fields")[0][0] == 0


def test_what_relations_cascade_to_is_forgotten_and_shared_things_are_not(memory: Memory) -> None:
    memory.relation("has", on_delete="cascade")
    user = memory.store_memory("user_profile", {"user_id": "alice"})
    talk = memory.store_memory("talks", {"id": "1"})
    part = memory.store_memory("parts", {"id": "1"})
    bobs = memory.as_user("bob").store_memory("notes", {"id": "1"})
    memory.link(user, "has", talk)
    memory.link(talk, "has", part)
    memory.link(talk, "has", bobs)
    topic = memory.store_memory("topics", {"id": "1"})
    memory.link(user, "likes", topic)
    assert memory.export_user("alice")["documents"].keys() == {
        "user_profile", "talks", "parts",
    }  # fmt: skip
    forgotten = memory.forget_user("alice")
    assert {user.id, talk.id, part.id} <= set(forgotten.ids)
    left = [r.id for r in everything(memory) if r.namespace[0] != "lc_memory"]
    assert sorted(left) == sorted([bobs.id, topic.id])


def test_who_is_not_meant_is_not_forgotten(memory: Memory) -> None:
    memory.as_user("alice2").store_memory("notes", {"id": "1"})
    memory.store_memory("notes", {"id": "alice"})  # named so, but not by a user id
    memory.store_memory("notes", {"id": "x", "text": "alice", "author": {"user_id": "alice"}})
    memory.store_memory("profile", {"user_id": "bob"}, id="alice")
    memory.store().put(("users", "alice2"), "k", {})
    memory.backend.put(("alice",), "alice", {"user_id": "alice"})
    before = everything(memory)
    assert memory.forget_user("alice").ids == []
    assert everything(memory) == before
    for wrong in ("", "a\0b", 5):
        with pytest.raises(InvalidKey):
            memory.forget_user(wrong)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(InvalidKey):
            memory.export_user(wrong)  # type: ignore[arg-type]  # on purpose


def test_forgetting_ends_while_the_user_is_still_writing(memory: Memory) -> None:
    """What was written before it began is gone; what comes later may be there."""
    for i in range(50):
        memory.as_user("alice").store_memory("old", {"id": str(i)})
    stop = threading.Event()

    def write() -> None:
        for i in range(20):
            memory.as_user("alice").store_memory("new", {"id": str(i)})
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    forgotten = memory.forget_user("alice")
    stop.set()
    writer.join()
    assert sum(id[0][-1] == "old" for id in forgotten.ids) == 50
    assert memory.as_user("alice").search_memory("old") == []


def test_broken_documents_are_forgotten_too(memory: Memory) -> None:
    from pydantic import BaseModel

    memory.store_memory("people", {"user_id": "alice", "schema_version": "odd"})
    memory.register("people", BaseModel.__class__("P", (BaseModel,), {}))
    assert memory.forget_user("alice").counts == {"documents": 1}


# -- export --------------------------------------------------------------------------------


def test_an_export_holds_every_secret_and_nobody_elses(opened: Memory, tmp_path: Path) -> None:
    many = fill(opened, "alice")
    fill(opened, "bob")
    before = everything(opened)
    told = opened.export_user("alice", tmp_path / "alice.json")
    text = (tmp_path / "alice.json").read_text()
    assert json.loads(text) == told
    assert everything(opened) == before
    assert "bob-whispers" not in text
    missing = {n for n in range(many) if not _is_in(text.encode(), secret("alice", n))}
    assert missing == GONE
    if os.name == "posix":
        assert (tmp_path / "alice.json").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path).count("alice.json") == 1


def test_an_export_is_readable(memory: Memory) -> None:
    fill(memory, "alice")
    told = memory.export_user("alice")
    assert told["user"] == "alice"
    question, answer = told["messages"]["talk"]
    assert (question["role"], question["text"]) == ("user", secret("alice", 2))
    assert (answer["role"], answer["text"]) == ("assistant", secret("alice", 3))
    assert question["message"]["data"]["content"] == question["text"]
    assert told["items"]["call"][0]["text"] == secret("alice", 4)
    assert told["documents"]["user_profile"][0]["value"]["user_id"] == "alice"
    assert told["documents"]["user_profile"][0]["created_at"].endswith("Z")
    assert {"/".join(item["namespace"]) for item in told["store"]} == {"prefs", "users/alice/facts"}
    (thread,) = told["checkpoints"]["thread of alice"]
    latest, first = thread["checkpoints"]
    said = latest["values"]["messages"]
    assert [m["role"] for m in said] == ["user", "assistant"]
    assert first["metadata"]["user_id"] == "alice"
    links = {(link["from"], link["relation"], link["to"]) for link in told["links"]}
    assert ("documents/topics/python", "known_to", "documents/user_profile/alice") in links
    assert len(links) == 3


async def test_what_is_no_message_is_no_obstacle_to_an_export(memory: Memory) -> None:
    alice = memory.as_user("alice")
    strange: Any = {"role": "user", "content": [1, None, {"text": 5}, "peanuts"]}
    await alice.session("s").add_items([strange])
    ((told,),) = alice.export_user("alice")["items"].values()
    assert (told["text"], told["message"]) == ("peanuts", strange)


def test_a_hostile_export_is_still_json(memory: Memory, tmp_path: Path) -> None:
    text = 'half \ud83d, "quote", </script>, \0, end'
    memory.as_user("alice").store_memory("notes", {"id": "1", "text": text})
    memory.export_user("alice", tmp_path / "a.json")
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["documents"]["notes"][0]["value"]["text"] == text


def test_another_serializers_threads_are_told_not_skipped(memory: Memory) -> None:
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    pytest.importorskip("Crypto")
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16)
    own = memory.as_user("alice").checkpointer(serde)
    Thread(own, "t").put({"user_id": "alice"}, x=secret("alice", 0))
    told = memory.export_user("alice")
    assert "serde=" in told["checkpoints"]["t"][0]["checkpoints"][0]["unreadable"]
    told = memory.export_user("alice", serde=serde)
    values = told["checkpoints"]["t"][0]["checkpoints"][0]["values"]
    assert values == {"x": secret("alice", 0)}
    Thread(memory.checkpointer(serde), "u").put({"user_id": "alice"}, x=1)
    with pytest.raises(CorruptStore, match="serde="):
        memory.forget_user("alice")
    assert memory.forget_user("alice", serde=serde).counts["checkpoints"] >= 2
    (left,) = everything(memory)  # what all threads share
    assert left.id == (("checkpoints", "keys"), "parts")


def test_async_callers_have_the_same(memory: Memory, tmp_path: Path) -> None:
    async def live() -> None:
        await memory.as_user("alice").astore_memory("notes", {"id": "1"})
        told = await memory.aexport_user("alice", tmp_path / "a.json")
        assert list(told["documents"]) == ["notes"]
        assert (await memory.aforget_user("alice")).counts == {"documents": 1}

    asyncio.run(live())


def test_every_kind_is_named_after_its_place() -> None:
    assert kind_of(("users", "alice", "documents", "x")) == "documents"
    assert kind_of(("messages", "s")) == "messages"


# -- scrubbing -----------------------------------------------------------------------------


def test_scrubbing_loses_nothing_while_others_write(memory: Memory) -> None:
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            key = str(len(written))
            memory.store_memory("kept", {"id": key})
            written.append(key)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            memory._layers.store.scrub()
    finally:
        stop.set()
        writer.join()
    assert {d["id"] for d in memory.search_memory("kept")} == set(written)


def test_sqlite_says_when_a_reader_kept_it_from_scrubbing(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory(f"sqlite:///{path}", timeout=0.2) as memory:
        memory.as_user("alice").store_memory("notes", {"id": "1", "text": secret("alice", 0)})
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM lc_memory_records").fetchall()
        first = memory.forget_user("alice")
        assert (first.counts, first.scrubbed) == ({"documents": 1}, False)
        reader.close()
        assert memory.forget_user("alice").scrubbed
        files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert secret("alice", 0).encode() not in files


def test_full_text_indexes_in_sqlite_forget_words_too(tmp_path: Path) -> None:
    """FTS5 keeps deleted words until its parts are merged."""
    path = tmp_path / "m.db"
    with Memory(f"sqlite:///{path}") as memory:
        other = sqlite3.connect(path, isolation_level=None)
        try:
            other.execute("CREATE VIRTUAL TABLE lc_memory_words USING fts5(text)")
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no FTS5")
        other.execute("INSERT INTO lc_memory_words VALUES ('whispered secretword')")
        other.execute("INSERT INTO lc_memory_words VALUES ('kept word')")
        other.execute("DELETE FROM lc_memory_words WHERE lc_memory_words MATCH 'secretword'")
        other.close()
        assert memory._layers.store.scrub()
        files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"kept" in files
        assert b"secretword" not in files
