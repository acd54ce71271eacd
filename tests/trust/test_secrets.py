"""Encryption as an operator meets it: a stolen disk tells nothing, a wrong key gets nothing."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration
from langgraph.checkpoint.base import empty_checkpoint

from lc_memory import (
    CorruptStore,
    Memory,
    Query,
    Unsupported,
    WrongKey,
    generate_key,
    open_store,
)
from lc_memory.keys import KEYS
from lc_memory.layers.settings import SETTINGS
from lc_memory.records import Clear, Restore
from lc_memory.stores.sql import SQLStore
from lc_memory.testing import FakeClock
from tests.conftest import SERVERS
from tests.servers import Server

KEY = generate_key()
SECRET = "peanuts-7f3a91c2-allergy"


@pytest.fixture
def disk(memory_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], bytes]:
    """All the bytes that the store has on disk."""

    def read() -> bytes:
        folder = tmp_path
        for kind in SERVERS:
            if kind in request.node.callspec.id:
                server: Server = request.getfixturevalue(kind)
                if not server.ours:
                    pytest.skip("the disk of a server elsewhere cannot be read")
                folder = server.folder
        files = [path for path in folder.rglob("*") if path.is_file()]
        return b"\n".join(path.read_bytes() for path in files)

    return read


def traces(text: str) -> list[bytes]:
    """What a text looks like on a disk: plain, in UTF-16, in hex, in base64 at every offset."""
    raw = text.encode()
    inside = [base64.b64encode(b"x" * i + raw)[(i * 4 + 2) // 3 + 1 : -4] for i in range(3)]
    return [raw, text.encode("utf-16-le"), raw.hex().encode(), *inside]


def found(disk: bytes, text: str) -> list[bytes]:
    return [trace for trace in traces(text) if trace in disk]


def write_everywhere(memory: Memory, secret: str) -> None:
    """The secret through every public path by which something is stored."""
    memory.store_memory("notes", {"id": "1", "text": secret}, ttl=60)
    memory.batch_store([("notes", {"id": "2", "list": [{"deep": secret}]})])
    memory.update_memory("notes", {"more": secret}, id="1")
    asyncio.run(memory.astore_memory("notes", {"id": "3", "text": secret}))
    memory.chat_history("s").add_messages([HumanMessage(secret), AIMessage(secret)])
    asyncio.run(memory.session("s").add_items([{"role": "user", "content": secret}]))
    memory.store().put(("facts",), "f", {"text": secret}, ttl=5)
    memory.store().get(("facts",), "f", refresh_ttl=True)
    memory.key_value().mset([("k", secret.encode())])
    memory.llm_cache().update("prompt", "model", [ChatGeneration(message=AIMessage(secret))])
    saver = memory.checkpointer()
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"text": secret, "n": secret}
    checkpoint["channel_versions"] = {"text": "1", "n": "1"}
    metadata: Any = {"source": "input", "note": secret}
    config = saver.put(config, checkpoint, metadata, {"text": "1", "n": "1"})
    saver.put_writes(config, [("text", secret)], "task")
    memory.delete_memory("notes", id="3")


def test_nothing_that_was_stored_is_on_the_disk(
    memory_url: str, disk: Callable[[], bytes], tmp_path: Path
) -> None:
    if memory_url.startswith("memory:"):
        pytest.skip("has no disk")
    with Memory(memory_url, encryption_key=KEY, audit=True) as memory:
        write_everywhere(memory, SECRET)
        write_everywhere(memory.as_user("alice"), SECRET)
        memory.backup_data(tmp_path / "backup.json")
        assert not found(disk(), SECRET)  # journals, write-ahead logs and indexes included
        assert memory.chat_history("s").messages[0].content == SECRET
    assert not found(disk(), SECRET)
    assert SECRET not in repr(memory)


def test_the_search_of_the_disk_would_find_it(
    memory_url: str, disk: Callable[[], bytes], request: pytest.FixtureRequest
) -> None:
    """The control: what is not encrypted is there."""
    if memory_url.startswith("memory:"):
        pytest.skip("has no disk")
    secret = f"plain-{time.time_ns()}"
    with Memory(memory_url) as memory:
        memory.store_memory("notes", {"id": "1", "text": secret})
    for _ in range(40):
        if found(disk(), secret):
            return
        time.sleep(0.25)  # a server writes its files when it likes
    raise AssertionError("not found: this store's files are not what the test looks at")


@pytest.fixture
def encrypted(memory_url: str) -> Iterator[Memory]:
    with Memory(memory_url, encryption_key=KEY) as memory:
        yield memory


def test_a_wrong_or_missing_key_is_refused_and_changes_nothing(
    memory_url: str, encrypted: Memory
) -> None:
    if memory_url.startswith("memory:"):
        pytest.skip("is gone when it is closed")
    encrypted.store_memory("notes", {"id": "1", "text": SECRET})
    encrypted.close()

    def stored() -> list[Any]:
        with open_store(memory_url) as raw:
            return list(raw.records())

    before = stored()
    for key in (generate_key(), b"x" * 32, "a passphrase", [generate_key()]):
        with pytest.raises(WrongKey):
            Memory(memory_url, encryption_key=key)
    with pytest.raises(WrongKey, match="encryption_key="):
        Memory(memory_url)
    assert stored() == before
    with Memory(memory_url, encryption_key=KEY) as again:
        assert again.retrieve_memory("notes") == {"id": "1", "text": SECRET}


def test_a_store_of_plain_records_is_not_half_encrypted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url) as memory:
        memory.store_memory("notes", {"id": "1", "text": "plain"})
    with pytest.raises(WrongKey, match="copy_to"):
        Memory(url, encryption_key=KEY)
    with (
        Memory(url) as memory,
        Memory(f"sqlite:///{tmp_path}/n.db", encryption_key=KEY) as sealed,
    ):
        memory.copy_to(sealed)
        assert sealed.retrieve_memory("notes") == {"id": "1", "text": "plain"}


@pytest.mark.parametrize("source", ["environment", "file", "passphrase", "function", "bytes"])
def test_a_key_comes_from_where_the_operator_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    given: Any
    (tmp_path / "key").write_text(KEY + "\n")
    match source:
        case "environment":
            monkeypatch.setenv("LC_MEMORY_ENCRYPTION_KEY", KEY)
            given = None
        case "file":
            given = tmp_path / "key"
        case "passphrase":
            given = "correct horse battery staple"
        case "function":
            given = lambda: base64.urlsafe_b64decode(KEY)  # noqa: E731 - as a user would
        case _:
            given = base64.urlsafe_b64decode(KEY)
    for _ in range(2):
        with Memory(f"sqlite:///{tmp_path}/m.db", encryption_key=given) as memory:
            memory.store_memory("notes", {"id": "1", "text": SECRET})
            assert memory.retrieve_memory("notes") == {"id": "1", "text": SECRET}
    with open_store(f"sqlite:///{tmp_path}/m.db") as raw:
        assert SECRET not in repr(list(raw.records()))


def test_every_user_has_a_data_key(encrypted: Memory) -> None:
    for user in ("alice", "bob"):
        encrypted.as_user(user).store_memory("notes", {"id": "1", "text": SECRET})
    raw = encrypted._layers.store
    keys = {r.value["sealed"].split(".")[0] for r in raw.records(Query(("users",)))}
    assert len(keys) == 2
    assert "alice" not in repr(list(raw.records(Query(KEYS))))


@pytest.mark.parametrize("change", ["version", "created_at", "expires_at", "owner", "key", "place"])
def test_a_sealed_value_opens_in_its_own_place_only(encrypted: Memory, change: str) -> None:
    """Whoever moves a ciphertext, or turns a record back to an older one's fields, is found out."""
    alice = encrypted.as_user("alice")
    record = alice.store_memory("notes", {"id": "1", "text": SECRET})
    raw = encrypted._layers.store
    (held,) = raw.records(Query(("users",)))
    changed = {
        "version": replace(held, version=7),
        "created_at": replace(held, created_at=held.created_at.replace(year=2001)),
        "expires_at": replace(held, expires_at=held.updated_at.replace(year=2099)),
        "owner": replace(held, owner="bob"),
        "key": replace(held, key="2"),
        "place": replace(held, namespace=("users", "alice", "documents", "diary")),
    }[change]
    raw.write([Clear(held.namespace), Restore(changed)])
    with pytest.raises(CorruptStore, match="does not open"):
        alice.backend.get(changed.namespace, changed.key)
    with pytest.raises(CorruptStore):
        alice.backend.find(Query(("users",)))
    raw.write([Clear(changed.namespace), Restore(held)])
    assert alice.backend.get(*record.id) == record


