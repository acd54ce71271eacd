"""Backups: every format of the file, what is refused, and what a part of one brings back."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import stat
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lc_memory import (
    BackupError,
    BackupKeyError,
    InvalidInput,
    Memory,
    Query,
    StoreFull,
    StoreReadOnly,
)
from lc_memory.jobs.backup import backup, restore, verify
from lc_memory.jobs.drill import drill
from lc_memory.keys import _name
from lc_memory.stores.sql import SQLStore
from tests.jobs.test_migrate import everything, fill
from tests.stores.test_files import open_file
from tests.stores.test_files_crash import ReadOnly, Small

NAMES = ["b.json", "b.json.gz", "b.json.zst", "b.jsonl", "b.jsonl.gz", "b.jsonl.zst", "b"]
KEY = b"k" * 32


@pytest.fixture
def filled(tmp_path: Path) -> Any:
    with Memory(f"sqlite:///{tmp_path}/m.db") as memory:
        fill(memory)
        yield memory


# -- every store, every format -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["b.json", "b.jsonl.gz"])
def test_a_backup_goes_from_any_store_into_any(memory: Memory, tmp_path: Path, name: str) -> None:
    fill(memory)
    before = everything(memory)
    made = memory.backup_data(tmp_path / name)
    with Memory("memory://") as other:
        other.store_memory("gone", {"x": 1})
        assert other.restore_data(tmp_path / name) == len(before)
        assert everything(other) == before
        other.store_memory("more", {"x": 1})
        other.backup_data(tmp_path / "more.jsonl")
    assert memory.restore_data(tmp_path / "more.jsonl") == len(before) + 1
    assert memory.restore_data(tmp_path / name) == len(before)
    assert everything(memory) == before
    again = memory.backup_data(tmp_path / f"again-{name}")
    assert (again.count, again.collections) == (made.count, made.collections)


@pytest.mark.parametrize(
    ("name", "key"),
    [*product(NAMES, [None, KEY]), ("b.jsonl.zst", "a passphrase")],
)
def test_every_format_comes_back(
    filled: Memory, tmp_path: Path, name: str, key: bytes | str | None
) -> None:
    before = everything(filled)
    path = tmp_path / name
    made = filled.backup_data(path, key=key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.size == path.stat().st_size
    assert made.sealed is (key is not None)
    assert made.count == len(before) == sum(made.collections.values())
    assert made.collections["documents/many"] == 30
    assert made.collections["documents/profile"] == 1  # a user's
    assert verify(path, key) == made
    assert drill(path, key).sha256 == made.sha256
    filled.delete_memory("many")
    assert filled.restore_data(path, key=key) == len(before)
    assert everything(filled) == before
    assert [p.name for p in tmp_path.glob(".*")] == []
    readable = key is None and path.suffix not in (".gz", ".zst")
    assert (b"Ada" in path.read_bytes()) is readable


def test_json_is_for_a_person_and_for_any_reader(filled: Memory, tmp_path: Path) -> None:
    made = filled.backup_data(tmp_path / "b.json")
    document = json.loads((tmp_path / "b.json").read_text())
    assert document["count"] == len(document["records"]) == made.count
    assert document["records"][0].keys() >= {"namespace", "key", "value", "version", "owner"}
    assert len((tmp_path / "b.json").read_bytes().splitlines()) == made.count + 3
    body, _, _ = (tmp_path / "b.json").read_bytes().rpartition(b'"count": ')
    assert hashlib.sha256(body).hexdigest() == document["sha256"]
    with Memory("memory://") as empty:
        empty.backup_data(tmp_path / "none.json")
        assert json.loads((tmp_path / "none.json").read_text())["records"] == []
        assert empty.restore_data(tmp_path / "none.json") == 0


def test_json_lines_are_each_a_line(filled: Memory, tmp_path: Path) -> None:
    made = filled.backup_data(tmp_path / "b.jsonl.gz")
    lines = gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes()).splitlines(keepends=True)
    head, *records, trailer = map(json.loads, lines)
    assert (head["format"], head["version"]) == ("lc_memory backup", 2)
    assert len(records) == trailer["count"] == made.count
    assert trailer["collections"] == made.collections
    assert hashlib.sha256(b"".join(lines[:-1])).hexdigest() == trailer["sha256"]


def test_expired_records_are_kept_as_they_are(tmp_path: Path) -> None:
    from lc_memory.testing import FakeClock

    clock = FakeClock()
    with Memory("memory://", clock=clock) as memory:
        memory.store_memory("x", {"v": 1}, ttl=1)
        clock.forward(120)
        assert memory.backup_data(tmp_path / "b.jsonl").count == 1
        assert drill(tmp_path / "b.jsonl").count == 1


def test_declared_indexes_are_kept_in_step(
    tmp_path: Path, postgres_databases: Any, mariadb_databases: Any
) -> None:
    servers = [databases(tmp_path) for databases in (postgres_databases, mariadb_databases)]
    urls = [f"sqlite:///{tmp_path}/m.db", *servers]
    for url in urls:
        with Memory(url, indexes={"log": ["at"]}) as memory:
            memory.batch_store([("log", {"id": str(i), "at": i}) for i in range(50)])
            memory.backup_data(tmp_path / "b.jsonl")
            memory.delete_memory("log", {"at": {"$lt": 40}})
            memory.update_memory("log", {"at": 1000}, id="45")
            memory.restore_data(tmp_path / "b.jsonl")
            found = memory.search_memory("log", {"at": {"$gte": 38}}, order_by="at")
            assert [d["at"] for d in found] == list(range(38, 50))


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("name", ["b.json", "b.jsonl", "b.jsonl.gz", "b.jsonl.zst"])
def test_damage_anywhere_is_found_before_anything_changes(
    filled: Memory, tmp_path: Path, name: str, key: bytes | None
) -> None:
    path = tmp_path / name
    filled.backup_data(path, key=key)
    good = path.read_bytes()
    before = everything(filled)
    chance = random.Random(7)
    bad = [good[: chance.randrange(len(good))] for _ in range(40)] + [good[:-1], good + b"x"]
    for _ in range(80):
        place = chance.randrange(len(good))
        other = bytes([good[place] ^ (1 << chance.randrange(8))])
        bad.append(good[:place] + other + good[place + 1 :])
    cut = chance.randrange(len(good))
    bad.append(good[:cut] + good[cut + 50 :])
    harmless = 0
    for content in bad:
        path.write_bytes(content)
        try:
            filled.restore_data(path, key=key)
        except BackupError:
            assert everything(filled) == before
        else:  # a bit of the compressor's that says nothing of the content
            harmless += 1
            assert name.endswith((".gz", ".zst"))
            assert key is None
            assert everything(filled) == before
    assert harmless < 5


def test_each_kind_of_bad_file_has_its_own_words(filled: Memory, tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    filled.backup_data(path)
    good = path.read_bytes()

    def refused(content: bytes, match: str, key: Any = None, error: Any = BackupError) -> None:
        path.write_bytes(content)
        with pytest.raises(error, match=match):
            filled.restore_data(path, key=key)

    refused(b"", "not a backup")
    refused(b"PK\x03\x04 something else", "not a backup")
    refused(b'{"format": "other"}', "not a backup")
    refused(gzip.compress(b"hello"), "not a backup")
    refused(good[:-10], "cut off")
    refused(good.replace(b'"version":2', b'"version":3', 1), "upgrade: pip install")
    refused(
        good.replace(b'"version":2', b'"version":3', 1).replace(b'0.1.0"', b'7.0.0"', 1),
        'pip install "lc-memory>=7.0.0"',
    )
    refused(good + good, "follows")
    lines = good.splitlines(keepends=True)
    refused(b"".join([lines[0], *lines[2:]]), "checksum")
    twice = b"".join([lines[0], lines[1], *lines[1:]])
    refused(twice, "not in its place")
    filled.backup_data(path, key="right")
    sealed = path.read_bytes()
    refused(sealed, "another key", "wrong", BackupKeyError)
    refused(sealed, "key=", None, BackupKeyError)
    refused(sealed, "a passphrase", b"x" * 32, BackupKeyError)
    refused(sealed.replace(b'"version":1', b'"version":2', 1), "upgrade", "right")
    refused(sealed.replace(b'"n":131072', b'"n":999999999', 1), "first line", "right")
    refused(sealed[:-1], "cut off", "right")
    for bad in (b"", "", b"short", 7):
        with pytest.raises(InvalidInput, match="32 bytes"):
            filled.backup_data(path, key=bad)  # type: ignore[arg-type]
    with pytest.raises(BackupError, match="cannot be read"):
        filled.restore_data(tmp_path / "missing.jsonl")


def test_a_file_that_changes_while_it_is_restored_changes_nothing(
    filled: Memory, tmp_path: Path
) -> None:
    filled.backup_data(tmp_path / "a.jsonl")
    filled.store_memory("other", {})
    filled.backup_data(tmp_path / "b.jsonl")
    before = everything(filled)

    def swap(done: int, total: int) -> None:
        os.replace(tmp_path / "b.jsonl", tmp_path / "a.jsonl")

    fill(filled, many=1100)
    filled.backup_data(tmp_path / "a.jsonl")
    before = everything(filled)
    with pytest.raises(BackupError, match="meanwhile"):
        restore(filled._layers.store, tmp_path / "a.jsonl", progress=swap)
    assert everything(filled) == before


def test_hostile_records_stay_out(filled: Memory, tmp_path: Path) -> None:
    """A file with the right checksum may still hold what no store would take."""
    good = {
        "namespace": ["n"],
        "key": "k",
        "value": {},
        "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "expires_at": None,
        "owner": None,
    }
    before = everything(filled)
    changes: list[dict[str, Any]] = [
        *({"namespace": bad} for bad in (["a\0"], [1], "n", None, ["x" * 2000])),
        *({"key": bad} for bad in (1, None, "\0", ["k"])),
        *({"value": bad} for bad in ([], "v", None, {"$what": 1})),
        *({"version": bad} for bad in (0, -1, "1", True, 1.5, 2**63)),
        *({"created_at": bad} for bad in (None, "yesterday", 5, "2026-01-01T00:00:00")),
        {"owner": 7},
    ]
    for change in changes:
        head = {"format": "lc_memory backup", "version": 2, "created_at": good["created_at"]}
        body = json.dumps(head | {"scope": []}, separators=(",", ":")) + "\n"
        body += json.dumps(good | change) + "\n"
        digest = hashlib.sha256(body.encode()).hexdigest()
        path = tmp_path / "b.jsonl"
        path.write_text(body + f'{{"count":1,"sha256":"{digest}"}}\n')
        with pytest.raises(BackupError):
            filled.restore_data(path)
        assert everything(filled) == before, change


# -- parts and merging -------------------------------------------------------------------------


def people(memory: Memory) -> None:
    for user in ("ada", "bob"):
        handle = memory.as_user(user)
        handle.store_memory("notes", {"id": "1", "of": user})
        handle.store_memory("notes", {"id": "2", "of": user})
        handle.store_memory("tasks", {"id": "1", "of": user})
        handle.chat_history("s").add_user_message("hi")
    memory.store_memory("notes", {"id": "1", "of": "all"})


def spoil(memory: Memory) -> None:
    for user in ("ada", "bob", "eve"):
        handle = memory.as_user(user)
        handle.store_memory("notes", {"id": "1", "of": "spoiled"})
        handle.store_memory("notes", {"id": "3", "of": "later"})
        handle.store_memory("tasks", {"id": "1", "of": "spoiled"})
        handle.delete_memory("notes", id="2")
    memory.store_memory("notes", {"id": "1", "of": "spoiled"})


def notes(memory: Memory, name: str = "notes") -> list[str]:
    return [f"{d['id']} {d['of']}" for d in memory.search_memory(name, order_by="id")]


def test_one_user_comes_back_and_the_others_stay(memory: Memory, tmp_path: Path) -> None:
    people(memory)
    memory.backup_data(tmp_path / "b.jsonl")
    spoil(memory)
    bobs = notes(memory.as_user("bob"))
    assert memory.restore_data(tmp_path / "b.jsonl", user="ada") == 4
    ada, bob = memory.as_user("ada"), memory.as_user("bob")
    assert notes(ada) == ["1 ada", "2 ada"]
    assert notes(ada, "tasks") == ["1 ada"]
    assert len(ada.chat_history("s").messages) == 1
    assert (notes(bob), notes(memory)) == (bobs, ["1 spoiled"])
    with pytest.raises(BackupError, match="nothing of 'eve'"):
        memory.restore_data(tmp_path / "b.jsonl", user="eve")
    with pytest.raises(BackupError):
        ada.restore_data(tmp_path / "b.jsonl", user="bob")
    assert notes(bob) == bobs


def test_collections_come_back_and_the_others_stay(memory: Memory, tmp_path: Path) -> None:
    people(memory)
    memory.backup_data(tmp_path / "b.jsonl")
    spoil(memory)
    memory.restore_data(tmp_path / "b.jsonl", collections=["notes"])
    ada, bob, eve = (memory.as_user(user) for user in ("ada", "bob", "eve"))
    assert notes(memory) == ["1 all"]
    assert (notes(ada), notes(bob), notes(eve)) == (["1 ada", "2 ada"], ["1 bob", "2 bob"], [])
    assert notes(ada, "tasks") == notes(eve, "tasks") == ["1 spoiled"]
    memory.restore_data(tmp_path / "b.jsonl", collections=["tasks"], user="ada")
    assert (notes(ada, "tasks"), notes(bob, "tasks")) == (["1 ada"], ["1 spoiled"])
    ada.chat_history("s").clear()
    memory.restore_data(tmp_path / "b.jsonl", collections=["messages"], mode="merge")
    assert len(ada.chat_history("s").messages) == 1
    before = everything(memory)
    for bad, match in ((["nothing"], "documents/notes"), (["notes", "x"], "no x")):
        with pytest.raises(BackupError, match=match):
            memory.restore_data(tmp_path / "b.jsonl", collections=bad)
    with pytest.raises(InvalidInput, match="a list"):
        memory.restore_data(tmp_path / "b.jsonl", collections="notes")
    with pytest.raises(InvalidInput, match="merge"):
        memory.restore_data(tmp_path / "b.jsonl", mode="mix")
    assert everything(memory) == before


def test_merging_deletes_nothing(memory: Memory, tmp_path: Path) -> None:
    people(memory)
    memory.backup_data(tmp_path / "b.jsonl")
    spoil(memory)
    memory.restore_data(tmp_path / "b.jsonl", mode="merge")
    assert notes(memory.as_user("ada")) == ["1 ada", "2 ada", "3 later"]
    assert notes(memory.as_user("eve")) == ["1 spoiled", "3 later"]
    assert notes(memory) == ["1 all"]


def test_a_users_backup_replaces_that_user_only(tmp_path: Path) -> None:
    with Memory("memory://") as memory:
        people(memory)
        memory.as_user("ada").backup_data(tmp_path / "ada.jsonl")
        spoil(memory)
        memory.restore_data(tmp_path / "ada.jsonl")
        assert notes(memory.as_user("ada")) == ["1 ada", "2 ada"]
        assert notes(memory.as_user("bob")) == ["1 spoiled", "3 later"]


def test_keys_and_access_belong_to_a_backup_and_schedules_do_not(tmp_path: Path) -> None:
    keys, access = ("lc_memory", "keys"), ("lc_memory", "access")
    schedule, audit = ("lc_memory", "backups"), ("lc_memory", "audit")
    with Memory("memory://") as memory:
        store = memory._layers.store
        ada = _name("ada")
        for place, key in ((keys, ada), (access, "k"), (schedule, "k"), (audit, "k")):
            store.put(place, key, {"v": "old", "active": "1", "keys": {"1": {}}})
        people(memory)
        made = memory.backup_data(tmp_path / "b.jsonl")
        assert {n for n in made.collections if "lc_" in n} == {"lc_memory/keys", "lc_memory/access"}
        for place in (access, schedule, audit):
            store.put(place, "k", {"v": "new"})
        store.delete(keys, ada)
        store.put(keys, "later", {"v": "new", "active": "2", "keys": {"2": {}}})

        def now() -> dict[str, str]:
            found = store.records(Query(("lc_memory",)))
            return {f"{r.namespace[1]}/{r.key}": r.value["v"] for r in found}

        rest = {"access/k": "new", "backups/k": "new", "audit/k": "new"}
        # Keys that are missing are added, and none is taken away; a part or a merge changes
        # nothing else of ours.
        memory.restore_data(tmp_path / "b.jsonl", user="bob")
        assert now() == rest | {"keys/later": "new"}
        memory.restore_data(tmp_path / "b.jsonl", user="ada")
        assert now() == rest | {f"keys/{ada}": "old", "keys/later": "new"}
        store.delete(keys, ada)
        memory.restore_data(tmp_path / "b.jsonl", mode="merge")
        assert now() == rest | {f"keys/{ada}": "old", "keys/later": "new"}
        memory.restore_data(tmp_path / "b.jsonl")
        assert now() == rest | {f"keys/{ada}": "old", "keys/later": "new", "access/k": "old"}


# -- disks, permissions ------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_backup(filled: Memory, tmp_path: Path) -> None:
    """The process may write no more than some bytes, as on a full disk."""
    path = tmp_path / "b.jsonl"
    made = filled.backup_data(path)
    good = path.read_bytes()
    code = f"""
