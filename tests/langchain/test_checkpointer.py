"""Checkpoints as they are stored: what comes back, of which thread, in which order."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, _DeltaSnapshot
from langgraph.types import Interrupt, Send

from lc_memory import Checkpointer, InvalidKey, InvalidQuery, Memory, Query
from lc_memory.stores.memory import MemoryStore
from lc_memory.testing.clock import FakeClock
from tests.checkpoints import Thread


@pytest.fixture
def saver(memory: Memory) -> Checkpointer:
    return memory.checkpointer()


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Memory]:
    with Memory(f"sqlite:///{tmp_path}/quick.db") as opened:
        yield opened


# -- what comes back ---------------------------------------------------------------------------


def test_every_kind_of_value_comes_back(saver: Checkpointer) -> None:
    message = AIMessage(
        [{"type": "text", "text": "héllo\0"}, {"type": "image", "base64": "AAAA"}],
        id="a",
        tool_calls=[{"name": "f", "args": {"x": [1, 2.5, None, True]}, "id": "c"}],
        additional_kwargs={"n": {"deep": [1]}},
        response_metadata={"when": "now"},
        name="me",
    )
    tool = ToolMessage("done", tool_call_id="c", artifact={"rows": [(1, "a")]}, status="error")
    values: dict[str, Any] = {
        "messages": [message, HumanMessage("hi", id="h", extra_field="kept"), tool],
        "none": None,
        "nul": "a\0b",
        "floats": [math.inf, -math.inf, 1.5],
        "bytes": b"\0\xff" * 3000,
        "set": {1, 2},
        "send": Send("node", {"x": 1}),
        "interrupts": [Interrupt("why", id="i")],
        "delta": _DeltaSnapshot(["x" * 900] * 9),
        "empty": [],
        "numbers": list(range(5000)),
    }
    thread = Thread(saver)
    thread.put(**values, nan=math.nan)
    found = thread.latest().checkpoint["channel_values"]
    assert math.isnan(found.pop("nan"))
    (rows,) = found["messages"][2].artifact["rows"]
    assert list(rows) == [1, "a"]  # msgpack has no tuples
    values["messages"][2].artifact["rows"] = found["messages"][2].artifact["rows"]
    assert found == values
    assert type(found["messages"][0]) is AIMessage
    assert type(found["messages"][0].tool_calls[0]["args"]["x"][3]) is bool
    assert type(found["delta"]) is _DeltaSnapshot


def test_a_state_of_twenty_megabytes_comes_back(saver: Checkpointer) -> None:
    blob = bytes(range(256)) * 80_000
    text = "0123456789" * 200_000
    thread = Thread(saver)
    config = thread.put(blob=blob, messages=[HumanMessage(text, id="1")])
    saver.put_writes(config, [("blob", blob)], "task")
    found = thread.latest()
    assert found.checkpoint["channel_values"]["blob"] == blob
    assert found.checkpoint["channel_values"]["messages"][0].content == text
    assert found.pending_writes == [("task", "blob", blob)]
    saver.prune(["t"])
    assert thread.latest().pending_writes == [("task", "blob", blob)]


@pytest.mark.parametrize(
    "name", ["", "a/b", "#hash", "x" * 5000, "tab\tand\nline", "nul\0", "\ud800", "Ünï", "ÜNÏ"]
)
def test_threads_of_any_name(memory: Memory, name: str) -> None:
    saver = memory.checkpointer()
    Thread(saver, "other").put(x="other")
    thread = Thread(saver, name, ns=f"{name}|sub")
    config = thread.put(x=name)
    saver.put_writes(config, [("x", 1)], f"task{name}")
    (found,) = saver.list({"configurable": {"thread_id": name}})
    assert found.config == config
    assert found.config["configurable"]["thread_id"] == name
    assert found.checkpoint["channel_values"] == {"x": name.replace("\ud800", "?")}
    assert found.pending_writes == [(f"task{name}", "x", 1)]
    assert len(list(saver.list(None))) == 2
    saver.delete_thread(name)
    assert [f.config["configurable"]["thread_id"] for f in saver.list(None)] == ["other"]


def test_a_digest_cannot_be_passed_off_as_a_name(quick: Memory) -> None:
    saver = quick.checkpointer()
    Thread(saver, "x" * 500).put(x="secret")
    (record,) = quick.backend.records(Query(("checkpoints", "states")))
    assert saver.get_tuple({"configurable": {"thread_id": record.namespace[2]}}) is None


def test_a_config_without_a_thread_is_refused(quick: Memory) -> None:
    with pytest.raises(InvalidKey, match="thread_id"):
        quick.checkpointer().get_tuple({"configurable": {}})


def test_users_do_not_see_each_others_threads(quick: Memory) -> None:
    alice, bob = (quick.as_user(name).checkpointer() for name in ("alice", "bob"))
    Thread(alice).put(x="alice's")
    assert bob.get_tuple({"configurable": {"thread_id": "t"}}) is None
    assert list(bob.list(None)) == []
    bob.delete_thread("t")
    assert Thread(alice).latest().checkpoint["channel_values"] == {"x": "alice's"}


# -- pending writes ----------------------------------------------------------------------------


def test_the_first_write_of_a_place_stands_and_special_ones_replace(saver: Checkpointer) -> None:
    config = Thread(saver).put()
    saver.put_writes(config, [("a", 1), (INTERRUPT, "old"), ("b", 2)], "task")
    saver.put_writes(config, [("a", 9), (INTERRUPT, "new"), ("b", 9), ("c", 3)], "task")
    saver.put_writes(config, [(ERROR, "e")], "task")
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [
        *[("task", INTERRUPT, "new"), ("task", ERROR, "e")],
        *[("task", "a", 1), ("task", "b", 2), ("task", "c", 3)],
    ]


def test_writes_come_in_the_order_of_path_task_and_place(saver: Checkpointer) -> None:
    config = Thread(saver).put()
    saver.put_writes(config, [("c", i) for i in range(12)], "b", "path/1")
    saver.put_writes(config, [("c", 20)], "a", "path/2")
    saver.put_writes(config, [("c", 30)], "z")
    found = saver.get_tuple(config)
    assert found is not None
    assert [write[2] for write in found.pending_writes or ()] == [30, *range(12), 20]


def test_writes_may_come_before_their_checkpoint(saver: Checkpointer) -> None:
    checkpoint = empty_checkpoint()
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    early = {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}
    saver.put_writes(early, [("a", 1)], "task")
    saver.put(config, checkpoint, {}, {})
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", "a", 1)]


@pytest.mark.parametrize("tasks", [0, 1, 3, 4, 7])
def test_the_latest_comes_with_its_own_writes(saver: Checkpointer, tasks: int) -> None:
    """However many others have, before it and after it."""
    thread, other = Thread(saver), Thread(saver, ns="inner")
    before, config = thread.put(n=1), thread.put(n=2)
    later = {"configurable": {**config["configurable"], "checkpoint_id": "f" * 36}}
    for place, times in ((before, 2), (config, tasks), (later, 2), (other.put(), 3)):
        for task in range(times):
            saver.put_writes(place, [("a", place["configurable"]["checkpoint_id"])], f"task{task}")
    own = config["configurable"]["checkpoint_id"]
    assert thread.latest().pending_writes == [(f"task{task}", "a", own) for task in range(tasks)]


def test_writers_of_one_task_lose_nothing(saver: Checkpointer) -> None:
    config = Thread(saver).put()
    start = threading.Barrier(6)

    def write(number: int) -> None:
        start.wait()
        saver.put_writes(config, [(f"c{i}", i) for i in range(number + 1)], "task")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", f"c{i}", i) for i in range(6)]


# -- lists -------------------------------------------------------------------------------------


def test_listing(saver: Checkpointer) -> None:
    one, two = Thread(saver, "1"), Thread(saver, "1", "sub:x")
    ids = []
    for number in range(60):
        config = (two if number % 3 == 0 else one).put({"even": number % 2 == 0}, n=number)
        ids.append(config["configurable"]["checkpoint_id"])
    Thread(saver, "2").put()
    thread: Any = {"configurable": {"thread_id": "1"}}

    def listed(config: Any, **options: Any) -> list[int]:
        return [f.checkpoint["channel_values"]["n"] for f in saver.list(config, **options)]

    assert listed(thread) == [*reversed(range(60))]
    assert listed(two.config) == [*reversed(range(0, 60, 3))]
    assert listed(thread, limit=3) == [59, 58, 57]
    assert listed(thread, limit=0) == []
    assert listed(thread, filter={"even": True}, limit=3) == [58, 56, 54]
    assert listed(thread, filter={"even": True, "step": 1}) == [0]
    assert listed(thread, filter={"missing": None, "step": 1}) == [1, 0]
    assert listed(thread, filter={"step') OR 1=1 --": 1}) == []
    before: Any = {"configurable": {"thread_id": "1", "checkpoint_id": ids[2]}}
    assert listed(thread, before=before) == [1, 0]
    assert len(listed(thread, before=thread)) == 60  # it names no checkpoint
    assert listed(before) == [2]
    assert len(list(saver.list(None))) == 61
    with pytest.raises(InvalidQuery, match="limit"):
        list(saver.list(thread, limit=-1))


def test_writing_and_deleting_inside_a_loop_over_the_list(saver: Checkpointer) -> None:
    thread = Thread(saver)
    for number in range(120):
        thread.put(big=[f"{number} " + "x" * 3000])
    seen = 0
    for found in saver.list(thread.config):
        thread.put(again=found.checkpoint["channel_values"].get("big"))
        seen += 1
        if seen == 60:
            saver.prune(["t"])
    assert 60 <= seen <= 120
    assert len(thread.ids()) > 1


async def test_async_and_sync_callers_share_one_object(memory: Memory) -> None:
    saver = memory.checkpointer()
    thread = Thread(saver)
    thread.put(n=1)
    found = await saver.aget_tuple(thread.config)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"n": 1}
    others = [Thread(saver, f"t{i}") for i in range(20)]
    await asyncio.gather(*(asyncio.to_thread(other.put, n=i) for i, other in enumerate(others)))
    values = [f.checkpoint["channel_values"]["n"] async for f in saver.alist(None)]
    assert sorted(values) == sorted([1, *range(20)])
    in_another_loop = await asyncio.to_thread(asyncio.run, saver.aget_tuple(thread.config))
    assert in_another_loop == found


def test_a_checkpoint_that_is_put_again_is_replaced(memory: Memory) -> None:
    saver = memory.checkpointer()
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    checkpoint = empty_checkpoint()
    checkpoint["channel_versions"] = {"x": 1}
    for value in ("small", "large " * 1000, "small again"):
        checkpoint["channel_values"] = {"x": value}
        saver.put(config, checkpoint, {}, {"x": 1})
        (found,) = saver.list(config)
        assert found.checkpoint["channel_values"] == {"x": value}


def test_the_clock_of_the_store_decides_nothing() -> None:
    """The latest is the greatest id, whatever the time was."""
    clock = FakeClock()
    with Memory(MemoryStore(clock=clock)) as memory:
        saver = memory.checkpointer()
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        first, second = empty_checkpoint(), empty_checkpoint()
        for checkpoint in (second, first):
            saver.put(config, checkpoint, {}, {})
        found = saver.get_tuple(config)
        assert found is not None
        assert found.checkpoint["id"] == second["id"] > first["id"]
