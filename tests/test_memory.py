"""What a user of ``Memory`` relies on."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lc_memory import (
    BackupError,
    InvalidFilter,
    InvalidKey,
    InvalidValue,
    Memory,
    MemoryNotFound,
    StoreClosed,
    StoreUnavailable,
    UnknownStorage,
    Unsupported,
)
from lc_memory.testing import FakeClock
from memory_agent.agent import MemoryAgent


def test_a_document_is_kept_under_its_identity(memory: Memory) -> None:
    for data in (
        {"user_id": "u1", "v": 1},
        {"user_id": "u1", "v": 2},
        {"id": "i", "user_id": "u1"},
        {"conversation_id": "c", "user_id": "u1"},
        {"user_id": 7},
        {"user_id": "7"},
        {"user_id": None, "other": 1},
        {"no": "identity"},
    ):
        record = memory.store_memory("things", data)
        assert record.value == data
    memory.store_memory("things", {"user_id": "u1", "v": 3}, id="given")
    documents = memory.search_memory("things", order_by="@created_at")
    assert documents == [
        {"user_id": "u1", "v": 2},
        {"id": "i", "user_id": "u1"},
        {"conversation_id": "c", "user_id": "u1"},
        {"user_id": 7},
        {"user_id": "7"},
        {"no": "identity"},
        {"user_id": "u1", "v": 3},
    ]
    assert memory.retrieve_memory("things", id="u1") == {"user_id": "u1", "v": 2}
    assert memory.retrieve_memory("things", id=7) == {"user_id": 7}


def test_a_collections_own_identity_fields(tmp_path: Path) -> None:
    with Memory(f"sqlite:///{tmp_path}/m.db", identity={"pets": ["tag"]}) as memory:
        memory.store_memory("pets", {"tag": "a", "user_id": "u"})
        memory.store_memory("pets", {"tag": "b", "user_id": "u"})
        assert len(memory.search_memory("pets")) == 2


@pytest.mark.parametrize("id", [True, 1.5, ["x"], {"a": 1}, b"x"])
def test_what_cannot_name_a_document(memory: Memory, id: Any) -> None:
    with pytest.raises(InvalidKey):
        memory.store_memory("things", {}, id=id)
    with pytest.raises(InvalidKey, match="user_id"):
        memory.store_memory("things", {"user_id": id})
    with pytest.raises(InvalidKey):
        memory.store_memory("", {})
    with pytest.raises(InvalidValue, match=r"\$: a list"):
        memory.store_memory("things", [1])  # type: ignore[arg-type]


def test_hostile_ids_are_only_ids(memory: Memory, tmp_path: Path) -> None:
    ids = ["../../x", "/etc/passwd", "'; DROP TABLE lc_memory_records; --", "%", "#7", "a\nb", ""]
    for id in ids:
        memory.store_memory("notes", {"n": id}, id=id)
        memory.chat_history(id or "e").add_user_message(id)
    for id in ids:
        assert memory.retrieve_memory("notes", id=id) == {"n": id}
        assert memory.chat_history(id or "e").messages[0].content == id
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} <= {"memory"}


def test_retrieve_gives_the_latest_match_or_the_default(memory: Memory) -> None:
    assert memory.retrieve_memory("prefs") is None
    assert memory.retrieve_memory("prefs", default={"x": 1}) == {"x": 1}
    for i in range(5):
        memory.store_memory("prefs", {"id": str(i), "odd": bool(i % 2)})
    memory.store_memory("prefs", {"id": "2", "odd": False, "again": True})
    assert memory.retrieve_memory("prefs") == {"id": "2", "odd": False, "again": True}
    assert memory.retrieve_memory("prefs", {"odd": True}) == {"id": "3", "odd": True}
    assert memory.retrieve_memory("prefs", {"odd": 1}) is None  # 1 is not True


def test_search_gives_all_that_match(memory: Memory) -> None:
    for i in range(150):
        memory.store_memory("log", {"id": str(i), "i": i, "mod": i % 3})
    assert len(memory.search_memory("log")) == 150
    found = memory.search_memory("log", {"mod": 1, "i": {"$lt": 10}})
    assert [d["i"] for d in found] == [7, 4, 1]  # the most recently stored first
    found = memory.search_memory("log", {"i": {"$in": [3, 5, 9]}}, order_by="i", limit=2)
    assert [d["i"] for d in found] == [3, 5]
    assert memory.search_memory("log", order_by="-i", limit=1)[0]["i"] == 149
    with pytest.raises(Unsupported, match="recall=True"):
        memory.search_memory("log", query="meaning")
    for bad in ({"a": {"$where": "1"}}, {"$or": []}, {"a": {"$gt": None}}, {"a": {"$regex": "("}}):
        with pytest.raises(InvalidFilter):
            memory.search_memory("log", bad)


def test_declared_indexes_change_no_answer_on_any_store(memory_url: str, tmp_path: Path) -> None:
    if memory_url == "memory://":
        memory_url = f"sqlite:///{tmp_path}/m.db"
    with Memory(memory_url, indexes={"log": ["at", "tags"]}) as memory:
        memory.batch_store(
            [("log", {"id": str(i), "at": f"2024-{i:02}", "tags": [i % 3, "x"]}) for i in range(20)]
        )
        memory.as_user("ada").store_memory("log", {"id": "1", "at": "2024-05"})
        found = memory.search_memory("log", {"at": {"$gte": "2024-15"}}, order_by="at")
        assert [d["id"] for d in found] == ["15", "16", "17", "18", "19"]
        assert len(memory.search_memory("log", {"tags": 2})) == 6
        assert memory.as_user("ada").search_memory("log", {"at": "2024-05"}) == [
            {"id": "1", "at": "2024-05"}
        ]


def test_update_is_a_merge_patch(memory: Memory) -> None:
    memory.store_memory("user", {"user_id": "u", "a": {"b": 1, "c": [1, 2]}, "gone": 1})
    record = memory.update_memory("user", {"a": {"b": None, "c": [3], "d": {}}, "gone": None})
    assert record.value == {"user_id": "u", "a": {"c": [3], "d": {}}}
    assert (record.version, memory.retrieve_memory("user")) == (2, record.value)
    with pytest.raises(MemoryNotFound) as error:
        memory.update_memory("user", {"x": 1}, {"user_id": "other"})
    assert isinstance(error.value, KeyError)
    assert "store_memory" in str(error.value)
    with pytest.raises(InvalidValue, match="rename"):
        memory.update_memory("user", {"user_id": "v"})
    with pytest.raises(InvalidValue, match=r"\$\.a\.x"):
        memory.update_memory("user", {"a": {"x": float("nan")}})
    assert memory.retrieve_memory("user") == record.value


def test_updates_of_many_threads_are_all_kept(memory: Memory) -> None:
    memory.store_memory("counters", {"id": "c"})
    threads = [
        threading.Thread(target=lambda n=n: memory.update_memory("counters", {f"t{n}": n}))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.retrieve_memory("counters") == {"id": "c"} | {f"t{n}": n for n in range(16)}


@pytest.mark.parametrize("id", ["single", "#single", "#", "##single", 0])
def test_no_identity_is_that_of_the_single_document(memory: Memory, id: str | int) -> None:
    single = memory.store_memory("notes", {"x": 1})
    assert memory.store_memory("notes", {"y": 2}, id=id).id != single.id
    assert memory.search_memory("notes", order_by="@created_at") == [{"x": 1}, {"y": 2}]
    memory.store_memory("notes", {"x": 2})
    assert memory.retrieve_memory("notes", id=id) == {"y": 2}
    assert memory.retrieve_memory("notes") == {"x": 2}


def test_delete_says_how_many(memory: Memory) -> None:
    for i in range(250):
        memory.store_memory("many", {"id": str(i), "even": i % 2 == 0})
    memory.store_memory("other", {"x": 1})
    assert memory.delete_memory("many", {"even": True}) == 125
    assert memory.delete_memory("many", id="1") == 1
    assert memory.delete_memory("many", id="1") == 0
    assert memory.delete_memory("many") == 124
    assert memory.delete_memory("many") == 0
    assert memory.retrieve_memory("other") == {"x": 1}


def test_a_batch_is_all_or_nothing(memory: Memory) -> None:
    records = memory.batch_store([("a", {"id": "1"}), ("b", {"x": 1})])
    assert [record.value for record in records] == [{"id": "1"}, {"x": 1}]
    with pytest.raises(InvalidValue):
        memory.batch_store([("a", {"id": "2"}), ("a", {"id": "3", "bad": {1}})])
    for items in ([("a", {"id": "2"}), ("a", {}, 3)], [("a", {"id": "2"}), None]):
        with pytest.raises(InvalidValue, match=r"^items\[1\]: not a pair"):
            memory.batch_store(items)  # type: ignore[arg-type]
    assert len(memory.search_memory("a")) == 1


def test_time_to_live_is_in_minutes(tmp_path: Path) -> None:
    clock = FakeClock()
    with Memory(f"sqlite:///{tmp_path}/m.db", clock=clock) as memory:
        record = memory.store_memory("s", {"v": 1}, ttl=2)
        assert record.expires_at == clock() + timedelta(minutes=2)
        memory.update_memory("s", {"w": 1})  # keeps its time
        clock.forward(119)
        assert memory.retrieve_memory("s") == {"v": 1, "w": 1}
        clock.forward(1)
        assert memory.retrieve_memory("s") is None
        for bad in (0, -1, "1", True, float("nan")):
            with pytest.raises(InvalidValue, match="ttl"):
                memory.store_memory("s", {}, ttl=bad)  # type: ignore[arg-type]


def test_users_are_kept_apart(memory: Memory) -> None:
    ada, bob = memory.as_user("ada"), memory.as_user("ada2")
    for name, handle in (("ada", ada), ("bob", bob), ("all", memory)):
        handle.store_memory("profile", {"name": name})
        handle.chat_history("s").add_user_message(name)
        handle.store().put(("n",), "k", {"name": name})
    for name, handle in (("ada", ada), ("bob", bob), ("all", memory)):
        assert handle.search_memory("profile") == [{"name": name}]
        assert [m.content for m in handle.chat_history("s").messages] == [name]
        assert [item.value for item in handle.store().search(())] == [{"name": name}]
    assert ada.delete_memory("profile") == 1
    assert bob.retrieve_memory("profile") == {"name": "bob"}
    for bad in ("", "a\0", 7):
        with pytest.raises(InvalidKey):
            memory.as_user(bad)  # type: ignore[arg-type]
    ada.close()  # a handle closes nothing
    assert memory.retrieve_memory("profile") == {"name": "all"}


async def test_every_method_has_its_async_twin(memory: Memory, tmp_path: Path) -> None:
    public = {name for name in dir(Memory) if not name.startswith("_")}
    at_once = {"as_user", "backups", "collection", "chat_history", "store"}  # nothing in them waits
    at_once |= {"session", "key_value", "llm_cache", "checkpointer"}
    at_once |= {"acting_as", "access", "audit", "encryption", "as_retriever"}
    for name in public - at_once:
        assert (name.startswith("a") and name[1:] in public) or f"a{name}" in public, name
    await memory.astore_memory("a", {"id": "1", "v": 1})
    await memory.abatch_store([("a", {"id": "2"}), ("a", {"id": "3"})])
    assert await memory.aretrieve_memory("a", {"v": 1}) == {"id": "1", "v": 1}
    assert len(await memory.asearch_memory("a", limit=2)) == 2
    assert (await memory.aupdate_memory("a", {"v": 2}, id="1")).version == 2
    await memory.abackup_data(tmp_path / "b.json")
    assert await memory.adelete_memory("a") == 3
    assert await memory.arestore_data(tmp_path / "b.json") == 3
    with pytest.raises(InvalidValue):
        await memory.astore_memory("a", {"x": float("nan")})


def test_one_object_serves_several_loops_and_threads(memory: Memory) -> None:
    async def work(name: str) -> None:
        await asyncio.gather(*(memory.astore_memory(name, {"id": str(i)}) for i in range(50)))
        assert len(await memory.asearch_memory(name)) == 50

    threads = [threading.Thread(target=lambda n=n: asyncio.run(work(f"loop{n}"))) for n in range(3)]
    for thread in threads:
        thread.start()
    for i in range(50):
        memory.store_memory("sync", {"id": str(i)})
    for thread in threads:
        thread.join()
    assert [len(memory.search_memory(f"loop{n}")) for n in range(3)] == [50] * 3
    assert len(memory.search_memory("sync")) == 50


# -- opening and closing -----------------------------------------------------------------------


def test_an_unknown_storage_lists_the_known() -> None:
    with pytest.raises(UnknownStorage, match=r"database.*memory.*sqlite"):
        MemoryAgent(storage_type="oracle")
    with pytest.raises(UnknownStorage, match="sqlite"):
        Memory("oracle://x")
    with pytest.raises(UnknownStorage, match="not a URL"):
        Memory("agent_memory.db")


def test_a_storage_type_may_be_spelled_in_capitals(tmp_path: Path) -> None:
    for named, file in (("SQLite", "a.db"), ("JSON", "a.json")):
        with MemoryAgent(storage_type=named, db_path=tmp_path / file) as agent:
            agent.store_memory("x", {})
        assert (tmp_path / file).exists()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_open_memory_is_not_copied(memory: Memory, copied: Callable[[Memory], object]) -> None:
    with pytest.raises(TypeError, match="open its URL again"):
        copied(memory)


def test_database_takes_its_url_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_MEMORY_URL", "sqlite:///named.db")
    for open_it in (lambda: MemoryAgent(storage_type="database"), Memory):
        with open_it() as memory:
            memory.store_memory("x", {})
    monkeypatch.delenv("LC_MEMORY_URL")
    with MemoryAgent(storage_type="database") as agent:
        agent.store_memory("x", {})
    assert {p.name for p in tmp_path.glob("*.db")} == {"named.db", "agent_memory.db"}


@pytest.mark.parametrize(
    "options",
    [{"admins": "ada"}, {"indexes": {"notes": "slug"}}, {"identity": {"notes": "slug"}}],
    ids=str,
)
def test_one_text_is_no_list_of_its_letters(options: dict[str, Any]) -> None:
    """An admin "ada" would make "a" and "d" ones; notes without an id would replace each other."""
    with pytest.raises(TypeError, match=r"a list, such as \['"):
        Memory("memory://", **options)


def test_an_open_store_may_be_given(memory: Memory) -> None:
    with Memory(memory.backend) as again:
        again.store_memory("x", {"v": 1})
    assert memory.retrieve_memory("x") == {"v": 1}  # who opened it closes it
    with pytest.raises(TypeError):
        Memory(memory.backend, durability="normal")


async def test_a_closed_memory_says_so(memory: Memory) -> None:
    memory.close()
    memory.close()
    with pytest.raises(StoreClosed):
        memory.store_memory("x", {})
    for use in (memory.astore_memory("x", {}), memory.aretrieve_memory("x")):
        with pytest.raises(StoreClosed):
            await use


def test_a_password_is_never_shown() -> None:
    with pytest.raises(UnknownStorage) as error:
        Memory("oracle://u:secret@host/db")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:a@secret@127.0.0.1:1/db",  # the first @ should be %40
        "mysql://u:a@secret@127.0.0.1:1/db",
        "mongodb://u:a@secret@127.0.0.1:1/db",
        "postgresql://u@127.0.0.1:1/db?password=secret",
        "mysql://u@127.0.0.1:1/db?password=secret",
        "mysql://u:secret@127.0.0.1:1/db?nope=1",
        "mysql://u:secret@127.0.0.1:1/db?ssl_ca=/missing/ca.pem",
        "mysql://u:secret@127.0.0.1:1",
        "mysql://u@127.0.0.1:1?password=secret",
        "sqlite://host/memory.db?password=secret",
        "json:///memory.json?password=secret",
        "sqlite://u:secret@host/memory.db",
        "json://u:secret@host/memory.json",
    ],
)
def test_a_url_that_cannot_be_opened_is_an_error_of_ours_without_its_password(url: str) -> None:
    with pytest.raises((UnknownStorage, StoreUnavailable)) as error:
        Memory(url, timeout=2)
    assert "secret" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_a_file_name_that_cannot_be_is_an_error_of_ours(kind: str, name: str) -> None:
    with pytest.raises(StoreUnavailable):
        MemoryAgent(kind, db_path=name)


def test_sqlite_is_opened_whatever_driver_its_url_names(tmp_path: Path) -> None:
    with Memory(f"sqlite+aiosqlite:///{tmp_path}/memory.db") as memory:
        memory.store_memory("x", {"v": 1})
    with Memory(f"sqlite:///{tmp_path}/memory.db") as memory:
        assert memory.retrieve_memory("x") == {"v": 1}


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, lc_memory; print([m for m in ('sqlalchemy', 'langchain_core', 'pydantic', "
        "'orjson', 'langgraph', 'asyncio') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_contract_says_what_it_needs() -> None:
    code = "import sys; sys.modules['pytest'] = None; import lc_memory.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        'MissingExtra: The contract of stores needs an extra: pip install "lc-memory[testing]"'
        in (done.stderr)
    )


def test_exported_names_are_there() -> None:
    import lc_memory

    assert {name for name in lc_memory.__all__ if not hasattr(lc_memory, name)} == set()
    assert set(lc_memory.__all__) <= set(dir(lc_memory))
    with pytest.raises(AttributeError):
        lc_memory.nothing  # noqa: B018


# -- backup ------------------------------------------------------------------------------------


def fill(memory: Memory) -> None:
    memory.store_memory(
        "a", {"id": "1", "bytes": b"\xff", "cut": "\ud83d", "nul": "\0", "n": 2**70}
    )
    memory.store_memory("a", {"id": "1", "again": True, "line": "x\ny\u2028z"})
    memory.store_memory("a", {"id": "2"}, ttl=10)
    memory.chat_history("s").add_user_message("hello")
    memory.as_user("ada").store_memory("p", {"v": '"count": 7, "sha256": "x"}'})


def everything(memory: Memory) -> list[Any]:
    return list(memory.backend.records())


def test_a_backup_brings_everything_back(memory: Memory, tmp_path: Path) -> None:
    fill(memory)
    before = everything(memory)
    made = memory.backup_data(tmp_path / "b.json")
    assert (
        made.count == len(before) == len(json.loads((tmp_path / "b.json").read_text())["records"])
    )
    memory.store_memory("new", {"x": 1})
    memory.delete_memory("a")
    assert memory.restore_data(tmp_path / "b.json") == len(before)
    assert everything(memory) == before
    with Memory("memory://") as other:  # into another kind of store
        other.store_memory("goes", {})
        other.restore_data(tmp_path / "b.json")
        assert everything(other) == before
    assert [path.name for path in tmp_path.glob("*b.json*")] == ["b.json"]


def test_a_users_backup_is_the_users_alone(memory: Memory, tmp_path: Path) -> None:
    fill(memory)
    memory.backup_data(tmp_path / "all.json")
    ada = memory.as_user("ada")
    ada.backup_data(tmp_path / "ada.json")
    assert "hello" not in (tmp_path / "ada.json").read_text()
    ada.delete_memory("p")
    rest = everything(memory)
    assert ada.restore_data(tmp_path / "ada.json") == 1
    assert ada.retrieve_memory("p")
    assert len(everything(memory)) == len(rest) + 1
    with pytest.raises(BackupError, match="outside"):
        ada.restore_data(tmp_path / "all.json")


def test_a_bad_backup_changes_nothing(memory: Memory, tmp_path: Path) -> None:
    fill(memory)
    path = tmp_path / "b.json"
    memory.backup_data(path)
    before = everything(memory)
    good = path.read_bytes()
    bad = [good[:n] for n in (0, 10, len(good) // 2, len(good) - 2)]
    bad += [good.replace(b"hello", b"hellp"), good.replace(b'"version":1,', b'"version":99,', 1)]
    bad += [b'{"format": "something else"}', b"\x80\x04N.", good + b"x"]
    lines = good.splitlines(keepends=True)
    bad.append(b"".join([lines[0], *lines[2:]]))
    for content in bad:
        path.write_bytes(content)
        with pytest.raises(BackupError):
            memory.restore_data(path)
        assert everything(memory) == before
    with pytest.raises(BackupError, match="cannot be read"):
        memory.restore_data(tmp_path / "missing.json")


def test_the_database_can_be_looked_at(tmp_path: Path) -> None:
    with Memory(f"sqlite:///{tmp_path}/m.db") as memory:
        memory.store_memory("user_profile", {"user_id": "ada", "naïve": "café"})
    with sqlite3.connect(tmp_path / "m.db") as database:
        rows = database.execute("SELECT namespace, key, value FROM lc_memory_records").fetchall()
    database.close()
    assert rows == [("documents\tuser_profile\t", "ada", '{"user_id":"ada","naïve":"café"}')]


def test_places_where_no_backup_can_be_written(memory: Memory, tmp_path: Path) -> None:
    """Each is said plainly, and leaves nothing behind."""
    for place in (tmp_path / "missing" / "b.json", tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(StoreUnavailable, match=place.name):
            memory.backup_data(place)
    assert [path.name for path in tmp_path.glob(".*json*")] == []
    assert [path.name for path in tmp_path.glob(".folder*")] == []