import resource, signal
from lc_memory import Memory, StoreFull
memory = Memory("sqlite:///{tmp_path}/m.db")
memory.count = memory.backend.count()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for room in (0, 10, 100, {made.size // 2}, {made.size - 1}):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    for key in (None, b"k" * 32):
        try:
            memory.backup_data({str(path)!r}, key=key)
        except StoreFull as error:
            print("full")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("full\n" * 10, "")
    assert path.read_bytes() == good
    assert [p.name for p in tmp_path.glob(".b*")] == []


def test_a_disk_that_is_full_while_restoring_keeps_the_old_state(tmp_path: Path) -> None:
    with Memory("memory://") as big:
        big.batch_store([("a", {"id": str(i), "v": "x" * 500}) for i in range(2000)])
        big.backup_data(tmp_path / "big.jsonl")
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        store.put(("n",), "before", {"v": 1})
        pages = store._db.select("PRAGMA page_count")[0][0]
        store._db._writer[1].execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StoreFull):
            restore(store, tmp_path / "big.jsonl")
        assert [record.key for record in store.records()] == ["before"]
    disk = Small()
    with open_file(tmp_path, "json", disk=disk, idle=60) as files:
        files.put(("n",), "before", {"v": 1})
        disk.room = 10_000
        with pytest.raises(StoreFull):
            restore(files, tmp_path / "big.jsonl")
        assert [record.key for record in files.records()] == ["before"]
        disk.room = 1 << 40
        assert restore(files, tmp_path / "big.jsonl") == files.count() == 2000


def test_where_nothing_may_be_written(filled: Memory, tmp_path: Path) -> None:
    with pytest.raises(StoreReadOnly, match=r"b\.jsonl"):
        backup(filled._layers.store, tmp_path / "b.jsonl", disk=ReadOnly())
    assert list(tmp_path.glob("*b.jsonl*")) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users are POSIX's")
def test_a_read_only_folder(filled: Memory, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("nothing is read-only to root; the test before has the rest")
    with pytest.raises(StoreReadOnly, match="folder"):
        filled.backup_data(folder / "b.jsonl")


def test_progress_is_told(filled: Memory, tmp_path: Path) -> None:
    fill(filled, many=2500)
    told: list[tuple[int, int]] = []
    made = backup(
        filled._layers.store,
        tmp_path / "b.jsonl",
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[0] == (1000, made.count)
    assert told[-1] == (made.count, made.count)