def test_plaintext_under_encryption_is_refused(encrypted: Memory) -> None:
    encrypted.store_memory("notes", {"id": "1", "text": SECRET})
    encrypted._layers.store.put(encrypted.collection("notes"), "2", {"text": "slipped in"})
    with pytest.raises(CorruptStore, match="not encrypted"):
        encrypted.search_memory("notes")


def test_everything_can_be_cleared_and_the_keys_stay(encrypted: Memory) -> None:
    encrypted.store_memory("notes", {"id": "1"})
    encrypted.backend.write([Clear(())])
    assert encrypted._layers.store.count(Query(KEYS)) > 0
    encrypted.store_memory("notes", {"id": "1", "text": SECRET})
    assert encrypted.retrieve_memory("notes") == {"id": "1", "text": SECRET}


# -- chosen fields, and asking for them ----------------------------------------------------------


def test_chosen_fields_are_sealed_and_the_rest_is_not(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    person = {"user_id": "u1", "profile": {"email": SECRET, "name": "Ada"}, "n": 1}
    with Memory(url, encryption_key=KEY, encrypt_fields=["profile.email"]) as memory:
        memory.store_memory("user_profile", person)
        assert memory.retrieve_memory("user_profile", {"profile.name": "Ada"}) == person
        assert memory.retrieve_memory("user_profile", {"profile.email": SECRET}) == person
        assert memory.search_memory("user_profile", {"profile.email": "x"}) == []
    disk = (tmp_path / "m.db").read_bytes()
    assert SECRET.encode() not in disk
    assert b"Ada" in disk
    with Memory(url, encryption_key=KEY) as memory:  # the choice is the store's
        memory.store_memory("user_profile", {"user_id": "u2", "profile": {"email": SECRET}})
        raw = memory._layers.store
        for record in raw.records(Query(("documents",))):
            changed = {**record.value, "open": {**record.value["open"], "n": 2}}
            raw.put(record.namespace, record.key, changed)
        with pytest.raises(CorruptStore):
            memory.search_memory("user_profile")


def test_equality_of_declared_fields_is_asked_of_the_store(
    memory_url: str, request: pytest.FixtureRequest
) -> None:
    """Digests find the few that are opened; every other filter still answers right."""
    indexes = {"people": ["email", "tags"]}
    with Memory(memory_url, encryption_key=KEY, indexes=indexes) as memory:
        people = [
            {"id": str(i), "email": f"user{i}@x.org", "tags": [f"t{i % 7}", i], "n": i}
            for i in range(200)
        ]
        memory.batch_store([("people", person) for person in people])
        opened = 0
        sealed: Any = memory._layers.sealed
        lift = sealed._lift

        def counting(record: Any) -> Any:
            nonlocal opened
            opened += 1
            return lift(record)

        sealed._lift = counting
        assert memory.search_memory("people", {"email": "user7@x.org"}) == [people[7]]
        assert opened == 1
        wanted = {"email": {"$in": ["user1@x.org", "user2@x.org"]}}
        assert len(memory.search_memory("people", wanted)) == 2
        assert opened == 3
        assert len(memory.search_memory("people", {"tags": "t3"})) == 29
        assert opened == 32
        assert len(memory.search_memory("people", {"tags": 3})) == 1
        assert len(memory.search_memory("people", {"email": {"$regex": "user19.@"}})) == 10
        assert len(memory.search_memory("people", {"n": {"$gte": 190}}, order_by="-n")) == 10
        assert len(memory.search_memory("people", {"email": {"$ne": "user7@x.org"}})) == 199
        stored = repr(list(memory._layers.store.records(Query(("documents",)))))
        assert "user7" not in stored


def test_a_field_declared_later_misses_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, encryption_key=KEY) as memory:
        memory.store_memory("people", {"id": "1", "email": "a@x.org"})
        memory.store_memory("people", {"id": "2", "email": "b@x.org"})
    with Memory(url, encryption_key=KEY, indexes={"people": ["email"]}) as memory:
        memory.store_memory("people", {"id": "3", "email": "a@x.org"})
        assert [d["id"] for d in memory.search_memory("people", {"email": "a@x.org"})] == ["3", "1"]


