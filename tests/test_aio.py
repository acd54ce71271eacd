"""The bridge from asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lc_memory import AsyncStore, Conflict, InvalidValue, Put, Query, Record
from lc_memory.records import ABSENT, Op
from lc_memory.stores.memory import MemoryStore
from lc_memory.stores.sql import SQLStore


class SlowStore(MemoryStore):
    """Holds its writes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.writing = threading.Event()
        self.go = threading.Event()

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        self.writing.set()
        self.go.wait(10)
        return super().write(ops)


async def test_a_cancelled_write_is_finished_before_the_cancellation_goes_on() -> None:
    store = SlowStore()
    bridge = AsyncStore(store)
    task = asyncio.create_task(bridge.write([Put(("n",), "k", {})]))
    await asyncio.to_thread(store.writing.wait)
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()  # and again: still nothing is left halfway
    await asyncio.sleep(0.01)
    assert not task.done()
    store.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.get(("n",), "k") is not None
    bridge.close()


async def test_a_write_that_never_began_is_dropped_when_cancelled() -> None:
    store = SlowStore()
    bridge = AsyncStore(store, threads=1)
    first = asyncio.create_task(bridge.write([Put(("n",), "first", {})]))
    await asyncio.to_thread(store.writing.wait)
    second = asyncio.create_task(bridge.write([Put(("n",), "second", {})]))
    await asyncio.sleep(0.01)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    store.go.set()
    await first
    assert [record.key for record in store.records()] == ["first"]
    bridge.close()


async def test_the_loop_goes_on_while_a_store_is_slow() -> None:
    store = SlowStore()
    bridge = AsyncStore(store)
    tasks = [asyncio.create_task(bridge.write([Put(("n",), str(i), {})])) for i in range(20)]
    await asyncio.to_thread(store.writing.wait)
    await asyncio.sleep(0)  # would never come back if the loop were blocked
    assert not any(task.done() for task in tasks)
    store.go.set()
    await asyncio.gather(*tasks)
    assert threading.active_count() < 20  # a bounded pool
    bridge.close()


async def test_writes_of_one_turn_are_committed_together_and_judged_apart(tmp_path: Path) -> None:
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        groups: list[int] = []
        transact = store._db.transact

        def counted(work: Any) -> Any:
            groups.append(1)
            return transact(work)

        store._db.transact = counted  # type: ignore[method-assign]
        bridge = AsyncStore(store)
        writes: list[list[Op]] = [
            [Put(("n",), str(i % 60), {}, replacing=ABSENT)] for i in range(90)
        ]
        writes.append([Put(("n",), "bad", {"x": float("inf")})])
        outcomes = await asyncio.gather(*map(bridge.write, writes), return_exceptions=True)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [list] * 60 + [Conflict] * 30 + [InvalidValue]
        assert len(groups) <= 3
        assert (await bridge.find(Query())).records == store.find(Query()).records
        assert await bridge.read([(("n",), "1")]) == store.read([(("n",), "1")])
        bridge.close()


async def test_context_variables_are_carried_over() -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    class Watching(MemoryStore):
        def write(self, ops: Sequence[Op]) -> list[Record | None]:
            seen.append(who.get())
            return super().write(ops)

    bridge = AsyncStore(Watching())

    async def as_(name: str) -> None:
        who.set(name)
        await bridge.write([Put(("n",), name, {})])

    await asyncio.gather(*(asyncio.create_task(as_(name)) for name in ("ada", "bob")))
    assert sorted(seen) == ["ada", "bob"]
    bridge.close()


def test_a_loop_that_ends_early_harms_nobody(tmp_path: Path) -> None:
    """asyncio.run() cancels what is left; the next loop finds the bridge as good as new."""
    with SQLStore(f"sqlite:///{tmp_path}/m.db") as store:
        bridge = AsyncStore(store)

        async def leave() -> None:
            for i in range(20):
                asyncio.create_task(bridge.write([Put(("n",), str(i), {})]))  # noqa: RUF006
            await asyncio.sleep(0)

        async def stay() -> None:
            await bridge.write([Put(("n",), "after", {})])

        asyncio.run(leave())
        asyncio.run(stay())
        assert store.get(("n",), "after") is not None
        assert store.count() in (1, 21)
        bridge.close()
