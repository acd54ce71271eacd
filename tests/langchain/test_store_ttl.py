"""LangGraph's store: when items expire, and who may call it at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from langgraph.store.base import (
    GetOp,
    PutOp,
    SearchOp,
)

from lc_memory import Memory
from lc_memory.errors import (
    InvalidInput,
    InvalidValue,
)
from lc_memory.langchain.store import LangGraphStore
from lc_memory.records import Record
from lc_memory.stores.memory import MemoryStore
from lc_memory.testing.clock import FakeClock

USERS = ("users", "u1")


@pytest.fixture
def memory(clocked: Memory) -> Memory:
    return clocked


def keys(items: list[Any]) -> list[str]:
    return [item.key for item in items]


# -- TTL ---------------------------------------------------------------------------------------


def test_ttls_are_minutes_from_the_last_write_or_read(open_face: Any, clock: FakeClock) -> None:
    store = open_face(default_ttl=10, omit_expired=True)
    store.put(USERS, "default", {})
    store.put(USERS, "never", {}, ttl=None)
    store.put(USERS, "half", {}, ttl=0.5)
    clock.forward(29.9)
    assert set(keys(store.search(USERS, refresh_ttl=False))) == {"default", "never", "half"}
    clock.forward(0.1)
    assert set(keys(store.search(USERS, refresh_ttl=False))) == {"default", "never"}
    clock.forward(9 * 60)
    store.put(USERS, "default", {"again": True})
    clock.forward(9 * 60)
    assert store.get(USERS, "default").value == {"again": True}
    clock.forward(10 * 60)
    assert store.get(USERS, "default") is None
    assert store.get(USERS, "never") is not None


def test_reading_refreshes_only_what_was_asked_for(
    open_face: Any, memory: Memory, clock: FakeClock
) -> None:
    store = open_face(default_ttl=10)
    for key in ("got", "found", "left"):
        store.put(USERS, key, {"is": key})
    before = store.get(USERS, "left", refresh_ttl=False)
    clock.forward(6 * 60)
    got = store.batch([GetOp(USERS, "got"), SearchOp(USERS, {"is": "found"}), GetOp(USERS, "no")])
    assert (got[0].key, keys(got[1]), got[2]) == ("got", ["found"], None)
    assert (got[0].created_at, got[0].updated_at) < (clock.time, clock.time)
    (record,) = memory.backend.read([(("store", *USERS), "got")])
    assert record is not None
    assert (record.version, record.updated_at) == (1, got[0].updated_at)  # not a write
    assert record.expires_at == clock.time + timedelta(minutes=10)
    clock.forward(6 * 60)
    assert store.get(USERS, "left") == before  # expired, and not swept yet
    assert store.sweep_ttl() == 1
    assert keys(store.search(USERS)) == ["found", "got"]


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("asked", [True, False, None])
def test_an_explicit_refresh_wins_both_ways(
    open_face: Any, clock: FakeClock, configured: bool, asked: bool | None
) -> None:
    store = open_face(default_ttl=1, refresh_on_read=configured)
    store.put(USERS, "got", {})
    store.put(("other",), "found", {})
    clock.forward(40)
    store.get(USERS, "got", refresh_ttl=asked)
    store.search(("other",), refresh_ttl=asked)
    clock.forward(40)
    refreshed = configured if asked is None else asked
    assert store.sweep_ttl() == (0 if refreshed else 2)


@pytest.mark.parametrize("omit", [True, False])
def test_expired_items_are_omitted_everywhere_or_nowhere(
    open_face: Any, clock: FakeClock, omit: bool
) -> None:
    store = open_face(omit_expired=omit)
    store.put(USERS, "k", {"a": 1}, ttl=1)
    store.put(("users", "u2"), "k", {"a": 1}, ttl=1)
    store.put(USERS, "stays", {"a": 1})
    clock.forward(61)
    for _ in range(2):  # reading an expired item does not bring it back
        assert (store.get(USERS, "k") is None) is omit
        assert (store.batch([GetOp(USERS, "k")]) == [None]) is omit
        assert len(store.search(("users",), filter={"a": 1})) == (1 if omit else 3)
        assert len(store.search(USERS)) == (1 if omit else 2)
        assert store.list_namespaces() == [USERS, ("users", "u2")][: 1 if omit else 2]
    assert store.sweep_ttl() == 2
    assert keys(store.search(())) == ["stays"]


def test_an_item_put_again_for_ever_meanwhile_stays_for_ever(clock: FakeClock) -> None:
    class Overtaken(MemoryStore):
        """Between our read and our renewal, somebody else puts the item."""

        meanwhile: Callable[[], object] = staticmethod(lambda: None)

        def read(self, ids: Any, *, expired: bool = False) -> list[Record | None]:
            records = super().read(ids, expired=expired)
            act, self.meanwhile = self.meanwhile, lambda: None
            act()
            return records

    backend = Overtaken(clock=clock)
    with Memory(backend) as memory:
        store = memory.store()
        store.put(USERS, "k", {"n": 1}, ttl=1)
        backend.meanwhile = lambda: store.put(USERS, "k", {"n": 2}, ttl=None)
        assert store.get(USERS, "k").value == {"n": 1}
        clock.forward(1e6)
        assert store.sweep_ttl() == 0
        assert store.get(USERS, "k").value == {"n": 2}


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_ttl_that_is_no_time_is_refused(memory: Memory, store: Any, ttl: Any) -> None:
    with pytest.raises(InvalidValue, match="minutes"):
        store.put(USERS, "k", {}, ttl=ttl)
    with pytest.raises(InvalidValue, match="minutes"):
        memory.store(ttl={"default_ttl": ttl})


def test_the_sweeper_sweeps_until_it_is_stopped(memory: Memory, clock: FakeClock) -> None:
    store = memory.store(ttl={"default_ttl": 1})
    assert store.stop_ttl_sweeper()
    running = store.start_ttl_sweeper(0.0002)
    assert store.start_ttl_sweeper() is running
    for _ in range(2):
        store.put(USERS, "k", {})
        clock.forward(61)
        until = time.monotonic() + 10
        while store.get(USERS, "k") is not None and time.monotonic() < until:
            time.sleep(0.01)
        assert store.get(USERS, "k") is None
    assert store.stop_ttl_sweeper(timeout=10)
    assert running.done()
    again = store.start_ttl_sweeper(0.0002)
    assert again.cancel()
    assert store.stop_ttl_sweeper(timeout=10)
    with pytest.raises(InvalidInput):
        store.start_ttl_sweeper(-1)


def test_the_sweeper_ends_with_the_memory_and_with_its_store() -> None:
    memory = Memory("memory://")
    ended = memory.store().start_ttl_sweeper(60)  # nothing holds that store
    ended.result(timeout=10)
    store = memory.store()
    ended = store.start_ttl_sweeper(0.0002)
    memory.close()
    ended.result(timeout=10)


# -- one object, many callers ------------------------------------------------------------------


def test_many_threads_write_and_read(memory: Memory) -> None:
    store = memory.store()

    def work(thread: int) -> list[int]:
        for number in range(20):
            store.put(("t", str(thread)), str(number), {"n": number})
            store.put(("t",), "shared", {"by": thread})
        return [item.value["n"] for item in store.search(("t", str(thread)), limit=50)]

    with ThreadPoolExecutor(6) as pool:
        assert all(found == list(range(19, -1, -1)) for found in pool.map(work, range(6)))
    assert len(store.search(("t",), limit=500)) == 121


def test_a_bad_put_does_not_fail_its_neighbours(memory: Memory) -> None:
    store = memory.store()

    async def main() -> list[Any]:
        values: list[Any] = [{"n": n} if n % 10 else {"n": object()} for n in range(50)]
        puts = [store.aput(USERS, str(n), value) for n, value in enumerate(values)]
        return await asyncio.gather(*puts, return_exceptions=True)

    outcomes = asyncio.run(main())
    bad = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, InvalidValue)]
    assert bad == [0, 10, 20, 30, 40]
    assert {item.value["n"] for item in store.search(USERS, limit=100)} == set(range(50)) - {*bad}


def test_two_event_loops_and_a_thread_share_one_object(memory: Memory) -> None:
    store = memory.store(ttl={"default_ttl": 5})

    async def work(name: str) -> int:
        await asyncio.gather(*(store.aput((name,), str(n), {"n": n}) for n in range(30)))
        found = await asyncio.gather(*(store.aget((name,), str(n)) for n in range(30)))
        store.put((name,), "sync, in a running loop", {})
        return sum(item.value["n"] for item in found if item)

    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(asyncio.run, work(name)) for name in "ab"]
        other = pool.submit(lambda: [store.put(("c",), str(n), {}) for n in range(30)])
        assert [loop.result() for loop in loops] == [435, 435]
        other.result()
    assert [len(store.search((name,), limit=99)) for name in "abc"] == [31, 31, 30]


def test_async_calls_do_not_block_the_loop() -> None:
    release = threading.Event()

    class Slow(MemoryStore):
        def read(self, ids: Any, *, expired: bool = False) -> list[Record | None]:
            assert release.wait(10)
            return super().read(ids, expired=expired)

        def write(self, ops: Any) -> list[Record | None]:
            assert release.wait(10)
            return super().write(ops)

    async def main(store: LangGraphStore) -> Any:
        calls = [store.aput(USERS, "k", {}), store.aget(USERS, "no"), store.asearch(USERS)]
        under_way = asyncio.gather(*calls)
        await asyncio.sleep(0.05)
        release.set()  # had a call blocked the loop, we should not be here
        return await under_way

    release.set()
    with Memory(Slow()) as memory:  # which reads its settings
        release.clear()
        assert asyncio.run(main(memory.store()))[1] is None
        assert memory.store().get(USERS, "k") is not None


def test_gets_of_a_batch_are_one_read_and_its_writes_one_write(clock: FakeClock) -> None:
    calls: list[str] = []

    class Counted(MemoryStore):
        def read(self, ids: Any, *, expired: bool = False) -> list[Record | None]:
            calls.append(f"read {len(ids)}")
            return super().read(ids, expired=expired)

        def write(self, ops: Any) -> list[Record | None]:
            calls.append(f"write {len(ops)}")
            return super().write(ops)

    with Memory(Counted(clock=clock)) as memory:
        calls.clear()  # it has read its settings
        store = memory.store()
        store.batch([PutOp(USERS, str(n), {}, ttl=1) for n in range(3)])
        store.batch([GetOp(USERS, str(n)) for n in range(3)] + [PutOp(USERS, "x", {})])
        store.batch([GetOp(USERS, "x"), GetOp(USERS, "no")])
        clock.forward(61)
        store.batch([GetOp(USERS, "0")])  # expired: there is nothing to refresh
    assert calls == ["write 3", "read 3", "write 4", "read 2", "read 1"]