# -- changing keys -------------------------------------------------------------------------------


def test_the_master_key_is_changed_without_rewriting_records(tmp_path: Path) -> None:
    url, new = f"sqlite:///{tmp_path}/m.db", generate_key()
    with Memory(url, encryption_key=KEY) as memory, Memory(url, encryption_key=KEY) as other:
        for user in ("alice", "bob"):
            memory.as_user(user).store_memory("notes", {"id": "1", "text": SECRET})
        before = list(memory._layers.store.records(Query(("users",))))
        assert other.as_user("alice").retrieve_memory("notes")
        assert memory.encryption.rotate_master(new) == 3  # alice's, bob's, the digests'
        assert list(memory._layers.store.records(Query(("users",)))) == before
        assert other.as_user("alice").retrieve_memory("notes")  # which was open meanwhile
    with pytest.raises(WrongKey):
        Memory(url, encryption_key=KEY)
    with Memory(url, encryption_key=new) as memory:
        assert memory.as_user("bob").retrieve_memory("notes") == {"id": "1", "text": SECRET}


def test_a_change_of_the_master_key_can_be_resumed(tmp_path: Path) -> None:
    url, new = f"sqlite:///{tmp_path}/m.db", generate_key()
    with Memory(url, encryption_key=KEY) as memory:
        for i in range(5):
            memory.as_user(f"u{i}").store_memory("notes", {"id": "1", "text": SECRET})
        keyring: Any = memory._layers.keyring
        rewrap, calls = keyring._rewrapped, 0

        def interrupted(value: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise KeyboardInterrupt
            return rewrap(value)

        keyring._rewrapped = interrupted
        with pytest.raises(KeyboardInterrupt):
            memory.encryption.rotate_master(new)
    with Memory(url, encryption_key=[new, KEY]) as memory:
        assert all(memory.as_user(f"u{i}").retrieve_memory("notes") for i in range(5))
        memory.encryption.rotate_master(new)
    with Memory(url, encryption_key=new) as memory:
        assert all(memory.as_user(f"u{i}").retrieve_memory("notes") for i in range(5))


def test_a_users_data_key_is_changed_while_they_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, encryption_key=KEY) as memory, Memory(url, encryption_key=KEY) as other:
        alice, there = memory.as_user("alice"), other.as_user("alice")
        for i in range(30):
            alice.store_memory("notes", {"id": str(i), "text": SECRET}, ttl=600)
        before = list(alice.backend.records())
        sealed = memory._layers.store.records(Query(("users",)))
        old = {r.value["sealed"].split(".")[0] for r in sealed}
        assert memory.encryption.rotate("alice") == 30
        there.store_memory("notes", {"id": "late", "text": SECRET})  # it still has the old key
        now = [r for r in alice.backend.records() if r.key != "late"]
        assert now == before  # values, versions, times, expiries
        sealed = memory._layers.store.records(Query(("users",)))
        new = {r.value["sealed"].split(".")[0] for r in sealed if r.key != "late"}
        assert not old & new
        assert alice.retrieve_memory("notes", id="late")
        assert memory.encryption.rotate("alice") == 31


