"""The audit log: everything is on record, nothing of what was said, and no entry can go missing."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lc_memory import AccessDenied, Conflict, Memory, Put, Query, open_store
from lc_memory.audit import AUDIT
from lc_memory.errors import InvalidQuery, InvalidValue
from lc_memory.records import ABSENT, Clear, Delete, Restore

ENTRIES = (*AUDIT, "entries")


@pytest.fixture
def audited(memory_url: str) -> Iterator[Memory]:
    with Memory(memory_url, audit=True) as memory:
        yield memory


def test_every_access_has_an_entry(audited: Memory, tmp_path: Path) -> None:
    """Who, what, where and how it ended, in the order in which it happened."""
    alice = audited.as_user("alice")
    alice.store_memory("notes", {"id": "n1", "text": "peanuts"})
    alice.retrieve_memory("notes", id="n1")
    alice.search_memory("notes", {"text": "peanuts"})
    with pytest.raises(Conflict):
        alice.backend.put(alice.collection("notes"), "n1", {}, replacing=ABSENT)
    alice.chat_history("s").add_user_message("hello")
    alice.delete_memory("notes", id="n1")
    alice.backup_data(tmp_path / "b.json")
    told = [(e.principal, e.action, e.outcome) for e in audited.audit.entries()]
    assert told == [
        ("alice", "put", "done"),
        ("alice", "read", "1 found"),
        ("alice", "find", "1 found"),
        ("alice", "put", "Conflict"),
        ("alice", "append", "done"),
        ("alice", "read", "1 found"),
        ("alice", "delete", "done"),
        ("alice", "backup", "begun"),
        ("alice", "backup", "done"),
    ]
    put, read, find, *_ = audited.audit.entries()
    place = (("users", "alice", "documents", "notes"), "n1")
    assert put.items[0][1:3] == read.items[0][1:3] == find.items[1][1:3] == place
    assert put.items[0][3] is not None
    assert "peanuts" not in repr(audited.audit.entries())


def test_an_entry_is_committed_with_its_write_or_not_at_all(audited: Memory) -> None:
    with pytest.raises(Conflict):
        audited.backend.write([Put(("n",), "a", {}), Put(("n",), "a", {}, None, ABSENT)])
    (entry,) = audited.audit.entries()
    assert (entry.action, entry.outcome) == ("put", "Conflict")
    with pytest.raises(InvalidValue):
        audited.backend.write([Put(("n",), "a", {"x": float("nan")})])
    assert audited.audit.verify()


def test_many_records_are_told_of_in_several_entries(audited: Memory) -> None:
    audited.backend.write([Put(("n",), f"{i:04}", {}) for i in range(1200)])
    entries = audited.audit.entries()
    assert [len(e.items) for e in entries] == [500, 500, 200]
    assert audited.audit.verify()


def test_entries_are_found_by_user_time_and_action(audited: Memory) -> None:
    for user in ("alice", "bob"):
        audited.as_user(user).store_memory("notes", {"id": "1"})
        audited.as_user(user).search_memory("notes")
    log = audited.audit
    assert [e.principal for e in log.entries(action="put")] == ["alice", "bob"]
    assert [e.action for e in log.entries(user="bob")] == ["put", "find"]
    assert [e.principal for e in log.entries(limit=3)] == ["bob", None, None]  # who read it too
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert len(log.entries(until=soon)) == 4 + 3
    assert log.entries(since=soon) == []
    with pytest.raises(InvalidQuery):
        log.entries(since=datetime(2026, 1, 1))


def test_the_log_is_exported_as_json_lines(audited: Memory, tmp_path: Path) -> None:
    audited.store_memory("notes", {"id": "1", "text": "secret"})
    assert audited.audit.export(tmp_path / "log.jsonl") == 1
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["action"] == "put"
    assert "secret" not in line
    if os.name == "posix":
        assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600
    assert audited.audit.entries()[-1].action == "export"


def test_many_threads_and_loops_keep_whole_chains(audited: Memory) -> None:
    async def work(name: str) -> None:
        handle = audited.as_user(name)
        await asyncio.gather(*(handle.astore_memory("n", {"id": str(i)}) for i in range(20)))

    threads = [threading.Thread(target=lambda n=n: asyncio.run(work(f"u{n}"))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = audited.audit.verify()
    assert report.problems == ()
    assert report.entries == 80


# -- out of reach, and found when it is not ------------------------------------------------------


def test_the_log_is_out_of_reach_of_handles(audited: Memory) -> None:
    audited.store_memory("notes", {"id": "1"})
    (raw,) = audited._layers.store.records(Query(ENTRIES))
    for use in (
        lambda: audited.backend.read([raw.id]),
        lambda: audited.backend.find(Query(AUDIT)),
        lambda: audited.backend.count(Query(ENTRIES)),
        lambda: audited.backend.namespaces(AUDIT),
        lambda: audited.backend.write([Delete(*raw.id)]),
        lambda: audited.backend.write([Put(*raw.id, {})]),
        lambda: audited.backend.write([Restore(raw)]),
        lambda: audited.backend.write([Clear(AUDIT)]),
        lambda: audited.backend.write([Clear(("lc_memory",))]),
    ):
        with pytest.raises(AccessDenied):
            use()
    audited.backend.write([Clear(())])
    assert {record.namespace[0] for record in audited.backend.records()} == set()
    assert audited.audit.verify().entries > 1


def test_a_removed_changed_or_moved_entry_is_found(memory_url: str) -> None:
    """Whoever writes to the raw store and does not recompute the chain is found out."""
    with Memory(memory_url, audit=True) as memory:
        for i in range(5):
            memory.store_memory("notes", {"id": str(i)})
        assert memory.audit.verify()
        raw = memory._layers.store
        records = list(raw.records(Query(ENTRIES)))
        space = records[0].namespace
        (head,) = raw.records(Query((*AUDIT, "heads")))

        def broken() -> str:
            return "; ".join(memory.audit.verify().problems)

        def mend() -> None:
            raw.write([Clear(space), *(Restore(r) for r in records), Restore(head)])
            assert memory.audit.verify()

        for gone, said in ((0, "removed before it: 1"), (2, "before it"), (4, "at its end")):
            raw.write([Delete(space, records[gone].key)])
            assert said in broken()
            mend()
        raw.write([Put(space, records[1].key, {**records[1].value, "principal": "eve"})])
        assert "entry 0000000000000001: was changed" in broken()
        mend()
        raw.write([Put(space, r.key, s.value) for r, s in zip(records, records[::-1], strict=True)])
        assert "was moved" in broken()
        mend()
        raw.write([Delete(*head.id)])
        assert "its head was removed" in broken()


def test_old_entries_go_and_the_rest_can_be_verified(audited: Memory) -> None:
    for i in range(3):
        audited.store_memory("notes", {"id": str(i)})
    cut = audited.audit.entries()[1].time
    assert audited.audit.prune(cut) == 1
    assert [e.action for e in audited.audit.entries()] == ["put", "put", "audit", "prune"]
    assert audited.audit.verify()
    audited.store_memory("notes", {"id": "more"})
    assert audited.audit.verify().entries == 6
    raw = audited._layers.store
    first = next(iter(raw.records(Query(ENTRIES))))
    raw.write([Delete(*first.id)])
    assert not audited.audit.verify()


def test_who_reads_the_log_is_on_record(memory_url: str) -> None:
    """Who watches whom is no secret from the next one who looks."""
    with Memory(memory_url, audit=True, access_control=True, admins=["root", "eve"]) as memory:
        memory.as_user("alice").store_memory("notes", {"id": "1"})
        memory.acting_as("eve").audit.entries(user="alice")
        (looked,) = memory.acting_as("root").audit.entries(action="audit")
        assert (looked.principal, looked.outcome, looked.detail) == ("eve", "done", "1 read")


# -- with access control -------------------------------------------------------------------------


def test_denials_and_administration_are_on_record(memory_url: str) -> None:
    with Memory(memory_url, audit=True, access_control=True, admins=["root"]) as memory:
        root, bob = memory.acting_as("root"), memory.as_user("bob")
        memory.as_user("alice").store_memory("notes", {"id": "1"})
        with pytest.raises(AccessDenied):
            bob.as_user("alice").search_memory("notes")
        with pytest.raises(AccessDenied):
            memory.search_memory("notes")
        with pytest.raises(AccessDenied):
            _ = bob.audit
        with pytest.raises(AccessDenied):
            _ = memory.audit
        root.access.grant("bob", "reader", ("users", "alice"))
        bob.as_user("alice").search_memory("notes")
        denied = root.audit.entries(action="denied")
        assert [(e.principal, e.detail) for e in denied] == [
            ("bob", "read"),
            (None, "read"),
            ("bob", "admin"),
            (None, "admin"),
        ]
        assert [e.principal for e in root.audit.entries(action="admin")] == ["root"]
        assert root.audit.entries(user="bob", action="find")[0].items[0][1][1] == "alice"
        assert root.audit.verify()


def test_it_stays_on_for_all_who_open_the_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    Memory(url, audit=True).close()
    with Memory(url) as memory:
        memory.store_memory("notes", {"id": "1"})
    with open_store(url) as raw:
        assert raw.count(Query(ENTRIES)) == 1
    with Memory(url, audit=False) as memory:
        memory.store_memory("notes", {"id": "2"})
    with open_store(url) as raw:
        *_, last = raw.records(Query(ENTRIES, order="@created_at"))
        assert raw.count(Query(ENTRIES)) == 2
        assert last.value["detail"] == "audit turned off"


def test_a_log_that_grows_is_whole(tmp_path: Path) -> None:
    with Memory(f"sqlite:///{tmp_path}/m.db", audit=True) as memory:
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                memory.store_memory("notes", {"id": "1"})

        threads = [threading.Thread(target=write) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            reports = [memory.audit.verify() for _ in range(20)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert [report.problems for report in reports] == [()] * 20
        raw = memory._layers.store
        last = list(raw.records(Query(ENTRIES)))[-1]
        raw.write([Put(last.namespace, f"{last.value['number'] + 1:016d}", {**last.value})])
        assert not memory.audit.verify()