def test_the_settings_say_no_more_than_they_must(encrypted: Memory) -> None:
    raw = encrypted._layers.store.get(SETTINGS, "encryption")
    assert raw is not None
    assert set(raw.value) == {"format", "salt", "master"}


def test_no_new_key_is_wrapped_by_a_master_key_of_before(tmp_path: Path) -> None:
    """A process that was not told of the change is refused where its write would be lost."""
    url, new = f"sqlite:///{tmp_path}/m.db", generate_key()
    with Memory(url, encryption_key=KEY) as memory, Memory(url, encryption_key=KEY) as other:
        other.as_user("known").store_memory("notes", {"id": "1", "text": SECRET})
        memory.encryption.rotate_master(new)
        with pytest.raises(WrongKey, match="was changed meanwhile"):
            other.as_user("newcomer").store_memory("notes", {"id": "1", "text": SECRET})
        other.as_user("known").store_memory("notes", {"id": "2", "text": SECRET})
    with Memory(url, encryption_key=new) as memory:
        assert len(memory.as_user("known").search_memory("notes")) == 2
        assert memory.as_user("newcomer").search_memory("notes") == []


def test_what_another_process_writes_after_a_user_was_forgotten_is_not_lost(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, encryption_key=KEY) as memory, Memory(url, encryption_key=KEY) as other:
        other.as_user("alice").store_memory("notes", {"id": "1", "text": SECRET})
        memory.forget_user("alice")
        other.as_user("alice").store_memory("notes", {"id": "2", "text": SECRET})
        assert memory.as_user("alice").retrieve_memory("notes") == {"id": "2", "text": SECRET}
        assert memory.export_user("alice")
        memory.forget_user("alice")
        assert memory.as_user("alice").search_memory("notes") == []


def test_a_forgotten_users_key_goes_when_nobody_can_be_writing_with_it(tmp_path: Path) -> None:
    clock = FakeClock()
    with Memory(SQLStore(f"sqlite:///{tmp_path}/m.db", clock=clock), encryption_key=KEY) as memory:
        alice = memory.as_user("alice")
        alice.store_memory("notes", {"id": "1", "text": SECRET})
        (sealed,) = memory._layers.store.records(Query(("users",)))
        memory.forget_user("alice")
        clock.forward(660)
        assert memory.encryption.sweep() == 1
        memory._layers.store.write([Restore(sealed)])  # from an old copy of the disk
        later = Memory(memory._layers.store, encryption_key=KEY)
        with later, pytest.raises(CorruptStore, match="forgotten"):
            later.as_user("alice").search_memory("notes")
        memory._layers.store.close()


def test_fields_are_sealed_wherever_their_path_leads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    person = {
        "id": "1",
        "contacts": [{"email": SECRET, "name": "Bob"}, {"name": "Eve"}, [{"email": SECRET}]],
        "profile": {"email": SECRET, "more": {"phone": SECRET}},
    }
    fields = ["contacts.email", "profile.email", "profile.more", "profile.more.phone"]
    with Memory(url, encryption_key=KEY, encrypt_fields=fields) as memory:
        memory.store_memory("people", person)
        assert memory.retrieve_memory("people") == person
        for filter in (
            {"contacts.email": SECRET},
            {"contacts.0.email": SECRET},
            {"contacts.name": "Eve"},
            {"profile.more.phone": SECRET},
            {"profile": person["profile"]},
        ):
            assert memory.search_memory("people", filter) == [person]
        assert SECRET not in repr(list(memory._layers.store.records()))
    with pytest.raises(Unsupported, match="copy"):
        Memory(url, encryption_key=KEY, encrypt_fields=["contacts"])
    with pytest.raises(TypeError, match="list"):
        Memory("memory://", encryption_key=KEY, encrypt_fields="email")  # type: ignore[arg-type]


def test_a_guarded_store_is_not_encrypted_by_halves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, access_control=True, admins=["root"]) as memory:
        memory.acting_as("root").access.grant("bob", "reader", ("documents",))
    with pytest.raises(WrongKey, match="not encrypted"):
        Memory(url, encryption_key=KEY)


def test_a_key_file_of_bytes_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 31 + b"\n")
    url = f"sqlite:///{tmp_path}/m.db"
    Memory(url, encryption_key=tmp_path / "key").close()
    Memory(url, encryption_key=b"k" * 31 + b"\n").close()
